//! The superblock: what a store is, written in two copies so that one may be damaged.

mod pick;

use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes, byteorder::little_endian as le};

use super::checksum::crc32c_with_field_zeroed;
use super::page::is_page_size;
use super::{BLOCK_SIZE_BYTES, FORMAT_VERSION, IncarnationLink, disk_struct};
use crate::ids::{Incarnation, Lsn, StoreId};
use crate::limits::{LINKS_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::options::DurabilityMethod;

pub(crate) use pick::pick_decoded;
pub use pick::{PickedSuperblock, SuperblockCopy, SuperblockPickError, SuperblockTwin, pick};

/// First bytes of a superblock copy.
pub const SUPERBLOCK_MAGIC: [u8; 8] = *b"SOMBRASB";
/// Region of one copy in the file `superblock`: copy A at 0, copy B here.
pub const SUPERBLOCK_COPY_BYTES: usize = 1 << 20;
/// Longest name of a device.
pub const DEVICE_IDENTITY_BYTES_MAX: usize = 64;
/// Required feature: the store has a data file, into which its log is merged. A build that does
/// not know it would take what is left of the log for the whole store.
pub const FEATURE_DATA_FILE: u64 = 1;
/// Required features that this build knows.
pub const REQUIRED_FEATURES_KNOWN: u64 = FEATURE_DATA_FILE;

const HEAD_BYTES: usize = size_of::<SuperblockBytes>();
const LINK_BYTES: usize = size_of::<LinkBytes>();
const CRC_OFFSET: usize = core::mem::offset_of!(SuperblockBytes, crc32c);
const _: () = assert!(HEAD_BYTES + LINKS_MAX * LINK_BYTES <= SUPERBLOCK_COPY_BYTES);

// The rules below name these bounds.
const _: () = assert!(SEGMENT_BYTES_MIN == 1 << 20 && SEGMENT_BYTES_MAX == 1 << 30);
const _: () = assert!(LINKS_MAX == 32_768);

disk_struct! {
    /// Head of a superblock copy; `link_count` rows of [`LinkBytes`] follow.
    ///
    /// The fields up to `used_bytes` keep place and meaning in every format version, so that any
    /// build tells a damaged copy from one that it is too old to read.
    pub(super) struct SuperblockBytes [256] {
        |   0 |  8 | magic: [u8; 8]             | "the letters `SOMBRASB`" |
        |   8 |  4 | format_version: le::U32    | "1; any other is refused" |
        |  12 |  4 | crc32c: le::U32            |
            "CRC-32C over `used_bytes` from offset 0, this field zeroed" |
        |  16 |  4 | used_bytes: le::U32        |
            "256 + 24 × `link_count`; what follows to the end of the block is unused" |
        |  20 |  4 | page_size: le::U32         |
            "size of the data file's pages: 4096, 8192, 16384 or 32768" |
        |  24 | 16 | store_id: [u8; 16]         |
            "drawn when the store is made; every file of the store carries it" |
        |  40 |  8 | generation: le::U64        |
            "grows by one with each rewrite; the highest valid copy counts" |
        |  48 |  8 | required_features: le::U64 |
            "bit set; an unknown bit refuses the store; bit 0: there is a data file" |
        |  56 |  8 | optional_features: le::U64 |
            "bit set; unknown bits are ignored; none is defined" |
        |  64 |  8 | segment_bytes: le::U64     |
            "size of each log segment, multiple of 4096, 1 MiB to 1 GiB" |
        |  72 |  8 | root_table_addr: le::U64   |
            "4096-byte block of the data file at which the root table begins: 0" |
        |  80 |  4 | durability_method: le::U32 |
            "1 durable write (RWF_DSYNC), 2 write + flush on the ring, 3 write + flush off the "
            "ring, 4 plain write to a write-through device" |
        |  84 |  4 | link_count: le::U32        | "links that follow, at most 32768" |
        |  88 | 64 | device_identity: [u8; 64]  |
            "device that the durability method was probed on, UTF-8, padded with zeros" |
        | 152 |  8 | created_ms: le::U64        |
            "wall clock at creation, milliseconds since 1970" |
        | 160 | 96 | reserved: [u8; 96]         | "written as zero, ignored by readers" |
    }
}

disk_struct! {
    /// One link between incarnations, oldest first, straight after the head.
    pub(super) struct LinkBytes [24] {
        |  0 | 8 | incarnation: le::U64  | "the incarnation that begins; strictly ascending" |
        |  8 | 8 | previous_end: le::U64 |
            "end of the last valid record before it, at most `new_start`" |
        | 16 | 8 | new_start: le::U64    |
            "its first LSN, the start of a segment; strictly ascending" |
    }
}

const fn method_number(method: DurabilityMethod) -> u32 {
    match method {
        DurabilityMethod::Dsync => 1,
        DurabilityMethod::RingFlush => 2,
        DurabilityMethod::PoolFlush => 3,
        DurabilityMethod::WriteThrough => 4,
    }
}

const fn method_from_number(number: u32) -> Option<DurabilityMethod> {
    match number {
        1 => Some(DurabilityMethod::Dsync),
        2 => Some(DurabilityMethod::RingFlush),
        3 => Some(DurabilityMethod::PoolFlush),
        4 => Some(DurabilityMethod::WriteThrough),
        _ => None,
    }
}

/// What a store is, as plain values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    pub store_id: StoreId,
    pub generation: u64,
    pub required_features: u64,
    pub optional_features: u64,
    pub segment_bytes: u64,
    /// Size of the data file's pages.
    pub page_size_bytes: u32,
    pub root_table_addr: u64,
    pub durability_method: DurabilityMethod,
    /// At most [`DEVICE_IDENTITY_BYTES_MAX`] bytes, without NUL.
    pub device_identity: String,
    pub created_ms: u64,
    /// Oldest first, at most [`LINKS_MAX`].
    pub links: Vec<IncarnationLink>,
}

