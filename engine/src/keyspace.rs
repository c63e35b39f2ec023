//! Keyspaces and the router: which tablet, on which shard, holds a key.
//!
//! Knows names, boundaries and hashes. Must never know what a tablet holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sombra_runtime::ShardId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ids::{Incarnation, KeyspaceId, Lsn, StoreId, TabletId};
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
    /// Where the log says so; its tablets hold nothing at or below.
    pub(crate) created_lsn: Lsn,
}

/// A named set of keys; a cheap handle that names it to every operation. It stays valid when the
/// store is opened again; another store refuses it.
#[derive(Clone, Debug)]
pub struct Keyspace {
    def: Arc<KeyspaceDef>,
    /// By tablet; empty: tablets go round the shards.
    owners: Arc<[ShardId]>,
    /// The store that it is of.
    store: StoreId,
    /// The opening for which `owners` holds.
    opening: Incarnation,
}

impl PartialEq for Keyspace {
    fn eq(&self, other: &Keyspace) -> bool {
        self.def == other.def
    }
}

impl Eq for Keyspace {}

/// Where a key lives: its tablet, and the key as the tablet's window orders it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tablet: TabletId,
    pub(crate) window_key: Bytes,
}

impl Keyspace {
    pub(crate) fn new(def: KeyspaceDef) -> Keyspace {
        Keyspace::placed(def, Vec::new())
    }

    /// A keyspace whose tablets lie on these shards, by index.
    pub(crate) fn placed(def: KeyspaceDef, owners: Vec<ShardId>) -> Keyspace {
        assert!(owners.is_empty() || owners.len() == def.routing.tablet_count());
        let (store, opening) = (StoreId::from_bytes([0; 16]), Incarnation::new(0));
        Keyspace { def: Arc::new(def), owners: owners.into(), store, opening }
    }

    /// Says of which store it is, and for which opening the placement holds.
    pub(crate) fn at_opening(self, store: StoreId, opening: Incarnation) -> Keyspace {
        Keyspace { store, opening, ..self }
    }

    pub(crate) fn store(&self) -> StoreId {
        self.store
    }

    pub(crate) fn opening(&self) -> Incarnation {
        self.opening
    }

    /// The owner of a tablet (INV-1) during the handle's opening.
    pub(crate) fn owner(&self, tablet: TabletId, shard_count: usize) -> ShardId {
        let owner = self.owners.get(tablet.index as usize);
        owner.copied().unwrap_or_else(|| in_turn(tablet, shard_count))
    }

