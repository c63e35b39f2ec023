//! A disk in memory that forgets like a real one.
//!
//! Rules: a write takes effect at a seeded moment between submission and completion. A flush
//! covers what completed before it was submitted, a durable write covers itself. At a power cut
//! each 512-byte sector written since the last flush that covered it is kept, lost or torn; a
//! change of names is atomic, and durable when its operation completes.
//!
//! Each fault has a switch, off by itself but for slow operations, and a counter in
//! `SimDiskCounters`. Planned for the n-th operation, or from it on, by `plan` and `plan_from`:
//! errors (ENOSPC among them), lost, misdirected and stuck writes, misdirected, stale and stuck
//! reads. By `SimDiskOptions`: slow and short operations, a full disk, sectors that a cut leaves
//! as garbage, flushes that do nothing. By a call: damage at rest, broken sectors, cuts, kills,
//! clock jumps.

mod chunk;
mod content;
mod counters;
mod crash;
mod damage;
mod device;
mod effect;
mod fault;
mod namespace;
mod paths;
mod record;
mod request;

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::file::WriteCache;
use chunk::OpId;
use device::Device;
use namespace::Node;

use content::Body;
pub(crate) use content::Payload;
pub use counters::SimDiskCounters;
pub use damage::Corruption;
pub use fault::{DiskOp, Fault};
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
    /// At a power cut one sector in so many of a write that falls apart is garbage from end to
    /// end, as of a drive that was just writing it; 0: none.
    pub garbage_sector_one_in: u32,
    /// Keep the durable bytes before the present ones too, for `Fault::StaleRead`.
    pub remember_older_versions: bool,
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
            garbage_sector_one_in: 0,
            remember_older_versions: false,
            wall_clock_start_ms: 1_700_000_000_000,
        }
    }
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
        copy.broken_sectors = device.broken_sectors.clone();
        copy.wall_clock_ns = device.wall_clock_ns;
        copy.next_number = device.next_number;
        copy.epoch = device.epoch;
        SimDisk(Arc::new(Mutex::new(copy)))
    }

    /// What a process would read now, durable or not.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.read_part(path, 0, usize::MAX)
    }

    /// As `read_file`, of `len_bytes` at `offset`: shorter where the file ends.
    pub fn read_part(
        &self,
        path: impl AsRef<Path>,
        offset: u64,
        len_bytes: usize,
    ) -> Option<Vec<u8>> {
        self.look_at(path.as_ref(), |body| {
            let view = body.read(offset, len_bytes);
            let mut bytes = vec![0; view.len_bytes()];
            view.copy_to(&mut bytes);
            bytes
        })
    }

    /// The offsets of a file's 4 KiB blocks that hold more than zeroes, in order.
    pub fn written_blocks(&self, path: impl AsRef<Path>) -> Option<Vec<u64>> {
        self.look_at(path.as_ref(), Body::written_blocks)
    }

    fn look_at<T>(&self, path: &Path, look: impl FnOnce(&Body) -> T) -> Option<T> {
        let key = path_key(path).ok()?;
        let device = self.device();
        let body = device.bodies.get(&device.names.file(&key).ok()?)?;
        Some(look(body))
    }

    /// Creates or replaces a file with durable content; its directory must exist.
    pub fn write_file(&self, path: impl AsRef<Path>, content: &[u8]) {
        self.change_names(path.as_ref(), |device, op, key| {
            let file = namespace::FileId(device.number());
            let bound = device.names.bind(op, key, Node::File(file));
            bound.unwrap_or_else(|errno| panic!("{key}: errno {errno}"));
            let body = device.new_body(file);
            body.write(op, 0, &Payload::Bytes(content.into()));
            body.cover(None, &|by, _| by == op);
            body.cover_length(&|by, _| by == op);
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

    pub fn counters(&self) -> SimDiskCounters {
        self.device().counters
    }

    /// Changes what the device says and does from now on.
    pub fn set_options(&self, change: impl FnOnce(&mut SimDiskOptions)) {
        let mut device = self.device();
        change(&mut device.options);
        device.tell_bodies();
    }

    #[cfg(test)]
    pub(crate) fn owners(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Moves the wall clock by so much, at once; it stops at 1970. The monotonic clock of a world
    /// that runs goes on as before, and so do its timers.
    pub fn jump_wall_clock(&self, by_ms: i64) {
        self.device().jump_wall_clock(by_ms);
    }

    pub(crate) fn attach(&self, shards: usize) -> (u32, Arc<AtomicU64>) {
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
        device.take_finished(shard)
    }

    /// Lets `advance` stop right after the disk's n-th completion; `None`: nowhere.
    pub(crate) fn pause_at(&self, completions: Option<u64>) {
        self.device().pause_at = completions;
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.device().is_paused()
    }

    pub(crate) fn trace(&self) -> u64 {
        self.device().trace.value()
    }

    pub(crate) fn unlock(&self, number: u64) {
        self.device().unlock(number);
    }
}

#[cfg(test)]
mod tests;
