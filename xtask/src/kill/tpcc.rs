//! Orders and payments as the workload: what the writer does, and what its reports mean.

mod ledger;
mod line;
mod terminals;

#[cfg(test)]
mod tests;

use super::writer::Opened;
use crate::Failure;
use line::Line;
use sombra::{Isolation, Remote};
use sombra_bench::workload::tpcc::{Scale, Stage, check_consistency, load, read_contents};

pub(super) use ledger::TpccJudge;
pub(super) use terminals::start;

/// Few rows, so that a store is filled in less than a second and read whole after each kill, and
/// so that terminals meet.
const SCALE: Scale = Scale { warehouses: 4, customers: 20, items: 100 };
/// Bytes of one write while the store is shown.
const SHOWN_CHUNK_BYTES: usize = 16 << 10;

fn stage(opened: &Opened) -> Result<Stage<Remote>, Failure> {
    let stage = Stage::open(opened.db.clone(), SCALE, Isolation::Serializable);
    opened.runtime.block_on(stage).map_err(|error| format!("keyspace: {error}"))
}

/// Fills a new store.
pub(super) fn prepare(opened: &Opened, seed: u64) -> Result<(), Failure> {
    let stage = stage(opened)?;
    let loaded = load(&stage, (SCALE, 1..=SCALE.warehouses), seed);
    let rows = opened.runtime.block_on(loaded).map_err(|error| format!("load: {error}"))?;
    opened.pipe.phase("loaded", &format!("{rows} rows"));
    Ok(())
}

/// Tells every order and payment that is there, and what is wrong among the rows.
pub(super) fn show(opened: &Opened) -> Result<(), Failure> {
    let stage = stage(opened)?;
    let judged = opened.runtime.block_on(async {
        let conditions = check_consistency(&stage, SCALE).await?;
        Ok::<_, sombra::TransactionError>((conditions, read_contents(&stage, SCALE).await?))
    });
    let (conditions, contents) = judged.map_err(|error| format!("reading: {error}"))?;
    let mut text = String::new();
    for (place, digest) in contents.digests {
        text.push_str(&Line::Shown { place, digest }.format());
        text.push('\n');
        if text.len() >= SHOWN_CHUNK_BYTES {
            opened.pipe.send(&text);
            text.clear();
        }
    }
    let wrong = conditions.examples.iter().map(ToString::to_string);
    for what in wrong.chain(contents.examples.iter().map(ToString::to_string)) {
        text.push_str(&Line::Wrong(what).format());
        text.push('\n');
    }
    let conditions = conditions.violations.iter().sum();
    let accounts = contents.wrong_accounts;
    text.push_str(&Line::ShownAll { conditions, accounts }.format());
    text.push('\n');
    opened.pipe.send(&text);
    Ok(())
}
