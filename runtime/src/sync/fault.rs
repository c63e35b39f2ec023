//! Steps that a loom model can leave out, to prove that it would notice.

use super::atomic::{Ordering, fence};

/// A safety step of one of the protocols. Production code never leaves any of them out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// `Signal`: raiser and waiter order their own write before reading the other's.
    SignalFence,
    /// `Signal`: the consumer sleeps only if nothing was raised since it looked.
    SignalSecondLook,
    /// `WaitList`: the waiter looks for room again after it entered the list.
    RoomSecondLook,
    /// `WaitList`: the taker orders its removal before it looks for waiters.
    RoomFence,
    /// `WaitList`: a woken waiter that is done or goes away wakes the next one.
    RoomBaton,
    /// `LogRing`: filler and seat holder order their own write before reading the other's.
    SeatFence,
    /// `LogRing`: completers order their own mark before reading the other's.
    CompleteFence,
    /// `LogRing`: `durable` advances over contiguous completed blocks only.
    DurableContiguous,
    /// `LogRing`: a block is taken only when every reserved byte in it was filled.
    TakeFullOnly,
    /// `LogRing`: a charge includes the bytes that sealing may waste.
    ChargeSealingWaste,
    /// `LogRing`: a failed ring never becomes more durable.
    FailFreezes,
}

/// The step left out, if any; nothing at all outside loom models.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    #[cfg(all(test, sombra_loom))]
    omitted: Option<Fault>,
}

impl Faults {
    #[cfg(all(test, sombra_loom))]
    pub(crate) fn omitting(fault: Fault) -> Self {
        Self { omitted: Some(fault) }
    }

    #[cfg(all(test, sombra_loom))]
    pub(crate) fn omits(self, fault: Fault) -> bool {
        self.omitted == Some(fault)
    }

    #[cfg(not(all(test, sombra_loom)))]
    #[inline(always)]
    pub(crate) const fn omits(self, _fault: Fault) -> bool {
        false
    }

    /// Orders this thread's earlier accesses before its later ones against every other thread
    /// that does the same: of two threads that write, fence and read, one sees the other's write.
    #[inline(always)]
    pub(crate) fn fence(self, fault: Fault) {
        if !self.omits(fault) {
            fence(Ordering::SeqCst);
        }
    }
}
