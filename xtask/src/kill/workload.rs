//! What the writer does until it dies, and who says whether the store is right afterwards.

use super::model::{self, ModelJudge};
use super::writer::{Opened, WriterArguments, Writers};
use crate::Failure;

/// What the writer's clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Workload {
    /// Writes of every kind, against the simulation's model of a store
    Model,
}

/// Knows one store's past: hears what the writer says, and what does not fit together in it.
pub(super) trait Judge {
    /// Takes in the reports of one life, in their order; a report that cannot be is an error.
    fn hear(&mut self, reports: &[String]) -> Result<Reported, Failure>;
}

/// What a life's reports came to.
#[derive(Default)]
pub(super) struct Reported {
    /// The whole store was shown and compared.
    pub(super) compared: bool,
    pub(super) acknowledged: u64,
    pub(super) unanswered: u64,
    pub(super) lost: u64,
    pub(super) half_applied: u64,
    pub(super) violations: Vec<String>,
}

impl Workload {
    pub(super) fn name(self) -> &'static str {
        match self {
            Workload::Model => "model",
        }
    }

    pub(super) fn judge(self) -> Box<dyn Judge> {
        match self {
            Workload::Model => Box::<ModelJudge>::default(),
        }
    }

    /// Tells all that the store holds.
    pub(super) fn show(self, opened: &Opened) -> Result<(), Failure> {
        match self {
            Workload::Model => model::show(opened),
        }
    }

    /// Says that the work begins, and begins it.
    pub(super) fn start(
        self,
        opened: &Opened,
        arguments: &WriterArguments,
    ) -> Result<Writers, Failure> {
        match self {
            Workload::Model => model::start(opened, arguments),
        }
    }
}
