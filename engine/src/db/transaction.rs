//! Transactions and read-only snapshots.

use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_channel::oneshot;
use sombra_runtime::ShardId;

use super::port::{self, Getting, Local, Port, Remote};
use super::scan::Scan;
use super::slot::Slot;
use crate::commit::{CommitReply, CommitRequest, HeldLocks, ShardPart};
use crate::error::{CommitError, ReadError, WriteError};
use crate::format::log_record::encode_commit;
use crate::ids::{Direction, Lsn, TabletId};
use crate::keyspace::{Keyspace, Place};
use crate::limits;
use crate::lock::LockAge;
use crate::mvcc::registry::SnapshotGuard;
use crate::options::{Durability, Isolation};
use crate::shard::StoreShared;
use crate::tablet::PointRead;
use crate::txn::{KeyRange, Progress, ReadSet, Write, WriteSet, check_key};

/// A commit that is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    lsn: Lsn,
}

impl Committed {
    /// The commit's place in the one order of all commits; a transaction without writes has its
    /// snapshot's.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }
}

/// The state of a transaction; `Db::run` keeps a second hand on it.
pub(super) struct TransactionState {
    pub(super) slot: Slot,
    pub(super) snapshot: Lsn,
    /// Whether anything was read at the snapshot: then it stays.
    pub(super) has_read: bool,
    pub(super) locks: Option<Arc<HeldLocks>>,
    /// Of the first attempt of the same work: among those that wait for each other the youngest
    /// gives way, and nobody shall be that for ever.
    pub(super) lock_age: Option<LockAge>,
    pub(super) writes: WriteSet,
    /// What the commit will be validated for; `None` when it will not.
    reads: Option<ReadSet>,
    /// Those that were written, and of a serializable transaction those that were read.
    keyspaces: Vec<Keyspace>,
    /// A key whose read is known to fail the validation, should there be one.
    overwritten: Option<(Keyspace, Bytes)>,
    durability: Durability,
}

impl TransactionState {
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.slot, Slot::Ended)
    }

    /// Takes a newer snapshot in the place of one at which nothing was read.
    pub(super) fn renew(&mut self, guard: SnapshotGuard) {
        let is_read_at = self.has_read && matches!(self.slot, Slot::Held(_));
        assert!(!is_read_at, "what a transaction reads never changes");
        self.snapshot = guard.lsn();
        self.slot = Slot::Held(guard);
    }

    fn note_keyspace(&mut self, keyspace: &Keyspace) {
        if !self.keyspaces.contains(keyspace) {
            self.keyspaces.push(keyspace.clone());
        }
    }
}

/// A read-write transaction on one snapshot. Reads see the snapshot and the transaction's own
/// writes; writes are buffered until the commit. Dropping it rolls it back.
pub struct Transaction<P: Port = Remote> {
    pub(super) port: P,
    state: Arc<Mutex<TransactionState>>,
}

/// A transaction on a shard.
pub type LocalTransaction = Transaction<Local>;

impl<P: Port> Transaction<P> {
    pub(super) fn new(port: P, guard: SnapshotGuard, isolation: Isolation) -> Transaction<P> {
        let state = TransactionState {
            snapshot: guard.lsn(),
            slot: Slot::Held(guard),
            has_read: false,
            locks: None,
            lock_age: None,
            writes: WriteSet::default(),
            reads: (isolation == Isolation::Serializable).then(ReadSet::default),
            keyspaces: Vec::new(),
            overwritten: None,
            durability: Durability::Sync,
        };
        Transaction { port, state: Arc::new(Mutex::new(state)) }
    }

