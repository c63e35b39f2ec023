//! The buffered writes of one transaction.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::check_value;
use crate::error::WriteError;
use crate::format::log_record::LoggedWrite;
use crate::ids::{KeyspaceId, TabletId};
use crate::keyspace::{Keyspace, Place};
use crate::limits;
use crate::window::{is_empty_range, version_cost_bytes};

/// One buffered write; `value` is `None` for a delete.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) tablet: TabletId,
    pub(crate) window_key: Bytes,
    /// Where the caller's key begins in `window_key`.
    pub(crate) key_offset: usize,
    pub(crate) value: Option<Bytes>,
}

impl Write {
    pub(crate) fn key(&self) -> &[u8] {
        &self.window_key[self.key_offset..]
    }

    /// As commit records hold it.
    pub(crate) fn logged(&self) -> LoggedWrite<'_> {
        let (keyspace, value) = (self.tablet.keyspace, self.value.as_deref());
        LoggedWrite { keyspace, key: self.key(), value }
    }

    /// What the write is charged for in a window.
    pub(crate) fn cost_bytes(&self) -> u64 {
        version_cost_bytes(self.window_key.len(), self.value.as_ref().map_or(0, Bytes::len))
    }
}

type Slot = (KeyspaceId, Bytes);

/// The newest write of each key, in (keyspace, window key) order.
#[derive(Debug, Default)]
pub(crate) struct WriteSet {
    writes: BTreeMap<Slot, Write>,
    bytes: usize,
    /// Oldest first.
    savepoints: Vec<Level>,
    /// What all of them remember.
    remembered: Remembered,
    savepoints_made: u64,
}

/// What was written since a savepoint, and what it took the place of.
#[derive(Debug)]
struct Level {
    number: u64,
    before: BTreeMap<Slot, Option<Write>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Remembered {
    writes: usize,
    bytes: usize,
}

/// Names a savepoint of one transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SavepointId(u64);

fn op_bytes(write: &Write) -> usize {
    OP_OVERHEAD_BYTES + write.key().len() + write.value.as_ref().map_or(0, Bytes::len)
}

/// Bytes of a log record beside the keys and values of its operations.
const OP_OVERHEAD_BYTES: usize = 12;
/// Room for the record's own header, body and padding.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// Checks a key's length.
pub(crate) fn check_key(key: &[u8]) -> Result<(), WriteError> {
    let (expected, found) = (limits::KEY_BYTES_MAX, key.len());
    let fits = (1..=expected).contains(&found);
    if fits { Ok(()) } else { Err(WriteError::KeyLength { expected, found }) }
}

impl WriteSet {
    /// Buffers a write over an earlier one of the same key.
    pub(crate) fn insert(
        &mut self,
        keyspace: &Keyspace,
        key: &[u8],
        value: Option<Bytes>,
    ) -> Result<(), WriteError> {
        check_key(key)?;
        check_value(value.as_ref())?;
        let value_len = value.as_ref().map_or(0, Bytes::len);
        let place = keyspace.place(key);
        let slot = (keyspace.id(), place.window_key.clone());
        let replaced = self.writes.get(&slot).map_or(0, op_bytes);
        let bytes = self.bytes - replaced + OP_OVERHEAD_BYTES + key.len() + value_len;
        let record_bytes_max = limits::RECORD_BYTES_MAX - RECORD_OVERHEAD_BYTES;
        if bytes > record_bytes_max {
            let (expected, found) = (record_bytes_max, bytes);
            return Err(WriteError::TooLarge { unit: "bytes", expected, found });
        }
        if replaced == 0 && self.writes.len() >= limits::TRANSACTION_OPS_MAX {
            let (expected, found) = (limits::TRANSACTION_OPS_MAX, self.writes.len() + 1);
            return Err(WriteError::TooLarge { unit: "writes", expected, found });
        }
        self.remember(&slot)?;
        self.bytes = bytes;
        let key_offset = keyspace.key_offset();
        let Place { tablet, window_key } = place;
        self.writes.insert(slot, Write { tablet, window_key, key_offset, value });
        Ok(())
    }

