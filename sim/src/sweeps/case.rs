//! One case: the workload up to the failure, what the store says then, a crash, and two looks at
//! what is left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use sombra::{Db, OpenMode};
use sombra_runtime::sim::{SimClients, SimDisk, SimDiskOptions, SimOptions, SimWorld};

use super::finale::{self, Finale};
use super::injector::Injector;
use super::kind::{Case, Control};
use super::report::{CaseReport, Reply, WorkReport};
use super::script::{self, Ending, Life, Step};
use super::worker::{SharedSheet, Sheet, Stopped, Worker};
use crate::limits;
use crate::machine;
use crate::model::Shared;
use crate::seeds::STORE_DIR;

/// Runs one case. A panic anywhere in it is a finding.
#[must_use]
pub fn run_case(case: Case) -> CaseReport {
    let outcome = catch_unwind(AssertUnwindSafe(|| Run::new(case).finish()));
    outcome.unwrap_or_else(|panic| {
        let findings = vec![machine::panic_text(&*panic)];
        CaseReport { is_hit: true, findings, ..CaseReport::default() }
    })
}

struct Run {
    injector: Injector,
    history: Shared,
    report: CaseReport,
    /// Somebody was told that there is a store.
    is_made: bool,
}

impl Run {
    fn new(case: Case) -> Run {
        let disk = SimDisk::new(SimDiskOptions::new(limits::SWEEP_SEED));
        let injector = Injector::arm(case, disk);
        let (history, report) = (Shared::default(), CaseReport::default());
        Run { injector, history, report, is_made: false }
    }

    fn finish(mut self) -> CaseReport {
        for (life, number) in script::lives().into_iter().zip(0..) {
            self.live(life, number);
            if self.injector.is_hit() || !self.report.findings.is_empty() {
                break;
            }
        }
        self.report.is_hit = self.injector.is_hit();
        self.injector.lift();
        self.injector.disk.set_options(|options| options.flush_suppressed = false);
        self.look();
        self.report
    }

    /// One opening with all that is done in it; afterwards no process uses the disk.
    fn live(&mut self, life: Life, number: u32) {
        let disk = self.injector.disk.clone();
        let mut options = SimOptions::new(limits::SWEEP_SEED + u64::from(number), 2, disk);
        options.fault_points = self.injector.points.clone();
        let mut world = SimWorld::new(options);
        let sheet = SharedSheet::default();
        let (history, injector) = (self.history.clone(), self.injector.clone());
        let ending = life.ending;
        let task = Living { sheet: Rc::clone(&sheet), history, injector, life, number };
        world.spawn_client("worker", task.run(world.runtime(), world.clients()));
        let injector = self.injector.clone();
        let look = || {
            injector.tick();
            let sheet = sheet.borrow();
            (sheet.progress, sheet.is_done)
        };
        if let Err(hang) = machine::work(&mut world, look, |(_, is_done)| *is_done) {
            self.report.hangs += 1;
            self.report.findings.push(format!("life {number}: {hang}"));
        }
        self.report.trace_hash ^= world.trace_hash().rotate_left(number);
        match ending {
            Ending::PowerCut if !self.injector.is_hit() => world.power_cut(),
            // What a failed operation left behind is looked at with and without a power cut.
            _ => world.kill(),
        }
        self.add(&sheet.borrow());
    }

    fn add(&mut self, sheet: &Sheet) {
        self.is_made |= sheet.is_open;
        self.report.replies = sheet.replies.plus(self.report.replies);
        self.report.work += sheet.work;
        self.report.refused_to_open += sheet.refused_to_open;
        self.report.poisoned += sheet.poisoned;
        self.report.findings.extend(sheet.findings.iter().cloned());
    }

    /// Opens what is left, once as the dead process left it and once after a power cut.
    fn look(&mut self) {
        let disk = self.injector.disk.clone();
        let copy = disk.fork(limits::SWEEP_SEED);
        let history = self.history.with(|history| history.clone());
        let kept = Shared::default();
        kept.with(|of_copy| *of_copy = history);
        disk.power_cut();
        for (disk, history, after) in
            [(disk, self.history.clone(), "power cut"), (copy, kept, "death")]
        {
            let seen = Finale { disk, history, is_made: self.is_made }.run();
            self.report.reopened += 1;
            self.report.reopened_clean += u64::from(seen.findings.is_empty());
            self.report.hangs += seen.hangs;
            self.report.lost += seen.lost;
            self.report.half_applied += seen.half_applied;
            self.report.trace_hash ^= seen.trace_hash.rotate_left(32);
            let told = seen.findings.into_iter().map(|what| format!("after the {after}: {what}"));
            self.report.findings.extend(told);
        }
    }
}

/// One life as a task.
struct Living {
    sheet: SharedSheet,
    history: Shared,
    injector: Injector,
    life: Life,
    number: u32,
}

