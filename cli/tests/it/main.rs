//! The built `sombra` command, driven as a user drives it.

mod bad_input;
mod bench;
mod harness;
mod kv;
mod look;
