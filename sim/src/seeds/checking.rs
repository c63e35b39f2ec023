//! The offline checker between two openings: what a crash leaves must be whole at once, not
//! only once recovery has looked at it.

use std::future::Future;
use std::path::Path;

use sombra::inspect::{self, CheckReport};
use sombra_runtime::Runtime;
use sombra_runtime::sim::{SimOptions, SimWorld};

use super::opening::STORE_DIR;
use super::run::{Failed, Run};
use crate::machine;

impl Run {
    /// Checks the store on the disk that nobody has open, once there is one that must be whole.
    pub(super) fn check(&mut self) -> Result<Option<CheckReport>, Failed> {
        if self.report.reopens == 0 || self.flush_suppressed {
            return Ok(None);
        }
        let report = self.inspect()?;
        match report.problems.as_slice() {
            [] => Ok(Some(report)),
            [first, ..] => Err(format!("checker: {first} ({} problems)", report.problems.len())),
        }
    }

    /// What the checker says.
    pub(super) fn inspect(&mut self) -> Result<CheckReport, Failed> {
        let checked = self.on_closed_store("check", |runtime| async move {
            inspect::check(&runtime, Path::new(STORE_DIR), |_, _| ()).await
        });
        let report = checked?.map_err(|error| format!("checker: {error}"))?;
        self.report.trees.checks += 1;
        let trees = report.tablets.iter().filter(|tablet| tablet.height > 0).count();
        self.report.trees.trees_checked += trees as u64;
        Ok(report)
    }

    /// Runs a task in a world of its own, on the disk that nobody uses.
    pub(super) fn on_closed_store<T: 'static, F: Future<Output = T> + 'static>(
        &mut self,
        name: &str,
        task: impl FnOnce(Runtime) -> F,
    ) -> Result<T, Failed> {
        let options = SimOptions::new(self.random.next_u64(), 1, self.disk.clone());
        let mut world = SimWorld::new(options);
        let task = task(world.runtime());
        let outcome = machine::finish(&mut world, name, task);
        self.fold_world(&world);
        world.kill();
        outcome
    }
}
