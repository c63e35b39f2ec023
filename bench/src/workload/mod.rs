//! What clients do: which operation, on which record, with which bytes.

mod distribution;
mod inserts;
mod record;
pub mod tpcc;
mod transaction;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use crate::limits::SCAN_ROWS_MAX;
use crate::random::Random;

pub(crate) use distribution::ZipfianRanks;
pub use distribution::{Chooser, Distribution, fnv_hash64};
pub use inserts::Inserts;
pub use record::{Shape, WriteTag};
pub use transaction::{RecordsOfA, TRANSACTION_RECORDS, distinct};

/// One request of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Reads one record.
    Read,
    /// Replaces one record without reading it.
    Update,
    /// Reads one record and replaces it in the same transaction.
    ReadModifyWrite,
    /// Writes a record that did not exist.
    Insert,
    /// Reads the records that follow one key, in key order.
    Scan,
}

/// The mixes of the Yahoo! Cloud Serving Benchmark, and the two pure ones. Source: Cooper et al.,
/// "Benchmarking Cloud Serving Systems with YCSB", SoCC 2010, and the `workloada` to `workloadf`
/// files of its program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mix {
    /// Half reads, half updates.
    A,
    /// 95 % reads, 5 % updates.
    B,
    /// Reads only.
    C,
    /// 95 % reads of what was inserted last, 5 % inserts.
    D,
    /// 95 % scans of up to a hundred records, 5 % inserts.
    E,
    /// Half reads, half read-modify-writes.
    F,
    /// Every operation is one durable put.
    Commit,
    /// Every operation is one point read.
    Read,
}

impl Mix {
    /// The share of reads or scans, in per cent; the rest is what [`Mix::write_operation`] says.
    #[must_use]
    pub const fn read_percent(self) -> u64 {
        match self {
            Mix::A | Mix::F => 50,
            Mix::B | Mix::D | Mix::E => 95,
            Mix::C | Mix::Read => 100,
            Mix::Commit => 0,
        }
    }

    const fn write_operation(self) -> Operation {
        match self {
            Mix::F => Operation::ReadModifyWrite,
            Mix::D | Mix::E => Operation::Insert,
            Mix::A | Mix::B | Mix::C | Mix::Commit | Mix::Read => Operation::Update,
        }
    }

    const fn read_operation(self) -> Operation {
        match self {
            Mix::E => Operation::Scan,
            Mix::A | Mix::B | Mix::C | Mix::D | Mix::F | Mix::Commit | Mix::Read => Operation::Read,
        }
    }

    /// Whether the mix makes records that were not loaded.
    #[must_use]
    pub const fn grows(self) -> bool {
        matches!(self, Mix::D | Mix::E)
    }

    /// Whether the mix reads records in the order of their keys.
    #[must_use]
    pub const fn needs_order(self) -> bool {
        matches!(self, Mix::E)
    }

    /// Draws the next operation.
    pub fn draw(self, random: &mut Random) -> Operation {
        if random.below(100) < self.read_percent() {
            self.read_operation()
        } else {
            self.write_operation()
        }
    }

    /// The distribution that the definition of the mix names.
    #[must_use]
    pub const fn canonical_distribution(self) -> Distribution {
        match self {
            Mix::A | Mix::B | Mix::C | Mix::E | Mix::F => Distribution::Zipfian,
            Mix::D => Distribution::Latest,
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
            Mix::D => "YCSB D (95/5 read latest/insert)",
            Mix::E => "YCSB E (95/5 scan/insert)",
            Mix::F => "YCSB F (50/50 read/modify)",
            Mix::Commit => "durable put",
            Mix::Read => "point read",
        })
    }
}

/// How many records a scan reads: 1 to 100, each as likely as any other.
#[must_use]
pub fn scan_rows(random: &mut Random) -> usize {
    1 + random.below(SCAN_ROWS_MAX) as usize
}
