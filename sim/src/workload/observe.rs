//! Reads everything that a reopened store shows, twice: by scan and key by key.

use std::collections::BTreeMap;

use sombra::{Db, ReadError};

use super::commit::found_in;
use super::session::{Session, View};
use crate::limits;
use crate::model::{Found, Observation, key_bytes, key_index};

/// Why a look at the store came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The store said that it cannot show something.
    #[error("{0}")]
    Refused(String),
    /// What the store showed cannot be.
    #[error("{0}")]
    Contradiction(String),
}

enum Failed {
    /// The store needed what the snapshot held: another may last.
    TooOld,
    Final(ObserveError),
}

impl Failed {
    fn refused(what: String) -> Failed {
        Failed::Final(ObserveError::Refused(what))
    }
}

/// Everything that `db` shows now, while nobody writes. Keys `0..keys` of each keyspace are also
/// read one by one.
///
/// # Errors
/// What the store refused, or where its scan and its gets disagree.
pub async fn observe(db: &Db, keys: u32) -> Result<Observation, ObserveError> {
    for _ in 0..limits::OBSERVATIONS_TRIED_MAX {
        match observe_once(db, keys).await {
            Ok(observation) => return Ok(observation),
            Err(Failed::TooOld) => {}
            Err(Failed::Final(error)) => return Err(error),
        }
    }
    let what = "after reopening every snapshot was ended before it was read";
    Err(ObserveError::Refused(what.to_owned()))
}

async fn observe_once(db: &Db, keys: u32) -> Result<Observation, Failed> {
    let session = Session::Handle(db.clone());
    let view = session.snapshot();
    let view = view.map_err(|e| Failed::refused(format!("snapshot after reopening: {e}")))?;
    let mut spaces = BTreeMap::new();
    for keyspace in db.keyspaces() {
        let shown = observe_space(&view, &keyspace, keys).await?;
        spaces.insert(keyspace.name().to_owned(), shown);
    }
    Ok(Observation { spaces })
}

async fn observe_space(
    view: &View,
    keyspace: &sombra::Keyspace,
    keys: u32,
) -> Result<BTreeMap<u32, Found>, Failed> {
    let name = keyspace.name();
    let wrong =
        |what: String| Failed::Final(ObserveError::Contradiction(format!("{name:?}: {what}")));
    let refused = |by: &str, error: ReadError| match error {
        ReadError::SnapshotTooOld { .. } => Failed::TooOld,
        error => Failed::refused(format!("{name:?}: {by} after reopening: {error}")),
    };
    let rows = view.rows(keyspace, sombra::KeyRange::all(), false).await;
    let mut shown = BTreeMap::new();
    for (key, value) in rows.map_err(|error| refused("scan", error))? {
        let Some(index) = key_index(&key) else {
            return Err(wrong(format!("foreign key {}", key.escape_ascii())));
        };
        if shown.insert(index, found_in(Some(&value))).is_some() {
            return Err(wrong(format!("the scan shows key {index} twice")));
        }
    }
    for index in 0..keys {
        let value = view.get(keyspace, &key_bytes(index)).await;
        let value = value.map_err(|error| refused("get", error))?;
        let (got, scanned) = (found_in(value.as_ref()), shown.get(&index));
        if got != scanned.copied().unwrap_or(Found::Absent) {
            return Err(wrong(format!("key {index}: get shows {got:?}, scan shows {scanned:?}")));
        }
    }
    Ok(shown)
}
