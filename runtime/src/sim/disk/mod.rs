//! A disk in memory that forgets like a real one.
//!
//! Rules: a write takes effect at a seeded moment between submission and completion. A flush
//! covers what completed before it was submitted, a durable write covers itself. At a power cut
//! each 512-byte sector written since the last flush that covered it is kept, lost or torn; a
//! change of names is atomic, and durable when its operation completes.

mod chunk;
mod content;
mod crash;
mod device;
mod namespace;
mod paths;
mod record;
mod request;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::file::WriteCache;
use chunk::OpId;
use device::Device;
use namespace::Node;

pub(crate) use content::Payload;
pub use record::{SubmittedIo, SubmittedKind};
pub(crate) use request::{Answer, Finished, Request, WriteHow, path_key};

/// Bounds of a uniformly drawn latency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SimLatency {
    pub min_us: u32,
    pub max_us: u32,
}

impl SimLatency {
    pub const fn us(min_us: u32, max_us: u32) -> SimLatency {
        SimLatency { min_us, max_us }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SimDiskOptions {
    pub seed: u64,
    /// Files that would grow beyond it fail with ENOSPC. `u64::MAX`: no bound.
    pub capacity_bytes: u64,
    /// Negative control: flushes and durable writes complete and make nothing durable.
    pub flush_suppressed: bool,
    /// What the device says of itself. It says the truth: under `WriteThrough` a direct write
    /// is durable when complete.
    pub write_cache: WriteCache,
    pub identity: String,
    pub dio_alignment_bytes: u32,
    pub read_latency: SimLatency,
    pub write_latency: SimLatency,
    pub flush_latency: SimLatency,
    pub path_latency: SimLatency,
    /// One operation in so many takes `slow_factor` times as long; 0: none.
    pub slow_one_in: u32,
    pub slow_factor: u32,
    /// One read or write in so many does only a part of what it was asked for; 0: none.
    pub short_io_one_in: u32,
    pub wall_clock_start_ms: u64,
}

impl SimDiskOptions {
    pub fn new(seed: u64) -> SimDiskOptions {
        SimDiskOptions {
            seed,
            capacity_bytes: u64::MAX,
            flush_suppressed: false,
            write_cache: WriteCache::WriteBack,
            identity: "sim:0".to_owned(),
            dio_alignment_bytes: 4096,
            read_latency: SimLatency::us(2, 120),
            write_latency: SimLatency::us(2, 150),
            flush_latency: SimLatency::us(10, 400),
            path_latency: SimLatency::us(5, 300),
            slow_one_in: 50,
            slow_factor: 20,
            short_io_one_in: 0,
            wall_clock_start_ms: 1_700_000_000_000,
        }
    }
}

/// Groups of operations that faults and latencies tell apart. Zeroing and setting a length count
/// as writes; everything about names, and looking at a file, counts as path operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskOp {
    Read,
    Write,
    Flush,
    Path,
}

/// What goes wrong with an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The operation fails. A write leaves any part of itself behind; after a failed flush no
    /// later flush makes that data durable.
    Errno(i32),
    /// The write reports success and does nothing. Other operations are not affected.
    LostWrite,
    /// The write reports success and lands elsewhere in its file.
    MisdirectedWrite { by_bytes: i64 },
}

#[derive(Clone)]
struct PlannedFault {
    on: DiskOp,
    path_part: Option<String>,
    skip: u64,
    fault: Fault,
    forever: bool,
}

/// Damage to bytes at rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Corruption {
    FlipBit { bit: u8 },
    Zeroes { len_bytes: u64 },
    Garbage { len_bytes: u64 },
    Bytes(Vec<u8>),
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct SimDiskCounters {
    pub reads: u64,
    pub writes: u64,
    pub dsync_writes: u64,
    pub trims: u64,
    pub flushes: u64,
    pub path_ops: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub faults: u64,
    pub cuts: u64,
    pub sectors_kept: u64,
    pub sectors_lost: u64,
    pub sectors_torn: u64,
}

