//! Faults that come beside the crashes: what a seed draws, when each is planned, and what it
//! counts as. The disk counts what it did itself.

use sombra::format::log_block::verify_block_of_store;
use sombra::format::segment::{locate, segment_file_name};
use sombra::format::superblock::{Superblock, SuperblockCopy};
use sombra::inspect::CheckReport;
use sombra::{Db, OpenError, OpenMode, Options};
use sombra_runtime::sim::{Corruption, DiskOp, Fault, SimDisk, SimWorld};

use super::marks;
use super::opening::STORE_DIR;
use super::run::{EIO, Failed, Run};
use crate::limits;
use crate::machine;
use crate::random::Random;

pub(super) const SECOND_OPENER: &str = "second opener";
pub(super) const SUPERBLOCK_DAMAGE: &str = "superblock copy damaged";
pub(super) const ROOT_DAMAGE: &str = "root copy damaged";
pub(super) const PAGE_DAMAGE: &str = "data page damaged";
pub(super) const TAIL_GARBAGE: &str = "garbage behind the log's end";
pub(super) const KILL_THEN_CUT: &str = "kill, then power cut";
pub(super) const OLD_SEGMENT: &str = "recycled segment with old contents";
pub(super) const LOG_DAMAGE: &str = "log block damaged";

/// What the harness does itself; the disk counts the rest.
pub(super) const OF_THE_HARNESS: [&str; 8] = [
    SECOND_OPENER,
    SUPERBLOCK_DAMAGE,
    ROOT_DAMAGE,
    PAGE_DAMAGE,
    TAIL_GARBAGE,
    KILL_THEN_CUT,
    OLD_SEGMENT,
    LOG_DAMAGE,
];

/// What the disk counts, by the names of its counters.
pub(super) const OF_THE_DISK: [&str; 22] = [
    "read_errors",
    "write_errors",
    "flush_errors",
    "path_errors",
    "no_space",
    "short_reads",
    "short_writes",
    "lost_writes",
    "misdirected_writes",
    "misdirected_reads",
    "stale_reads",
    "slow_ops",
    "stuck_ops",
    "kills",
    "cuts",
    "cuts_in_flight",
    "sectors_kept",
    "sectors_lost",
    "sectors_torn",
    "sectors_garbage",
    "clock_jumps_forwards",
    "clock_jumps_backwards",
];

/// Names of files that failures are aimed at: of the log's segments, and of the data file.
const LOG_FILES: &str = ".log";
const DATA_FILE: &str = "pages.sombra";
/// Tells the drawings of failures and of jumps of the clock from others of the same life.
const FAILURES: u64 = 0xF1;
const CLOCK: u64 = 0xC1;

/// A write or a flush that was planned to fail.
pub(super) struct Failure {
    pub(super) on: DiskOp,
    /// The store must stop once it has failed.
    pub(super) must_stop: bool,
    /// Of its kind, before it was planned.
    before: u64,
}

/// How often each fault comes, in percent of the occasions that it has.
#[derive(Clone, Debug)]
pub(super) struct FaultMix {
    /// Episodes in which reads fail, now and then or for a while.
    read_errors: u64,
    /// Episodes in which operations take far longer than any other.
    stuck: u64,
    clock_jump: u64,
    second_opener: u64,
    /// Crashes after which a copy of the superblock rots, or noise lies behind the log's end.
    superblock: u64,
    tail_garbage: u64,
    /// Seeds at whose end a block of the log rots.
    pub(super) log_rot: u64,
    /// Seeds at whose end a device lies: it loses, misplaces or mixes up what it says it did.
    pub(super) lying_device: u64,
}

impl FaultMix {
    pub(super) fn draw(random: &mut Random) -> FaultMix {
        let mut some = |often: u64, high: u64| match random.percent(often) {
            true => random.between(1, high),
            false => 0,
        };
        FaultMix {
            read_errors: some(30, 40),
            stuck: some(40, 50),
            clock_jump: some(50, 60),
            second_opener: some(50, 50),
            superblock: some(40, 50),
            tail_garbage: some(40, 60),
            lying_device: some(50, 100),
            log_rot: 25,
        }
    }
}

