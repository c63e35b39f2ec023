//! What clients do: which operation, on which record, with which bytes.

mod distribution;
mod record;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use crate::random::Random;

pub use distribution::{Chooser, Distribution, fnv_hash64};
pub use record::{Shape, WriteTag};

/// One request of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Reads one record.
    Read,
    /// Replaces one record without reading it.
    Update,
    /// Reads one record and replaces it in the same transaction.
    ReadModifyWrite,
}

/// The mixes of the Yahoo! Cloud Serving Benchmark that need no scans and no inserts, and the two
/// pure ones. Source: Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", SoCC 2010.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mix {
    /// Half reads, half updates.
    A,
    /// 95 % reads, 5 % updates.
    B,
    /// Reads only.
    C,
    /// Half reads, half read-modify-writes.
    F,
    /// Every operation is one durable put.
    Commit,
    /// Every operation is one point read.
    Read,
}

impl Mix {
    /// The share of reads, in per cent; the rest is what [`Mix::write_operation`] says.
    #[must_use]
    pub const fn read_percent(self) -> u64 {
        match self {
            Mix::A | Mix::F => 50,
            Mix::B => 95,
            Mix::C | Mix::Read => 100,
            Mix::Commit => 0,
        }
    }

    const fn write_operation(self) -> Operation {
        match self {
            Mix::F => Operation::ReadModifyWrite,
            Mix::A | Mix::B | Mix::C | Mix::Commit | Mix::Read => Operation::Update,
        }
    }

    /// Draws the next operation.
    pub fn draw(self, random: &mut Random) -> Operation {
        if random.below(100) < self.read_percent() {
            Operation::Read
        } else {
            self.write_operation()
        }
    }

    /// The distribution that the definition of the mix names.
    #[must_use]
    pub const fn canonical_distribution(self) -> Distribution {
        match self {
            Mix::A | Mix::B | Mix::C | Mix::F => Distribution::Zipfian,
            Mix::Commit | Mix::Read => Distribution::Uniform,
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mix::A => "YCSB A (50/50 read/update)",
            Mix::B => "YCSB B (95/5 read/update)",
            Mix::C => "YCSB C (reads)",
            Mix::F => "YCSB F (50/50 read/modify)",
            Mix::Commit => "durable put",
            Mix::Read => "point read",
        })
    }
}
