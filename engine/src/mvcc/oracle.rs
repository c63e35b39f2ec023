//! The oracle: `visible`, the position up to which every commit is settled on every shard.

use sombra_runtime::ShardId;
use sombra_runtime::sync::Padded;
use sombra_runtime::sync::atomic::{AtomicU64, Ordering, fence};

use crate::ids::Lsn;
use crate::wal::watermarks::{Tail, Watermarks};

/// Nobody on this shard waits for `visible`.
const NOBODY_WAITS: u64 = u64::MAX;

/// Hands out `visible` and finds the shards that wait for it.
pub(crate) struct Oracle<T> {
    marks: Watermarks<T>,
    visible: Padded<AtomicU64>,
    /// Per shard, the lowest LSN that somebody there waits for.
    awaited: Box<[Padded<AtomicU64>]>,
}

impl<T: Tail> Oracle<T> {
    /// An oracle over a log whose commits up to `visible` are durable and applied.
    pub(crate) fn new(tail: T, shard_count: usize, visible: Lsn) -> Oracle<T> {
        Oracle {
            marks: Watermarks::new(tail, shard_count),
            visible: Padded::new(AtomicU64::new(visible.as_u64())),
            awaited: (0..shard_count).map(|_| Padded::new(AtomicU64::new(NOBODY_WAITS))).collect(),
        }
    }

    pub(crate) fn marks(&self) -> &Watermarks<T> {
        &self.marks
    }

    /// Every commit at or below this is applied on every shard it touches, and durable unless
    /// it was `Async`.
    pub(crate) fn visible(&self) -> Lsn {
        Lsn::new(self.visible.load(Ordering::SeqCst))
    }

    /// Raises `visible` to what is settled now. Returns it when it rose: the caller then wakes
    /// the shards that `waiting_shards` names.
    pub(crate) fn recompute(&self) -> Option<Lsn> {
        let settled = self.marks.settled();
        let before = self.visible.fetch_max(settled, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        (settled > before).then_some(Lsn::new(settled))
    }

    /// Says that somebody on `shard` waits for `lowest` (`None`: nobody). The caller looks at
    /// `visible` once more afterwards: with the fences either it sees the raise, or the raiser
    /// sees it waiting.
    pub(crate) fn set_awaited(&self, shard: ShardId, lowest: Option<Lsn>) {
        let position = lowest.map_or(NOBODY_WAITS, Lsn::as_u64);
        self.awaited[shard.index()].store(position, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The shards that wait for something at or below `visible`.
    pub(crate) fn waiting_shards(&self, visible: Lsn) -> impl Iterator<Item = usize> + '_ {
        let is_waiting =
            move |awaited: &Padded<AtomicU64>| awaited.load(Ordering::SeqCst) <= visible.as_u64();
        self.awaited.iter().enumerate().filter(move |(_, a)| is_waiting(a)).map(|(i, _)| i)
    }

    #[cfg(all(test, sombra_loom))]
    pub(crate) fn recompute_tail_last(&self) {
        self.visible.fetch_max(self.marks.settled_tail_last(), Ordering::SeqCst);
    }

    #[cfg(all(test, sombra_loom))]
    pub(crate) fn recompute_unfenced(&self) {
        self.visible.fetch_max(self.marks.settled_unfenced(), Ordering::SeqCst);
    }
}
