//! What an opening found, replayed and dropped, and why.

use std::fmt;
use std::time::Duration;

use super::replay::LogEnd;
use crate::format::superblock::{PickedSuperblock, SuperblockTwin};
use crate::ids::{Incarnation, Lsn, StoreId};
use crate::options::DurabilityMethod;

/// What an opening found, replayed and dropped. `Display` tells it to people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenReport {
    /// The store was made by this opening.
    pub created: bool,
    /// The store was opened to be read: see `OpenMode::ReadOnly`.
    pub read_only: bool,
    pub store_id: StoreId,
    pub incarnation: Incarnation,
    pub segment_bytes: u64,
    /// The method in use: the caller's, or the one that the superblock keeps.
    pub durability_method: DurabilityMethod,
    /// Where replay began: the trees hold every commit at or below it.
    pub replayed_from: Lsn,
    /// Damage that another copy made good, or that some tablet must live with.
    pub notes: Vec<String>,
    /// The memory budget that was asked for, and why it is smaller.
    pub memory_lowered: Option<String>,
    /// Records replayed, keyspace changes included, pads not.
    pub replayed_records: u64,
    /// End of the last valid record.
    pub replayed_to: Lsn,
    /// Newest durable position that a block of the log vouches for. Damage above it cannot be
    /// told from a write that the crash tore.
    pub newest_stamp: Lsn,
    /// Openings whose part of the log was replayed.
    pub replayed_incarnations: u64,
    /// Whole blocks behind the end of the log that were passed over: an earlier write, in flight
    /// beside theirs, was lost, so nothing in them had been acknowledged.
    pub dropped_blocks: u64,
    /// Log bytes read, the search behind the end included.
    pub read_bytes: u64,
    /// Why replay ended where it did.
    pub stopped_by: String,
    /// What was wrong with the other superblock copy; it has been rewritten.
    pub superblock_repaired: Option<String>,
    pub took: Duration,
}

impl OpenReport {
    pub(super) fn new(
        picked: &PickedSuperblock,
        incarnation: Incarnation,
        log: &LogEnd,
    ) -> OpenReport {
        let superblock = &picked.superblock;
        OpenReport {
            created: false,
            read_only: false,
            store_id: superblock.store_id,
            incarnation,
            segment_bytes: superblock.segment_bytes,
            durability_method: superblock.durability_method,
            replayed_from: Lsn::ZERO,
            notes: Vec::new(),
            memory_lowered: None,
            replayed_records: log.records,
            replayed_to: log.end,
            newest_stamp: log.newest_stamp,
            replayed_incarnations: log.incarnations,
            dropped_blocks: log.dropped_blocks,
            read_bytes: log.read_bytes,
            stopped_by: log.stopped_by.clone(),
            superblock_repaired: None,
            took: Duration::ZERO,
        }
    }
}

/// What is wrong with the copy of the superblock that is not in force.
pub(super) fn damaged_twin(picked: &PickedSuperblock) -> Option<String> {
    match &picked.twin {
        SuperblockTwin::Damaged { error } => Some(format!("copy {}: {error}", picked.copy.twin())),
        SuperblockTwin::Same | SuperblockTwin::Older { .. } => None,
    }
}

impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.created, self.read_only) {
            (true, _) => writeln!(f, "made store {}, opening {}", self.store_id, self.incarnation),
            (false, false) => {
                writeln!(f, "opened store {}, opening {}", self.store_id, self.incarnation)
            }
            (false, true) => writeln!(f, "opened store {} to read it", self.store_id),
        }?;
        if let Some(repaired) = &self.superblock_repaired {
            writeln!(f, "superblock repaired: {repaired}")?;
        }
        if let Some(lowered) = &self.memory_lowered {
            writeln!(f, "{lowered}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "damaged: {note}"))?;
        writeln!(
            f,
            "replayed {} records from LSN {} up to {} ({} log bytes read, {:?})",
            self.replayed_records, self.replayed_from, self.replayed_to, self.read_bytes, self.took
        )?;
        if self.dropped_blocks > 0 {
            let blocks = self.dropped_blocks;
            writeln!(f, "dropped {blocks} blocks behind a write that the crash took")?;
        }
        write!(
            f,
            "end of log: {}; vouched for up to LSN {}, damage above it is undetectable",
            self.stopped_by, self.newest_stamp
        )
    }
}
