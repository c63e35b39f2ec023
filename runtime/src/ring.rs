//! The io_uring of one shard. Every pointer given to the kernel here belongs to an operation in
//! the shard's slab, which keeps it until the completion (INV-8), or to registered memory, which
//! the ring itself keeps.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, Fixed, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode, squeue};

use crate::buffer::Mapping;
use crate::driver::{Op, OpKey};
use crate::file::FlushScope;
use crate::limits::{RING_COMPLETIONS_PER_ENTRY, RING_KERNEL_WORKERS_MAX};
use crate::report::RingSetUp;

/// Names of entries that are no operation. Their slot number is beyond every slab's.
const WAKE_USER_DATA: u64 = u64::MAX;
const CANCEL_USER_DATA: u64 = u64::MAX - 1;

pub(crate) enum Event {
    Operation {
        key: OpKey,
        result: i32,
    },
    /// The bell rang; `armed` tells whether the next ring will be heard too.
    Wake {
        armed: bool,
    },
    Cancelled,
}

/// Where an entry finds its file.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    Registered(u32),
    Descriptor,
}

/// How an entry names what it works on.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub(crate) file: Target,
    /// The registered memory that the buffer lies in.
    pub(crate) buffer: Option<u16>,
}

/// Where a ring's completions come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Polling {
    /// The device interrupts.
    Interrupts,
    /// The device is asked at each entry into the kernel (IORING_SETUP_IOPOLL).
    Devices,
}

/// Argument of `IORING_REGISTER_CLONE_BUFFERS`, io_uring_register(2).
#[repr(C)]
struct CloneBuffers {
    source: u32,
    flags: u32,
    source_offset: u32,
    offset: u32,
    count: u32,
    zeroes: [u32; 3],
}

const _: () = assert!(size_of::<CloneBuffers>() == 32);
const REGISTER_CLONE_BUFFERS: u32 = 30;
/// The table that is there may be replaced (Linux 6.13).
const CLONE_REPLACES: u32 = 2;

/// Memory that the kernel keeps pinned for one entry of the table of registered buffers.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) memory: Arc<Mapping>,
    pub(crate) from: usize,
    pub(crate) len_bytes: usize,
}

/// Builds an entry for a registered file or a plain descriptor; the two are different types.
macro_rules! on_target {
    ($target:expr, $file:expr, |$fd:ident| $entry:expr) => {
        match $target {
            Target::Registered(slot) => {
                let $fd = Fixed(slot);
                $entry
            }
            Target::Descriptor => {
                let $fd = Fd($file.descriptor().as_raw_fd());
                $entry
            }
        }
    };
}

pub(crate) struct Ring {
    ring: IoUring,
    /// The table of registered buffers. Declared after the ring, so that the memory outlives it.
    buffers: Vec<Option<Registered>>,
    enter_flags: EnterFlags,
    /// Of a sleep in which no device works for the shard: such a one is no I/O wait.
    idle_flags: EnterFlags,
    set_up: RingSetUp,
}

impl Ring {
    /// Must be called on the thread that will use the ring: it may be the only issuer.
    pub(crate) fn new(entries: u32) -> io::Result<Ring> {
        Ring::with_polling(entries, Polling::Interrupts)
    }

