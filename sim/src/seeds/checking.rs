//! The offline checker between two openings: what a crash leaves must be whole at once, not
//! only once recovery has looked at it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sombra::inspect::{self, CheckReport};
use sombra_runtime::sim::{SimOptions, SimWorld};

use super::opening::STORE_DIR;
use super::run::{Failed, Run};
use crate::limits;

impl Run {
    /// Checks the store on the disk that nobody has open, once there is one.
    pub(super) fn check(&mut self) -> Result<(), Failed> {
        if self.report.reopens == 0 || self.flush_suppressed {
            return Ok(());
        }
        let report = self.inspect()?;
        match report.problems.as_slice() {
            [] => Ok(()),
            [first, ..] => Err(format!("checker: {first} ({} problems)", report.problems.len())),
        }
    }

    /// What the checker says.
    pub(super) fn inspect(&mut self) -> Result<CheckReport, Failed> {
        let options = SimOptions::new(self.random.next_u64(), 1, self.disk.clone());
        let mut world = SimWorld::new(options);
        let runtime = world.runtime();
        let answer = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&answer);
        world.spawn_client("check", async move {
            let checked = inspect::check(&runtime, Path::new(STORE_DIR), |_, _| ()).await;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(checked);
        });
        let is_there = || answer.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let end = world.run(limits::STEPS_OPEN_MAX, is_there);
        let checked = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let described = world.describe();
        self.fold_world(&world);
        world.kill();
        let report = checked.ok_or_else(|| format!("checker hangs ({end:?}): {described}"))?;
        let report = report.map_err(|error| format!("checker: {error}"))?;
        self.report.trees.checks += 1;
        let trees = report.tablets.iter().filter(|tablet| tablet.height > 0).count();
        self.report.trees.trees_checked += trees as u64;
        Ok(report)
    }
}