impl Run {
    /// Takes in what the disk and the report counted.
    pub(super) fn count_faults(&mut self) {
        let (trees, injected) = (self.report.trees, &mut self.report.injected);
        injected.add(ROOT_DAMAGE, trees.rotten_roots);
        injected.add(PAGE_DAMAGE, trees.rotten_pages);
        injected.add(OLD_SEGMENT, trees.recycled);
        for (name, count) in self.disk.counters().named() {
            if OF_THE_DISK.contains(&name) {
                self.report.injected.add(name, count);
            }
        }
    }

    /// Operations that failed by now because a device said so.
    pub(super) fn errors_met(&self) -> u64 {
        let counters = self.disk.counters();
        counters.read_errors + counters.write_errors + counters.flush_errors + counters.path_errors
    }

    /// Writes, or flushes, that failed by now.
    fn changes_failed(&self, on: DiskOp) -> u64 {
        let counters = self.disk.counters();
        if on == DiskOp::Write { counters.write_errors } else { counters.flush_errors }
    }

    /// Whether the failure that was planned has come.
    pub(super) fn has_failed(&self, failure: &Failure) -> bool {
        self.changes_failed(failure.on) > failure.before
    }

    /// A write or a flush fails, once or from now on.
    pub(super) fn plan_failure(&mut self) -> Failure {
        let on = *self.random.pick(&[DiskOp::Write, DiskOp::Flush, DiskOp::Write]);
        let nth = self.random.scale(1, 200);
        let is_sticky = self.random.percent(30);
        let mut random = self.aside(FAILURES);
        let target = *random.pick(&[None, None, Some(LOG_FILES), Some(DATA_FILE)]);
        let nth = if target == Some(DATA_FILE) { nth.min(20) } else { nth };
        let fault = Fault::Errno(EIO);
        match is_sticky {
            true => self.disk.plan_from(on, target, nth, fault),
            false => self.disk.plan(on, target, nth, fault),
        }
        let must_stop = match target {
            Some(LOG_FILES) => true,
            Some(_) => on == DiskOp::Flush,
            None => false,
        };
        Failure { on, must_stop, before: self.changes_failed(on) }
    }

    /// The wall clock jumps, now and then.
    pub(super) fn jump_clock(&mut self) {
        let mut random = self.aside(CLOCK);
        jump_clock(&self.disk, self.swarm.faults.clock_jump, &mut random);
    }

    /// Plans what goes wrong while clients work. True: reads may fail.
    pub(super) fn plan_episode(&mut self) -> bool {
        let mix = self.swarm.faults.clone();
        if self.random.percent(mix.stuck) {
            for _ in 0..self.random.between(1, 6) {
                let on = *self.random.pick(&[DiskOp::Read, DiskOp::Write, DiskOp::Flush]);
                let for_ns = self.random.scale(1_000_000, limits::STUCK_NS_MAX);
                let nth = self.random.scale(1, 400);
                self.disk.plan(on, None, nth, Fault::Stuck { for_ns });
            }
        }
        jump_clock(&self.disk, mix.clock_jump, &mut self.random);
        let fails = self.random.percent(mix.read_errors);
        if fails {
            let nth = self.random.scale(1, 100);
            match self.random.percent(30) {
                true => self.disk.fail_from(DiskOp::Read, nth, EIO),
                false => {
                    for _ in 0..self.random.between(1, 5) {
                        self.disk.fail_next(DiskOp::Read, self.random.scale(1, 100), EIO);
                    }
                }
            }
        }
        fails
    }

