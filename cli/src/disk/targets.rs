//! Before anything is printed or made: may the jobs write where they want to?

use std::path::PathBuf;

use sombra_bench::disk::plan::Plan;
use sombra_bench::disk::target::{AllowedPlan, written_by};

use crate::Outcome;
use crate::failure::Failure;

/// Refuses what must not be written to, and a name given up that no writing job gives: whoever
/// mistypes a device would lose another.
pub(super) fn check(plan: Plan, destroy: &[PathBuf]) -> Outcome<AllowedPlan> {
    let written = written_by(&plan);
    match destroy.iter().find(|named| !written.contains(named.as_path())) {
        None => AllowedPlan::check(plan, destroy).map_err(Failure::work),
        Some(other) => Err(Failure::usage(format!(
            "--destroy-data: expected the name of a device as a writing job gives it, found {}",
            other.display()
        ))),
    }
}
