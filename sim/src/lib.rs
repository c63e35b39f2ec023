//! Whole-system tests of Sombra: a model of what was promised, a workload that reports to it,
//! a simulated machine that crashes under it, and a checker of recorded transactions.
//!
//! Everything here follows from one seed: time, chance and order come from the simulated
//! runtime and from [`random::Random`].

pub mod flips;
pub mod histories;
pub mod isolation;
pub mod limits;
mod machine;
pub mod model;
pub mod protocol;
pub mod random;
pub mod seeds;
pub mod sweeps;
pub mod verdicts;
pub mod workload;
