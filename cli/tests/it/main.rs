//! The built `sombra` command, driven as a user drives it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod bad_input;
mod bench;
mod check;
mod damage;
mod disk;
mod harness;
mod kv;
mod look;
mod repair;
mod transfer;
mod trees;
