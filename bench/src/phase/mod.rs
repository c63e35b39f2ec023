//! The phases of a run, each measured by itself.

pub(crate) mod churn;
pub(crate) mod clients;
pub(crate) mod counter;
pub(crate) mod crew;
pub(crate) mod crossing;
pub(crate) mod disk;
mod fio;
pub(crate) mod first_state;
pub(crate) mod idle;
pub(crate) mod larger;
pub(crate) mod load;
pub(crate) mod long_transactions;
mod overwrite;
pub(crate) mod pairs;
mod raw_reads;
pub(crate) mod read_pairs;
pub(crate) mod reference;
pub(crate) mod settle;
pub(crate) mod tpcc;
pub(crate) mod transaction_pairs;
pub(crate) mod transactions;
pub(crate) mod verify;

#[cfg(test)]
mod tests;