    /// As `new`. A ring that polls devices takes reads and writes of direct files only, and
    /// sleeping on it brings no completion.
    pub(crate) fn with_polling(entries: u32, polling: Polling) -> io::Result<Ring> {
        let (ring, set_up) = build(entries, polling)?;
        let params = ring.params();
        if !params.is_feature_ext_arg() || !params.is_feature_nodrop() {
            let text = "this kernel's io_uring lacks EXT_ARG or NODROP (Linux 5.11)";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let enter_flags = EnterFlags::EXT_ARG | EnterFlags::GETEVENTS;
        let idle_flags = match params.is_feature_no_iowait() {
            true => enter_flags | EnterFlags::NO_IOWAIT,
            false => enter_flags,
        };
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::Read::CODE,
            opcode::Write::CODE,
            opcode::ReadFixed::CODE,
            opcode::WriteFixed::CODE,
            opcode::Fsync::CODE,
            opcode::PollAdd::CODE,
            opcode::AsyncCancel::CODE,
        ];
        if let Some(code) = needed.into_iter().find(|code| !probe.is_supported(*code)) {
            let text = format!("this kernel's io_uring lacks operation {code}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        // Where the call is unknown, the kernel's own limit holds.
        let _ = ring.submitter().register_iowq_max_workers(&mut RING_KERNEL_WORKERS_MAX.clone());
        Ok(Ring { ring, buffers: Vec::new(), enter_flags, idle_flags, set_up })
    }

    pub(crate) fn set_up(&self) -> RingSetUp {
        self.set_up
    }

    pub(crate) fn submission_capacity(&self) -> usize {
        self.ring.params().sq_entries() as usize
    }

    pub(crate) fn completion_capacity(&self) -> usize {
        self.ring.params().cq_entries() as usize
    }

    /// Makes an empty table of registered buffers (Linux 5.19).
    pub(crate) fn register_buffer_table(&mut self, places: u16) -> io::Result<()> {
        self.ring.submitter().register_buffers_sparse(places.into())?;
        self.buffers = (0..places).map(|_| None).collect();
        Ok(())
    }

    /// Puts memory, or none, into a place of the buffer table. The kernel makes the memory
    /// resident and pins it; operations in flight keep what was there before.
    pub(crate) fn update_buffer(
        &mut self,
        place: u16,
        registered: Option<Registered>,
    ) -> io::Result<()> {
        let mut part = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        if let Some(Registered { memory, from, len_bytes }) = &registered {
            assert!(from + len_bytes <= memory.len_bytes(), "a part lies inside its memory");
            part.iov_base = memory.start().as_ptr().wrapping_add(*from).cast();
            part.iov_len = *len_bytes;
        }
        // SAFETY: `part` is empty or lies in memory that `self.buffers` keeps from the next line
        // on until the kernel has let go of it: the place is emptied or the ring dropped.
        unsafe { self.ring.submitter().register_buffers_update(place.into(), &[part], None) }?;
        self.buffers[usize::from(place)] = registered;
        Ok(())
    }

    /// Takes over another ring's table of registered buffers as it is now (Linux 6.12), and
    /// again later (6.13). Both rings then hold the memory; it is pinned and counted once.
    ///
    /// Always the whole table: kernels before 6.19 lose what lies behind a part.
    pub(crate) fn share_buffers(&mut self, source: &Ring) -> io::Result<()> {
        let argument = CloneBuffers {
            source: source.ring.as_raw_fd() as u32,
            flags: if self.buffers.is_empty() { 0 } else { CLONE_REPLACES },
            source_offset: 0,
            offset: 0,
            count: 0,
            zeroes: [0; 3],
        };
        // SAFETY: the kernel reads one `io_uring_clone_buffers`, which `argument` is laid out
        // as; the memory that this ring then knows is kept by `self.buffers` from the next
        // statement on, and by `source` before.
        let code = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.ring.as_raw_fd(),
                REGISTER_CLONE_BUFFERS,
                &raw const argument,
                1,
            )
        };
        if code < 0 {
            return Err(io::Error::last_os_error());
        }
        self.buffers.clone_from(&source.buffers);
        Ok(())
    }

    /// What stands in a place of the buffer table.
    pub(crate) fn registered(&self, place: u16) -> Option<&Registered> {
        self.buffers.get(usize::from(place))?.as_ref()
    }

    pub(crate) fn register_files(&self, count: u32) -> io::Result<()> {
        self.ring.submitter().register_files_sparse(count)
    }

    /// Puts a descriptor, or none, into a place of the file table.
    pub(crate) fn update_file(&self, slot: u32, descriptor: Option<i32>) -> io::Result<()> {
        let descriptors = [descriptor.unwrap_or(-1)];
        self.ring.submitter().register_files_update(slot, &descriptors).map(|_| ())
    }

    /// Entries not yet handed to the kernel.
    pub(crate) fn queued(&mut self) -> usize {
        self.ring.submission().len()
    }