/// Files and directories that outlive the worlds that use them, one world at a time.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Device>>);

impl SimDisk {
    pub fn new(options: SimDiskOptions) -> SimDisk {
        assert!(options.dio_alignment_bytes.is_power_of_two());
        assert!((512..=4096).contains(&options.dio_alignment_bytes));
        SimDisk(Arc::new(Mutex::new(Device::new(options))))
    }

    /// A panic while the lock was held has ended the run already; only destructors come here
    /// afterwards, and they must not panic again.
    fn device(&self) -> MutexGuard<'_, Device> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power fails while no world uses the disk: what a killed process left in the
    /// device's cache is decided.
    pub fn power_cut(&self) {
        let mut device = self.device();
        assert!(!device.attached, "cut the power of the world that runs on the disk");
        device.cut();
    }

    /// An independent copy with its own future: from one crash many cuts can be explored.
    pub fn fork(&self, seed: u64) -> SimDisk {
        let device = self.device();
        assert!(!device.attached, "a disk is copied between two worlds");
        let options = SimDiskOptions { seed, ..device.options.clone() };
        let mut copy = Device::new(options);
        copy.names = device.names.clone();
        copy.bodies = device.bodies.clone();
        copy.faults = device.faults.clone();
        copy.wall_clock_ns = device.wall_clock_ns;
        copy.next_number = device.next_number;
        copy.epoch = device.epoch;
        SimDisk(Arc::new(Mutex::new(copy)))
    }

