//! Positions that all shards share: the reserved tail and, per shard, the start of its lowest
//! open commit.
//!
//! Source of the protocol: each shard writes only its own `pending`; readers load the tail first.

use std::sync::Arc;

use sombra_runtime::ShardId;
use sombra_runtime::sync::atomic::{AtomicU64, Ordering, fence};
use sombra_runtime::sync::{LogRing, Padded};

/// No commit of this shard is open.
pub(crate) const NONE_OPEN: u64 = u64::MAX;

/// Where the log's tail can be read.
pub(crate) trait Tail {
    /// The reserved tail: every reservation that has ended below it was made before.
    fn reserved(&self) -> u64;
}

impl Tail for Arc<LogRing> {
    fn reserved(&self) -> u64 {
        self.tail()
    }
}

/// The tail and the `pending` position of every shard.
pub(crate) struct Watermarks<T> {
    tail: T,
    pending: Box<[Padded<AtomicU64>]>,
}

impl<T: Tail> Watermarks<T> {
    pub(crate) fn new(tail: T, shard_count: usize) -> Watermarks<T> {
        let pending = (0..shard_count).map(|_| Padded::new(AtomicU64::new(NONE_OPEN))).collect();
        Watermarks { tail, pending }
    }

    /// Makes a reservation, whose start `start_of` tells, and with it an open commit of this
    /// shard. With none open before, `pending` becomes the tail first and the start afterwards;
    /// otherwise the lower open commit keeps it. Only the shard itself calls this.
    pub(crate) fn open<R>(
        &self,
        shard: ShardId,
        reserve: impl FnOnce() -> R,
        start_of: impl FnOnce(&R) -> u64,
    ) -> R {
        let pending = &self.pending[shard.index()];
        let is_first = pending.load(Ordering::Relaxed) == NONE_OPEN;
        if is_first {
            pending.store(self.tail.reserved(), Ordering::SeqCst);
        }
        let reservation = reserve();
        if is_first {
            self.set_pending(shard, start_of(&reservation));
        }
        reservation
    }

    /// Sets the start of the shard's lowest open commit, or `NONE_OPEN`. Only the shard itself
    /// calls this. The fence lets one of two racing closers see both closed.
    pub(crate) fn set_pending(&self, shard: ShardId, start: u64) {
        self.pending[shard.index()].store(start, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The start of the shard's lowest open commit, or `NONE_OPEN`.
    pub(crate) fn pending(&self, shard: ShardId) -> u64 {
        self.pending[shard.index()].load(Ordering::SeqCst)
    }

    /// min(reserved, all pending), the tail loaded first: a commit that this tail includes had
    /// its `pending` set before.
    pub(crate) fn settled(&self) -> u64 {
        let reserved = self.tail.reserved();
        fence(Ordering::SeqCst);
        let lowest = self.pending.iter().map(|p| p.load(Ordering::SeqCst)).min();
        reserved.min(lowest.unwrap_or(NONE_OPEN))
    }

    #[cfg(all(test, sombra_loom))]
    pub(crate) fn set_pending_unfenced(&self, shard: ShardId, start: u64) {
        self.pending[shard.index()].store(start, Ordering::Release);
    }

    #[cfg(all(test, sombra_loom))]
    pub(crate) fn settled_tail_last(&self) -> u64 {
        let lowest = self.pending.iter().map(|p| p.load(Ordering::SeqCst)).min();
        lowest.unwrap_or(NONE_OPEN).min(self.tail.reserved())
    }

    #[cfg(all(test, sombra_loom))]
    pub(crate) fn settled_unfenced(&self) -> u64 {
        let reserved = self.tail.reserved();
        let lowest = self.pending.iter().map(|p| p.load(Ordering::Acquire)).min();
        reserved.min(lowest.unwrap_or(NONE_OPEN))
    }
}
