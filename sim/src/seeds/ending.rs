//! How an episode ends: by power cut, death, close, or a device that fails.

use std::sync::Arc;

use sombra::{CommitError, Db, ReadError};
use sombra_runtime::sim::SimWorld;

use super::faults::{self, Failure};
use super::opening::Opened;
use super::run::{Failed, Run};
use super::space::Believed;
use super::swarm::Ending;
use crate::limits;
use crate::machine::{self, Crash};
use crate::workload::Tally;

/// Tells the drawings of aimed crashes from others of the same life.
const AIMED: u64 = 0xA1;

impl Run {
    pub(super) fn end(
        &mut self,
        mut world: SimWorld,
        opened: Opened,
        (ending, failure): (Ending, Option<Failure>),
        (tally, clients): (&Arc<Tally>, u64),
    ) -> Result<(), Failed> {
        self.healthy(&opened.db, ending)?;
        self.count_trees(&opened.db);
        self.mark_store(&opened.db);
        let segments = segments_on_disk(&opened.db, self.options.segment_bytes);
        self.report.segments += segments.saturating_sub(self.segments);
        self.segments = segments;
        let extra = self.random.scale(1, 400);
        match ending {
            Ending::PowerCut | Ending::Kill | Ending::KillThenPowerCut => {
                let suppressed = self.flush_suppressed;
                self.disk.set_options(|disk| disk.flush_suppressed = suppressed);
                if self.aim(&mut world, &opened.db) {
                    world.run(extra / 16, || false);
                } else if self.random.percent(50) {
                    let last = self.disk.counters().completions + extra / 8 + 1;
                    world.run_to_completion(extra * 20, last, || false);
                } else {
                    world.run(extra, || false);
                }
                self.healthy(&opened.db, ending)?;
            }
            Ending::Fault => {
                world.run(extra * 20, || tally.report().ended == clients);
                if let Some(failure) = failure {
                    self.failure_stops(&mut world, &opened.db, &failure)?;
                }
                self.poison_is_respected(&mut world, &opened)?;
            }
            Ending::Close | Ending::DropHandles => {
                tally.stop();
                self.work(&mut world, tally, |now| now.ended == clients)?;
                self.healthy(&opened.db, ending)?;
                self.close(&mut world, opened, ending == Ending::Close)?;
                self.fold_world(&world);
                world.power_cut();
                self.disk.clear_faults();
                return Ok(());
            }
        }
        self.report.crashes += 1;
        self.count_crash(&opened.db);
        self.mark_store(&opened.db);
        self.fold_world(&world);
        let crash = match ending {
            Ending::PowerCut => Crash::PowerCut,
            // What a failed write or flush left in the device is no longer covered by any later
            // flush, so going on without a power cut would test a promise that nobody can make.
            Ending::KillThenPowerCut | Ending::Fault => Crash::KillThenPowerCut,
            _ => Crash::Kill,
        };
        if crash == Crash::KillThenPowerCut {
            self.report.injected.add(faults::KILL_THEN_CUT, 1);
        }
        crash.end(world, &self.disk);
        self.disk.clear_faults();
        self.disk.set_options(|disk| disk.flush_suppressed = false);
        drop(opened);
        Ok(())
    }

    /// Turns the world until the store is at something that takes few moments of its life, now
    /// and then; true if it got there.
    fn aim(&mut self, world: &mut SimWorld, db: &Db) -> bool {
        let mut random = self.aside(AIMED);
        if !random.percent(limits::AIMED_CRASHES_PERCENT) {
            return false;
        }
        let at = *random.pick(&[
            "sombra_root_publications_running",
            "sombra_data_file_growing",
            "sombra_wal_segment_preparing",
        ]);
        let steps = random.between(1, limits::STEPS_PER_AIM);
        (0..limits::AIMS_MAX).any(|_| {
            world.run(steps, || false);
            db.metrics().value(at) > 0.0
        })
    }