/// Why a superblock copy cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SuperblockError {
    #[error("not a superblock: it begins with {found:02x?}, expected \"SOMBRASB\"")]
    NotASuperblock { found: [u8; 8] },
    #[error(
        "the device does not deliver it from byte {offset} of the file on: {error}",
        error = std::io::Error::from_raw_os_error(*errno)
    )]
    Unread { offset: u64, errno: i32 },
    #[error("{found} bytes are there, {expected} are needed")]
    Truncated { expected: usize, found: usize },
    #[error("claims to use {found} bytes, possible are {min} to {max}", min = HEAD_BYTES,
        max = HEAD_BYTES + LINKS_MAX * LINK_BYTES)]
    UsedBytes { found: usize },
    #[error("checksum {found:#010x}, expected {expected:#010x}: the copy is damaged")]
    Checksum { expected: u32, found: u32 },
    #[error(
        "format version {found}, this build reads version {expected}: \
         open it with the version that wrote it"
    )]
    UnknownVersion { expected: u32, found: u32 },
    #[error(
        "required features {found:#x}, this build knows {known:#x}: \
         open it with the version that wrote it"
    )]
    UnknownFeatures { known: u64, found: u64 },
    #[error("page size {found}, possible are 4096, 8192, 16384 and 32768")]
    PageSize { found: u32 },
    #[error(
        "segment size {found}, possible are multiples of 4096 from {SEGMENT_BYTES_MIN} to \
         {SEGMENT_BYTES_MAX}"
    )]
    SegmentBytes { found: u64 },
    #[error("durability method {found}, known are 1 to 4")]
    DurabilityMethod { found: u32 },
    #[error("the device's name is not zero-padded UTF-8")]
    DeviceIdentity,
    #[error("{found} links, but room for {expected} by the bytes used")]
    LinkCount { expected: usize, found: usize },
    #[error("link {index} does not lie above the link before it, or ends above its start")]
    LinkOrder { index: usize },
}

impl SuperblockError {
    /// Whether the copy is whole, only not for this build. Such a copy must never be passed over
    /// for an older twin: a newer build may have gone on from it.
    #[must_use]
    pub fn is_intact_copy(&self) -> bool {
        matches!(
            self,
            SuperblockError::UnknownVersion { .. } | SuperblockError::UnknownFeatures { .. }
        )
    }
}

