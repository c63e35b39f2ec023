//! A job's operations on their way: issued under a tag, continued where the kernel did less than
//! asked, counted and checked when they end.

use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::pin;
use std::task::Poll;

use sombra_runtime::{
    FlushScope, FlushVia, IoBuf, IoCompletion, IoQueue, Moment, NotQueued, Shard, Span, WriteMode,
};

use crate::disk::job::{Direction, Job, Mix, WriteSync};
use crate::disk::outcome::JobError;
use crate::disk::stream::{Action, Step};
use crate::disk::tally::{IoDone, JobTally};

use super::content::{self, Filler};
use super::files::JobFile;
use super::slots::{InFlight, Purpose, Slots};
use super::verify::Written;

pub(super) struct Operations {
    files: Vec<JobFile>,
    slots: Slots,
    queue: IoQueue,
    tally: JobTally,
    filler: Filler,
    mode: WriteMode,
    /// What is read is what a verifying job wrote: a mixed job's own reads are not.
    checks_reads: bool,
    verify_fatal: bool,
    /// Blocks of this pass that hold what a verification expects.
    written: Option<Written>,
    writes: u64,
    origin: Moment,
    error: Option<JobError>,
}

impl Operations {
    pub(super) fn new(
        job: &Job,
        files: Vec<JobFile>,
        slots: Slots,
        queue: IoQueue,
        filler: Filler,
    ) -> Operations {
        let remembers = job.verify && job.do_verify && job.pattern.mix.has(Direction::Write);
        Operations {
            files,
            slots,
            queue,
            tally: JobTally::new(job),
            filler,
            mode: match job.write_sync {
                WriteSync::None => WriteMode::Plain,
                WriteSync::Sync => WriteMode::Sync,
                WriteSync::Dsync => WriteMode::Dsync,
            },
            checks_reads: job.verify && job.pattern.mix == Mix::Read,
            verify_fatal: job.verify_fatal,
            written: remembers.then(Written::default),
            writes: 0,
            origin: Moment::START,
            error: None,
        }
    }

    /// The phase begins, or ends, in which what the job wrote is read back.
    pub(super) fn check_reads(&mut self, checks: bool) {
        self.checks_reads = checks;
    }

    pub(super) fn set_origin(&mut self, origin: Moment) {
        self.origin = origin;
    }

    pub(super) fn tally_mut(&mut self) -> &mut JobTally {
        &mut self.tally
    }

    pub(super) fn error(&self) -> Option<&JobError> {
        self.error.as_ref()
    }

    /// The first error is the one that counts.
    pub(super) fn fail(&mut self, errno: i32, text: String) {
        self.error.get_or_insert(JobError { errno, text });
    }

    pub(super) fn is_full(&self) -> bool {
        !self.slots.has_free()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.slots.in_flight()
    }

    /// Operations that were queued together are handed over together.
    pub(super) fn note_submission(&mut self, count: u32) {
        if count > 0 {
            self.tally.submitted(count);
        }
    }

    /// Queues a step; gives its direction and bytes unless it is a flush. Needs a free slot.
    pub(super) fn issue(&mut self, step: Step) -> Option<(Direction, u64)> {
        let (purpose, moved) = match step.action {
            Action::Io { direction, offset, len } => {
                (Purpose::Io { direction, offset, len }, Some((direction, len)))
            }
            Action::FlushData | Action::FlushAll => (Purpose::Flush, None),
        };
        let operation = InFlight { file: step.file, purpose, done: 0, queued_ns: u64::MAX };
        let tag = self.slots.begin(operation).expect("the caller has seen a free slot");
        self.tally.depth(self.slots.in_flight() as u32);
        match step.action {
            Action::Io { direction: Direction::Trim, offset, len } => {
                let file = &self.files[step.file].file;
                let queued = self.queue.trim(tag, file, offset, len);
                self.accept(tag, queued);
            }
            Action::Io { direction, offset, len } => {
                if direction == Direction::Write {
                    self.prepare_write(tag, step.file, offset, len);
                }
                self.transfer(tag);
            }
            Action::FlushData => self.flush(tag, step.file, FlushScope::Data),
            Action::FlushAll => self.flush(tag, step.file, FlushScope::All),
        }
        moved
    }

