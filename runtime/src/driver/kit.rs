//! What a shard needs for a ring, made and tried before the runtime decides for rings.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::{BufferSlab, HugePages, Mapping};
use crate::driver::buffer_table::{BufferTable, explain};
use crate::driver::file_table::FileTable;
use crate::driver::polled::PolledPlan;
use crate::ids::ShardId;
use crate::limits::{REGISTERED_FILES_MAX, RING_PROBE_MS_MAX};
use crate::port::ShardPort;
use crate::report::{PolledState, RingReport, RingSetUp};
use crate::ring::{Event, Ring};
use crate::runtime::RuntimeOptions;

/// A ring with its tables, ready on the thread that made it.
pub(crate) struct RingKit {
    parts: RingParts,
    slab: Option<Arc<BufferSlab>>,
}

pub(super) struct RingParts {
    pub(super) ring: Ring,
    pub(super) files: FileTable,
    pub(super) buffers: BufferTable,
    pub(super) polled: PolledPlan,
}

impl RingKit {
    /// Sets up the ring, its tables, and proves with one ring of the bell that waiting works.
    /// Also returns what the kernel or a limit took away, for the operator.
    pub(crate) fn new(
        options: &RuntimeOptions,
        shard: ShardId,
        port: &Arc<ShardPort>,
    ) -> io::Result<(RingKit, Vec<String>)> {
        if let Some(errno) = options.inject_uring_setup_errno {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let mut ring = Ring::new(options.ring_entries)?;
        prove_wake_up(&mut ring, port)?;
        let mut notes = Vec::new();
        if ring.set_up() != RingSetUp::Deferred {
            notes.push(format!("io_uring set up as {:?}: Linux 6.1 does better", ring.set_up()));
        }
        let files = file_table(options.register_files, shard, &ring, &mut notes);
        let memlock_bytes = options.inject_memlock_bytes.unwrap_or(usize::MAX);
        let mut buffers = BufferTable::new(Arc::clone(port), &mut ring, memlock_bytes);
        let slab = if options.buffer_slab_bytes > 0 {
            let (slab, note) = register_slab(options.buffer_slab_bytes, &mut buffers, &mut ring)?;
            notes.extend(note);
            Some(Arc::new(slab))
        } else {
            None
        };
        let polled = PolledPlan::new(options, shard);
        Ok((RingKit { parts: RingParts { ring, files, buffers, polled }, slab }, notes))
    }

    pub(crate) fn report(&self) -> RingReport {
        let RingParts { ring, files, buffers, .. } = &self.parts;
        RingReport {
            set_up: ring.set_up(),
            submission_entries: ring.submission_capacity() as u32,
            completion_entries: ring.completion_capacity() as u32,
            files_registered: files.has_places(),
            registered_bytes: buffers.registered_bytes(),
            polled: PolledState::NotAsked,
        }
    }

    pub(super) fn into_parts(self) -> RingParts {
        self.parts
    }

    pub(crate) fn slab(&self) -> Option<Arc<BufferSlab>> {
        self.slab.clone()
    }
}

pub(super) fn file_table(
    wanted: bool,
    shard: ShardId,
    ring: &Ring,
    notes: &mut Vec<String>,
) -> FileTable {
    if !wanted {
        return FileTable::new(shard, 0);
    }
    match ring.register_files(REGISTERED_FILES_MAX) {
        Ok(()) => FileTable::new(shard, REGISTERED_FILES_MAX),
        Err(error) => {
            notes.push(format!("files are not registered with io_uring: {error}"));
            FileTable::new(shard, 0)
        }
    }
}

/// Some policies allow the set-up call and forbid the others, so one wake-up goes all the way.
fn prove_wake_up(ring: &mut Ring, port: &ShardPort) -> io::Result<()> {
    let bell = port.bell().expect("a shard with a ring has a bell");
    ring.push_wake(bell);
    ring.submit()?;
    crate::sys::eventfd_ring(bell);
    ring.submit_and_sleep(Some(Duration::from_millis(RING_PROBE_MS_MAX)), false)?;
    match ring.next_event() {
        Some(Event::Wake { armed: true }) => Ok(()),
        _ => {
            let text = "this kernel's io_uring has no multishot poll (Linux 5.13)";
            Err(io::Error::new(io::ErrorKind::Unsupported, text))
        }
    }
}

/// The shard's slab, registered as far as possible, and what was not.
fn register_slab(
    len_bytes: usize,
    buffers: &mut BufferTable,
    ring: &mut Ring,
) -> io::Result<(BufferSlab, Option<String>)> {
    let mut memory = Arc::new(Mapping::new(len_bytes)?);
    let mut registered = buffers.register_start(&memory, ring);
    if let Err(error) = &registered
        && error.raw_os_error() == Some(libc::ENOMEM)
        && memory.pages() != HugePages::None
    {
        memory = Arc::new(Mapping::in_small_pages(len_bytes)?);
        registered = buffers.register_start(&memory, ring);
    }
    let wanted = memory.len_bytes();
    let note = match &registered {
        Ok((_, bytes)) if *bytes == wanted => None,
        Ok((_, bytes)) => Some(format!(
            "only {bytes} of {wanted} buffer bytes of a shard are registered with io_uring: raise \
             RLIMIT_MEMLOCK"
        )),
        Err(error) => Some(format!(
            "no buffers are registered with io_uring, each I/O costs more CPU: {}",
            explain(error)
        )),
    };
    Ok((BufferSlab::with_registered_start(memory, registered.ok()), note))
}
