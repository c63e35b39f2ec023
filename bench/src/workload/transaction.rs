//! Transactions of several records.

use crate::limits::{DISTINCT_DRAWS_MAX, TRANSACTION_READS, TRANSACTION_UPDATES};
use crate::random::Random;

use super::distribution::Chooser;

/// Records in one transaction of YCSB A.
pub const TRANSACTION_RECORDS: usize = TRANSACTION_READS + TRANSACTION_UPDATES;

/// YCSB A as a transaction of four: half of the records are read, half are updated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordsOfA {
    pub reads: [u64; TRANSACTION_READS],
    pub updates: [u64; TRANSACTION_UPDATES],
}

impl RecordsOfA {
    /// Draws the records of the next transaction, all different.
    pub fn draw(chooser: &Chooser, random: &mut Random, records: u64) -> RecordsOfA {
        let drawn: [u64; TRANSACTION_RECORDS] = distinct(records, || chooser.draw(random, records));
        let mut reads = [0; TRANSACTION_READS];
        let mut updates = [0; TRANSACTION_UPDATES];
        reads.copy_from_slice(&drawn[..TRANSACTION_READS]);
        updates.copy_from_slice(&drawn[TRANSACTION_READS..]);
        RecordsOfA { reads, updates }
    }
}

/// Draws `N` different records of `0..records`. A record drawn before is drawn anew, and after
/// the named number of draws the next free one is taken.
pub fn distinct<const N: usize>(records: u64, mut draw: impl FnMut() -> u64) -> [u64; N] {
    assert!(records >= N as u64, "{N} different records of {records}");
    let mut drawn = [0; N];
    for at in 0..N {
        let mut record = draw();
        for _ in 1..DISTINCT_DRAWS_MAX {
            if !drawn[..at].contains(&record) {
                break;
            }
            record = draw();
        }
        while drawn[..at].contains(&record) {
            record = (record + 1) % records;
        }
        drawn[at] = record;
    }
    drawn
}
