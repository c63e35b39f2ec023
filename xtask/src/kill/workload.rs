//! What the writer does until it dies, and who says whether the store is right afterwards.

use super::writer::{Opened, WriterArguments, Writers};
use super::{model, tpcc};
use super::{model::ModelJudge, tpcc::TpccJudge};
use crate::Failure;

/// What the writer's clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Workload {
    /// Writes of every kind, against the simulation's model of a store
    Model,
    /// Orders and payments, against TPC-C's consistency conditions and what was acknowledged
    Tpcc,
}

/// Knows one store's past: hears what the writer says, and what does not fit together in it.
pub(crate) trait Judge {
    /// Takes in the reports of one life, in their order; a report that cannot be is an error.
    fn hear(&mut self, reports: &[String]) -> Result<Reported, Failure>;
}

/// What a life's reports came to.
#[derive(Default)]
pub(crate) struct Reported {
    /// The whole store was shown and compared.
    pub(crate) compared: bool,
    pub(crate) acknowledged: u64,
    pub(crate) unanswered: u64,
    pub(crate) lost: u64,
    pub(crate) half_applied: u64,
    /// Counts of the workload's own, by name.
    pub(crate) notes: Vec<(&'static str, u64)>,
    pub(crate) violations: Vec<String>,
}

impl Workload {
    pub(super) fn name(self) -> &'static str {
        match self {
            Workload::Model => "model",
            Workload::Tpcc => "tpcc",
        }
    }

    /// Whether a store needs something before its clients may be killed.
    pub(super) fn is_prepared(self) -> bool {
        self == Workload::Tpcc
    }

    pub(crate) fn judge(self) -> Box<dyn Judge> {
        match self {
            Workload::Model => Box::<ModelJudge>::default(),
            Workload::Tpcc => Box::<TpccJudge>::default(),
        }
    }

    pub(super) fn prepare(self, opened: &Opened, seed: u64) -> Result<(), Failure> {
        match self {
            Workload::Model => Ok(()),
            Workload::Tpcc => tpcc::prepare(opened, seed),
        }
    }

    /// Tells all that the store holds.
    pub(super) fn show(self, opened: &Opened) -> Result<(), Failure> {
        match self {
            Workload::Model => model::show(opened),
            Workload::Tpcc => tpcc::show(opened),
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
            Workload::Tpcc => tpcc::start(opened, arguments),
        }
    }
}