impl Superblock {
    /// The used blocks of a copy: a multiple of [`BLOCK_SIZE_BYTES`], to be written at the start
    /// of the copy's region.
    ///
    /// Panics when a field breaks its rule: what this build writes, it must be able to read.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.assert_encodable();
        let used_bytes = HEAD_BYTES + self.links.len() * LINK_BYTES;
        let mut device_identity = [0; DEVICE_IDENTITY_BYTES_MAX];
        device_identity[..self.device_identity.len()]
            .copy_from_slice(self.device_identity.as_bytes());
        let head = SuperblockBytes {
            magic: SUPERBLOCK_MAGIC,
            format_version: FORMAT_VERSION.into(),
            crc32c: 0.into(),
            used_bytes: u32::try_from(used_bytes).expect("a copy has at most 1 MiB").into(),
            page_size: self.page_size_bytes.into(),
            store_id: *self.store_id.as_bytes(),
            generation: self.generation.into(),
            required_features: self.required_features.into(),
            optional_features: self.optional_features.into(),
            segment_bytes: self.segment_bytes.into(),
            root_table_addr: self.root_table_addr.into(),
            durability_method: method_number(self.durability_method).into(),
            link_count: u32::try_from(self.links.len()).expect("at most LINKS_MAX").into(),
            device_identity,
            created_ms: self.created_ms.into(),
            reserved: [0; 96],
        };
        let mut bytes = Vec::with_capacity(used_bytes.next_multiple_of(BLOCK_SIZE_BYTES));
        bytes.extend_from_slice(head.as_bytes());
        for link in &self.links {
            bytes.extend_from_slice(LinkBytes::from_link(link).as_bytes());
        }
        let crc = crc32c_with_field_zeroed(&bytes, CRC_OFFSET);
        bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
        bytes.resize(used_bytes.next_multiple_of(BLOCK_SIZE_BYTES), 0);
        bytes
    }

    /// Reads one copy out of the bytes of its region; bytes after the used ones are ignored.
    ///
    /// Errors: `Truncated` names how many bytes the copy needs when `bytes` holds fewer, so a
    /// reader may begin with one block.
    pub fn decode(bytes: &[u8]) -> Result<Superblock, SuperblockError> {
        let Ok((head, _)) = SuperblockBytes::ref_from_prefix(bytes) else {
            let (expected, found) = (HEAD_BYTES, bytes.len());
            return Err(SuperblockError::Truncated { expected, found });
        };
        if head.magic != SUPERBLOCK_MAGIC {
            return Err(SuperblockError::NotASuperblock { found: head.magic });
        }
        let used = checked_used_bytes(head, bytes)?;
        let found = head.format_version.get();
        if found != FORMAT_VERSION {
            return Err(SuperblockError::UnknownVersion { expected: FORMAT_VERSION, found });
        }
        let (known, found) = (REQUIRED_FEATURES_KNOWN, head.required_features.get());
        if found & !known != 0 {
            return Err(SuperblockError::UnknownFeatures { known, found });
        }
        let links = decode_links(head, &used[HEAD_BYTES..])?;
        head.to_superblock(links)
    }

    fn assert_encodable(&self) {
        assert!(is_segment_size(self.segment_bytes), "segment size {}", self.segment_bytes);
        assert!(is_page_size(self.page_size_bytes), "page size {}", self.page_size_bytes);
        assert!(self.required_features & !REQUIRED_FEATURES_KNOWN == 0, "unknown feature bit");
        let identity = self.device_identity.as_bytes();
        assert!(identity.len() <= DEVICE_IDENTITY_BYTES_MAX, "the device's name is too long");
        assert!(!identity.contains(&0), "the device's name holds a NUL");
        assert!(self.links.len() <= LINKS_MAX, "{} links", self.links.len());
        let misplaced = first_misplaced_link(&self.links);
        assert!(misplaced.is_none(), "link {misplaced:?} breaks the order: {:?}", self.links);
    }
}

