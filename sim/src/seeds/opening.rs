//! Opening a store in a simulated world, comparing it with the model, and making it ready.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sombra::{Db, OpenError, OpenMode, Options};
use sombra_runtime::Runtime;

use crate::model::{Observation, Recorder, Shared};
use crate::workload::{ObserveError, Space, observe, prepare_spaces};

/// Where the store of a simulated world lies.
pub(crate) const STORE_DIR: &str = "/store";

/// A store that is open and has been compared with the model.
pub(super) struct Opened {
    pub(super) db: Db,
    pub(super) spaces: Vec<Space>,
}

/// How far an opening has come.
#[derive(Default)]
pub(super) struct Progress {
    /// What the store showed once the model has been compared; it is settled even if the rest is
    /// cut off.
    pub(super) settled: Option<Observation>,
    pub(super) outcome: Option<Result<Opened, Refusal>>,
    /// An opening that only reads came before and showed the same.
    pub(super) was_read_before: bool,
}

/// Why there is no open store.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A bound on memory, log or disk; with more room it opens.
    Bound(String),
    /// The store says that it cannot, as it may where a device failed it.
    Refused(String),
    /// The store shows what cannot be.
    Wrong(String),
}

impl From<ObserveError> for Refusal {
    fn from(error: ObserveError) -> Refusal {
        match error {
            ObserveError::Refused(why) => Refusal::Refused(why),
            ObserveError::Contradiction(what) => Refusal::Wrong(what),
        }
    }
}

/// Shared between the opening task and whoever turns the world.
pub(super) type SharedProgress = Arc<Mutex<Progress>>;

pub(super) fn lock(progress: &SharedProgress) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an opening needs.
pub(super) struct Opening {
    pub(super) runtime: Runtime,
    pub(super) options: Options,
    pub(super) history: Shared,
    pub(super) keys: u32,
    pub(super) tablets: u32,
    /// The store was closed before, so nothing at all may be missing.
    pub(super) clean: bool,
    /// An opening has been compared before, so there is a store with its data file.
    pub(super) is_made: bool,
    /// Somebody opens it to read before it is opened for writing, and must see the same.
    pub(super) is_read_first: bool,
    pub(super) progress: SharedProgress,
}

impl Opening {
    /// Opens, compares, prepares; leaves the outcome in `progress`.
    pub(super) async fn run(self) {
        let outcome = self.open().await;
        lock(&self.progress).outcome = Some(outcome);
    }

    async fn open(&self) -> Result<Opened, Refusal> {
        let read = if self.is_read_first { self.read().await? } else { None };
        let opened = Db::open(&self.runtime, STORE_DIR, self.options.clone()).await;
        let db = opened.map_err(|error| refuse(&error))?;
        let observation = observe(&db, self.keys).await?;
        lock(&self.progress).was_read_before = read.is_some();
        if read.is_some_and(|read| read != observation) {
            return Err(Refusal::Wrong("a reader saw something else before".to_owned()));
        }
        self.history.with(|history| history.settle(&observation, self.clean));
        lock(&self.progress).settled = Some(observation);
        let recorder: Arc<dyn Recorder> = Arc::new(self.history.clone());
        match prepare_spaces(&db, &recorder, self.tablets).await {
            Ok(spaces) => Ok(Opened { db, spaces }),
            Err(error) => Err(refuse_keyspace(&error)),
        }
    }
}

impl Opening {
    /// What an opening that only reads shows; `None` where there is no store yet.
    async fn read(&self) -> Result<Option<Observation>, Refusal> {
        let options = Options { open_mode: OpenMode::ReadOnly, ..self.options.clone() };
        let db = match Db::open(&self.runtime, STORE_DIR, options).await {
            Ok(db) => db,
            Err(OpenError::Missing { .. } | OpenError::DataFile { .. }) if !self.is_made => {
                return Ok(None);
            }
            Err(error) => return Err(refuse(&error)),
        };
        let observation = observe(&db, self.keys).await?;
        db.close().await.map_err(|error| Refusal::Refused(format!("close: {error}")))?;
        Ok(Some(observation))
    }
}

fn refuse(error: &OpenError) -> Refusal {
    let text = format!("open: {error}");
    match error {
        OpenError::MemoryTooSmall { .. } => Refusal::Bound(text),
        OpenError::DiskFull { .. } => Refusal::Bound(text),
        // No device that fails an operation changes what was written before.
        OpenError::Damaged { .. } | OpenError::Record { .. } | OpenError::Superblock { .. } => {
            Refusal::Wrong(text)
        }
        _ => Refusal::Refused(text),
    }
}

fn refuse_keyspace(error: &sombra::KeyspaceError) -> Refusal {
    use sombra::{CommitError, KeyspaceError};
    let text = format!("create keyspace: {error}");
    let bound = matches!(
        error,
        KeyspaceError::Commit(
            CommitError::MemoryFull { .. }
                | CommitError::LogFull { .. }
                | CommitError::DiskFull { .. }
        )
    );
    if bound { Refusal::Bound(text) } else { Refusal::Refused(text) }
}
