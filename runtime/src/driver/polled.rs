//! The second ring of a shard: it asks devices for completions instead of waiting for their
//! interrupts (IORING_SETUP_IOPOLL). It carries reads and writes of files that were opened for
//! it, and nothing else: such a ring refuses flushes and cannot be slept on.
//!
//! Setting it up proves nothing, because a device without poll queues refuses each read later.
//! A file is therefore undecided until bytes were read here; what is refused is repeated on the
//! shard's ordinary ring, and the file stays there.

use std::io;

use crate::driver::kit::file_table;
use crate::driver::lane::Lane;
use crate::ids::ShardId;
use crate::probe;
use crate::report::PolledState;
use crate::ring::{Polling, Ring};
use crate::runtime::RuntimeOptions;

/// How the second ring is made when a file first asks for it.
#[derive(Clone, Copy)]
pub(super) struct PolledPlan {
    shard: ShardId,
    entries: u32,
    polling: Polling,
    register_files: bool,
}

impl PolledPlan {
    pub(super) fn new(options: &RuntimeOptions, shard: ShardId) -> PolledPlan {
        let polling = match options.inject_polled_ring_without_iopoll {
            true => Polling::Interrupts,
            false => Polling::Devices,
        };
        let RuntimeOptions { ring_entries: entries, register_files, .. } = *options;
        PolledPlan { shard, entries, polling, register_files }
    }
}

pub(super) enum Polled {
    NotAsked(PolledPlan),
    Ready(Box<PolledLane>),
    /// The kernel has no such ring; it is not asked again.
    Refused,
}

pub(super) struct PolledLane {
    pub(super) lane: Lane,
    /// The ordinary ring's table could not be shared: buffers used here first after that are
    /// not known to this ring.
    sharing_failed: bool,
    /// A place of its table could not be emptied.
    is_stale: bool,
}

impl Polled {
    /// The ring, made now if this is its first use. Also what an operator must know.
    pub(super) fn ready(&mut self) -> (Option<&mut PolledLane>, Vec<String>) {
        let mut notes = Vec::new();
        if let Polled::NotAsked(plan) = *self {
            *self = match PolledLane::new(plan, &mut notes) {
                Ok(made) => Polled::Ready(Box::new(made)),
                Err(error) => {
                    let reason = probe::explain_ring_error(&error);
                    notes.push(format!("polled I/O was asked for and has no ring: {reason}"));
                    Polled::Refused
                }
            };
        }
        (self.get(), notes)
    }

    pub(super) fn get(&mut self) -> Option<&mut PolledLane> {
        match self {
            Polled::Ready(lane) => Some(lane),
            Polled::NotAsked(_) | Polled::Refused => None,
        }
    }

    /// The ring, while it has operations in flight: only looking brings their completions.
    pub(super) fn busy(&mut self) -> Option<&mut PolledLane> {
        self.get().filter(|polled| polled.lane.in_flight() > 0)
    }
}

impl PolledLane {
    fn new(plan: PolledPlan, notes: &mut Vec<String>) -> io::Result<PolledLane> {
        let ring = Ring::with_polling(plan.entries, plan.polling)?;
        let files = file_table(plan.register_files, plan.shard, &ring, notes);
        Ok(PolledLane { lane: Lane::new(ring, files), sharing_failed: false, is_stale: false })
    }

    /// Whether this ring knows the memory at a place of the ordinary ring's table, which it
    /// takes over as it is. The same memory registered a second time would count twice against
    /// the memory lock limit; a table that is shared does not. Also a note, once.
    pub(super) fn knows(&mut self, place: u16, ordinary: &Ring) -> (bool, Option<String>) {
        if self.is_stale {
            return (false, None);
        }
        if self.lane.ring.registered(place).is_some() {
            return (true, None);
        }
        if self.sharing_failed {
            return (false, None);
        }
        match self.lane.ring.share_buffers(ordinary) {
            Ok(()) => (self.lane.ring.registered(place).is_some(), None),
            Err(error) => {
                self.sharing_failed = true;
                let note = format!(
                    "the ring for polled I/O does not know all registered buffers, its I/O costs \
                     more CPU: {error} (Linux 6.13 shares them)"
                );
                (false, Some(note))
            }
        }
    }

    /// Lets go of a place before the ordinary ring gives it away.
    pub(super) fn forget(&mut self, place: u16) {
        if self.lane.ring.registered(place).is_some()
            && let Err(error) = self.lane.ring.update_buffer(place, None)
        {
            // Its table now names memory that the place no longer stands for: none of it is used.
            (self.sharing_failed, self.is_stale) = (true, true);
            tracing::warn!(target: "sombra_runtime", "forgetting a shared buffer: {error}");
        }
    }

    pub(super) fn report(&self) -> PolledState {
        PolledState::Ready { buffers_shared: !self.sharing_failed }
    }
}
