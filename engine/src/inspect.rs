//! Looking at a store that nobody has open: superblock, log, pages, root table, space; and the
//! check of all of it. Read only.
//!
//! Takes the lock first, beside others who only read, so that nothing is read while somebody
//! writes it.

mod page;
mod root;
mod space;

use std::path::Path;

use futures_channel::oneshot;
use sombra_runtime::{Runtime, Shard, ShardId, TaskClass, TaskSpec};

use crate::check;
use crate::error::OpenError;
use crate::format::log_record::Record;
use crate::format::superblock::{Superblock, SuperblockCopy, SuperblockError};
use crate::ids::{KeyspaceId, Lsn};
use crate::options::{Options, Routing};
use crate::recovery::{self, ReplaySink};
use crate::volume::{Access, Volume};

pub use crate::check::{
    CheckProblem, CheckReport, CheckedTablet, KeyBounds, KeySpan, ProblemPlace, ProblemTablet,
};
pub use page::{InnerChild, LeafRow, PageContent, PageReport, PageUsage, RowValue, page};
pub(crate) use root::read_slots;
pub use root::{RootCopyState, RootReport, RootSlot, root};
pub use space::{
    DataSpace, ExtentReport, LogHolder, LogSpace, OlderRoot, SpaceReport, TabletSpaceReport, space,
};

/// Both copies of a superblock as they were read.
#[derive(Clone, Debug)]
pub struct SuperblockReport {
    pub copy_a: Result<Superblock, SuperblockError>,
    pub copy_b: Result<Superblock, SuperblockError>,
}

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The commit's LSN: the end of its record.
    pub lsn: Lsn,
    pub wall_ms: u64,
    pub change: LogChange,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogChange {
    Commit { writes: Vec<LogWrite> },
    CreateKeyspace { keyspace: KeyspaceId, name: String, routing: Routing },
    DropKeyspace { keyspace: KeyspaceId },
}

/// One write of a commit; `value` is `None` for a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogWrite {
    pub keyspace: KeyspaceId,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// How the log ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSummary {
    pub records: u64,
    pub end: Lsn,
    pub newest_stamp: Lsn,
    pub stopped_by: String,
}

/// Reads both superblock copies of the store in `dir`.
///
/// # Errors
/// Held by somebody, missing, or I/O. A damaged copy is part of the report.
pub async fn superblock(runtime: &Runtime, dir: &Path) -> Result<SuperblockReport, OpenError> {
    let dir = dir.to_owned();
    on_shard(runtime, async move |shard: &Shard| {
        let _lock = recovery::take_lock(shard, &dir, Access::ReadOnly).await?;
        let path = dir.join(recovery::SUPERBLOCK_FILE);
        let file = recovery::open_file(shard, &path, Access::ReadOnly).await?;
        let copy_a = recovery::read_copy(shard, &path, &file, SuperblockCopy::A).await?;
        let copy_b = recovery::read_copy(shard, &path, &file, SuperblockCopy::B).await?;
        Ok(SuperblockReport { copy_a, copy_b })
    })
    .await
}

/// Checks the closed store in `dir`: every tree (order, fences, fill, counts, checksums), the
/// space maps, the root table, the log. Writes nothing. `progress` is told how many tablets of
/// how many are done.
///
/// # Errors
/// The store cannot be looked at. Whatever else is wrong is a problem in the report.
pub async fn check(
    runtime: &Runtime,
    dir: &Path,
    progress: impl FnMut(usize, usize) + Send + 'static,
) -> Result<CheckReport, OpenError> {
    let dir = dir.to_owned();
    on_shard(runtime, async move |shard: &Shard| {
        let _lock = recovery::take_lock(shard, &dir, Access::ReadOnly).await?;
        check::check(shard, &dir, progress).await
    })
    .await
}

/// Hands the records of the log in `dir` with an LSN above `after` to `visit`, in LSN order.
///
/// # Errors
/// As opening the store would say; nothing is written.
pub async fn log(
    runtime: &Runtime,
    dir: &Path,
    after: Option<Lsn>,
    visit: impl FnMut(LogEntry) + Send + 'static,
) -> Result<LogSummary, OpenError> {
    let dir = dir.to_owned();
    on_shard(runtime, async move |shard: &Shard| {
        let _lock = recovery::take_lock(shard, &dir, Access::ReadOnly).await?;
        let picked = recovery::look_at_superblock(shard, &dir).await?;
        let mut sink = Visitor { after: after.unwrap_or(Lsn::ZERO), visit };
        let superblock = &picked.superblock;
        let data = recovery::look_at_data(shard, &dir, superblock, &Options::default()).await?;
        let marks = data.map_or(recovery::RootMarks::NONE, |data| data.marks);
        let log = recovery::replay_log(shard, &dir, superblock, marks, &mut sink).await?;
        Ok(LogSummary {
            records: log.records,
            end: log.end,
            newest_stamp: log.newest_stamp,
            stopped_by: log.stopped_by,
        })
    })
    .await
}

/// The superblock in force and the data file, of which nothing is believed yet.
async fn opened_volume(shard: &Shard, dir: &Path) -> Result<(Superblock, Volume), OpenError> {
    let picked = recovery::look_at_superblock(shard, dir).await?;
    let volume = recovery::open_volume(shard, dir, &picked.superblock).await?;
    let volume = volume.ok_or_else(|| {
        let path = dir.join(recovery::DATA_FILE);
        let reason = "expected a data file, found a store that has only a log";
        OpenError::DataFile { reason: format!("{}: {reason}", path.display()) }
    })?;
    Ok((picked.superblock, volume))
}

/// Runs `f` on the first shard and waits for it.
pub(crate) async fn on_shard<T, F>(runtime: &Runtime, f: F) -> Result<T, OpenError>
where
    T: Send + 'static,
    F: AsyncFnOnce(&Shard) -> Result<T, OpenError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    runtime.run_on(ShardId::new(0), move |shard: &Shard| {
        let spec = TaskSpec { name: "inspect", class: TaskClass::Foreground, on_panic: None };
        let on_shard = shard.clone();
        // A caller that went away does not want the answer.
        shard.spawn(spec, async move { drop(reply.send(f(&on_shard).await)) });
    });
    let stopped = |_| OpenError::RuntimeStopped { reason: "it was shut down".to_owned() };
    answer.await.map_err(stopped)?
}

struct Visitor<V> {
    after: Lsn,
    visit: V,
}

impl<V: FnMut(LogEntry)> ReplaySink for Visitor<V> {
    fn record(&mut self, lsn: Lsn, record: Record<'_>) -> Result<(), OpenError> {
        if lsn <= self.after {
            return Ok(());
        }
        let (wall_ms, change) = match record {
            Record::Pad => return Ok(()),
            Record::Commit(commit) => {
                let writes = commit.writes.map(|write| LogWrite {
                    keyspace: write.keyspace,
                    key: write.key.to_vec(),
                    value: write.value.map(<[u8]>::to_vec),
                });
                (commit.wall_ms, LogChange::Commit { writes: writes.collect() })
            }
            Record::CreateKeyspace(create) => {
                let (keyspace, name) = (create.keyspace, create.name.to_owned());
                let routing = create.routing;
                (create.wall_ms, LogChange::CreateKeyspace { keyspace, name, routing })
            }
            Record::DropKeyspace { wall_ms, keyspace } => {
                (wall_ms, LogChange::DropKeyspace { keyspace })
            }
        };
        (self.visit)(LogEntry { lsn, wall_ms, change });
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), OpenError> {
        Ok(())
    }
}
