//! What a job does next: direction, place and length of each operation, from its options and a
//! seed. Knows no time, no file and no device; the same job and seed give the same stream.

mod block;
mod file;
mod place;
mod random_map;

use crate::random::Random;

use super::job::{BlockSize, ByDirection, Direction, FileService, Job, Mix};
use file::{FileCursor, Wanted};

/// The part of a file that a job works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    pub offset: u64,
    pub len: u64,
}

/// The next thing to do with the file of that number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    pub file: usize,
    pub action: Action,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Io {
        direction: Direction,
        offset: u64,
        len: u64,
    },
    /// fdatasync
    FlushData,
    /// fsync
    FlushAll,
}

/// Each choice has a generator of its own, so that one option does not disturb another's draws.
struct Chances {
    mix: Random,
    size: Random,
    place: Random,
    file: Random,
}

impl Chances {
    fn new(seed: u64) -> Chances {
        let stream = |number| Random::for_client(seed, number);
        Chances { mix: stream(0), size: stream(1), place: stream(2), file: stream(3) }
    }
}

/// Flushes that follow a number of writes.
struct FlushAfter {
    every: u64,
    writes: u64,
}

impl FlushAfter {
    fn is_due(&self) -> bool {
        self.every > 0 && self.writes >= self.every
    }

    fn take_due(&mut self) -> bool {
        let due = self.is_due();
        if due {
            self.writes = 0;
        }
        due
    }
}

/// The stream of one job thread: passes over its files, each until `bytes_per_pass` were asked
/// for or, of a random map, every block was visited.
pub struct Stream {
    mix: Mix,
    read_percent: u64,
    block: ByDirection<BlockSize>,
    service: FileService,
    files: Vec<FileCursor>,
    next_file: usize,
    chances: Chances,
    fsync: FlushAfter,
    fdatasync: FlushAfter,
    last_written: Option<usize>,
    /// Of `Mix::TrimWrite`: what was trimmed and is written next.
    trimmed: Option<(usize, u64, u64)>,
    bytes_per_pass: u64,
    bytes_left: u64,
}

impl Stream {
    /// `bytes_per_pass` is the job's `io_size`, resolved.
    ///
    /// Shape: at least one region, each of at least one request.
    #[must_use]
    pub fn new(job: &Job, regions: &[Region], bytes_per_pass: u64, seed: u64) -> Stream {
        assert!(!regions.is_empty(), "a job has a file");
        let unit_bytes = unit_bytes(job);
        let files = regions.iter().map(|region| FileCursor::new(job, *region, unit_bytes));
        Stream {
            mix: job.pattern.mix,
            read_percent: job.read_percent.into(),
            block: job.block.clone(),
            service: job.file_service,
            files: files.collect(),
            next_file: 0,
            chances: Chances::new(seed),
            fsync: FlushAfter { every: job.fsync_every, writes: 0 },
            fdatasync: FlushAfter { every: job.fdatasync_every, writes: 0 },
            last_written: None,
            trimmed: None,
            bytes_per_pass,
            bytes_left: bytes_per_pass,
        }
    }

    /// Starts the next pass: from the beginning of the files, with every block free again. The
    /// draws go on.
    pub fn restart(&mut self) {
        self.files.iter_mut().for_each(FileCursor::restart);
        self.bytes_left = self.bytes_per_pass;
        self.next_file = 0;
    }

    /// The directions that the next operation can have; none while a flush is due.
    #[must_use]
    pub fn candidates(&self) -> ByDirection<bool> {
        let flushes = [&self.fsync, &self.fdatasync];
        if self.last_written.is_some() && flushes.iter().any(|flush| flush.is_due()) {
            return ByDirection([false; 3]);
        }
        match self.mix {
            Mix::TrimWrite => ByDirection([false, self.trimmed.is_some(), self.trimmed.is_none()]),
            mix => ByDirection(Direction::ALL.map(|direction| mix.has(direction))),
        }
    }

