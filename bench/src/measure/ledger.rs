//! The ledger of acknowledged writes: what the store must still hold after the run.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::limits::{LEDGER_PIECE_RECORDS, RECORDS_MAX};
use crate::workload::WriteTag;

/// What is known of one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LedgerSlot {
    /// Log position of the newest acknowledged write; 0 before the first.
    newest_lsn: u64,
    newest: Option<WriteTag>,
    /// A write whose outcome the store could not tell; it may be there or not.
    uncertain: Option<WriteTag>,
}

/// What the read-back of one record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The newest acknowledged write, or a write of unknown outcome, is there.
    Present,
    /// Nothing was acknowledged for this record and nothing is there.
    Untouched,
    /// The newest acknowledged write is not there.
    Missing,
    /// A value is there that no write of this run made, or that was damaged.
    Foreign,
}

/// Remembers, for each record that it follows, the newest acknowledged write.
///
/// Of two acknowledged writes of one record, the one with the higher log position is the newer:
/// the log's order is the order of commits. 32 bytes a followed record, however many writes
/// there are, in pieces that are made when the first of their records is written.
#[derive(Debug)]
pub struct Ledger {
    pieces: Vec<OnceLock<Piece>>,
    stride: u64,
    acknowledged: AtomicU64,
    writers: AtomicU32,
}

type Piece = Box<[Mutex<LedgerSlot>]>;

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger::following(1)
    }
}

impl Ledger {
    /// A ledger that follows every `stride`-th record and only counts the writes of others.
    #[must_use]
    pub fn following(stride: u64) -> Ledger {
        assert!(stride > 0, "a ledger that follows no record judges nothing");
        let pieces = (0..RECORDS_MAX.div_ceil(LEDGER_PIECE_RECORDS)).map(|_| OnceLock::new());
        Ledger {
            pieces: pieces.collect(),
            stride,
            acknowledged: AtomicU64::new(0),
            writers: AtomicU32::new(1),
        }
    }

    /// Every how-manieth record is followed.
    #[must_use]
    pub fn stride(&self) -> u64 {
        self.stride
    }

    /// A number that no other writer of the run has.
    pub fn new_writer(&self) -> u32 {
        self.writers.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that the store acknowledged a write at a log position.
    pub fn acknowledge(&self, record: u64, tag: WriteTag, lsn: u64) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.with_slot(record, |slot| {
            if slot.newest.is_none() || lsn > slot.newest_lsn {
                slot.newest_lsn = lsn;
                slot.newest = Some(tag);
            }
        });
    }

    /// Notes that the store could not say whether a write happened.
    pub fn doubt(&self, record: u64, tag: WriteTag) {
        self.with_slot(record, |slot| slot.uncertain = Some(tag));
    }

    /// Writes acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Judges what was read back of a followed record: `None` is an absent record, `Some(None)` a
    /// value that is no
    /// intact value of this record.
    #[must_use]
    pub fn judge(&self, record: u64, found: Option<Option<WriteTag>>) -> Verdict {
        assert!(record.is_multiple_of(self.stride), "record {record} is not followed");
        let slot = self.with_slot(record, |slot| *slot).unwrap_or_default();
        match (slot.newest, found) {
            (None, None) => Verdict::Untouched,
            (Some(_), None) => Verdict::Missing,
            (_, Some(None)) => Verdict::Foreign,
            (newest, Some(tag)) if tag == newest || tag == slot.uncertain => Verdict::Present,
            (Some(_), Some(Some(_))) => Verdict::Missing,
            (None, Some(Some(_))) => Verdict::Foreign,
        }
    }

    /// `None` of a record that is not followed.
    fn with_slot<T>(&self, record: u64, change: impl FnOnce(&mut LedgerSlot) -> T) -> Option<T> {
        if !record.is_multiple_of(self.stride) {
            return None;
        }
        let index = record / self.stride;
        let piece = self.pieces[(index / LEDGER_PIECE_RECORDS) as usize]
            .get_or_init(|| (0..LEDGER_PIECE_RECORDS).map(|_| Mutex::default()).collect());
        let slot = &piece[(index % LEDGER_PIECE_RECORDS) as usize];
        // Held for a few instructions and never across an await; a panic elsewhere leaves the
        // slot whole, so a poisoned lock says nothing about it.
        Some(change(&mut slot.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