    /// Keeps what a write takes the place of, once for each savepoint.
    fn remember(&mut self, slot: &Slot) -> Result<(), WriteError> {
        let Some(level) = self.savepoints.last_mut() else { return Ok(()) };
        if level.before.contains_key(slot) {
            return Ok(());
        }
        let before = self.writes.get(slot).cloned();
        let bytes = self.remembered.bytes + slot.1.len() + before.as_ref().map_or(0, op_bytes);
        let writes = self.remembered.writes + 1;
        let refuse = |unit, expected, found| Err(WriteError::TooLarge { unit, expected, found });
        if bytes > limits::RECORD_BYTES_MAX {
            return refuse("bytes kept for savepoints", limits::RECORD_BYTES_MAX, bytes);
        }
        if writes > limits::TRANSACTION_OPS_MAX {
            return refuse("writes kept for savepoints", limits::TRANSACTION_OPS_MAX, writes);
        }
        self.remembered = Remembered { writes, bytes };
        level.before.insert(slot.clone(), before);
        Ok(())
    }

    /// Marks the writes as they are now.
    pub(crate) fn set_savepoint(&mut self) -> Result<SavepointId, WriteError> {
        let (expected, found) = (limits::SAVEPOINTS_MAX, self.savepoints.len() + 1);
        if found > expected {
            return Err(WriteError::TooLarge { unit: "savepoints", expected, found });
        }
        self.savepoints_made += 1;
        let number = self.savepoints_made;
        self.savepoints.push(Level { number, before: BTreeMap::new() });
        Ok(SavepointId(number))
    }

    /// Takes back what was written since a savepoint, which stays; later ones are gone. Tells
    /// whether it was there.
    pub(crate) fn roll_back_to(&mut self, savepoint: SavepointId) -> bool {
        let Some(at) = self.savepoints.iter().position(|level| level.number == savepoint.0) else {
            return false;
        };
        for level in self.savepoints.drain(at..).rev() {
            for (slot, before) in level.before {
                self.remembered.writes -= 1;
                self.remembered.bytes -= slot.1.len() + before.as_ref().map_or(0, op_bytes);
                let undone = match before {
                    Some(before) => {
                        self.bytes += op_bytes(&before);
                        self.writes.insert(slot, before)
                    }
                    None => self.writes.remove(&slot),
                };
                self.bytes -= undone.as_ref().map_or(0, op_bytes);
            }
        }
        self.savepoints.push(Level { number: savepoint.0, before: BTreeMap::new() });
        true
    }

    /// The transaction's own write of a key: `Some(None)` when it deleted it.
    pub(crate) fn get(&self, keyspace: KeyspaceId, window_key: &Bytes) -> Option<Option<Bytes>> {
        self.writes.get(&(keyspace, window_key.clone())).map(|write| write.value.clone())
    }

    /// Own writes of a keyspace between two window keys, in order.
    pub(crate) fn range(
        &self,
        keyspace: KeyspaceId,
        from: Bound<Bytes>,
        to: Bound<Bytes>,
    ) -> Vec<Write> {
        let lower = match from {
            Bound::Unbounded => Bound::Included((keyspace, Bytes::new())),
            Bound::Included(key) => Bound::Included((keyspace, key)),
            Bound::Excluded(key) => Bound::Excluded((keyspace, key)),
        };
        let upper = match to {
            Bound::Unbounded => {
                Bound::Excluded((KeyspaceId::new(keyspace.as_u32() + 1), Bytes::new()))
            }
            Bound::Included(key) => Bound::Included((keyspace, key)),
            Bound::Excluded(key) => Bound::Excluded((keyspace, key)),
        };
        if is_empty_range(lower.as_ref(), upper.as_ref()) {
            return Vec::new();
        }
        let rows = self.writes.range((lower, upper));
        rows.map(|(_, write)| write.clone()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Takes the writes out, in (keyspace, window key) order.
    pub(crate) fn take(&mut self) -> Vec<Write> {
        std::mem::take(self).writes.into_values().collect()
    }
}