    /// What a process would read now, durable or not.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let key = path_key(path.as_ref()).ok()?;
        let device = self.device();
        let body = device.bodies.get(&device.names.file(&key).ok()?)?;
        let view = body.read(0, usize::try_from(body.len_bytes()).ok()?);
        let mut bytes = vec![0; view.len_bytes()];
        view.copy_to(&mut bytes);
        Some(bytes)
    }

    /// Creates or replaces a file with durable content; its directory must exist.
    pub fn write_file(&self, path: impl AsRef<Path>, content: &[u8]) {
        self.change_names(path.as_ref(), |device, op, key| {
            let file = namespace::FileId(device.number());
            let bound = device.names.bind(op, key, Node::File(file));
            bound.unwrap_or_else(|errno| panic!("{key}: errno {errno}"));
            let body = device.bodies.entry(file).or_default();
            body.write(op, 0, &Payload::Bytes(content.into()));
            body.cover(None, &|by| by == op);
            body.cover_length(&|by| by == op);
        });
    }

    /// Creates a directory, durably. That it exists already is fine.
    pub fn create_dir(&self, path: impl AsRef<Path>) {
        self.change_names(path.as_ref(), |device, op, key| {
            match device.names.create_dir(op, key) {
                Ok(()) | Err(libc::EEXIST) => {}
                Err(errno) => panic!("{key}: errno {errno}"),
            }
        });
    }

    fn change_names(&self, path: &Path, change: impl FnOnce(&mut Device, OpId, &str)) {
        let key = path_key(path).unwrap_or_else(|errno| panic!("{path:?}: errno {errno}"));
        let mut device = self.device();
        let op = OpId(device.number());
        change(&mut device, op, &key);
        device.names.commit(op);
    }

    /// All files, sorted by path.
    pub fn files(&self) -> Vec<String> {
        self.device().names.paths()
    }

    /// Damages a file's bytes from `offset` on, wherever they are kept. Panics when the file
    /// does not exist or is shorter than that.
    pub fn corrupt(&self, path: impl AsRef<Path>, offset: u64, damage: Corruption) {
        let path = path.as_ref();
        let mut device = self.device();
        let key = path_key(path).unwrap_or_else(|errno| panic!("{path:?}: errno {errno}"));
        let file = device.names.file(&key);
        let file = file.unwrap_or_else(|errno| panic!("{path:?}: errno {errno}"));
        match damage {
            Corruption::FlipBit { bit } => {
                device.body(file).damage(offset, 1, &mut |_, byte| *byte ^= 1 << (bit % 8));
            }
            Corruption::Zeroes { len_bytes } => {
                device.body(file).damage(offset, len_bytes, &mut |_, byte| *byte = 0);
            }
            Corruption::Garbage { len_bytes } => {
                let mut garbage = vec![0; len_bytes as usize];
                device.dice.fill(&mut garbage);
                overwrite(&mut device, file, offset, &garbage);
            }
            Corruption::Bytes(bytes) => overwrite(&mut device, file, offset, &bytes),
        }
    }

    /// Lets the `nth` matching operation from now fail with `errno`; 1 is the next one.
    pub fn fail_next(&self, on: DiskOp, nth: u64, errno: i32) {
        self.plan(on, None, nth, Fault::Errno(errno));
    }

    /// As `fail_next`, for files whose path contains `path_part`.
    pub fn fail_next_at(&self, path_part: &str, on: DiskOp, nth: u64, errno: i32) {
        self.plan(on, Some(path_part), nth, Fault::Errno(errno));
    }

    /// Plans any fault for the `nth` matching operation from now.
    pub fn plan(&self, on: DiskOp, path_part: Option<&str>, nth: u64, fault: Fault) {
        assert!(nth > 0, "operations are counted from 1");
        let path_part = path_part.map(str::to_owned);
        let plan = PlannedFault { on, path_part, skip: nth - 1, fault, forever: false };
        self.device().faults.push(plan);
    }

    /// From the `nth` matching operation on all of them fail, until `clear_faults`.
    pub fn fail_from(&self, on: DiskOp, nth: u64, errno: i32) {
        assert!(nth > 0, "operations are counted from 1");
        let fault = Fault::Errno(errno);
        let plan = PlannedFault { on, path_part: None, skip: nth - 1, fault, forever: true };
        self.device().faults.push(plan);
    }

    pub fn clear_faults(&self) {
        self.device().faults.clear();
    }

    pub fn counters(&self) -> SimDiskCounters {
        self.device().counters
    }

    /// Changes what the device says and does from now on.
    pub fn set_options(&self, change: impl FnOnce(&mut SimDiskOptions)) {
        change(&mut self.device().options);
    }

    #[cfg(test)]
    pub(crate) fn owners(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    pub(crate) fn attach(&self, shards: usize) -> (u32, u64) {
        self.device().attach(shards)
    }

    pub(crate) fn end_by_cut(&self, elapsed_ns: u64) {
        self.device().cut_running(elapsed_ns);
    }

    pub(crate) fn end_by_kill(&self, elapsed_ns: u64) {
        self.device().kill(elapsed_ns);
    }

    pub(crate) fn submit(&self, from: (u32, usize), now_ns: u64, token: u64, request: Request) {
        self.device().submit(from, now_ns, token, request);
    }

    pub(crate) fn next_event_ns(&self) -> Option<u64> {
        self.device().next_event_ns()
    }

    /// Lets everything happen that is due, and says for which shards something has finished.
    pub(crate) fn advance(&self, now_ns: u64, mut has_finished: impl FnMut(usize)) {
        let mut device = self.device();
        device.advance(now_ns);
        let waiting = device.finished.iter().enumerate().filter(|(_, queue)| !queue.is_empty());
        waiting.for_each(|(shard, _)| has_finished(shard));
    }

    pub(crate) fn take_finished(&self, (epoch, shard): (u32, usize)) -> Vec<Finished> {
        let mut device = self.device();
        if epoch != device.epoch {
            return Vec::new();
        }
        device.finished[shard].drain(..).collect()
    }

    pub(crate) fn trace(&self) -> u64 {
        self.device().trace.value()
    }

    pub(crate) fn unlock(&self, path: &str, number: u64) {
        self.device().unlock(path, number);
    }
}

fn overwrite(device: &mut Device, file: namespace::FileId, offset: u64, bytes: &[u8]) {
    let len_bytes = bytes.len() as u64;
    device.body(file).damage(offset, len_bytes, &mut |at, byte| *byte = bytes[at as usize]);
}

#[cfg(test)]
mod tests;
