//! What a client does how often, and how large it is.

use crate::limits;
use crate::model::{SpaceId, Write};
use crate::random::Random;
use crate::{limits::VALUE_BYTES_MIN, model::KeyId};

/// Shares are percent of the draws they are about.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Keys of each keyspace.
    pub keys: u32,
    /// Tablets of the keyspaces that are split.
    pub tablets: u32,
    /// Transactions at the level Serializable instead of Snapshot.
    pub serializable_percent: u64,
    /// Draws that go to the first few keys, where writers meet.
    pub hot_percent: u64,
    /// Transactions that write more than one key.
    pub spread_percent: u64,
    pub writes_max: u64,
    pub delete_percent: u64,
    /// Transactions that do not wait for their own durability.
    pub relaxed_percent: u64,
    /// Values longer than a block.
    pub large_percent: u64,
    pub small_bytes_max: u64,
    pub large_bytes_max: u64,
    /// Actions that only read.
    pub read_percent: u64,
    pub scan_percent: u64,
    pub hold_percent: u64,
    /// Writes of one key without a transaction around them.
    pub auto_percent: u64,
    pub rollback_percent: u64,
    /// Commits whose caller goes away before the answer.
    pub abandon_percent: u64,
    /// Actions of a client that makes keyspaces which make, fill or drop one.
    pub keyspace_percent: u64,
    /// Those of them, once there is a keyspace, that drop it.
    pub drop_percent: u64,
}

impl Mix {
    /// A steady load without special cases, for the kill test: values large enough to keep a
    /// store with a small budget merging.
    #[must_use]
    pub fn steady() -> Mix {
        Mix {
            keys: 500,
            tablets: 8,
            serializable_percent: 0,
            hot_percent: 5,
            spread_percent: 70,
            writes_max: 6,
            delete_percent: 12,
            relaxed_percent: 15,
            large_percent: 3,
            small_bytes_max: 5_000,
            large_bytes_max: 40 << 10,
            read_percent: 5,
            scan_percent: 0,
            hold_percent: 0,
            auto_percent: 8,
            rollback_percent: 2,
            abandon_percent: 0,
            keyspace_percent: 1,
            drop_percent: 40,
        }
    }

    /// A load drawn by the seed, each share from none to much.
    #[must_use]
    pub fn draw(random: &mut Random) -> Mix {
        let mut some = |often: u64, high: u64| match random.percent(often) {
            true => random.scale(1, high),
            false => 0,
        };
        let (delete_percent, relaxed_percent) = (some(80, 40), some(60, 100));
        let (large_percent, scan_percent) = (some(60, 20), some(70, 6));
        let (hold_percent, auto_percent) = (some(70, 10), some(60, 40));
        let (rollback_percent, abandon_percent) = (some(50, 20), some(40, 15));
        let (hot_percent, keyspace_percent) = (some(60, 40), some(70, 30));
        Mix {
            keys: random.scale(12, 250) as u32,
            tablets: *random.pick(&[2, 4, 8, 8, 16]),
            serializable_percent: *random.pick(&[0, 0, 30, 100]),
            hot_percent,
            spread_percent: random.between(35, 95),
            writes_max: random.between(2, limits::TRANSACTION_WRITES_MAX as u64),
            delete_percent,
            relaxed_percent,
            large_percent,
            small_bytes_max: random.scale(64, 3_000),
            large_bytes_max: random.scale(5_000, u64::from(limits::VALUE_BYTES_MAX)),
            read_percent: random.between(5, 40),
            scan_percent,
            hold_percent,
            auto_percent,
            rollback_percent,
            abandon_percent,
            keyspace_percent,
            drop_percent: 40,
        }
    }

    /// The number of a key.
    pub fn key(&self, random: &mut Random) -> u32 {
        let hot = random.percent(self.hot_percent);
        random.below(if hot { 6 } else { u64::from(self.keys) }) as u32
    }

    /// The length of a value.
    pub fn value_len(&self, random: &mut Random) -> u32 {
        let least = u64::from(VALUE_BYTES_MIN);
        let len = match random.percent(self.large_percent) {
            true => random.scale(4_200, self.large_bytes_max),
            false => random.scale(least, self.small_bytes_max.max(least)),
        };
        len as u32
    }

    /// One write of some key of one of `spaces`.
    pub fn write(&self, random: &mut Random, spaces: &[SpaceId]) -> Write {
        let key = KeyId { space: *random.pick(spaces), index: self.key(random) };
        let delete = random.percent(self.delete_percent);
        Write { key, value_len: (!delete).then(|| self.value_len(random)) }
    }

    /// The writes of one transaction, each key once.
    pub fn writes(&self, random: &mut Random, spaces: &[SpaceId]) -> Vec<Write> {
        let spread = random.percent(self.spread_percent);
        let count = if spread { random.between(2, self.writes_max) } else { 1 };
        let mut writes: Vec<Write> = Vec::new();
        for _ in 0..count {
            let write = self.write(random, spaces);
            if writes.iter().all(|other| other.key != write.key) {
                writes.push(write);
            }
        }
        writes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mix_writes_each_key_once_and_within_the_value_bounds() {
        let mut random = Random::new(3);
        for _ in 0..200 {
            let mix = Mix::draw(&mut random);
            for _ in 0..50 {
                let writes = mix.writes(&mut random, &[SpaceId(0), SpaceId(1)]);
                assert!(!writes.is_empty() && writes.len() <= limits::TRANSACTION_WRITES_MAX);
                for (number, write) in writes.iter().enumerate() {
                    assert!(writes[..number].iter().all(|other| other.key != write.key));
                    let bounds = limits::VALUE_BYTES_MIN..=limits::VALUE_BYTES_MAX;
                    assert!(write.value_len.is_none_or(|len| bounds.contains(&len)));
                    assert!(write.key.index < mix.keys);
                }
            }
        }
    }
}
