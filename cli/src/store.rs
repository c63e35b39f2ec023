//! Opening a store for one command.

use std::path::Path;

use sombra::{Db, Keyspace, OpenError, OpenMode, Options};
use sombra_runtime::{Runtime, RuntimeOptions};

use crate::Outcome;
use crate::failure::Failure;

/// One shard is enough for one command; any number opens any store.
pub(crate) fn start_runtime() -> Outcome<Runtime> {
    let options = RuntimeOptions { shards: 1, pin: false, ..RuntimeOptions::default() };
    Runtime::start(options).map_err(Failure::work)
}

/// A store, and the runtime that it lives on.
pub(crate) struct OpenStore {
    pub(crate) runtime: Runtime,
    pub(crate) db: Db,
}

impl OpenStore {
    /// Opens a store, with the engine's own error for callers that treat some of them.
    pub(crate) fn try_open(path: &Path, mode: OpenMode) -> Outcome<Result<OpenStore, OpenError>> {
        let runtime = start_runtime()?;
        // The counters' file is for owners that stay.
        let options = Options { open_mode: mode, metrics_file: false, ..Options::default() };
        match runtime.block_on(Db::open(&runtime, path, options)) {
            Ok(db) => Ok(Ok(OpenStore { runtime, db })),
            Err(error) => {
                runtime.shutdown();
                Ok(Err(error))
            }
        }
    }

    pub(crate) fn open(path: &Path, mode: OpenMode) -> Outcome<OpenStore> {
        OpenStore::try_open(path, mode)?.map_err(Failure::work)
    }

    /// The keyspace, or an error that says which ones there are.
    pub(crate) fn keyspace(&self, name: &str) -> Outcome<Keyspace> {
        self.db.keyspace(name).ok_or_else(|| {
            let names: Vec<_> =
                self.db.keyspaces().iter().map(|space| space.name().to_owned()).collect();
            let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Failure::work(format!("keyspace {name:?}: not in this store, which has: {found}"))
        })
    }

    /// Closes the store and stops its runtime.
    pub(crate) fn close(self) -> Outcome {
        let closed = self.runtime.block_on(self.db.close());
        self.runtime.shutdown();
        closed.map_err(Failure::work)
    }

    /// Runs a command's work and closes the store whatever came of it; the work's own error is
    /// the one to tell.
    pub(crate) fn finish<T>(self, outcome: Outcome<T>) -> Outcome<T> {
        let closed = self.close();
        let value = outcome?;
        closed?;
        Ok(value)
    }
}