    fn prepare_write(&mut self, tag: u32, file: usize, offset: u64, len: u64) {
        let mut buf = self.slots.take_buf(tag);
        self.filler.prepare(&mut buf[..len as usize], offset, self.writes);
        self.slots.return_buf(tag, buf);
        self.writes += 1;
        if let Some(written) = &mut self.written {
            written.note(file, offset, len);
        }
    }

    fn flush(&mut self, tag: u32, file: usize, scope: FlushScope) {
        let queued = self.queue.flush(tag, &self.files[file].file, FlushVia::Ring, scope);
        self.accept(tag, queued);
    }

    /// Starts, or continues, a read or write.
    fn transfer(&mut self, tag: u32) {
        let buf = self.slots.take_buf(tag);
        let operation = *self.slots.get_mut(tag);
        let Purpose::Io { direction, offset, len } = operation.purpose else {
            panic!("a flush transfers nothing");
        };
        let from = operation.done;
        let span = Span { offset: offset + from as u64, from, len: len as usize - from };
        let file = &self.files[operation.file].file;
        let queued = match direction {
            Direction::Read => self.queue.read(tag, file, span, buf),
            _ => self.queue.write(tag, file, span, buf.into(), self.mode),
        };
        self.accept(tag, queued);
    }

    /// What the runtime refuses ends the job.
    fn accept(&mut self, tag: u32, queued: Result<(), NotQueued>) {
        if let Err(NotQueued { buf, error }) = queued {
            self.put_back(tag, buf);
            self.slots.end(tag);
            self.fail(error.raw_os_error().unwrap_or(nix::libc::EAGAIN), error.to_string());
        }
    }

    fn put_back(&mut self, tag: u32, buf: Option<IoBuf>) {
        if let Some(buf) = buf.and_then(IoBuf::into_owned) {
            self.slots.return_buf(tag, buf);
        }
    }

    /// Completions that were not taken yet.
    pub(super) fn has_completions(&self) -> bool {
        self.queue.done() > 0
    }

    /// Waits until so many completions can be taken, or all there will be.
    pub(super) async fn wait(&self, count: usize) {
        self.queue.wait(count).await;
    }

    /// Waits for a completion or the moment, whichever is first.
    pub(super) async fn wait_or_until(&self, shard: &Shard, moment: Moment) {
        let mut sleep = pin!(shard.sleep_until(moment));
        poll_fn(|cx| {
            let has_some = self.queue.in_flight() + self.queue.done() > 0;
            if has_some && self.queue.poll_wait(1, cx).is_ready() {
                return Poll::Ready(());
            }
            sleep.as_mut().poll(cx)
        })
        .await;
    }

    /// Takes up to `most` completions and tells of each operation that ended.
    pub(super) fn take(&mut self, most: u32, mut ended: impl FnMut(Direction, u64)) {
        let mut taken = 0;
        while taken < most
            && let Some(completion) = self.queue.take()
        {
            taken += 1;
            if let Some((direction, bytes)) = self.complete(completion) {
                ended(direction, bytes);
            }
        }
        if taken > 0 {
            self.tally.completed(taken);
        }
    }

    fn ns(&self, moment: Moment) -> u64 {
        moment.saturating_since(self.origin).as_nanos() as u64
    }