    /// The next step, in a direction that `allowed` has where there is a choice; `None` at the
    /// end of the pass.
    pub fn next_step(&mut self, allowed: ByDirection<bool>) -> Option<Step> {
        if let Some(flush) = self.due_flush() {
            return Some(flush);
        }
        if let Some((file, offset, len)) = self.trimmed.take() {
            return Some(self.io(file, Direction::Write, offset, len));
        }
        if self.bytes_left == 0 {
            return None;
        }
        let direction = self.direction(allowed);
        let size = self.block.of(direction);
        let wanted = Wanted {
            direction,
            // The last request of a pass is whole too, as with fio.
            len: block::draw(size, &mut self.chances.size),
            min_len: size.min_bytes(),
        };
        let (file, offset, len) = self.find_place(wanted)?;
        self.bytes_left = self.bytes_left.saturating_sub(len);
        if direction == Direction::Trim && self.mix == Mix::TrimWrite {
            self.trimmed = Some((file, offset, len));
        }
        Some(self.io(file, direction, offset, len))
    }

    fn io(&mut self, file: usize, direction: Direction, offset: u64, len: u64) -> Step {
        if direction == Direction::Write {
            self.fsync.writes += 1;
            self.fdatasync.writes += 1;
            self.last_written = Some(file);
        }
        Step { file, action: Action::Io { direction, offset, len } }
    }

    fn due_flush(&mut self) -> Option<Step> {
        let file = self.last_written?;
        if self.fsync.take_due() {
            return Some(Step { file, action: Action::FlushAll });
        }
        let due = self.fdatasync.take_due();
        due.then_some(Step { file, action: Action::FlushData })
    }

    fn direction(&mut self, allowed: ByDirection<bool>) -> Direction {
        match self.mix {
            Mix::Read => Direction::Read,
            Mix::Write => Direction::Write,
            Mix::Trim | Mix::TrimWrite => Direction::Trim,
            Mix::ReadWrite => {
                let drawn = match self.chances.mix.below(100) < self.read_percent {
                    true => (Direction::Read, Direction::Write),
                    false => (Direction::Write, Direction::Read),
                };
                // One direction's speed limit does not hold up the other.
                let other_is_free = *allowed.of(drawn.1) && !matches!(self.read_percent, 0 | 100);
                if !allowed.of(drawn.0) && other_is_free { drawn.1 } else { drawn.0 }
            }
        }
    }

    /// A place in the file whose turn it is, or in the next that still has one in this pass.
    fn find_place(&mut self, wanted: Wanted) -> Option<(usize, u64, u64)> {
        let count = self.files.len();
        let first = match self.service {
            FileService::Random => self.chances.file.below(count as u64) as usize,
            FileService::RoundRobin | FileService::Sequential => self.next_file,
        };
        for file in (0..count).map(|step| (first + step) % count) {
            let Some((offset, len)) = self.files[file].place(wanted, &mut self.chances.place)
            else {
                continue;
            };
            self.next_file = match self.service {
                FileService::RoundRobin => (file + 1) % count,
                FileService::Random | FileService::Sequential => file,
            };
            return Some((file, offset, len));
        }
        // Every file is done, and there are bytes left: they are visited again.
        self.files.iter_mut().for_each(FileCursor::restart);
        self.next_file = 0;
        let (offset, len) = self.files[0].place(wanted, &mut self.chances.place)?;
        Some((0, offset, len))
    }
}

/// The grain of the random map: the smallest request of any direction in use.
fn unit_bytes(job: &Job) -> u64 {
    let used = Direction::ALL.into_iter().filter(|direction| job.pattern.mix.has(*direction));
    let smallest = used.map(|direction| job.block.of(direction).min_bytes()).min();
    smallest.expect("every mix has a direction").max(1)
}

#[cfg(test)]
mod tests;
