//! What a run reports: figures for machines (`serde`), a table for people.

mod churn_table;
mod counter_table;
mod environment;
mod figures;
mod idle_table;
mod larger_table;
mod table;
mod transactions_table;

pub use environment::Environment;
pub use figures::{
    CommitFigures, DiskFigures, MixFigures, PairRow, PairsFigures, RatioFigures, ReadFigures,
    Report, WorkloadFacts,
};
