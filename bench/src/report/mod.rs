//! What a run reports: figures for machines (`serde`), a table for people.

mod environment;
mod figures;
mod table;

#[cfg(test)]
mod tests;

pub use environment::Environment;
pub use figures::{
    CommitFigures, DiskFigures, MixFigures, PairRow, PairsFigures, RatioFigures, ReadFigures,
    Report, WorkloadFacts,
};