    /// The name it was made with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.def.name
    }

    /// The id that log records carry.
    #[must_use]
    pub fn id(&self) -> KeyspaceId {
        self.def.id
    }

    pub(crate) fn created_lsn(&self) -> Lsn {
        self.def.created_lsn
    }

    /// How it spreads its keys.
    #[must_use]
    pub fn routing(&self) -> &Routing {
        &self.def.routing
    }

    pub(crate) fn tablet_count(&self) -> u32 {
        self.def.routing.tablet_count() as u32
    }

    pub(crate) fn tablets(&self) -> impl Iterator<Item = TabletId> + '_ {
        (0..self.tablet_count()).map(|index| TabletId { keyspace: self.id(), index })
    }

    /// Bytes of the window key that precede the caller's key.
    pub(crate) fn key_offset(&self) -> usize {
        match self.def.routing {
            Routing::Range { .. } => 0,
            Routing::Hash { .. } => HASH_BYTES,
        }
    }

    /// The tablet of `key` and the key its window orders it by. Cost: one hash, or O(log n)
    /// comparisons with the boundaries.
    pub(crate) fn place(&self, key: &[u8]) -> Place {
        let (index, window_key) = match &self.def.routing {
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
        match &self.def.routing {
            Routing::Hash { prefix_len_bytes, .. } => {
                (prefix.len() >= usize::from(*prefix_len_bytes)).then(|| self.place(prefix))
            }
            Routing::Range { .. } => None,
        }
    }

    /// The tablets that keys in `[from, to)` may lie in (`Range` only; all of them for `Hash`).
    pub(crate) fn tablets_between(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> (u32, u32) {
        match &self.def.routing {
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

/// A key as its tablet's window and tree order it: behind its routing hash where the keyspace
/// hashes a prefix of its keys.
pub(crate) fn tree_key(hash_prefix_len_bytes: Option<u16>, key: &[u8]) -> Vec<u8> {
    let hash = hash_prefix_len_bytes.map(|prefix_len| routing_hash(key, prefix_len).to_be_bytes());
    [hash.as_ref().map_or(&[][..], <[u8; 8]>::as_slice), key].concat()
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

    /// The highest id that was given.
    pub(crate) fn last_id(&self) -> KeyspaceId {
        KeyspaceId::new(self.last_id)
    }

    /// Ids up to this one were given before.
    pub(crate) fn note_last_id(&mut self, last_id: u32) {
        self.last_id = self.last_id.max(last_id);
    }

    /// The id of the next keyspace; ids of dropped ones are never given again.
    pub(crate) fn next_id(&self) -> KeyspaceId {
        KeyspaceId::new(self.last_id + 1)
    }

    pub(crate) fn insert(&mut self, keyspace: Keyspace) {
        self.last_id = self.last_id.max(keyspace.id().as_u32());
        self.by_id.insert(keyspace.id(), keyspace);
    }

    /// Says of which store all keyspaces are, and for which opening their placement holds.
    pub(crate) fn at_opening(mut self, store: StoreId, opening: Incarnation) -> Router {
        for keyspace in self.by_id.values_mut() {
            (keyspace.store, keyspace.opening) = (store, opening);
        }
        self
    }

    /// Keyspaces whose name a newer one has. They were dropped before that was made: a log that
    /// was cut between the two lacks the record of it, while the root table has the newer one.
    pub(crate) fn older_namesakes(&self) -> Vec<Keyspace> {
        let mut newest = BTreeMap::new();
        for keyspace in self.by_id.values() {
            newest.insert(keyspace.name(), keyspace.id());
        }
        let is_older = |keyspace: &&Keyspace| newest[keyspace.name()] != keyspace.id();
        self.by_id.values().filter(is_older).cloned().collect()
    }

    pub(crate) fn remove(&mut self, id: KeyspaceId) {
        self.by_id.remove(&id);
    }
}

/// The owner of a tablet of a new keyspace: tablets go round the shards.
fn in_turn(tablet: TabletId, shard_count: usize) -> ShardId {
    let turn = u64::from(tablet.keyspace.as_u32()) + u64::from(tablet.index);
    ShardId::new((turn % shard_count as u64) as u16)
}

/// Keyspaces whose tablets are placed by size: the largest tablet first, each to the shard that
/// has least so far.
pub(crate) fn place_by_size(loaded: &[LoadedKeyspace], shard_count: usize) -> Vec<Keyspace> {
    let mut sizes: Vec<(u64, usize, usize)> = Vec::new();
    for (at, keyspace) in loaded.iter().enumerate() {
        let tablets = keyspace.live_pages.iter().enumerate();
        sizes.extend(tablets.map(|(index, &pages)| (pages, at, index)));
    }
    sizes.sort_unstable_by(|a, b| b.0.cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut owners: Vec<Vec<ShardId>> =
        loaded.iter().map(|keyspace| vec![ShardId::new(0); keyspace.live_pages.len()]).collect();
    let mut load = vec![(0_u64, 0_u32); shard_count];
    for (pages, at, index) in sizes {
        let least = (0..shard_count).min_by_key(|&shard| load[shard]).unwrap_or(0);
        load[least].0 += pages;
        load[least].1 += 1;
        owners[at][index] = ShardId::new(least as u16);
    }
    let placed = loaded.iter().zip(owners);
    placed.map(|(keyspace, owners)| Keyspace::placed(keyspace.def.clone(), owners)).collect()
}

/// A keyspace as the root table has it.
#[derive(Clone, Debug)]
pub(crate) struct LoadedKeyspace {
    pub(crate) def: KeyspaceDef,
    /// Pages in use, by tablet.
    pub(crate) live_pages: Vec<u64>,
}
