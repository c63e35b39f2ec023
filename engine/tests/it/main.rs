//! The store through its public API, on real drivers in a real directory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

mod isolation;
mod store;
