//! What the tasks of one job thread share on an executor that is not the product's: the stream, the
//! clock and the tally. Each of `iodepth` tasks takes the next step, waits for it, and counts it.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sombra_bench::disk::job::{BlockSize, ByDirection, Direction, Job};
use sombra_bench::disk::plan::JobThread;
use sombra_bench::disk::run::{Filler, bytes_per_pass};
use sombra_bench::disk::stream::{Action, Region, Step, Stream};
use sombra_bench::disk::tally::{IoDone, JobTally};

use crate::AnyError;

/// What a flush covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    Data,
    All,
}

/// A file of one executor, with that executor's way of lending it memory.
pub(crate) trait PeerFile: 'static {
    /// The memory of one task, enough for the job's largest request.
    type Memory: 'static;

    /// The first bytes of the memory, to be written next.
    fn bytes<'a>(&self, memory: &'a mut Self::Memory, len: usize) -> &'a mut [u8];

    async fn read(&self, memory: Self::Memory, at: u64, len: usize) -> Moved<Self::Memory>;

    async fn write(&self, memory: Self::Memory, at: u64, len: usize) -> Moved<Self::Memory>;

    async fn flush(&self, scope: Scope) -> io::Result<()>;
}

/// How many bytes were moved, and the memory back.
pub(crate) type Moved<M> = (io::Result<usize>, M);

/// What one thread of a job came to.
pub(crate) struct ThreadEnd {
    pub(crate) tally: JobTally,
    pub(crate) measured: Duration,
}

pub(crate) struct Drive {
    job: Arc<Job>,
    stream: Stream,
    tally: JobTally,
    filler: Filler,
    origin: Instant,
    passes: u64,
    writes: u64,
    in_flight: u32,
    is_done: bool,
    error: Option<String>,
}

impl Drive {
    /// The clock starts here.
    pub(crate) fn start(thread: &JobThread, regions: &[Region]) -> Rc<RefCell<Drive>> {
        let job = Arc::clone(&thread.job);
        let pass_bytes = bytes_per_pass(&job, regions);
        Rc::new(RefCell::new(Drive {
            stream: Stream::new(&job, regions, pass_bytes, thread.seed),
            tally: JobTally::new(&job),
            filler: Filler::new(&job, thread.seed),
            job,
            origin: Instant::now(),
            passes: 0,
            writes: 0,
            in_flight: 0,
            is_done: false,
            error: None,
        }))
    }

    fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// The next step and when it was taken; `None`: the job is over.
    fn begin(&mut self) -> Option<(Step, u64)> {
        let now_ns = self.now_ns();
        let is_late = self.job.runtime.is_some_and(|time| u128::from(now_ns) >= time.as_nanos());
        if self.is_done || is_late || self.error.is_some() {
            return None;
        }
        let step = self.stream.next_step(ByDirection::all(true)).or_else(|| self.next_pass())?;
        self.in_flight += 1;
        self.tally.depth(self.in_flight);
        self.tally.submitted(1);
        Some((step, now_ns))
    }

    fn next_pass(&mut self) -> Option<Step> {
        self.passes += 1;
        self.is_done = !self.job.time_based && self.passes >= self.job.loops;
        if self.is_done {
            return None;
        }
        self.stream.restart();
        let first = self.stream.next_step(ByDirection::all(true));
        self.is_done = first.is_none();
        first
    }

    fn prepare_write(&mut self, block: &mut [u8], offset: u64) {
        self.filler.prepare(block, offset, self.writes);
        self.writes += 1;
    }

    fn end(&mut self, step: Step, began_ns: u64, result: io::Result<usize>) {
        let now_ns = self.now_ns();
        self.in_flight -= 1;
        self.tally.completed(1);
        self.tally.tick(now_ns);
        let moved = match result {
            Ok(moved) => moved as u64,
            Err(error) => return self.fail(format!("{step:?}: {error}")),
        };
        let Action::Io { direction, offset, len } = step.action else {
            return self.tally.sync(began_ns, now_ns);
        };
        if moved != len {
            return self.fail(format!("{step:?}: {moved} bytes, then nothing"));
        }
        self.tally.io(&IoDone {
            direction,
            offset,
            bytes: len,
            queued_ns: began_ns,
            // Nobody is told when the kernel has it.
            submitted_ns: began_ns,
            completed_ns: now_ns,
            is_short: false,
        });
    }

    fn fail(&mut self, text: String) {
        self.error.get_or_insert(text);
    }

    /// What is counted ends here.
    pub(crate) fn finish(drive: &RefCell<Drive>) -> Result<ThreadEnd, AnyError> {
        let mut drive = drive.borrow_mut();
        let now_ns = drive.now_ns();
        drive.tally.finish(now_ns);
        match drive.error.take() {
            Some(error) => Err(format!("job '{}': {error}", drive.job.name).into()),
            None => {
                Ok(ThreadEnd { tally: drive.tally.clone(), measured: Duration::from_nanos(now_ns) })
            }
        }
    }
}

/// One of the tasks that keep `iodepth` operations in flight.
pub(crate) async fn keep_one_in_flight<F: PeerFile>(
    drive: Rc<RefCell<Drive>>,
    files: Rc<Vec<F>>,
    mut memory: F::Memory,
) {
    loop {
        let next = drive.borrow_mut().begin();
        let Some((step, began_ns)) = next else { return };
        let file = &files[step.file];
        let result;
        match step.action {
            Action::Io { direction: Direction::Read, offset, len } => {
                (result, memory) = file.read(memory, offset, len as usize).await;
            }
            Action::Io { offset, len, .. } => {
                let block = file.bytes(&mut memory, len as usize);
                drive.borrow_mut().prepare_write(block, offset);
                (result, memory) = file.write(memory, offset, len as usize).await;
            }
            Action::FlushData => result = file.flush(Scope::Data).await.map(|()| 0),
            Action::FlushAll => result = file.flush(Scope::All).await.map(|()| 0),
        }
        drive.borrow_mut().end(step, began_ns, result);
    }
}

/// The flushes that a job asks for at its end.
pub(crate) async fn flush_at_end<F: PeerFile>(job: &Job, files: &[F]) -> io::Result<()> {
    if job.pattern.mix.has(Direction::Write) && (job.end_fsync || job.fsync_on_close) {
        for file in files {
            file.flush(Scope::All).await?;
        }
    }
    Ok(())
}

/// Bytes of the job's largest request.
pub(crate) fn largest_bytes(job: &Job) -> usize {
    job.block.0.iter().map(BlockSize::max_bytes).max().unwrap_or(0) as usize
}

/// Fills a task's memory as the product fills its buffers.
pub(crate) fn prime(thread: &JobThread, task: u32, bytes: &mut [u8]) {
    Filler::new(&thread.job, thread.seed).prime(bytes, u64::from(task));
}