    /// A write or a flush that failed where nothing can make up for it stops the store.
    fn failure_stops(
        &mut self,
        world: &mut SimWorld,
        db: &Db,
        failure: &Failure,
    ) -> Result<(), Failed> {
        let is_hit = self.has_failed(failure);
        self.report.faults += u64::from(is_hit);
        if !(is_hit && failure.must_stop) {
            return Ok(());
        }
        world.run(limits::STEPS_PER_LOOK, || db.poison_reason().is_some());
        match db.poison_reason() {
            Some(_) => Ok(()),
            None => Err(format!("the store goes on after the failure of a {:?}", failure.on)),
        }
    }

    /// A store that has stopped takes nothing more, and serves nothing.
    fn poison_is_respected(&self, world: &mut SimWorld, opened: &Opened) -> Result<(), Failed> {
        if opened.db.poison_reason().is_none() {
            return Ok(());
        }
        let (db, keyspace) = (opened.db.clone(), opened.spaces[0].keyspace.clone());
        let answers = machine::finish(world, "after poison", async move {
            (db.put(&keyspace, "k", "v").await, db.get(&keyspace, "k").await)
        })?;
        match answers {
            (Err(CommitError::Poisoned { .. }), Err(ReadError::Poisoned { .. })) => Ok(()),
            other => Err(format!("the store had stopped, and answered {other:?}")),
        }
    }

    fn count_trees(&mut self, db: &Db) {
        let metrics = db.metrics();
        let trees = &mut self.report.trees;
        trees.merges += metrics.value("sombra_merges_total") as u64;
        trees.root_writes += metrics.value("sombra_root_writes_total") as u64;
        trees.recycled += metrics.value("sombra_wal_recycled_segments_total") as u64;
        trees.snapshots_ended += metrics.value("sombra_snapshots_ended_total") as u64;
    }

    /// Notes what the store was at when it was cut off.
    fn count_crash(&mut self, db: &Db) {
        let metrics = db.metrics();
        let is = |name: &str| u64::from(metrics.value(name) > 0.0);
        let trees = &mut self.report.trees;
        trees.crashes_in_merge += is("sombra_merges_running");
        trees.crashes_in_publication += is("sombra_root_publications_running");
        trees.crashes_in_switch += is("sombra_wal_segment_preparing");
        trees.crashes_in_growth += is("sombra_data_file_growing");
    }

    /// Lets the store go, with a close or by dropping its last handle.
    pub(super) fn close(
        &mut self,
        world: &mut SimWorld,
        opened: Opened,
        close: bool,
    ) -> Result<(), Failed> {
        if !close {
            drop(opened);
            world.run(self.random.scale(1, 20_000), || false);
            return Ok(());
        }
        let Opened { db, spaces } = opened;
        drop(spaces);
        let (closed, before) = (db.clone(), Believed::of(&db.metrics()));
        let outcome = machine::finish(world, "close", async move { db.close().await })?;
        outcome.map_err(|error| format!("close: {error}"))?;
        self.clean = true;
        self.note_space(&closed, before)
    }

    /// A store stops itself only if a device failed it.
    pub(super) fn healthy(&self, db: &Db, ending: Ending) -> Result<(), Failed> {
        match db.poison_reason() {
            Some(reason) if ending != Ending::Fault => Err(format!("the store stopped: {reason}")),
            _ if self.opened_with_fault || ending == Ending::Fault => Ok(()),
            _ => match db.scrub_report().problems.as_slice() {
                [] => Ok(()),
                [first, ..] => Err(format!("the scrubber found {first}")),
            },
        }
    }

    /// Ends a world whose store is not open, one way or the other.
    pub(super) fn crash(&mut self, world: SimWorld) {
        self.fold_world(&world);
        let drawn = *self.random.pick(&Crash::ALL);
        // What a failed flush was about is covered by no later one: only a power cut shows what
        // is there, as after any other fault.
        let crash = if self.opened_with_fault { Crash::KillThenPowerCut } else { drawn };
        crash.end(world, &self.disk);
    }
}

fn segments_on_disk(db: &Db, segment_bytes: u64) -> u64 {
    let metrics = db.metrics();
    let lines = metrics.lines();
    let line = lines.iter().find(|line| line.name == "sombra_wal_disk_bytes");
    let bytes = line.expect("the engine counts what its log takes").value;
    bytes as u64 / segment_bytes
}
