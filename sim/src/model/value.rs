//! Keys and values of the workload: each value names its writer and proves that it is whole.

use crate::limits;
use crate::random::mix;

/// One run of one keyspace, from its creation to its drop; a name used again is a new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SpaceId(pub u32);

/// A key of the workload; its bytes follow from its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId {
    pub space: SpaceId,
    pub index: u32,
}

/// A transaction of the workload; its number is never used twice in one history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TxnId(pub u64);

impl TxnId {
    /// The `sequence`-th transaction of `client` in the `life`-th opening of the store.
    #[must_use]
    pub fn new(life: u32, client: u16, sequence: u32) -> TxnId {
        assert!(life < 1 << 16, "a history has at most 65,536 openings");
        TxnId(u64::from(life) << 48 | u64::from(client) << 32 | u64::from(sequence))
    }
}

impl std::fmt::Display for TxnId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (life, client) = (self.0 >> 48, (self.0 >> 32) & 0xffff);
        write!(f, "life {life} client {client} number {}", self.0 & 0xffff_ffff)
    }
}

/// What a value says of itself: the `index`-th of `count` writes of `txn`, `len` bytes long.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stamp {
    pub txn: TxnId,
    pub index: u16,
    pub count: u16,
    pub len: u32,
}

/// What a read found under a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    Absent,
    Value(Stamp),
    /// Bytes that no transaction of the workload wrote.
    Garbled,
}

const STAMP_BYTES: usize = 24;
const MAGIC: [u8; 4] = *b"sval";

/// The bytes of the value that `stamp` describes: the stamp, then filler that follows from it.
#[must_use]
pub fn encode(stamp: Stamp) -> Vec<u8> {
    assert!((limits::VALUE_BYTES_MIN..=limits::VALUE_BYTES_MAX).contains(&stamp.len));
    let mut bytes = Vec::with_capacity(stamp.len as usize + 8);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&stamp.len.to_le_bytes());
    bytes.extend_from_slice(&stamp.txn.0.to_le_bytes());
    bytes.extend_from_slice(&stamp.index.to_le_bytes());
    bytes.extend_from_slice(&stamp.count.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let mut word = mix(stamp.txn.0 ^ u64::from(stamp.index) << 20);
    while bytes.len() < stamp.len as usize {
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(stamp.len as usize);
    bytes
}

/// Reads the stamp of a value and compares every byte with what its writer wrote.
#[must_use]
pub fn decode(bytes: &[u8]) -> Found {
    let Some(head) = bytes.get(..STAMP_BYTES) else { return Found::Garbled };
    let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let mut number = [0; 8];
    number.copy_from_slice(&head[8..16]);
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let stamp =
        Stamp { txn: TxnId(u64::from_le_bytes(number)), index: u16_at(16), count: u16_at(18), len };
    let fits = (limits::VALUE_BYTES_MIN..=limits::VALUE_BYTES_MAX).contains(&len);
    if fits && encode(stamp) == bytes { Found::Value(stamp) } else { Found::Garbled }
}

/// The bytes of the key with number `index`: four hex digits that scatter it over the key
/// space, a slash, six digits of the number, and for some keys a long tail.
#[must_use]
pub fn key_bytes(index: u32) -> Vec<u8> {
    assert!(index < limits::KEYS_PER_SPACE_MAX);
    let scatter = mix(u64::from(index)) & 0xffff;
    let mut key = format!("{scatter:04x}/{index:06}").into_bytes();
    let tail_bytes = match index % 23 {
        0 => limits::KEY_BYTES_MAX - key.len(),
        residue => residue as usize,
    };
    key.resize(key.len() + tail_bytes, b'~');
    key
}

/// The number of a key of the workload, `None` for any other bytes.
#[must_use]
pub fn key_index(key: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(key.get(5..11)?).ok()?;
    let index: u32 = digits.parse().ok()?;
    (index < limits::KEYS_PER_SPACE_MAX && key_bytes(index) == key).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_decodes_to_its_stamp_and_refuses_any_changed_byte() {
        for len in [24, 25, 512, 4_097, 9_001] {
            let stamp = Stamp { txn: TxnId::new(3, 4, 5), index: 1, count: 7, len };
            let bytes = encode(stamp);
            assert_eq!(decode(&bytes), Found::Value(stamp));
            assert_eq!(decode(&bytes[..bytes.len() - 1]), Found::Garbled);
            for at in (0..bytes.len()).step_by(97) {
                let mut changed = bytes.clone();
                changed[at] ^= 0x10;
                assert_ne!(decode(&changed), Found::Value(stamp), "byte {at} of {len}");
            }
        }
        assert_eq!(decode(b""), Found::Garbled);
    }

    #[test]
    fn key_names_its_number_and_nothing_else_does() {
        for index in 0..2_000 {
            assert_eq!(key_index(&key_bytes(index)), Some(index));
        }
        assert_eq!(key_index(b"0000/000001"), None);
        assert_eq!(key_index(b"x"), None);
    }
}
