//! The phases of a run, each measured by itself.

pub(crate) mod clients;
pub(crate) mod disk;
pub(crate) mod load;
pub(crate) mod pairs;
pub(crate) mod verify;

#[cfg(test)]
mod tests;
