//! Merges and conditional writes of a client. Each is recorded as what it must be: a transaction
//! that reads what the key held and writes, with nobody in between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sombra::{CommitError, Condition, MergeOperator};

use super::client::{Client, End, Space};
use super::record::Abort;
use crate::isolation::{Action, Hex};

/// The name under which [`Witness`] is registered.
pub(super) const OPERATOR: &str = "witness";

/// A merge operator that gives its operand, and remembers upon what it was called last for each:
/// the value that the log then holds.
#[derive(Clone, Default)]
pub(super) struct Witness(Arc<Mutex<Seen>>);

/// By the name of the operand, the name of the value.
type Seen = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl MergeOperator for Witness {
    fn merge(&self, value: Option<&[u8]>, operand: &[u8]) -> Result<Option<Bytes>, String> {
        let name = |bytes: &[u8]| bytes[..bytes.len().min(8)].to_vec();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(name(operand), value.map(name));
        Ok(Some(Bytes::copy_from_slice(operand)))
    }
}

impl Witness {
    /// What the key held when the operand was merged into it.
    fn before(&self, operand: &[u8]) -> Option<Hex> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.remove(&operand[..8]).expect("a merge that is answered was made");
        before.map(|name| Hex::of(&name))
    }
}

impl Client {
    /// One merge or conditional write.
    pub(super) async fn dependent(&mut self) -> Result<(), End> {
        let space = self.random.pick(&self.options.spaces).clone();
        let key = self.draw_key();
        if self.random.percent(60) {
            self.merge(&space, &key).await
        } else {
            self.write_if(&space, &key).await
        }
    }

    async fn merge(&mut self, space: &Space, key: &[u8]) -> Result<(), End> {
        let value = self.options.pen.next_value();
        let operand = self.bytes_of(value);
        let (number, begin_ns) = self.begin_write(space, key, Some(value));
        let answer = self.session.merge(&space.keyspace, key, OPERATOR, operand.clone()).await;
        if answer.is_ok() {
            let before = self.options.witness.before(&operand);
            self.note_before(number, begin_ns, (space, key, before));
        }
        self.answered(number, answer.map(|lsn| lsn.as_u64()), true)
    }

    /// Swaps the value for another, or deletes it, if it is what a snapshot shows.
    async fn write_if(&mut self, space: &Space, key: &[u8]) -> Result<(), End> {
        let Ok(view) = self.session.snapshot() else { return Ok(()) };
        let Ok(found) = view.get(&space.keyspace, key).await else { return Ok(()) };
        drop(view);
        let before = match &found {
            Some(value) => Some(self.value_of(value).map_err(|_| End)?),
            None => None,
        };
        let is_delete = found.is_some() && self.random.percent(20);
        let value = (!is_delete).then(|| self.options.pen.next_value());
        let next = value.map(|value| self.bytes_of(value));
        let (number, begin_ns) = self.begin_write(space, key, value);
        let condition = found.map_or(Condition::Absent, Condition::Value);
        let answer = self.session.write_if(&space.keyspace, key, condition, next).await;
        match answer {
            Err(CommitError::ConditionFailed { .. }) => {
                self.options.pen.aborted(number, Abort::Conflict);
                Ok(())
            }
            answer => {
                if answer.is_ok() {
                    self.note_before(number, begin_ns, (space, key, before));
                }
                self.answered(number, answer.map(|lsn| lsn.as_u64()), true)
            }
        }
    }

    fn note_before(
        &self,
        number: u64,
        begin_ns: u64,
        (space, key, value): (&Space, &[u8], Option<Hex>),
    ) {
        let keyspace = space.kind.name().to_owned();
        let read = Action::Read { keyspace, key: Hex::of(key), value };
        self.options.pen.note_first(number, begin_ns, read);
    }
}
