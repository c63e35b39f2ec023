//! Keyspaces and the router: which tablet, on which shard, holds a key.
//!
//! Knows names, boundaries and hashes. Must never know what a tablet holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sombra_runtime::ShardId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ids::{KeyspaceId, TabletId};
use crate::options::Routing;

#[cfg(test)]
mod tests;

/// Bytes of the routing hash that precede the key in a hash keyspace's windows.
pub(crate) const HASH_BYTES: usize = 8;

/// What the log says of a keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyspaceDef {
    pub(crate) id: KeyspaceId,
    pub(crate) name: String,
    pub(crate) routing: Routing,
}

/// A named set of keys; a cheap handle that names it to every operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace(Arc<KeyspaceDef>);

/// Where a key lives: its tablet, and the key as the tablet's window orders it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tablet: TabletId,
    pub(crate) window_key: Bytes,
}

impl Keyspace {
    pub(crate) fn new(def: KeyspaceDef) -> Keyspace {
        Keyspace(Arc::new(def))
    }

    /// The name it was made with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The id that log records carry.
    #[must_use]
    pub fn id(&self) -> KeyspaceId {
        self.0.id
    }

    /// How it spreads its keys.
    #[must_use]
    pub fn routing(&self) -> &Routing {
        &self.0.routing
    }

    pub(crate) fn tablet_count(&self) -> u32 {
        self.0.routing.tablet_count() as u32
    }

    pub(crate) fn tablets(&self) -> impl Iterator<Item = TabletId> + '_ {
        (0..self.tablet_count()).map(|index| TabletId { keyspace: self.id(), index })
    }

    /// Bytes of the window key that precede the caller's key.
    pub(crate) fn key_offset(&self) -> usize {
        match self.0.routing {
            Routing::Range { .. } => 0,
            Routing::Hash { .. } => HASH_BYTES,
        }
    }

    /// The tablet of `key` and the key its window orders it by. Cost: one hash, or O(log n)
    /// comparisons with the boundaries.
    pub(crate) fn place(&self, key: &[u8]) -> Place {
        let (index, window_key) = match &self.0.routing {
            Routing::Range { boundaries } => {
                (self.range_index(boundaries, key), Bytes::copy_from_slice(key))
            }
            Routing::Hash { prefix_len_bytes, tablets } => {
                let hash = routing_hash(key, *prefix_len_bytes);
                let mut window_key = Vec::with_capacity(HASH_BYTES + key.len());
                window_key.extend_from_slice(&hash.to_be_bytes());
                window_key.extend_from_slice(key);
                (hash_index(hash, *tablets), Bytes::from(window_key))
            }
        };
        Place { tablet: TabletId { keyspace: self.id(), index }, window_key }
    }

    fn range_index(&self, boundaries: &[Vec<u8>], key: &[u8]) -> u32 {
        boundaries.partition_point(|boundary| boundary.as_slice() <= key) as u32
    }

    /// The window prefix under which all keys with `prefix` lie, when one tablet holds them all.
    pub(crate) fn prefix_place(&self, prefix: &[u8]) -> Option<Place> {
        match &self.0.routing {
            Routing::Hash { prefix_len_bytes, .. } => {
                (prefix.len() >= usize::from(*prefix_len_bytes)).then(|| self.place(prefix))
            }
            Routing::Range { .. } => None,
        }
    }

    /// The tablets that keys in `[from, to)` may lie in (`Range` only; all of them for `Hash`).
    pub(crate) fn tablets_between(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> (u32, u32) {
        match &self.0.routing {
            Routing::Range { boundaries } => {
                let first = from.map_or(0, |key| self.range_index(boundaries, key));
                let last =
                    to.map_or(self.tablet_count() - 1, |key| self.range_index(boundaries, key));
                (first, last)
            }
            Routing::Hash { .. } => (0, self.tablet_count() - 1),
        }
    }
}

/// XXH3-64 with seed 0 of the first `prefix_len_bytes` bytes; a shorter key hashes whole.
fn routing_hash(key: &[u8], prefix_len_bytes: u16) -> u64 {
    let prefix = &key[..key.len().min(usize::from(prefix_len_bytes))];
    xxh3_64_with_seed(prefix, 0)
}

/// Spreads the 64-bit hash space evenly over `tablets` ranges of rising hashes.
fn hash_index(hash: u64, tablets: u32) -> u32 {
    ((u128::from(hash) * u128::from(tablets)) >> 64) as u32
}

/// The immutable map from names and ids to keyspaces; replaced whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Router {
    by_id: BTreeMap<KeyspaceId, Keyspace>,
    /// The number that was given last.
    last_id: u32,
}

impl Router {
    pub(crate) fn get(&self, id: KeyspaceId) -> Option<&Keyspace> {
        self.by_id.get(&id)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Keyspace> {
        self.by_id.values().find(|keyspace| keyspace.name() == name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Keyspace> {
        self.by_id.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The id of the next keyspace; ids of dropped ones are never given again.
    pub(crate) fn next_id(&self) -> KeyspaceId {
        KeyspaceId::new(self.last_id + 1)
    }

    pub(crate) fn insert(&mut self, keyspace: Keyspace) {
        self.last_id = self.last_id.max(keyspace.id().as_u32());
        self.by_id.insert(keyspace.id(), keyspace);
    }

    pub(crate) fn remove(&mut self, id: KeyspaceId) {
        self.by_id.remove(&id);
    }
}

/// The owner of a tablet: tablets go round the shards.
pub(crate) fn shard_of(tablet: TabletId, shard_count: usize) -> ShardId {
    let turn = u64::from(tablet.keyspace.as_u32()) + u64::from(tablet.index);
    ShardId::new((turn % shard_count as u64) as u16)
}
