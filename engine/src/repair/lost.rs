//! Which writes are lost when the log ends before them.

use crate::check::ProblemTablet;
use crate::error::OpenError;
use crate::format::log_record::Record;
use crate::ids::{KeyspaceId, Lsn, TabletId};
use crate::keyspace::{Keyspace, KeyspaceDef};
use crate::limits::REPAIR_LOST_KEYS_MAX;
use crate::recovery::{DataFile, ReplaySink};

use super::LostKey;

/// Takes the records behind the damage and tells what of them no tree holds.
pub(super) struct LostRecords<'a> {
    data: Option<&'a DataFile>,
    pub(super) keys: Vec<LostKey>,
    pub(super) keys_total: u64,
    pub(super) made: Vec<String>,
    pub(super) dropped: Vec<KeyspaceId>,
    keyspaces: Vec<Keyspace>,
}

impl LostRecords<'_> {
    pub(super) fn new(data: Option<&DataFile>) -> LostRecords<'_> {
        let loaded = data.into_iter().flat_map(|data| &data.keyspaces);
        let keyspaces = loaded.map(|loaded| Keyspace::new(loaded.def.clone())).collect();
        LostRecords {
            data,
            keys: Vec::new(),
            keys_total: 0,
            made: Vec::new(),
            dropped: Vec::new(),
            keyspaces,
        }
    }

    /// Takes the records before the damage: of them only which keyspaces there are counts.
    pub(super) fn before_damage(&mut self) -> impl ReplaySink {
        Before(&mut self.keyspaces)
    }

    fn knows(&self, id: KeyspaceId) -> bool {
        self.keyspaces.iter().any(|keyspace| keyspace.id() == id)
    }

    /// Notes a write, unless its tablet's tree holds it.
    fn note(&mut self, lsn: Lsn, (id, key, is_delete): (KeyspaceId, &[u8], bool)) {
        let keyspace = self.keyspaces.iter().find(|keyspace| keyspace.id() == id);
        let tablet = keyspace.map(|keyspace| keyspace.place(key).tablet);
        let loaded = tablet.and_then(|id| self.data?.tablets.get(&id));
        if loaded.is_some_and(|loaded| lsn <= loaded.parts.merge_lsn) {
            return;
        }
        self.keys_total += 1;
        if self.keys.len() < REPAIR_LOST_KEYS_MAX {
            let id = tablet.unwrap_or(TabletId { keyspace: id, index: 0 });
            let keyspace = keyspace.map_or_else(String::new, |found| found.name().to_owned());
            let tablet = ProblemTablet { keyspace, id };
            self.keys.push(LostKey { tablet, key: key.to_vec(), lsn, is_delete });
        }
    }
}

impl ReplaySink for LostRecords<'_> {
    fn record(&mut self, lsn: Lsn, record: Record<'_>) -> Result<(), OpenError> {
        match record {
            Record::Pad => {}
            Record::CreateKeyspace(create) if !self.knows(create.keyspace) => {
                self.made.push(create.name.to_owned());
            }
            Record::CreateKeyspace(_) => {}
            Record::DropKeyspace { keyspace, .. } if self.knows(keyspace) => {
                self.dropped.push(keyspace);
            }
            Record::DropKeyspace { .. } => {}
            Record::Commit(commit) => {
                for write in commit.writes {
                    self.note(lsn, (write.keyspace, write.key, write.value.is_none()));
                }
            }
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), OpenError> {
        Ok(())
    }
}

struct Before<'a>(&'a mut Vec<Keyspace>);

impl ReplaySink for Before<'_> {
    fn record(&mut self, lsn: Lsn, record: Record<'_>) -> Result<(), OpenError> {
        let Before(keyspaces) = self;
        match record {
            Record::CreateKeyspace(create) => {
                let (id, name) = (create.keyspace, create.name.to_owned());
                let (routing, created_lsn) = (create.routing, lsn);
                if keyspaces.iter().all(|keyspace| keyspace.id() != id) {
                    let def = KeyspaceDef { id, name, routing, created_lsn };
                    keyspaces.push(Keyspace::new(def));
                }
            }
            Record::DropKeyspace { keyspace: id, .. } => {
                keyspaces.retain(|keyspace| keyspace.id() != id);
            }
            Record::Commit(_) | Record::Pad => {}
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), OpenError> {
        Ok(())
    }
}

/// A tablet by the name of its keyspace.
pub(super) fn tablet_name(data: &DataFile, id: TabletId) -> ProblemTablet {
    let found = data.keyspaces.iter().find(|keyspace| keyspace.def.id == id.keyspace);
    ProblemTablet { keyspace: found.map_or_else(String::new, |found| found.def.name.clone()), id }
}
