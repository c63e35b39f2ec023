//! `cargo xtask flips`: one flipped bit in every byte of a small store; a table of who noticed.

use crate::Failure;
use crate::sim::on_jobs;
use sombra_runtime::sim::SimDisk;
use sombra_sim::flips::{BytePlace, FlipReport, StoreEnd, Sweep};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Parts of the store that were mostly never written are opened so much more seldom.
const EVERY_VAST: u64 = 97;

/// Flips one bit in every byte of a small store. Each byte on which something depends is flipped
/// alone under the decoder that must refuse it; the others a block at a time under an opening,
/// which must show the same rows. A sample is flipped alone under an opening each.
#[derive(clap::Args)]
pub(crate) struct FlipArguments {
    /// Open the store for one byte in so many, besides one whole page, block or copy of each part;
    /// a 97th of that in parts that were mostly never written. With 1 every byte of every part is
    /// flipped under an opening of its own, some 300 CPU hours
    #[arg(long, default_value_t = 61, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Leave out the openings for single bytes. 1,000 bytes take 0.001 CPU seconds under their
    /// decoder, 1,000 blocks or single bytes 29 under an opening: the two stores, of 20 MB each,
    /// then take 4 CPU minutes
    #[arg(long, conflicts_with = "every")]
    no_openings: bool,
    /// What the store holds, and which bit of a byte is flipped
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Flips that run at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    jobs: u32,
}

pub(crate) fn run(arguments: &FlipArguments) -> Result<(), Failure> {
    let mut failed = 0;
    for end in [StoreEnd::Closed, StoreEnd::Killed] {
        failed += sweep(arguments, end)?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(format!("{failed} flips were not as promised")),
    }
}

fn sweep(arguments: &FlipArguments, end: StoreEnd) -> Result<u64, Failure> {
    let sweep = Sweep::new(arguments.seed, end)?;
    println!("flips: a store that was {end:?}");
    let flipping = Flipping {
        sweep: &sweep,
        jobs: arguments.jobs,
        disks: Mutex::new(Vec::new()),
        report: Mutex::new(FlipReport::of(&sweep)),
        told: Mutex::new(Instant::now()),
    };
    flipping.units();
    flipping.blocks();
    if !arguments.no_openings {
        flipping.openings(arguments.every);
    }
    let mut report = flipping.report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.expect_all_bytes();
    println!("{report}");
    // A judge that calls everything right has judged nothing.
    match sweep.control()?.is_right() {
        true => Err("not proven: a row that was gone unsaid was not missed".to_owned()),
        false => {
            println!("control (a row that is gone unsaid is missed): proven");
            Ok(report.failed)
        }
    }
}

/// A sweep at work, and what it found.
struct Flipping<'s> {
    sweep: &'s Sweep,
    jobs: u32,
    disks: Mutex<Vec<SimDisk>>,
    report: Mutex<FlipReport>,
    told: Mutex<Instant>,
}

impl Flipping<'_> {
    fn units(&self) {
        let (begun, units) = (Instant::now(), self.sweep.units());
        on_jobs(&(0..units.len() as u64), self.jobs, |index| {
            let unit = &units[index as usize];
            let outcome = self.sweep.unnoticed(unit);
            self.add("decoders", (index, units.len()), |report| match outcome {
                Ok(unnoticed) => report.add_unit(self.sweep, unit, &unnoticed),
                Err(error) => report.fail(error),
            });
        });
        let bytes: u64 = units.iter().map(|unit| unit.len_bytes).sum();
        tell_rate("bytes under their decoder", bytes, begun);
    }

    fn blocks(&self) {
        let (begun, blocks) = (Instant::now(), self.sweep.idle_blocks());
        on_jobs(&(0..blocks.len() as u64), self.jobs, |index| {
            let (place, len_bytes) = blocks[index as usize];
            let outcome = self.on_a_disk(|disk| self.sweep.flip_block(disk, (place, len_bytes)));
            self.add("idle blocks", (index, blocks.len()), |report| match outcome {
                Ok(flip) => report.add_block(self.sweep, len_bytes, &flip),
                Err(error) => report.fail(self.describe(place, &error)),
            });
        });
        tell_rate("idle blocks under an opening", blocks.len() as u64, begun);
    }

    fn openings(&self, every: u64) {
        let every_vast = if every == 1 { 1 } else { every.saturating_mul(EVERY_VAST) };
        let (begun, places) = (Instant::now(), self.sweep.places(every, every_vast));
        on_jobs(&(0..places.len() as u64), self.jobs, |index| {
            let place = places[index as usize];
            let outcome = self.on_a_disk(|disk| self.sweep.flip(disk, place));
            self.add("single bytes", (index, places.len()), |report| match outcome {
                Ok(flip) => report.add(self.sweep, &flip),
                Err(error) => report.fail(self.describe(place, &error)),
            });
        });
        tell_rate("single bytes under an opening", places.len() as u64, begun);
    }

    fn describe(&self, place: BytePlace, error: &str) -> String {
        format!("{} {place:?}: {error}", self.sweep.path_of(place))
    }

    /// A disk serves one thread at a time.
    fn on_a_disk<T>(&self, work: impl FnOnce(&SimDisk) -> T) -> T {
        let idle = self.disks.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let disk = idle.unwrap_or_else(|| self.sweep.fork());
        let outcome = work(&disk);
        self.disks.lock().unwrap_or_else(PoisonError::into_inner).push(disk);
        outcome
    }

    fn add(&self, what: &str, (index, count): (u64, usize), add: impl FnOnce(&mut FlipReport)) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut report);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() > Duration::from_secs(30) {
            println!("flips: {what} {index} of {count}, {} failed", report.failed);
            *told = Instant::now();
        }
    }
}

fn tell_rate(what: &str, count: u64, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    let per_1000 = 1_000.0 * seconds / (count as f64).max(1.0);
    println!("flips: {count} {what}, {seconds:.1} s, {per_1000:.4} s for 1,000");
}