    /// Gives what an operation moved if it is at its end.
    fn complete(&mut self, completion: IoCompletion) -> Option<(Direction, u64)> {
        let IoCompletion { tag, result, buf, times } = completion;
        self.put_back(tag, buf);
        let queued_ns = self.ns(times.queued_at);
        let operation = self.slots.get_mut(tag);
        operation.queued_ns = operation.queued_ns.min(queued_ns);
        let operation = *operation;
        let count = match result {
            Ok(count) => count,
            Err(error) => {
                self.slots.end(tag);
                let text = format!("{}: {error}", self.describe(&operation));
                self.fail(error.raw_os_error().unwrap_or(nix::libc::EIO), text);
                return None;
            }
        };
        let Purpose::Io { direction, offset, len } = operation.purpose else {
            self.slots.end(tag);
            self.tally.sync(operation.queued_ns, self.ns(times.completed_at));
            return None;
        };
        let done = operation.done + count;
        let is_transfer = direction != Direction::Trim;
        if is_transfer && (done as u64) < len {
            self.continue_short(tag, &operation, count);
            return None;
        }
        if is_transfer && direction == Direction::Read {
            self.check(tag, &operation, len as usize);
        }
        self.slots.end(tag);
        self.tally.io(&IoDone {
            direction,
            offset,
            bytes: len,
            queued_ns: operation.queued_ns,
            submitted_ns: self.ns(times.submitted_at),
            completed_ns: self.ns(times.completed_at),
            is_short: operation.done > 0,
        });
        Some((direction, len))
    }

    /// The kernel did less than asked: the rest is asked for, unless the file ended.
    fn continue_short(&mut self, tag: u32, operation: &InFlight, count: usize) {
        let unit = self.files[operation.file].file.dio_alignment_bytes() as usize;
        let kept = count / unit * unit;
        if kept == 0 {
            self.slots.end(tag);
            let text = format!("{}: {count} bytes, then nothing", self.describe(operation));
            self.fail(nix::libc::ENODATA, text);
            return;
        }
        self.slots.get_mut(tag).done += kept;
        self.transfer(tag);
    }

    fn check(&mut self, tag: u32, operation: &InFlight, len: usize) {
        let Purpose::Io { offset, .. } = operation.purpose else { return };
        if !self.checks_reads {
            return;
        }
        if let Err(error) = content::verify(&self.slots.buf(tag)[..len], offset) {
            let text = format!("{}: verify: {error}", self.describe(operation));
            if self.verify_fatal {
                self.fail(nix::libc::EILSEQ, text);
            } else {
                self.first_damage(text);
            }
        }
    }

    /// Without `verify_fatal` the rest is verified too, and the job fails at its end.
    fn first_damage(&mut self, text: String) {
        if let Some(written) = &mut self.written {
            written.damaged(text);
        } else {
            self.fail(nix::libc::EILSEQ, text);
        }
    }

    fn describe(&self, operation: &InFlight) -> String {
        let path = self.files[operation.file].file.path().display();
        match operation.purpose {
            Purpose::Flush => format!("{path}: flush"),
            Purpose::Io { direction, offset, len } => {
                format!("{path}: {} of {len} bytes at {offset}", direction.name())
            }
        }
    }

    /// What the pass wrote, to be read back; writes from here on are a new pass's.
    pub(super) fn take_written(&mut self) -> Written {
        self.written.as_mut().map(Written::take).unwrap_or_default()
    }

    /// Of the files that are files: nobody means a device by `unlink`.
    pub(super) fn regular_paths(&self) -> Vec<PathBuf> {
        let regular = self.files.iter().filter(|file| file.is_regular);
        regular.map(|file| file.file.path().to_owned()).collect()
    }

    /// An fsync of each file, one after the other.
    pub(super) async fn flush_all(&mut self) {
        for file in 0..self.files.len() {
            let purpose = Purpose::Flush;
            let operation = InFlight { file, purpose, done: 0, queued_ns: u64::MAX };
            let tag = self.slots.begin(operation).expect("nothing is in flight at the end");
            self.flush(tag, file, FlushScope::All);
            self.wait(usize::MAX).await;
            while let Some(IoCompletion { tag, result, .. }) = self.queue.take() {
                let operation = self.slots.end(tag);
                if let Err(error) = result {
                    let text = format!("{}: {error}", self.describe(&operation));
                    self.fail(error.raw_os_error().unwrap_or(nix::libc::EIO), text);
                }
            }
        }
    }

    pub(super) fn into_end(mut self) -> (JobTally, Option<JobError>) {
        if let Some(text) = self.written.as_mut().and_then(Written::take_damage) {
            self.fail(nix::libc::EILSEQ, text);
        }
        (self.tally, self.error)
    }
}
