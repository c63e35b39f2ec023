//! The commit ratio as it must be measured: pairs in alternating order, beside a row that shows
//! how far the machine can be trusted.

use sombra::DurabilityMethod;

use crate::error::BenchError;
use crate::limits::AA_HALF_WIDTH_MAX;
use crate::measure::{Ratio, ratio_of_pairs};
use crate::phase::disk::Scratch;
use crate::report::{CommitFigures, PairRow, PairsFigures};
use crate::sample::process_cpu;
use crate::session::Session;

use super::clients::ClientsPhase;
use super::reference::cpu_us_per_operation;

/// One run of the reference, with the CPU that it took.
struct Reference {
    per_s: f64,
    cpu_us: f64,
}

/// Runs pairs until the wanted number is reached or a stop is requested.
///
/// Each pair runs the reference twice and the commits once, A A B and B A A by turns: the two
/// references give the A/A row, the neighbours A B or B A give the ratio, in alternating order.
/// `None` when not even one pair was finished.
pub(crate) fn run_pairs(
    session: &Session,
    scratch: &Scratch,
    method: DurabilityMethod,
    commit: ClientsPhase,
) -> Result<Option<PairsFigures>, BenchError> {
    let wanted = session.plan.pairs.unwrap_or(0);
    let mut rows = Vec::new();
    for pair in 0..wanted {
        let reference = || run_reference(session, scratch, method);
        let commits = || session.run_clients(commit).map(|run| CommitFigures::of(&run));
        let (order, far, near, commit);
        if pair % 2 == 0 {
            (order, far, near) = ("A A B", reference()?, reference()?);
            commit = commits()?;
        } else {
            (order, commit) = ("B A A", commits()?);
            (near, far) = (reference()?, reference()?);
        }
        if session.stop.is_requested() {
            break;
        }
        let reference_cpu_us = f64::midpoint(near.cpu_us, far.cpu_us);
        let reference_per_s = [near.per_s, far.per_s];
        rows.push(PairRow { order, reference_per_s, reference_cpu_us, commit });
    }
    Ok(summarize(rows, session.plan.measured.as_secs_f64()))
}

fn run_reference(
    session: &Session,
    scratch: &Scratch,
    method: DurabilityMethod,
) -> Result<Reference, BenchError> {
    let stretch = session.stretch();
    let before = process_cpu();
    let run = scratch.durable_writes(method, &stretch)?;
    let cpu = process_cpu().saturating_sub(before);
    Ok(Reference {
        per_s: run.per_s(),
        cpu_us: cpu_us_per_operation(&run, &stretch, cpu.as_secs_f64()),
    })
}

fn summarize(rows: Vec<PairRow>, side_seconds: f64) -> Option<PairsFigures> {
    let itself: Vec<_> =
        rows.iter().map(|row| row.reference_per_s[0] / row.reference_per_s[1]).collect();
    let against: Vec<_> =
        rows.iter().map(|row| row.commit.per_s / row.reference_per_s[0]).collect();
    let reference_against_itself = ratio_of_pairs(&itself)?;
    let commit_against_reference = ratio_of_pairs(&against)?;
    let undecided = is_too_wide(&reference_against_itself);
    Some(PairsFigures {
        pairs: rows.len(),
        side_seconds,
        reference_against_itself,
        commit_against_reference,
        undecided,
        rows,
    })
}

/// The reference against itself is 1; an interval that reaches further is noise too loud to
/// measure in.
pub(super) fn is_too_wide(itself: &Ratio) -> bool {
    itself.interval_90.half_width(1.0) > AA_HALF_WIDTH_MAX
}
