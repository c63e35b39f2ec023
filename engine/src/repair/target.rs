//! The new store that a salvage writes into, in batches, by the way that every caller takes.

use std::collections::BTreeMap;
use std::path::Path;

use sombra_runtime::Runtime;

use super::salvage::SalvageError;
use crate::db::{Db, WriteBatch};
use crate::ids::KeyspaceId;
use crate::keyspace::Keyspace;
use crate::limits::{SALVAGE_BATCH_BYTES, SALVAGE_BATCH_ROWS};
use crate::options::{OpenMode, Options, Routing};

pub(super) struct Target {
    db: Db,
    /// By the id that the old store gave.
    keyspaces: BTreeMap<KeyspaceId, Keyspace>,
    batch: WriteBatch,
    rows: usize,
    bytes: usize,
}

impl Target {
    pub(super) async fn make(
        runtime: &Runtime,
        path: &Path,
        options: Options,
    ) -> Result<Target, SalvageError> {
        let options = Options { open_mode: OpenMode::CreateNew, ..options };
        let db = Db::open(runtime, path, options).await.map_err(SalvageError::Target)?;
        let (keyspaces, batch) = (BTreeMap::new(), WriteBatch::new());
        Ok(Target { db, keyspaces, batch, rows: 0, bytes: 0 })
    }

    /// Makes a keyspace; of a second one of a name, the number tells it from the first.
    pub(super) async fn create(
        &mut self,
        old: KeyspaceId,
        name: &str,
        routing: Routing,
    ) -> Result<(), SalvageError> {
        let name = match self.db.keyspace(name) {
            None => name.to_owned(),
            Some(_) => format!("{name}~{}", old.as_u32()),
        };
        let made = self.db.create_keyspace(&name, routing).await;
        self.keyspaces.insert(old, made.map_err(SalvageError::Keyspace)?);
        Ok(())
    }

    pub(super) async fn drop_keyspace(&mut self, old: KeyspaceId) -> Result<(), SalvageError> {
        self.flush().await?;
        match self.keyspaces.remove(&old) {
            Some(gone) => self.db.drop_keyspace(&gone).await.map_err(SalvageError::Keyspace),
            None => Ok(()),
        }
    }

    /// Adds a put, or a delete; it is in the store after the next [`Target::flush`]. Commits what
    /// was added before where both together would be more than one commit should hold.
    pub(super) async fn add(
        &mut self,
        old: KeyspaceId,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), SalvageError> {
        let bytes = key.len() + value.map_or(0, <[u8]>::len);
        if self.rows >= SALVAGE_BATCH_ROWS || self.bytes + bytes > SALVAGE_BATCH_BYTES {
            self.flush().await?;
        }
        let Some(keyspace) = self.keyspaces.get(&old) else { return Ok(()) };
        self.rows += 1;
        self.bytes += bytes;
        match value {
            Some(value) => self.batch.put(keyspace, key, value.to_vec()),
            None => self.batch.delete(keyspace, key),
        };
        Ok(())
    }

    pub(super) async fn flush(&mut self) -> Result<(), SalvageError> {
        if self.rows > 0 {
            let batch = std::mem::take(&mut self.batch);
            self.db.write(&batch).await.map_err(SalvageError::Write)?;
        }
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    pub(super) async fn close(self) -> Result<(), SalvageError> {
        self.db.close().await.map_err(SalvageError::Close)
    }
}
