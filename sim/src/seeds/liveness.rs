//! The end of a seed: the faults stop. The store must make progress again, hold nothing that
//! nobody needs, and account for every byte of its file.

use std::path::Path;
use std::sync::Arc;

use sombra::inspect::{self, SpaceReport};
use sombra::{Db, Metrics};
use sombra_runtime::sim::SimWorld;

use super::opening::{Opened, STORE_DIR};
use super::run::{Failed, Run};
use crate::limits;
use crate::machine;
use crate::workload::Tally;

/// What must be zero once nobody uses the store, and what it means if it is not.
const NOTHING_HELD: [(&str, &str); 6] = [
    ("sombra_transactions_active", "slots of snapshots"),
    ("sombra_views_kept", "views"),
    ("sombra_views_kept_bytes", "memory of old snapshots"),
    ("sombra_commits_open", "commits"),
    ("sombra_data_waiting_bytes", "pages"),
    ("sombra_merge_stuck", "merges that wait for room"),
];

impl Run {
    /// Works on a disk without faults until something has been done, then waits until nothing
    /// is held any more.
    pub(super) fn make_progress(
        &mut self,
        world: &mut SimWorld,
        opened: &Opened,
        shards: u64,
    ) -> Result<(), Failed> {
        self.disk.clear_faults();
        let tally = Arc::new(Tally::default());
        let clients = self.spawn_clients(world, opened, shards, &tally);
        let enough = limits::LIVENESS_ACKNOWLEDGED_MIN;
        let worked = self.work(world, &tally, |now| {
            now.acknowledged >= enough
                || now.ended == clients
                || now.operations > limits::LIVENESS_OPERATIONS_MAX
        });
        worked.map_err(|error| format!("no progress without faults: {error}"))?;
        tally.stop();
        self.work(world, &tally, |now| now.ended == clients)?;
        let done = tally.report();
        self.report.work += done;
        if done.acknowledged < enough {
            return Err(format!("little is committed without faults: {done:?}"));
        }
        self.let_go(world, &opened.db)
    }

    /// Waits until the store holds nothing for anybody.
    pub(super) fn let_go(&mut self, world: &mut SimWorld, db: &Db) -> Result<(), Failed> {
        let waited = machine::work(world, || held(&db.metrics()), |held| held.is_empty());
        self.mark_store(db);
        waited.map_err(|error| {
            let held = held(&db.metrics());
            format!("nobody uses the store, and it holds {held:?}: {error}")
        })
    }

    /// Every byte of the data file is the root table's, a tablet's or free.
    pub(super) fn account_for_space(&mut self) -> Result<(), Failed> {
        unaccounted(&self.space()?)
    }

    pub(super) fn space(&mut self) -> Result<SpaceReport, Failed> {
        let report = self.on_closed_store("space", |runtime| async move {
            inspect::space(&runtime, Path::new(STORE_DIR)).await
        })?;
        report.map_err(|error| format!("space: {error}"))
    }
}

fn held(metrics: &Metrics) -> Vec<(&'static str, u64)> {
    let value = |(name, what): &(&'static str, &'static str)| {
        let is_there = metrics.lines().iter().any(|line| line.name == *name);
        assert!(is_there, "the engine does not count {name}");
        (*what, metrics.value(name) as u64)
    };
    NOTHING_HELD.iter().map(value).filter(|(_, value)| *value > 0).collect()
}

pub(super) fn unaccounted(report: &SpaceReport) -> Result<(), Failed> {
    let Some(data) = &report.data else { return Ok(()) };
    let extents: u64 = data.tablets.iter().map(|tablet| tablet.extents.len() as u64).sum();
    let tablets = extents * report.extent_bytes;
    let known = data.root_table_bytes + data.free_extents_bytes + tablets;
    if known == data.file_bytes {
        return Ok(());
    }
    let (file, roots, free) = (data.file_bytes, data.root_table_bytes, data.free_extents_bytes);
    Err(format!("space: {file} bytes, of them {roots} of roots, {tablets} of tablets, {free} free"))
}
