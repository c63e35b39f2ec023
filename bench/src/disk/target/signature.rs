//! What a device holds, by the marks that file systems, partition tables and volume managers leave
//! at its beginning. Pure. Marks at the end alone (MD 0.90 and 1.0) are not seen: the file system
//! inside of such an array is.
//!
//! Source: the formats' own documents, as collected in util-linux's libblkid.

/// Bytes at a place that tell a format.
struct Mark {
    offset: usize,
    bytes: &'static [u8],
    format: &'static str,
}

const fn mark(offset: usize, bytes: &'static [u8], format: &'static str) -> Mark {
    Mark { offset, bytes, format }
}

/// The more telling ones first: a boot sector's mark is part of several formats.
const MARKS: &[Mark] = &[
    mark(1_080, &[0x53, 0xEF], "an ext2, ext3 or ext4 file system"),
    mark(0, b"XFSB", "an XFS file system"),
    mark(0x1_0040, b"_BHRfS_M", "a Btrfs file system"),
    mark(1_024, &[0x10, 0x20, 0xF5, 0xF2], "an F2FS file system"),
    mark(1_024, &[0xE2, 0xE1, 0xF5, 0xE0], "an EROFS file system"),
    mark(1_030, &[0x34, 0x34], "a NILFS2 file system"),
    mark(0x8000, b"JFS1", "a JFS file system"),
    mark(0x1_0034, b"ReIsEr", "a ReiserFS file system"),
    mark(0x1_0000, &[0x01, 0x16, 0x19, 0x70], "a GFS2 file system"),
    mark(0, b"hsqs", "a SquashFS file system"),
    mark(0x8001, b"CD001", "an ISO 9660 file system"),
    mark(0x8001, b"BEA01", "a UDF file system"),
    mark(32, b"NXSB", "an APFS container"),
    mark(1_024, b"H+", "an HFS+ file system"),
    mark(1_024, b"HX", "an HFS+ file system"),
    mark(3, b"NTFS    ", "an NTFS file system"),
    mark(3, b"EXFAT   ", "an exFAT file system"),
    mark(3, b"-FVE-FS-", "a BitLocker volume"),
    mark(54, b"FAT1", "a FAT file system"),
    mark(82, b"FAT32", "a FAT file system"),
    mark(0, b"LUKS\xBA\xBE", "a LUKS volume"),
    mark(0x4000, b"SKUL\xBA\xBE", "a LUKS volume"),
    mark(0, &[0xFC, 0x4E, 0x2B, 0xA9], "a member of an MD RAID"),
    mark(4_096, &[0xFC, 0x4E, 0x2B, 0xA9], "a member of an MD RAID"),
    mark(4_120, &BCACHE, "a bcache or bcachefs device"),
    mark(0, b"bluestore block device", "a Ceph BlueStore device"),
    mark(512, b"EFI PART", "a GPT partition table"),
    mark(4_096, b"EFI PART", "a GPT partition table"),
    mark(510, &[0x55, 0xAA], "an MBR partition table or boot sector"),
];

const BCACHE: [u8; 16] = [
    0xC6, 0x85, 0x73, 0xF6, 0x4E, 0x1A, 0x45, 0xCA, 0x82, 0x65, 0xF5, 0x7F, 0x48, 0xBA, 0x6D, 0x81,
];

/// Ends of the first page, for every size of a page, where swap space has its mark.
const SWAP_PAGE_BYTES: [usize; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
const SWAP_MARKS: [&[u8; 10]; 2] = [b"SWAPSPACE2", b"SWAP-SPACE"];

/// LVM's label is in one of the first four sectors.
const LVM_SECTORS: usize = 4;
const SECTOR_BYTES: usize = 512;

/// ZFS's ring of uberblocks in its first label.
const ZFS_RING: std::ops::Range<usize> = 128 << 10..256 << 10;
const ZFS_UBERBLOCK_BYTES: usize = 1 << 10;
const ZFS_MAGIC: u64 = 0x00BA_B10C;

/// What a device that begins with `head` holds, or nothing known.
#[must_use]
pub fn signature(head: &[u8]) -> Option<&'static str> {
    if is_swap(head) {
        return Some("swap space");
    }
    if is_lvm(head) {
        return Some("an LVM2 physical volume");
    }
    if is_zfs(head) {
        return Some("a member of a ZFS pool");
    }
    let found = MARKS.iter().find(|mark| has(head, mark.offset, mark.bytes));
    found.map(|mark| mark.format)
}

fn has(head: &[u8], offset: usize, bytes: &[u8]) -> bool {
    head.get(offset..offset + bytes.len()) == Some(bytes)
}

fn is_swap(head: &[u8]) -> bool {
    let places = SWAP_PAGE_BYTES.iter().map(|page| page - SWAP_MARKS[0].len());
    places.into_iter().any(|place| SWAP_MARKS.iter().any(|mark| has(head, place, *mark)))
}

fn is_lvm(head: &[u8]) -> bool {
    let sectors = (0..LVM_SECTORS).map(|sector| sector * SECTOR_BYTES);
    sectors.into_iter().any(|at| has(head, at, b"LABELONE") && has(head, at + 24, b"LVM2"))
}

fn is_zfs(head: &[u8]) -> bool {
    let magics = [ZFS_MAGIC.to_le_bytes(), ZFS_MAGIC.to_be_bytes()];
    let mut places = ZFS_RING.step_by(ZFS_UBERBLOCK_BYTES);
    places.any(|place| magics.iter().any(|magic| has(head, place, magic)))
}