/// The bytes that a copy uses, once their checksum holds.
fn checked_used_bytes<'a>(
    head: &SuperblockBytes,
    bytes: &'a [u8],
) -> Result<&'a [u8], SuperblockError> {
    let used_bytes = head.used_bytes.get() as usize;
    // Any size that fits the region is checksummed first: another version may use more than ours.
    if !(HEAD_BYTES..=SUPERBLOCK_COPY_BYTES).contains(&used_bytes) {
        return Err(SuperblockError::UsedBytes { found: used_bytes });
    }
    let Some(used) = bytes.get(..used_bytes) else {
        let (expected, found) = (used_bytes, bytes.len());
        return Err(SuperblockError::Truncated { expected, found });
    };
    let (expected, found) = (crc32c_with_field_zeroed(used, CRC_OFFSET), head.crc32c.get());
    if expected != found {
        return Err(SuperblockError::Checksum { expected, found });
    }
    Ok(used)
}

fn decode_links(
    head: &SuperblockBytes,
    bytes: &[u8],
) -> Result<Vec<IncarnationLink>, SuperblockError> {
    let found = head.link_count.get() as usize;
    let expected = bytes.len() / LINK_BYTES;
    if found != expected || found > LINKS_MAX || !bytes.len().is_multiple_of(LINK_BYTES) {
        return Err(SuperblockError::LinkCount { expected, found });
    }
    let mut links = Vec::with_capacity(found);
    for chunk in bytes.chunks_exact(LINK_BYTES) {
        let row = LinkBytes::read_from_bytes(chunk).expect("a chunk is one link");
        links.push(row.to_link());
    }
    match first_misplaced_link(&links) {
        Some(index) => Err(SuperblockError::LinkOrder { index }),
        None => Ok(links),
    }
}

fn first_misplaced_link(links: &[IncarnationLink]) -> Option<usize> {
    let mut older: Option<&IncarnationLink> = None;
    links.iter().position(|link| {
        let ascends = older.is_none_or(|older| {
            older.incarnation < link.incarnation && older.new_start < link.new_start
        });
        older = Some(link);
        !ascends || link.previous_end > link.new_start
    })
}

/// Whether a log segment may have this size.
#[must_use]
pub fn is_segment_size(segment_bytes: u64) -> bool {
    (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes)
        && segment_bytes.is_multiple_of(BLOCK_SIZE_BYTES as u64)
}

impl LinkBytes {
    fn from_link(link: &IncarnationLink) -> LinkBytes {
        LinkBytes {
            incarnation: link.incarnation.as_u64().into(),
            previous_end: link.previous_end.as_u64().into(),
            new_start: link.new_start.as_u64().into(),
        }
    }

    fn to_link(&self) -> IncarnationLink {
        IncarnationLink {
            incarnation: Incarnation::new(self.incarnation.get()),
            previous_end: Lsn::new(self.previous_end.get()),
            new_start: Lsn::new(self.new_start.get()),
        }
    }
}

impl SuperblockBytes {
    fn to_superblock(&self, links: Vec<IncarnationLink>) -> Result<Superblock, SuperblockError> {
        let page_size_bytes = self.page_size.get();
        if !is_page_size(page_size_bytes) {
            return Err(SuperblockError::PageSize { found: page_size_bytes });
        }
        let segment_bytes = self.segment_bytes.get();
        if !is_segment_size(segment_bytes) {
            return Err(SuperblockError::SegmentBytes { found: segment_bytes });
        }
        let found = self.durability_method.get();
        let durability_method =
            method_from_number(found).ok_or(SuperblockError::DurabilityMethod { found })?;
        Ok(Superblock {
            store_id: StoreId::from_bytes(self.store_id),
            generation: self.generation.get(),
            required_features: self.required_features.get(),
            optional_features: self.optional_features.get(),
            segment_bytes,
            page_size_bytes,
            root_table_addr: self.root_table_addr.get(),
            durability_method,
            device_identity: decode_identity(&self.device_identity)?,
            created_ms: self.created_ms.get(),
            links,
        })
    }
}

fn decode_identity(field: &[u8; DEVICE_IDENTITY_BYTES_MAX]) -> Result<String, SuperblockError> {
    let len = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    let (name, padding) = field.split_at(len);
    if padding.iter().any(|&byte| byte != 0) {
        return Err(SuperblockError::DeviceIdentity);
    }
    let name = std::str::from_utf8(name).map_err(|_| SuperblockError::DeviceIdentity)?;
    Ok(name.to_owned())
}