    /// Somebody else tries to open the store that is open.
    pub(super) fn second_opener(&mut self, world: &mut SimWorld) -> Result<(), Failed> {
        if !self.random.percent(self.swarm.faults.second_opener) {
            return Ok(());
        }
        let open_mode = *self.random.pick(&[OpenMode::CreateIfMissing, OpenMode::ReadOnly]);
        let options = Options { open_mode, ..self.options.clone() };
        let runtime = world.runtime();
        let opened = machine::finish(world, SECOND_OPENER, async move {
            Db::open(&runtime, STORE_DIR, options).await
        });
        self.report.injected.add(SECOND_OPENER, 1);
        self.report.marks.add(marks::SECOND_OPENER, 1);
        match opened? {
            Err(OpenError::Locked { .. }) => Ok(()),
            Err(error) => Err(format!("a second opener was told: {error}")),
            Ok(_) => Err("a second opener got in".to_owned()),
        }
    }

    /// What happens to a disk between two openings, beside what the crash did: nothing that costs
    /// the store, as `checked` found it, any of its rows.
    pub(super) fn damage_between(&mut self, checked: &CheckReport) -> Result<(), Failed> {
        let mut is_changed = false;
        if self.random.percent(self.swarm.faults.tail_garbage) {
            is_changed |= self.write_behind_log(checked);
        }
        if self.random.percent(self.swarm.faults.superblock) {
            is_changed |= self.rot_superblock();
        }
        if self.random.percent(self.swarm.rot_percent) {
            is_changed |= self.rot_roots(checked.store_id);
        }
        if is_changed {
            self.check()?;
        }
        Ok(())
    }

    /// Damages one of two whole copies of the superblock.
    fn rot_superblock(&mut self) -> bool {
        let path = format!("{STORE_DIR}/superblock");
        let Some(bytes) = self.disk.read_file(&path) else { return false };
        let copy_of = |copy: SuperblockCopy| {
            let at = copy.offset() as usize;
            bytes.get(at..).is_some_and(|bytes| Superblock::decode(bytes).is_ok())
        };
        let copies = [SuperblockCopy::A, SuperblockCopy::B];
        if !copies.into_iter().all(copy_of) {
            return false;
        }
        let offset = self.random.pick(&copies).offset() + self.random.below(64);
        let bit = self.random.below(8) as u8;
        self.disk.corrupt(&path, offset, Corruption::FlipBit { bit });
        self.report.injected.add(SUPERBLOCK_DAMAGE, 1);
        true
    }

    /// Puts noise, or a block from elsewhere in the log, where the log has ended.
    fn write_behind_log(&mut self, checked: &CheckReport) -> bool {
        let end = locate(checked.log_end, self.options.segment_bytes);
        let path = format!("{STORE_DIR}/wal/{}", segment_file_name(end.segment_number));
        let Some(bytes) = self.disk.read_file(&path) else { return false };
        let block_bytes = sombra::format::BLOCK_SIZE_BYTES;
        let first = end.block_offset_bytes() as usize / block_bytes + 1;
        let blocks: Vec<&[u8]> = bytes.chunks_exact(block_bytes).collect();
        let is_valid = |at: &usize| verify_block_of_store(blocks[*at], checked.store_id).is_ok();
        let wanted = self.random.between(1, limits::GARBAGE_BLOCKS_MAX) as usize;
        let until = blocks.len().min(first + wanted);
        let mut is_changed = false;
        for at in (first..until).filter(|at| !is_valid(at)) {
            let damage = match self.random.percent(50) {
                true => Corruption::Garbage { len_bytes: block_bytes as u64 },
                false => Corruption::Bytes(self.random.pick(&blocks[1..]).to_vec()),
            };
            if damage == Corruption::Bytes(blocks[at].to_vec()) {
                continue;
            }
            self.disk.corrupt(&path, (at * block_bytes) as u64, damage);
            self.report.injected.add(TAIL_GARBAGE, 1);
            is_changed = true;
        }
        is_changed
    }
}

/// The wall clock jumps in so many of 100 draws.
fn jump_clock(disk: &SimDisk, percent: u64, random: &mut Random) {
    if random.percent(percent) {
        let by_ms = random.scale(1, limits::CLOCK_JUMP_MS_MAX) as i64;
        disk.jump_wall_clock(if random.percent(50) { by_ms } else { -by_ms });
    }
}
