//! What is left after the failure: the check, an opening that the model judges, writes, a close,
//! and the check again.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;

use sombra::inspect::{self, CheckReport};
use sombra::{Db, DurabilityMethod, OpenError, OpenMode};
use sombra_runtime::Runtime;
use sombra_runtime::sim::{SimClients, SimDisk, SimOptions, SimWorld};

use super::injector::Injector;
use super::report::CaseReport;
use super::script;
use super::worker::{SharedSheet, Worker};
use crate::limits;
use crate::machine;
use crate::model::{Shared, TxnId, Violation};
use crate::seeds::STORE_DIR;
use crate::workload::observe;

/// The number of the life in which the reopened store is written.
const LAST_LIFE: u32 = 99;

/// What is wrong with a refused opening: it must name the path and the operation, and be about a
/// device.
pub(super) fn refusal(injector: &Injector, error: &OpenError) -> Option<String> {
    if !injector.is_hit() || !injector.case.may_stay_shut() {
        return Some(format!("open: {error}"));
    }
    let text = error.to_string();
    use OpenError::{DataFile, DiskFull, Io, Unreadable};
    let is_device =
        matches!(error, Io { .. } | DiskFull { .. } | Unreadable { .. } | DataFile { .. });
    let is_named = text.contains(STORE_DIR);
    (!is_device || !is_named).then(|| format!("open is refused without a reason: {error:?}"))
}

/// A store that nobody has open.
pub(super) struct Finale {
    pub(super) disk: SimDisk,
    pub(super) history: Shared,
    /// Somebody was told that there is a store.
    pub(super) is_made: bool,
}

impl Finale {
    pub(super) fn run(self) -> CaseReport {
        let mut report = CaseReport::default();
        if self.is_made {
            self.check(&mut report, "before it is opened");
        }
        self.reopen(&mut report);
        self.judge(&mut report);
        if report.findings.is_empty() {
            self.check(&mut report, "after it was closed");
        }
        report
    }

    /// Runs one task in a world of its own; `None` when it hangs.
    fn alone<T, F>(
        &self,
        report: &mut CaseReport,
        program: impl FnOnce(Runtime, SimClients) -> F,
    ) -> Option<T>
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let mut world = SimWorld::new(SimOptions::new(limits::SWEEP_SEED, 2, self.disk.clone()));
        let task = program(world.runtime(), world.clients());
        let outcome = machine::finish(&mut world, "finale", task);
        report.trace_hash ^= world.trace_hash();
        world.kill();
        outcome
            .map_err(|hang| {
                report.hangs += 1;
                report.findings.push(hang);
            })
            .ok()
    }

    fn check(&self, report: &mut CaseReport, when: &str) {
        let checked = self.alone(report, |runtime, _| async move {
            inspect::check(&runtime, Path::new(STORE_DIR), |_, _| ()).await
        });
        let problems = |checked: &CheckReport| checked.problems.len();
        match checked {
            None => {}
            Some(Ok(checked)) if checked.problems.is_empty() => {}
            Some(Ok(checked)) => {
                let (first, count) = (&checked.problems[0], problems(&checked));
                report.findings.push(format!("check {when}: {first} ({count} problems)"));
            }
            Some(Err(error)) => report.findings.push(format!("check {when}: {error}")),
        }
    }

    /// Opens, lets the model compare, writes, closes.
    fn reopen(&self, report: &mut CaseReport) {
        let (history, sheet) = (self.history.clone(), SharedSheet::default());
        let on_sheet = Rc::clone(&sheet);
        let wrong = self.alone(report, |runtime, clients| async move {
            let method = Some(DurabilityMethod::RingFlush);
            let options = script::options(OpenMode::CreateIfMissing, method);
            let db = Db::open(&runtime, STORE_DIR, options).await;
            let db = db.map_err(|error| format!("open: {error}"))?;
            let observation =
                observe(&db, script::KEYS).await.map_err(|error| error.to_string())?;
            history.with(|history| history.settle(&observation, false));
            let owner = (None, LAST_LIFE);
            let mut worker = Worker::new((db, clients), history, on_sheet, owner);
            for step in script::writes_again() {
                worker.step(&step).await.map_err(|_| "the reopened store stopped".to_owned())?;
            }
            worker.into_db().close().await.map_err(|error| format!("close: {error}"))
        });
        report.findings.extend(wrong.and_then(Result::err));
        report.findings.append(&mut sheet.borrow_mut().findings);
    }

    fn judge(&self, report: &mut CaseReport) {
        let violations = self.history.with(|history| history.violations().to_vec());
        let count = |pick: fn(&Violation) -> Option<TxnId>| {
            violations.iter().filter_map(pick).collect::<BTreeSet<_>>().len() as u64
        };
        report.lost = count(Violation::lost);
        report.half_applied = count(Violation::half_applied);
        report.findings.extend(violations.iter().map(ToString::to_string));
    }
}
