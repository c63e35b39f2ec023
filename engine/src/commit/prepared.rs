//! Keys that commits across shards hold between their prepare and their apply.

use std::collections::BTreeMap;

use bytes::Bytes;
use sombra_runtime::ShardId;

use crate::ids::TabletId;
use crate::txn::Write;

/// Names one commit across shards while it is prepared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PrepareId {
    pub(crate) coordinator: ShardId,
    pub(crate) sequence: u64,
}

/// Prepared writes of one participant.
#[derive(Debug, Default)]
pub(super) struct PreparedTable {
    keys: BTreeMap<(TabletId, Bytes), PrepareId>,
    writes: BTreeMap<PrepareId, Vec<Write>>,
}

impl PreparedTable {
    pub(super) fn is_held(&self, write: &Write) -> bool {
        // Most of the time nothing is prepared: then no key is built to look it up.
        !self.keys.is_empty() && self.keys.contains_key(&(write.tablet, write.window_key.clone()))
    }

    /// Enters a commit's writes. The caller has found no key held.
    pub(super) fn enter(&mut self, id: PrepareId, writes: Vec<Write>) {
        for write in &writes {
            let held = self.keys.insert((write.tablet, write.window_key.clone()), id);
            assert!(held.is_none(), "no waiting while prepared: a held key aborts");
        }
        self.writes.insert(id, writes);
    }

    /// Takes a commit's writes out again, to apply or to forget them.
    pub(super) fn leave(&mut self, id: PrepareId) -> Vec<Write> {
        let writes = self.writes.remove(&id).unwrap_or_default();
        for write in &writes {
            self.keys.remove(&(write.tablet, write.window_key.clone()));
        }
        writes
    }

    pub(super) fn len(&self) -> usize {
        self.writes.len()
    }
}