impl Living {
    async fn run(self, runtime: sombra::Runtime, clients: SimClients) {
        match Db::open(&runtime, STORE_DIR, self.life.options.clone()).await {
            Ok(db) => self.work(db, clients).await,
            Err(error) => {
                let mut sheet = self.sheet.borrow_mut();
                sheet.refused_to_open += 1;
                sheet.findings.extend(finale::refusal(&self.injector, &error));
            }
        }
        self.sheet.borrow_mut().is_done = true;
    }

    async fn work(&self, db: Db, clients: SimClients) {
        self.sheet.borrow_mut().is_open = true;
        let owner = (Some(self.injector.clone()), self.number);
        let sheet = Rc::clone(&self.sheet);
        let mut worker = Worker::new((db.clone(), clients), self.history.clone(), sheet, owner);
        let mut has_stopped = false;
        for step in &self.life.steps {
            if worker.step(step).await.is_err() {
                has_stopped = true;
                break;
            }
        }
        if self.injector.is_hit() {
            self.after_the_failure(&mut worker, has_stopped).await;
        }
        self.count(&db);
        drop(worker.into_db());
        // A store that stopped must let its owner go too.
        if self.life.ending == Ending::Close || db.poison_reason().is_some() {
            self.close(db).await;
        }
    }

    /// What the life went through; a sweep of a workload that does little says little.
    fn count(&self, db: &Db) {
        let (metrics, report) = (db.metrics(), db.open_report());
        let mut sheet = self.sheet.borrow_mut();
        let value = |name: &str| metrics.value(name) as u64;
        sheet.work += WorkReport {
            lives: 1,
            replayed: u64::from(report.replayed_records > 0),
            merges: value("sombra_merges_total"),
            root_writes: value("sombra_root_writes_total"),
            recycled: value("sombra_wal_recycled_segments_total"),
            across: value("sombra_commits_across_shards_total"),
        };
    }

    /// A store that stopped says so to everybody; any other one goes on.
    async fn after_the_failure(&self, worker: &mut Worker, has_stopped: bool) {
        let case = self.injector.case;
        let _either = worker.step(&Step::Pause(limits::SWEEP_SETTLE_MS)).await;
        let reason = worker.db.poison_reason();
        if reason.is_none() && case.must_stop() {
            worker.finding(format!("the store goes on after the failure of {case:?}"));
        }
        if let Some(reason) = &reason
            && !case.may_stop()
        {
            worker.finding(format!("the store stopped: {reason}"));
        }
        self.injector.lift();
        if self.life.options.open_mode == OpenMode::ReadOnly {
            return;
        }
        if has_stopped || reason.is_some() {
            if self.ask(worker).await.is_ok() {
                worker.finding("a store that has stopped took a commit".to_owned());
            }
            return;
        }
        if self.injector.is_control(Control::FlushesSuppressed) {
            self.injector.disk.set_options(|options| options.flush_suppressed = true);
        }
        self.goes_on(worker).await;
    }

    /// Asks for a commit, and for the keyspace before it where there is none yet.
    async fn ask(&self, worker: &mut Worker) -> Result<(), Stopped> {
        worker.step(&Step::Create(script::SPLIT)).await?;
        worker.step(&script::small_put()).await
    }

    /// With nothing failing any more a commit goes through within some attempts.
    async fn goes_on(&self, worker: &mut Worker) {
        let done = |worker: &Worker| worker.sheet.borrow().replies.count(Reply::Done);
        let damaged = |worker: &Worker| worker.sheet.borrow().replies.count(Reply::Damaged);
        for _ in 0..limits::SWEEP_ATTEMPTS {
            let before = (done(worker), damaged(worker));
            if self.ask(worker).await.is_err() || done(worker) > before.0 {
                return;
            }
            // Until it is reopened; `Case::allows` has judged whether that may be.
            if damaged(worker) > before.1 {
                return;
            }
            let _either = worker.step(&Step::Pause(limits::SWEEP_SETTLE_MS)).await;
        }
        worker.finding("the store does not go on although nothing fails any more".to_owned());
    }

    async fn close(&self, db: Db) {
        let poisoned = db.poison_reason();
        let outcome = db.close().await;
        let mut sheet = self.sheet.borrow_mut();
        sheet.progress += 1;
        let is_hit = self.injector.is_hit();
        let case = self.injector.case;
        match outcome {
            Err(_) if is_hit && case.may_stop() => sheet.poisoned += 1,
            Err(error) => sheet.findings.push(format!("life {}: close: {error}", self.number)),
            Ok(()) if poisoned.is_some() => {
                sheet.findings.push("a store that stopped says that it closed".to_owned());
            }
            Ok(()) if is_hit && case.must_stop() => {
                sheet.findings.push(format!("close reports nothing after {case:?}"));
            }
            Ok(()) => {}
        }
    }
}
