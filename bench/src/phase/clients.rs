//! A crowd of clients at work for a fixed time.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::client::{Client, ClientReport, PhaseShared};
use crate::error::BenchError;
use crate::history::Recording;
use crate::measure::{Pace, Window};
use crate::plan::ClientsOn;
use crate::random::Random;
use crate::sample::Sample;
use crate::session::Session;
use crate::workload::{Chooser, Distribution, Mix};

use super::crew::{Shift, Worked};

/// One phase of clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientsPhase {
    pub(crate) name: &'static str,
    pub(crate) mix: Mix,
    pub(crate) distribution: Distribution,
    pub(crate) clients: usize,
    pub(crate) on: ClientsOn,
    pub(crate) rate_per_s: Option<u64>,
    /// Time before anything counts.
    pub(crate) warmup: Duration,
}

/// What a phase came to.
#[derive(Clone, Debug)]
pub(crate) struct ClientsRun {
    pub(crate) phase: ClientsPhase,
    pub(crate) report: ClientReport,
    pub(crate) seconds: f64,
    /// What the store and the process counted over the measured time.
    pub(crate) counted: Sample,
}

impl Session {
    /// Runs a phase and waits for its last client.
    pub(crate) fn run_clients(&self, phase: ClientsPhase) -> Result<ClientsRun, BenchError> {
        let (warmup, measured) = (phase.warmup, self.plan.measured);
        self.progress.begin_timed(phase.name, warmup + measured);
        let (distribution, loaded) = (phase.distribution, self.plan.records);
        let chooser = if phase.mix.grows() {
            Chooser::growing(distribution, loaded)
        } else {
            Chooser::new(distribution, loaded)
        };
        let shared = Arc::new(PhaseShared {
            mix: phase.mix,
            chooser,
            shape: self.plan.shape,
            window: Window::starting(self.runtime.now(), warmup, measured),
            stop: self.stop.clone(),
            ledger: Arc::clone(&self.ledger),
            inserts: Arc::clone(&self.inserts),
            history: None,
            recording: Recording::default(),
            at_work: AtomicUsize::new(phase.clients),
        });
        let clients: Vec<_> =
            (0..phase.clients).map(|index| self.new_client(&phase, &shared, index)).collect();
        let shift = Shift { on: phase.on, window: shared.window, at_work: &shared.at_work };
        let Worked { outcome: report, counted, seconds } = self.run_crew(clients, &shift)?;
        Ok(ClientsRun { phase, report, seconds, counted })
    }

    pub(super) fn new_client(
        &self,
        phase: &ClientsPhase,
        shared: &Arc<PhaseShared>,
        index: usize,
    ) -> Client {
        let writer = self.ledger.new_writer();
        let pace =
            phase.rate_per_s.map_or(Pace::Closed, |rate| Pace::open(rate, phase.clients, index));
        let random = Random::for_client(self.plan.seed, u64::from(writer));
        Client { shared: Arc::clone(shared), pace, random, writer }
    }
}