    /// A second hand on the same transaction, for `Db::run`.
    pub(super) fn second(&self) -> Transaction<P> {
        Transaction { port: self.port.clone(), state: Arc::clone(&self.state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, TransactionState> {
        // Nothing panics while it is held; were it so, the state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shared_state(&self) -> &Arc<Mutex<TransactionState>> {
        &self.state
    }

    pub(super) fn refuse_if_ended(&self) -> Result<(), ReadError> {
        let mut state = self.state();
        state.take_slot(self.port.shared())?;
        match &state.slot {
            Slot::Ended => Err(ReadError::Ended),
            Slot::Held(guard) if guard.is_ended() => {
                Err(ReadError::SnapshotTooOld { snapshot: guard.lsn() })
            }
            Slot::Held(_) | Slot::Lent => Ok(()),
        }
    }

    /// Everything committed at or below this is what the transaction reads. A lock that is granted
    /// before anything was read can raise it: see [`Transaction::lock`].
    #[must_use]
    pub fn snapshot_lsn(&self) -> Lsn {
        self.state().snapshot
    }

    /// Chooses when the commit is acknowledged; `Sync` unless told otherwise.
    pub fn durability(&self, durability: Durability) {
        self.state().durability = durability;
    }

    /// The value of `key`, or `None`.
    ///
    /// # Errors
    /// As [`ReadError`]; the transaction may go on.
    pub async fn get(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<Bytes>, ReadError> {
        let begun = self.begin_get(keyspace, key.as_ref()).await?;
        self.finish_get(keyspace, begun).await
    }

    /// The values of `keys`, in their order, all read at the same time.
    ///
    /// # Errors
    /// As [`Transaction::get`], the first that a key met.
    pub async fn multi_get<K: AsRef<[u8]>>(
        &self,
        keyspace: &Keyspace,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Bytes>>, ReadError> {
        let mut begun = Vec::new();
        for key in keys {
            begun.push(self.begin_get(keyspace, key.as_ref()).await?);
        }
        let mut values = Vec::with_capacity(begun.len());
        for begun in begun {
            values.push(self.finish_get(keyspace, begun).await?);
        }
        Ok(values)
    }

    /// Where a key lies that is read or locked, if there can be one like it.
    pub(super) fn place_of(&self, keyspace: &Keyspace, key: &[u8]) -> Result<Place, ReadError> {
        check_key(key).map_err(|_| {
            let (expected, found) = (limits::KEY_BYTES_MAX, key.len());
            ReadError::KeyLength { expected, found }
        })?;
        match self.port.shared().foreign(keyspace) {
            Some(name) => Err(ReadError::ForeignKeyspace { name }),
            None => Ok(keyspace.place(key)),
        }
    }

    async fn begin_get(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
    ) -> Result<(Bytes, Getting), ReadError> {
        let place = self.place_of(keyspace, key)?;
        self.refuse_if_ended()?;
        let snapshot = {
            let mut state = self.state();
            if let Some(own) = state.writes.get(keyspace.id(), &place.window_key) {
                return Ok((place.window_key, Getting::Here(Ok(PointRead::of(own)))));
            }
            if let Some(reads) = &mut state.reads {
                reads.add_key(place.tablet, place.window_key.clone());
                state.note_keyspace(keyspace);
            }
            state.has_read = true;
            state.snapshot
        };
        let key = place.window_key.clone();
        Ok((key, port::begin_get(&self.port, keyspace, place, snapshot).await?))
    }

    async fn finish_get(
        &self,
        keyspace: &Keyspace,
        (key, begun): (Bytes, Getting),
    ) -> Result<Option<Bytes>, ReadError> {
        let read = port::finish_get(&self.port, keyspace, begun, self.snapshot_lsn()).await;
        // Versions were kept only while the transaction lived.
        self.refuse_if_ended()?;
        let PointRead { value, is_overwritten } = read?;
        if is_overwritten {
            let mut state = self.state();
            if state.reads.is_some() {
                state.overwritten = Some((keyspace.clone(), key));
            }
        }
        Ok(value)
    }

    /// Buffers a put.
    ///
    /// # Errors
    /// A key, value or transaction beyond its bound; the transaction may go on.
    pub fn put(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
    ) -> Result<(), WriteError> {
        self.write(keyspace, key.as_ref(), Some(value.into()))
    }

    /// Buffers a delete; deleting what is not there is no error.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn delete(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<(), WriteError> {
        self.write(keyspace, key.as_ref(), None)
    }

    fn write(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        value: Option<Bytes>,
    ) -> Result<(), WriteError> {
        if let Some(name) = self.port.shared().foreign(keyspace) {
            return Err(WriteError::ForeignKeyspace { name });
        }
        let mut state = self.state();
        if !state.is_active() {
            return Err(WriteError::Ended);
        }
        state.writes.insert(keyspace, key, value)?;
        state.note_keyspace(keyspace);
        Ok(())
    }

    /// The rows of a range, own writes included: in key order, or by (hash, key) in a `Hash`
    /// keyspace unless the range lies within one prefix. Own writes made after a page was
    /// fetched may be missing from it.
    #[must_use]
    pub fn scan(&self, keyspace: &Keyspace, range: impl Into<KeyRange>) -> Scan<P> {
        self.state().has_read = true;
        let range = (range.into(), Direction::Forward);
        Scan::new(self.port.clone(), self.second(), keyspace.clone(), range)
    }

    /// As [`Transaction::scan`], from the end of the range to its beginning.
    #[must_use]
    pub fn scan_reverse(&self, keyspace: &Keyspace, range: impl Into<KeyRange>) -> Scan<P> {
        self.state().has_read = true;
        let range = (range.into(), Direction::Reverse);
        Scan::new(self.port.clone(), self.second(), keyspace.clone(), range)
    }

    /// Whether the commit will be checked for what was read: nothing else needs to be noted.
    pub(super) fn notes_reads(&self) -> bool {
        self.state().reads.is_some()
    }

    /// A scan has seen everything from its start to `reached`.
    pub(super) fn note_scanned(
        &self,
        keyspace: &Keyspace,
        progress: &mut Progress,
        reached: Bound<Bytes>,
    ) {
        let mut state = self.state();
        if let Some(reads) = &mut state.reads {
            reads.cover(progress, reached);
            state.note_keyspace(keyspace);
        }
    }

    pub(super) fn own_writes<T>(&self, f: impl FnOnce(&WriteSet) -> T) -> T {
        f(&self.state().writes)
    }

    /// Commits; returns when every snapshot sees it and, for `Sync`, its record is durable.
    ///
    /// Dropping the future does not stop a commit that was sent: only its answer is lost.
    ///
    /// # Errors
    /// As [`CommitError`]; nothing happened unless it is `Unknown`.
    pub async fn commit(self) -> Result<Committed, CommitError> {
        let shared = Arc::clone(self.port.shared());
        let (request, answer, keyspaces) = {
            let mut state = self.state();
            let ended = CommitError::Write(WriteError::Ended);
            state.take_slot(&shared).map_err(|error| CommitError::Read(error.into()))?;
            let guard = state.slot.end().ok_or(ended)?;
            guard.stop_reading();
            if state.writes.is_empty() {
                state.locks = None;
                return Ok(Committed { lsn: state.snapshot });
            }
            let locks = state.locks.take();
            if let Some((keyspace, key)) = state.overwritten.take() {
                // The validation would say the same, after messages to all who take part.
                return Err(shared.refuse_overwritten(&keyspace, &key));
            }
            let changes = (state.writes.take(), state.reads.take().unwrap_or_default());
            let (reply, answer) = oneshot::channel();
            let parts = by_shard(&shared, changes, (&state.keyspaces, self.port.preferred()));
            let request = CommitRequest {
                snapshot: Some(guard),
                durability: state.durability,
                record: encode(&shared, &parts)?,
                parts,
                reply: CommitReply::new(reply, locks),
            };
            (request, answer, std::mem::take(&mut state.keyspaces))
        };
        let outcome = port::commit(&self.port, request, answer).await;
        let lsn = outcome.map_err(|error| shared.with_name(error, &keyspaces))?;
        Ok(Committed { lsn })
    }

    /// Forgets the writes and ends the transaction.
    pub fn rollback(self) {
        self.end();
    }

    /// Ends the transaction and lets go of all that it holds.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.slot.end();
        state.writes = WriteSet::default();
        state.reads = None;
        state.locks = None;
    }
}

/// Commits one write without a snapshot: it waits for an invisible version of its key instead
/// of conflicting with it.
pub(super) async fn commit_blind<P: Port>(
    port: &P,
    keyspace: &Keyspace,
    key: &[u8],
    value: Option<Bytes>,
) -> Result<Lsn, CommitError> {
    let shared = Arc::clone(port.shared());
    if let Some(reason) = shared.core.poison.reason() {
        return Err(CommitError::Poisoned { reason: reason.to_owned() });
    }
    if let Some(name) = shared.foreign(keyspace) {
        return Err(WriteError::ForeignKeyspace { name }.into());
    }
    let mut writes = WriteSet::default();
    writes.insert(keyspace, key, value)?;
    let changes = (writes.take(), ReadSet::default());
    let parts = by_shard(&shared, changes, (std::slice::from_ref(keyspace), None));
    let (reply, answer) = oneshot::channel();
    let record = encode(&shared, &parts)?;
    let durability = Durability::Sync;
    let reply = CommitReply::new(reply, None);
    let request = CommitRequest { snapshot: None, durability, parts, record, reply };
    let outcome = port::commit(port, request, answer).await;
    outcome.map_err(|error| shared.with_name(error, std::slice::from_ref(keyspace)))
}

/// Groups what was written and read by owner. The first part's owner coordinates: the caller's
/// own shard if it takes part, else one that is written to.
fn by_shard(
    shared: &StoreShared,
    (writes, reads): (Vec<Write>, ReadSet),
    (keyspaces, preferred): (&[Keyspace], Option<ShardId>),
) -> Vec<ShardPart> {
    fn part_of(parts: &mut Vec<ShardPart>, shard: ShardId) -> &mut ShardPart {
        let at = parts.iter().position(|part| part.shard == shard).unwrap_or_else(|| {
            parts.push(ShardPart::new(shard));
            parts.len() - 1
        });
        &mut parts[at]
    }
    let owner = |tablet: TabletId| {
        let keyspace = keyspaces.iter().find(|keyspace| keyspace.id() == tablet.keyspace);
        let keyspace = keyspace.expect("INV-1: everything was routed by one of these keyspaces");
        shared.owner(keyspace, tablet)
    };
    let mut parts: Vec<ShardPart> = Vec::new();
    for write in writes {
        part_of(&mut parts, owner(write.tablet)).writes.push(write);
    }
    for key in reads.keys {
        part_of(&mut parts, owner(key.tablet)).reads.keys.push(key);
    }
    for range in reads.ranges {
        part_of(&mut parts, owner(range.tablet)).reads.ranges.push(range);
    }
    if let Some(own) = parts.iter().position(|part| Some(part.shard) == preferred) {
        parts.swap(0, own);
    }
    parts
}

fn encode(shared: &StoreShared, parts: &[ShardPart]) -> Result<Vec<u8>, CommitError> {
    let writes = parts.iter().flat_map(|part| &part.writes).map(Write::logged);
    let mut record = Vec::new();
    encode_commit(&mut record, shared.runtime.wall_clock_ms(), writes).map_err(|error| {
        let (expected, found) = (error.expected, error.found);
        CommitError::Write(WriteError::TooLarge { unit: "bytes", expected, found })
    })?;
    Ok(record)
}

/// A read-only view of one moment. Never conflicts; keeps what it reads until it is dropped.
pub struct Snapshot<P: Port = Remote> {
    inner: Transaction<P>,
}

impl<P: Port> Snapshot<P> {
    pub(super) fn new(inner: Transaction<P>) -> Snapshot<P> {
        Snapshot { inner }
    }

    /// Everything committed at or below this is what the snapshot reads.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.inner.snapshot_lsn()
    }

    /// The value of `key`, or `None`.
    ///
    /// # Errors
    /// As [`ReadError`].
    pub async fn get(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<Bytes>, ReadError> {
        self.inner.get(keyspace, key).await
    }

    /// As [`Transaction::multi_get`].
    ///
    /// # Errors
    /// As [`ReadError`].
    pub async fn multi_get<K: AsRef<[u8]>>(
        &self,
        keyspace: &Keyspace,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Bytes>>, ReadError> {
        self.inner.multi_get(keyspace, keys).await
    }

    /// The rows of a range, ordered as [`Transaction::scan`] says.
    #[must_use]
    pub fn scan(&self, keyspace: &Keyspace, range: impl Into<KeyRange>) -> Scan<P> {
        self.inner.scan(keyspace, range)
    }

    /// As [`Snapshot::scan`], from the end of the range to its beginning.
    #[must_use]
    pub fn scan_reverse(&self, keyspace: &Keyspace, range: impl Into<KeyRange>) -> Scan<P> {
        self.inner.scan_reverse(keyspace, range)
    }
}
