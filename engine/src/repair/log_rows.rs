//! The log's part of a salvage: which of its records the new store still needs.

use std::collections::{BTreeMap, BTreeSet};

use super::roots::{Source, SourceKeyspace};
use super::salvage::{SalvageError, SalvagedKeyspace, counted};
use super::target::Target;
use crate::check::CheckProblem;
use crate::error::OpenError;
use crate::format::log_record::Record;
use crate::ids::{KeyspaceId, Lsn};
use crate::keyspace::KeyspaceDef;
use crate::options::Routing;
use crate::recovery::ReplaySink;

/// A change that the log holds and the new store does not have yet.
pub(super) enum Change {
    Commit(Vec<(KeyspaceId, Vec<u8>, Option<Vec<u8>>)>),
    Create { id: KeyspaceId, name: String, routing: Routing },
    Drop(KeyspaceId),
}

/// Brings the log's records in, in its order, as far as the trees do not hold them.
pub(super) struct LogRows<'a> {
    pub(super) source: &'a mut Source,
    pub(super) target: &'a mut Target,
    pub(super) counts: &'a mut BTreeMap<KeyspaceId, SalvagedKeyspace>,
    pub(super) lost: Vec<CheckProblem>,
    /// Keys of each lost span that the log gives back.
    pub(super) from_log: Vec<BTreeSet<Vec<u8>>>,
    pub(super) waiting: Vec<Change>,
    pub(super) unplaced: u64,
    pub(super) failure: &'a mut Option<SalvageError>,
}

impl LogRows<'_> {
    /// Whether a write is not in a tree that was read; notes what it gives back.
    fn is_wanted(&mut self, lsn: Lsn, (id, key, is_put): (KeyspaceId, &[u8], bool)) -> bool {
        let Some(source) = self.source.keyspaces.get(&id) else {
            self.unplaced += 1;
            return false;
        };
        let mut is_wanted = lsn > source.merge_lsn(key);
        for (problem, rows) in self.lost.iter().zip(&mut self.from_log) {
            let (Some(tablet), Some(keys)) = (&problem.tablet, &problem.keys) else { continue };
            if tablet.id.keyspace == id && keys.contains(key) && source.may_lack(tablet.id, key) {
                is_wanted = true;
                if is_put {
                    rows.insert(key.to_vec());
                } else {
                    rows.remove(key);
                }
            }
        }
        is_wanted
    }

    async fn bring_in(&mut self, change: Change) -> Result<(), SalvageError> {
        match change {
            Change::Create { id, name, routing } => {
                self.counts.insert(id, counted(&name));
                self.target.create(id, &name, routing).await
            }
            Change::Drop(id) => {
                self.counts.remove(&id);
                self.target.drop_keyspace(id).await
            }
            Change::Commit(writes) => {
                for (id, key, value) in writes {
                    self.target.add(id, &key, value.as_deref()).await?;
                    self.counts.entry(id).and_modify(|count| count.writes_from_log += 1);
                }
                Ok(())
            }
        }
    }
}

impl ReplaySink for LogRows<'_> {
    fn record(&mut self, lsn: Lsn, record: Record<'_>) -> Result<(), OpenError> {
        // The root table knows what became of keyspaces up to here.
        let is_known = |catalog: &Source| catalog.catalog.is_some_and(|row| lsn <= row.catalog_lsn);
        match record {
            Record::Pad => {}
            Record::CreateKeyspace(create) => {
                let (id, name) = (create.keyspace, create.name.to_owned());
                if is_known(self.source) || self.source.keyspaces.contains_key(&id) {
                    return Ok(());
                }
                let (routing, created_lsn) = (create.routing, lsn);
                let def = KeyspaceDef { id, name: name.clone(), routing, created_lsn };
                self.waiting.push(Change::Create { id, name, routing: def.routing.clone() });
                self.source.keyspaces.insert(id, SourceKeyspace::only_in_log(def));
            }
            Record::DropKeyspace { keyspace, .. } => {
                if !is_known(self.source) && self.source.keyspaces.remove(&keyspace).is_some() {
                    self.waiting.push(Change::Drop(keyspace));
                }
            }
            Record::Commit(commit) => {
                let mut writes = Vec::new();
                for write in commit.writes {
                    let is_put = write.value.is_some();
                    if self.is_wanted(lsn, (write.keyspace, write.key, is_put)) {
                        let (key, value) = (write.key.to_vec(), write.value.map(<[u8]>::to_vec));
                        writes.push((write.keyspace, key, value));
                    }
                }
                self.waiting.push(Change::Commit(writes));
            }
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), OpenError> {
        for change in std::mem::take(&mut self.waiting) {
            if self.failure.is_some() {
                return Ok(());
            }
            let outcome = self.bring_in(change).await;
            *self.failure = outcome.err();
        }
        Ok(())
    }
}