    /// Queues the operation that the slab keeps under `key` until its completion. False: the
    /// queue is full. `cap` shortens the transfer, for tests.
    pub(crate) fn push_operation(
        &mut self,
        key: OpKey,
        op: &mut Op,
        route: Route,
        cap: usize,
    ) -> bool {
        let entry = match op {
            Op::Read { file, offset, buf, from, len } => {
                let part = &mut buf[*from..*from + *len];
                let (at, len) = (part.as_mut_ptr(), part.len().min(cap) as u32);
                on_target!(route.file, file, |fd| if let Some(place) = route.buffer {
                    opcode::ReadFixed::new(fd, at, len, place).offset(*offset).build()
                } else {
                    opcode::Read::new(fd, at, len).offset(*offset).build()
                })
            }
            Op::Write { file, offset, buf, from, len, mode } => {
                let part = &buf.as_bytes()[*from..*from + *len];
                let (at, len) = (part.as_ptr(), part.len().min(cap) as u32);
                let flags = mode.rwf_flags();
                on_target!(route.file, file, |fd| if let Some(place) = route.buffer {
                    let entry = opcode::WriteFixed::new(fd, at, len, place);
                    entry.offset(*offset).rw_flags(flags).build()
                } else {
                    opcode::Write::new(fd, at, len).offset(*offset).rw_flags(flags).build()
                })
            }
            Op::Flush { file, scope, .. } => {
                let flags = match scope {
                    FlushScope::Data => FsyncFlags::DATASYNC,
                    FlushScope::All => FsyncFlags::empty(),
                };
                on_target!(route.file, file, |fd| opcode::Fsync::new(fd).flags(flags).build())
            }
            _ => panic!("not an operation for the ring"),
        };
        self.push(&entry.user_data(key.to_user_data()))
    }

    /// Listens to the bell until an event says otherwise. The counter is never read: the poll
    /// reports each ring of the bell, not its level.
    pub(crate) fn push_wake(&mut self, bell: &OwnedFd) -> bool {
        let entry = opcode::PollAdd::new(Fd(bell.as_raw_fd()), libc::POLLIN as u32).multi(true);
        self.push(&entry.build().user_data(WAKE_USER_DATA))
    }

    pub(crate) fn push_cancel_all(&mut self) -> bool {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push(&entry.user_data(CANCEL_USER_DATA))
    }

    fn push(&mut self, entry: &squeue::Entry) -> bool {
        let mut queue = self.ring.submission();
        // SAFETY: the memory and descriptor that the entry names belong to an operation that
        // the slab keeps, and leaks rather than drops, until its completion; wake-ups and
        // cancellations name no memory, and the port keeps the bell open.
        unsafe { queue.push(entry) }.is_ok()
    }

    /// True if the kernel has work that only a call to it turns into completions.
    pub(crate) fn wants_enter(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    pub(crate) fn has_events(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// Hands over queued entries and lets the kernel post finished work, without waiting.
    pub(crate) fn submit(&self) -> io::Result<usize> {
        self.ring.submit()
    }

    /// Hands over queued entries and sleeps until an event comes or the time has passed. With
    /// `for_io` a device is at work meanwhile: the kernel then keeps the CPU nearer to waking.
    pub(crate) fn submit_and_sleep(
        &mut self,
        timeout: Option<Duration>,
        for_io: bool,
    ) -> io::Result<()> {
        let flags = if for_io { self.enter_flags } else { self.idle_flags };
        let queued = self.queued() as u32;
        let time = timeout.map(Timespec::from);
        let args = SubmitArgs::new();
        let args = time.as_ref().map_or(args, |time| args.timespec(time));
        // SAFETY: EXT_ARG says that the argument is the kernel's getevents_arg, which is what
        // `SubmitArgs` wraps; it and the time it points to live until the call returns.
        unsafe { self.ring.submitter().enter(queued, 1, flags.bits(), Some(&args)) }.map(|_| ())
    }

    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let entry = self.ring.completion().next()?;
        Some(match entry.user_data() {
            WAKE_USER_DATA => Event::Wake { armed: cqueue::more(entry.flags()) },
            CANCEL_USER_DATA => Event::Cancelled,
            data => Event::Operation { key: OpKey::from_user_data(data), result: entry.result() },
        })
    }
}

/// The best set-up the kernel knows. DEFER_TASKRUN needs SINGLE_ISSUER.
fn build(entries: u32, polling: Polling) -> io::Result<(IoUring, RingSetUp)> {
    let mut last = io::Error::from_raw_os_error(libc::EINVAL);
    for attempt in [RingSetUp::Deferred, RingSetUp::Cooperative, RingSetUp::Plain] {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp().setup_cqsize(entries * RING_COMPLETIONS_PER_ENTRY);
        if polling == Polling::Devices {
            builder.setup_iopoll();
        }
        match attempt {
            RingSetUp::Deferred => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_submit_all();
                builder.setup_taskrun_flag()
            }
            RingSetUp::Cooperative => builder.setup_coop_taskrun().setup_taskrun_flag(),
            RingSetUp::Plain => &mut builder,
        };
        match builder.build(entries) {
            Ok(ring) => return Ok((ring, attempt)),
            // An unknown flag; the next attempt has fewer.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
