//! CRC-32C, the one checksum of every structure on disk.

/// CRC-32C of `bytes` as it would be if the four bytes at `crc_offset` were zero.
///
/// A checksum lies inside what it covers, so it is computed around its own place instead of
/// copying the block to blank it. Cost: one pass.
#[must_use]
pub fn crc32c_with_field_zeroed(bytes: &[u8], crc_offset: usize) -> u32 {
    assert!(crc_offset + 4 <= bytes.len(), "the checksum field lies inside what it covers");
    let before = crc32c::crc32c(&bytes[..crc_offset]);
    let field = crc32c::crc32c_append(before, &[0; 4]);
    crc32c::crc32c_append(field, &bytes[crc_offset + 4..])
}
