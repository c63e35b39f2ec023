//! Opening a store for one command.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;
use sombra::{Db, Keyspace, OpenError, OpenMode, Options};
use sombra_runtime::{Runtime, RuntimeOptions};

use crate::Outcome;
use crate::failure::Failure;

/// One shard is enough for one command; any number opens any store.
pub(crate) fn start_runtime() -> Outcome<Runtime> {
    let options = RuntimeOptions { shards: 1, pin: false, ..RuntimeOptions::default() };
    Runtime::start(options).map_err(Failure::work)
}

fn options(mode: OpenMode) -> Options {
    // The counters' file is for owners that stay.
    Options { open_mode: mode, metrics_file: false, ..Options::default() }
}

/// What counts only when the command makes the store.
#[derive(Args)]
pub(crate) struct NewStoreArgs {
    /// Size of the new store's pages in bytes; a store that is there keeps its own.
    #[arg(long, value_name = "BYTES", value_parser = page_sizes())]
    page_size: Option<String>,
    /// Raw block device that holds the new store's pages instead of a file; what is on it is lost.
    #[arg(long, value_name = "PATH")]
    device: Option<PathBuf>,
}

fn page_sizes() -> PossibleValuesParser {
    PossibleValuesParser::new(["4096", "8192", "16384", "32768"])
}

impl NewStoreArgs {
    /// Whether anything was asked for.
    pub(crate) fn is_given(&self) -> bool {
        self.page_size.is_some() || self.device.is_some()
    }

    fn apply(&self, options: &mut Options) -> Outcome {
        if let Some(size) = &self.page_size {
            let reason = |error| Failure::usage(format!("--page-size: {error}"));
            options.page_size_bytes = size.parse().map_err(reason)?;
        }
        options.device.clone_from(&self.device);
        Ok(())
    }
}

/// A store, and the runtime that it lives on.
pub(crate) struct OpenStore {
    pub(crate) runtime: Runtime,
    pub(crate) db: Db,
}

impl OpenStore {
    /// Opens a store, with the engine's own error for callers that treat some of them.
    pub(crate) fn try_open(path: &Path, mode: OpenMode) -> Outcome<Result<OpenStore, OpenError>> {
        OpenStore::try_open_with(path, options(mode))
    }

    fn try_open_with(path: &Path, options: Options) -> Outcome<Result<OpenStore, OpenError>> {
        let runtime = start_runtime()?;
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

    /// Opens a store, or makes one as the command line says where `mode` allows it.
    pub(crate) fn open_to_write(
        path: &Path,
        mode: OpenMode,
        new_store: &NewStoreArgs,
    ) -> Outcome<OpenStore> {
        let mut options = options(mode);
        new_store.apply(&mut options)?;
        OpenStore::try_open_with(path, options)?.map_err(Failure::work)
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
