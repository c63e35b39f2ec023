use crate::limits::SHARDS_MAX;

/// Number of a shard, dense from zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(u16);

impl ShardId {
    pub const fn new(number: u16) -> ShardId {
        assert!((number as usize) < SHARDS_MAX);
        ShardId(number)
    }

    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn from_index(index: usize) -> ShardId {
        assert!(index < SHARDS_MAX, "shard {index} is beyond SHARDS_MAX");
        ShardId(index as u16)
    }
}
