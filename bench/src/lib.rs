//! Workloads, clients, and honest figures: how fast a store of this engine is on this machine,
//! measured beside what its disk can do by itself, and checked afterwards for lost writes.
//!
//! The clients of a run stand on the shards or on plain threads; those threads, like the clock of
//! the runtime that times them, are this crate's own business and no part of a simulated run.

mod client;
mod crowd;
pub mod disk;
mod error;
pub mod history;
pub mod limits;
mod machine;
pub mod measure;
mod phase;
mod place;
mod plan;
mod progress;
pub mod random;
mod report;
mod run;
mod sample;
mod session;
mod site;
mod space;
pub mod workload;

pub use error::BenchError;
pub use history::HistoryFigures;
pub use measure::{Aborts, Stop};
pub use phase::churn::{ChurnFigures, ChurnPoint};
pub use phase::counter::{CounterFigures, CounterRow, CounterSide, Raise};
pub use phase::crossing::{CrossingFigures, CrossingRow};
pub use phase::first_state::SnapshotFigures;
pub use phase::idle::{IdleFigures, IdleRow};
pub use phase::larger::{LargerFigures, LookupFigures};
pub use phase::load::LoadFigures;
pub use phase::long_transactions::LongFigures;
pub use phase::read_pairs::{ReadPairRow, ReadPairsFigures};
pub use phase::reference::ReferenceFigures;
pub use phase::settle::SettleFigures;
pub use phase::tpcc::{Books, TpccFigures, TpccRow};
pub use phase::transaction_pairs::{TransactionPairRow, TransactionPairsFigures};
pub use phase::transactions::TransactionFigures;
pub use phase::verify::VerifyFigures;
pub use place::human_bytes;
pub use plan::{ClientsOn, Mode, Plan};
pub use progress::Progress;
pub use report::{
    CommitFigures, DiskFigures, Environment, MixFigures, PairRow, PairsFigures, RatioFigures,
    ReadFigures, Report, WorkloadFacts,
};
pub use run::run;
pub use sample::CommitCost;
pub use space::SpaceFigures;
