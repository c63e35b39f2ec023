//! The store through its public API, on real drivers in a real directory, and on simulated ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod anomalies;
mod child;
mod device;
mod disk;
mod embedding;
mod examples;
mod support;

mod bad_input;
mod contention;
mod dependent;
mod isolation;
mod locks;
mod log_damage;
mod log_end;
mod log_write_failure;
mod metrics;
mod model;
mod out_of_reach;
mod publication;
mod read_only;
mod recovery_table;
mod reopening;
mod repair_crashes;
mod scrub;
mod store;
mod superblock;
mod trees;
#[cfg(feature = "serde")]
mod typed;
