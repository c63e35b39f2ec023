//! The end of a seed: the faults stop. The store must make progress again, and let go of what
//! nobody needs.

use std::sync::Arc;

use sombra::{Db, Metrics};
use sombra_runtime::sim::SimWorld;

use super::marks;
use super::opening::Opened;
use super::run::{Failed, Run};
use crate::limits;
use crate::machine;
use crate::workload::Tally;

/// What must be zero once nobody uses the store, and what it means if it is not.
const NOTHING_HELD: [(&str, &str); 7] = [
    ("sombra_transactions_active", "slots of snapshots"),
    ("sombra_views_kept", "views"),
    ("sombra_views_kept_bytes", "memory of old snapshots"),
    ("sombra_commits_open", "commits"),
    ("sombra_data_waiting_bytes", "pages"),
    ("sombra_data_dropped_bytes", "space of dropped keyspaces"),
    ("sombra_merge_stuck", "merges that wait for room"),
];

/// Tells this drawing from others of the same life.
const FAULTS_STOP: u64 = 0xFA;

impl Run {
    /// Sometimes the faults stop while the store is open: that alone must let it go on.
    pub(super) fn faults_stop(
        &mut self,
        world: &mut SimWorld,
        tally: &Tally,
        clients: u64,
    ) -> Result<(), Failed> {
        let mut random = self.aside(FAULTS_STOP);
        // A data file at its bound refuses what adds data, faults or none.
        let may_be_full = self.options.data_bytes_max < u64::MAX;
        if may_be_full || !random.percent(limits::FAULTS_STOP_PERCENT) {
            return Ok(());
        }
        self.disk.clear_faults();
        self.swarm.disk_bytes = None;
        self.disk.set_options(|disk| disk.capacity_bytes = u64::MAX);
        let before = tally.report();
        let enough = before.acknowledged + limits::LIVENESS_ACKNOWLEDGED_MIN / 4;
        let operations_max = before.operations + limits::LIVENESS_OPERATIONS_MAX;
        let stopped = self.work(world, tally, |now| {
            now.acknowledged >= enough || now.ended == clients || now.operations > operations_max
        });
        stopped.map_err(|error| format!("no progress when faults have stopped: {error}"))?;
        let done = tally.report();
        if done.acknowledged < enough && done.ended < clients {
            return Err(format!("little is committed when faults have stopped: {done:?}"));
        }
        self.report.marks.add(marks::FAULTS_STOPPED, 1);
        Ok(())
    }

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
}

fn held(metrics: &Metrics) -> Vec<(&'static str, u64)> {
    let value = |(name, what): &(&'static str, &'static str)| {
        let is_there = metrics.lines().iter().any(|line| line.name == *name);
        assert!(is_there, "the engine does not count {name}");
        (*what, metrics.value(name) as u64)
    };
    NOTHING_HELD.iter().map(value).filter(|(_, value)| *value > 0).collect()
}
