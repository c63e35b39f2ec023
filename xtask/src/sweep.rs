//! `cargo xtask sweep`: one fixed workload, of which the first ... last I/O of each kind, page
//! allocation, growth and memory charge fails in turn.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sombra_sim::sweeps::{Case, Control, SweepKind, SweepRow, run_case};

use crate::Failure;

/// Reads between two cases of the control.
const CONTROL_EVERY: u64 = 40;

#[derive(clap::Args)]
pub(crate) struct SweepArguments {
    /// What fails: read, write, flush, path, no-space, page-allocation, extent, memory; all
    /// without it
    #[arg(long)]
    kind: Option<SweepKind>,
    /// Only failures that last until the store is reopened; without it those and single ones
    #[arg(long)]
    sticky: bool,
    /// Only single failures
    #[arg(long, conflicts_with = "sticky")]
    once: bool,
    /// Only each so many-th request fails
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Only the failure of this request
    #[arg(long, requires = "kind", value_parser = clap::value_parser!(u64).range(1..))]
    number: Option<u64>,
    /// Cases that run at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    jobs: u32,
}

pub(crate) fn run(arguments: &SweepArguments) -> Result<(), Failure> {
    let begun = Instant::now();
    let kinds = match arguments.kind {
        Some(kind) => vec![kind],
        None => SweepKind::ALL.to_vec(),
    };
    let hows: &[bool] = match (arguments.once, arguments.sticky) {
        (true, _) => &[false],
        (_, true) => &[true],
        _ => &[false, true],
    };
    println!("{}", SweepRow::heading());
    let (mut cases, mut failed) = (0, 0);
    for kind in kinds {
        for target in kind.targets() {
            for sticky in hows {
                let first = Case { target, sticky: *sticky, ..Case::new(kind, 1) };
                let row = sweep(first, arguments);
                println!("{row}");
                (cases, failed) = (cases + row.injected, failed + row.failed);
                if row.injected == 0 && arguments.number.is_none() {
                    println!("the workload makes no such request: nothing was tried");
                    failed += 1;
                }
            }
        }
    }
    println!("{cases} failures injected in {:.1} s", begun.elapsed().as_secs_f64());
    control()?;
    if failed == 0 { Ok(()) } else { Err(format!("{failed} cases failed")) }
}

/// Negative control: after a read that fails, flushes do nothing. Some case must lose commits.
fn control() -> Result<(), Failure> {
    let control = Some(Control::FlushesSuppressed);
    for nth in (CONTROL_EVERY..).step_by(CONTROL_EVERY as usize) {
        let report = run_case(Case { control, ..Case::new(SweepKind::Read, nth) });
        if report.lost > 0 {
            println!("control (flushes that do nothing lose commits): proven by read {nth}");
            return Ok(());
        }
        if !report.is_hit {
            break;
        }
    }
    Err("not proven: flushes did nothing and no commit was missed".to_owned())
}

/// All cases like `first`, up to the one whose request the workload does not make.
fn sweep(first: Case, arguments: &SweepArguments) -> SweepRow {
    let row = Mutex::new(SweepRow::new(first.kind, first.target, first.sticky));
    let next = AtomicU64::new(arguments.number.unwrap_or(first.nth));
    let last = AtomicU64::new(arguments.number.unwrap_or(u64::MAX));
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(arguments.every, Relaxed);
                    if nth > last.load(Relaxed) {
                        break;
                    }
                    let case = Case { nth, ..first };
                    let report = run_case(case);
                    if !report.is_hit {
                        last.fetch_min(nth, Relaxed);
                    }
                    row.lock().unwrap_or_else(PoisonError::into_inner).add(case, &report);
                    if arguments.number.is_some() {
                        println!("{case:?}: {report:#?}");
                    }
                }
            });
        }
    });
    row.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_of_a_sweep_is_proven() {
        assert_eq!(control(), Ok(()));
    }
}
