//! What a record looks like: its key, and a value that says which write it came from.

use crate::random::Random;

use super::distribution::fnv_hash64;

/// Names one write of a run: which writer, and its how-manieth write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WriteTag(u64);

const WRITER_BITS: u32 = 24;
const SEQUENCE_BITS: u32 = 64 - WRITER_BITS;

impl WriteTag {
    /// The write that loaded a record; writers count from 1.
    pub const LOAD: WriteTag = WriteTag(0);

    /// The `sequence`-th write of a writer.
    #[must_use]
    pub fn new(writer: u32, sequence: u64) -> WriteTag {
        assert!(writer >> WRITER_BITS == 0, "writer {writer} is beyond the tag's 24 bits");
        assert!(sequence >> SEQUENCE_BITS == 0, "write {sequence} is beyond the tag's 40 bits");
        WriteTag((u64::from(writer) << SEQUENCE_BITS) | sequence)
    }

    /// Who wrote it.
    #[must_use]
    pub const fn writer(self) -> u32 {
        (self.0 >> SEQUENCE_BITS) as u32
    }

    /// The tag as a number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// Lengths of keys and values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    pub key_len_bytes: usize,
    pub value_len_bytes: usize,
}

/// `user` and the nineteen digits that a non-negative 64-bit hash can have.
const KEY_TEXT_BYTES_MIN: usize = 23;
/// Hashes of record numbers lie below this, evenly.
const HASHES: u64 = 1 << 63;
const RECORD_BYTES: usize = 8;
const TAG_END: usize = 16;

impl Shape {
    /// The key of a record, as YCSB makes it: `user` and the hash of its number.
    ///
    /// Shape: zero-padded to the key's length, so that 24 bytes is `user` and 20 digits; a key
    /// shorter than 23 bytes ends in the hash's eight bytes instead.
    #[must_use]
    pub fn key(&self, record: u64) -> Vec<u8> {
        self.key_of_hash(fnv_hash64(record))
    }

    /// Keys that split the key space into `parts` equal ones, in order.
    #[must_use]
    pub fn boundaries(&self, parts: u64) -> Vec<Vec<u8>> {
        let step = HASHES / parts;
        (1..parts).map(|part| self.key_of_hash(part * step)).collect()
    }

    fn key_of_hash(&self, hash: u64) -> Vec<u8> {
        if self.key_len_bytes >= KEY_TEXT_BYTES_MIN {
            let digits = self.key_len_bytes - 4;
            return format!("user{hash:0digits$}").into_bytes();
        }
        let mut key = vec![b'u'; self.key_len_bytes];
        let at = self.key_len_bytes - RECORD_BYTES;
        key[at..].copy_from_slice(&hash.to_be_bytes());
        key
    }

    /// The value that one write gives to a record: the record, the tag, and noise from both.
    #[must_use]
    pub fn value(&self, record: u64, tag: WriteTag) -> Vec<u8> {
        let mut value = vec![0; self.value_len_bytes];
        value[..RECORD_BYTES].copy_from_slice(&record.to_le_bytes());
        value[RECORD_BYTES..TAG_END].copy_from_slice(&tag.as_u64().to_le_bytes());
        let mut noise = Random::for_client(record, tag.as_u64());
        for chunk in value[TAG_END..].chunks_mut(8) {
            let bytes = noise.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        value
    }

    /// Says whether a value belongs to a record, looking at its head only.
    #[must_use]
    pub fn names_record(&self, value: &[u8], record: u64) -> bool {
        value.len() == self.value_len_bytes && value[..RECORD_BYTES] == record.to_le_bytes()
    }

    /// The write that a value came from, if every byte of it is as that write made it.
    #[must_use]
    pub fn tag_of(&self, value: &[u8], record: u64) -> Option<WriteTag> {
        if !self.names_record(value, record) {
            return None;
        }
        let tag = value[RECORD_BYTES..TAG_END].try_into().ok().map(u64::from_le_bytes)?;
        (value == self.value(record, WriteTag(tag))).then_some(WriteTag(tag))
    }

    /// Bytes of key and value.
    #[must_use]
    pub const fn record_bytes(&self) -> u64 {
        (self.key_len_bytes + self.value_len_bytes) as u64
    }
}
