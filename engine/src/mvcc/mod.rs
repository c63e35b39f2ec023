//! Timestamps and snapshots: what is visible, who still reads what.
//!
//! Knows positions and slots. Must never know keys, values or the disk.

pub(crate) mod oracle;
pub(crate) mod registry;
pub(crate) mod states;

#[cfg(all(test, sombra_loom))]
mod loom_tests;
#[cfg(all(test, not(sombra_loom)))]
mod tests;
