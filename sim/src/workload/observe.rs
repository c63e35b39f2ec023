//! Reads everything that a reopened store shows, twice: by scan and key by key.

use std::collections::BTreeMap;

use sombra::Db;

use super::commit::found_in;
use super::session::{Session, View};
use crate::model::{Found, Observation, key_bytes, key_index};

/// Everything that `db` shows now. Keys `0..keys` of each keyspace are also read one by one.
///
/// # Errors
/// What the store refused, or where its scan and its gets disagree.
pub async fn observe(db: &Db, keys: u32) -> Result<Observation, String> {
    let session = Session::Handle(db.clone());
    let view = session.snapshot().map_err(|error| format!("snapshot after reopening: {error}"))?;
    let mut spaces = BTreeMap::new();
    for keyspace in db.keyspaces() {
        let shown = observe_space(&view, &keyspace, keys).await;
        let shown = shown.map_err(|error| format!("{:?}: {error}", keyspace.name()))?;
        spaces.insert(keyspace.name().to_owned(), shown);
    }
    Ok(Observation { spaces })
}

async fn observe_space(
    view: &View,
    keyspace: &sombra::Keyspace,
    keys: u32,
) -> Result<BTreeMap<u32, Found>, String> {
    let rows = view.rows(keyspace, sombra::KeyRange::all()).await;
    let mut shown = BTreeMap::new();
    for (key, value) in rows.map_err(|error| format!("scan after reopening: {error}"))? {
        let Some(index) = key_index(&key) else {
            return Err(format!("foreign key {}", key.escape_ascii()));
        };
        if shown.insert(index, found_in(Some(&value))).is_some() {
            return Err(format!("the scan shows key {index} twice"));
        }
    }
    for index in 0..keys {
        let value = view.get(keyspace, &key_bytes(index)).await;
        let value = value.map_err(|error| format!("get after reopening: {error}"))?;
        let (got, scanned) = (found_in(value.as_ref()), shown.get(&index));
        if got != scanned.copied().unwrap_or(Found::Absent) {
            return Err(format!("key {index}: get shows {got:?}, scan shows {scanned:?}"));
        }
    }
    Ok(shown)
}
