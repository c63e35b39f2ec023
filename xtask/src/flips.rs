//! `cargo xtask flips`: one flipped bit in every byte of a small store; a table of who noticed.

use crate::Failure;
use crate::sim::on_jobs;
use sombra_sim::flips::{FlipReport, StoreEnd, Sweep};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Parts of the store that were mostly never written are looked at so much more seldom.
const EVERY_VAST: u64 = 97;

#[derive(clap::Args)]
pub(crate) struct FlipArguments {
    /// One byte in so many, but for one page, block or copy of each part, of which all are flipped
    #[arg(long, default_value_t = 61, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
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
    let begun = Instant::now();
    let sweep = Sweep::new(arguments.seed, end)?;
    let places = sweep.places(arguments.every, arguments.every.saturating_mul(EVERY_VAST));
    println!("flips: a store that was {end:?}, {} places", places.len());
    let disks = Mutex::new(Vec::new());
    let report = Mutex::new((FlipReport::of(&sweep), Instant::now()));
    on_jobs(&(0..places.len() as u64), arguments.jobs, |index| {
        let place = places[index as usize];
        let idle = disks.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let disk = idle.unwrap_or_else(|| sweep.fork());
        let flip = sweep.flip(&disk, place);
        disks.lock().unwrap_or_else(PoisonError::into_inner).push(disk);
        let mut guard = report.lock().unwrap_or_else(PoisonError::into_inner);
        let (report, told) = &mut *guard;
        match flip {
            Ok(flip) => report.add(&sweep, &flip),
            Err(error) => report.fail(format!("{} {place:?}: {error}", sweep.path_of(place))),
        }
        if told.elapsed() > Duration::from_secs(30) {
            println!("flips: {} of {}, {} failed", report.flips, places.len(), report.failed);
            *told = Instant::now();
        }
    });
    let report = report.into_inner().unwrap_or_else(PoisonError::into_inner).0;
    println!("{report}");
    let seconds = begun.elapsed().as_secs_f64();
    println!("{:.0} flips a second, {seconds:.0} s", report.flips as f64 / seconds);
    Ok(report.failed)
}
