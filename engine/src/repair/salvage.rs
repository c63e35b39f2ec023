//! Reading what is whole of a damaged store into a new one, and saying what is not.
//!
//! Trees first, then the log on top of them, in its order. A page is all or nothing: no row of a
//! damaged one is believed. The old store is only read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sombra_runtime::{Runtime, Shard};

use super::LogGap;
use super::log_rows::LogRows;
use super::roots::{Source, SourceTablet};
use super::target::Target;
use crate::check::{self, CheckProblem, TreeWalk, problem};
use crate::error::{CloseError, KeyspaceError, OpenError, TransactionError};
use crate::format::log_record::Record;
use crate::format::node::{Leaf, LeafValue};
use crate::format::superblock::Superblock;
use crate::ids::{KeyspaceId, Lsn, StoreId};
use crate::inspect::on_shard;
use crate::options::Options;
use crate::recovery::{self, FoundLog, ReplaySink, RootMarks};
use crate::volume::{Access, Volume};

/// Why nothing, or not all of it, was salvaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SalvageError {
    /// The old store is held by somebody, or nothing says what it is.
    #[error("the store to be read: {0}")]
    Source(#[source] OpenError),
    /// Caller: name a directory that is not there yet.
    #[error("the new store: {0}")]
    Target(#[source] OpenError),
    #[error("the new store: {0}")]
    Keyspace(#[source] KeyspaceError),
    #[error("the new store: {0}")]
    Write(#[source] TransactionError),
    #[error("the new store: {0}")]
    Close(#[source] CloseError),
}

/// What a salvage brought into the new store, and what it could not.
#[derive(Clone, Debug)]
pub struct SalvageReport {
    /// The store that was read.
    pub store_id: StoreId,
    pub keyspaces: Vec<SalvagedKeyspace>,
    /// What could not be read, with the keys that it costs.
    pub lost: Vec<LostKeys>,
    /// Records of the log that were brought in, as far as trees did not hold them.
    pub log_records: u64,
    /// Why an opening would refuse the log, if it would.
    pub log_damage: Option<String>,
    /// Parts of the log that cannot be read: commits in them are missing, those behind are there.
    pub log_gaps: Vec<LogGap>,
    /// Writes of the log to keyspaces of which neither name nor routing is known, while a part of
    /// the root table is lost: nobody knows where they belong.
    pub log_writes_unplaced: u64,
}

/// A keyspace of the new store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalvagedKeyspace {
    pub name: String,
    pub rows_from_trees: u64,
    /// Writes of the log on top of them, deletes too.
    pub writes_from_log: u64,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostKeys {
    pub problem: CheckProblem,
    /// Rows of these keys that are there all the same: the log holds their newest values.
    pub rows_from_log: u64,
}

impl SalvageReport {
    /// Whether everything that was ever committed is in the new store, as far as can be known.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty()
            && self.log_damage.is_none()
            && self.log_gaps.is_empty()
            && self.log_writes_unplaced == 0
    }
}

/// Reads what is whole of the closed store in `dir` into a new store in `into`, with the same
/// keyspaces and sizes of pages and segments; the rest of `options` is the new store's. `progress`
/// is told how many tablets of how many are done.
///
/// # Errors
/// As [`SalvageError`]. A new store that was not finished holds a part of what can be read.
pub async fn salvage(
    runtime: &Runtime,
    (dir, into): (&Path, &Path),
    options: Options,
    progress: impl FnMut(usize, usize) + Send + 'static,
) -> Result<SalvageReport, SalvageError> {
    let (dir, into) = (dir.to_owned(), into.to_owned());
    let on = runtime.clone();
    let salvaged = on_shard(runtime, async move |shard: &Shard| {
        let _lock = recovery::take_lock(shard, &dir, Access::ReadWrite).await?;
        let picked = recovery::look_at_superblock(shard, &dir).await?;
        let data =
            recovery::look_at_data(shard, &dir, &picked.superblock, &Options::default()).await;
        // Where the log is needed from is not known without the root table: then all of it is.
        let marks = match data {
            Err(error @ OpenError::Newer { .. }) => return Err(error),
            Err(_) => None,
            Ok(data) => Some(data.map_or(RootMarks::NONE, |data| data.marks)),
        };
        let source = Source::look(shard, &dir, &picked.superblock).await;
        let options = Options {
            page_size_bytes: picked.superblock.page_size_bytes,
            segment_bytes: picked.superblock.segment_bytes,
            ..options
        };
        let target = match Target::make(&on, &into, options).await {
            Ok(target) => target,
            Err(error) => return Ok(Err(error)),
        };
        let report = SalvageReport {
            store_id: picked.superblock.store_id,
            keyspaces: Vec::new(),
            lost: Vec::new(),
            log_records: 0,
            log_damage: None,
            log_gaps: Vec::new(),
            log_writes_unplaced: 0,
        };
        let counts = BTreeMap::new();
        let mut salvage = Salvage { shard, target, source, marks, report, counts, failure: None };
        let outcome = salvage.run(&dir, &picked.superblock, progress).await;
        let closed = salvage.target.close().await;
        Ok(outcome.and(closed).map(|()| salvage.report))
    });
    salvaged.await.map_err(SalvageError::Source)?
}

struct Salvage<'s> {
    shard: &'s Shard,
    target: Target,
    source: Source,
    /// `None`: the root table is lost, in whole or in part.
    marks: Option<RootMarks>,
    report: SalvageReport,
    counts: BTreeMap<KeyspaceId, SalvagedKeyspace>,
    failure: Option<SalvageError>,
}

impl Salvage<'_> {
    async fn run(
        &mut self,
        dir: &Path,
        superblock: &Superblock,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<(), SalvageError> {
        for (&id, source) in &self.source.keyspaces {
            let (name, routing) = (source.keyspace.name(), source.keyspace.routing());
            self.target.create(id, name, routing.clone()).await?;
            self.counts.insert(id, counted(name));
        }
        let mut lost = std::mem::take(&mut self.source.lost);
        if let Some(volume) = self.source.volume.take() {
            let total = self.source.keyspaces.values().map(|source| source.tablets.len()).sum();
            let keyspaces = self.source.keyspaces.values_mut();
            let tablets = keyspaces.flat_map(|source| &mut source.tablets);
            let mut done = 0;
            for tablet in tablets {
                progress(done, total);
                let into = (&mut self.target, &mut self.counts);
                lost.extend(copy_tree(self.shard, &volume, tablet, into).await?);
                done += 1;
            }
            progress(done, total);
        }
        self.target.flush().await?;
        self.replay(dir, superblock, lost).await?;
        self.report.keyspaces = std::mem::take(&mut self.counts).into_values().collect();
        Ok(())
    }

    /// The log, and the marks from which it is read. Where rows of trees are lost it may be whole
    /// from further down, where it is kept for the older roots: then it knows the newest values of
    /// those that were written there.
    async fn look_at_log(
        &self,
        dir: &Path,
        superblock: &Superblock,
        has_lost_rows: bool,
    ) -> (RootMarks, Result<FoundLog, OpenError>) {
        let marks = self.marks.unwrap_or(RootMarks::NONE);
        if has_lost_rows && marks.floor < marks.start {
            let deeper = RootMarks { start: marks.floor, ..marks };
            let seen = (superblock, deeper);
            let found = recovery::look_at_log(self.shard, dir, seen, &mut Nowhere).await;
            if found.as_ref().is_ok_and(|found| found.damage.is_none()) {
                return (deeper, found);
            }
        }
        let seen = (superblock, marks);
        (marks, recovery::look_at_log(self.shard, dir, seen, &mut Nowhere).await)
    }

    async fn replay(
        &mut self,
        dir: &Path,
        superblock: &Superblock,
        lost: Vec<CheckProblem>,
    ) -> Result<(), SalvageError> {
        let (shard, marks) = (self.shard, self.marks);
        let (from, found) = self.look_at_log(dir, superblock, !lost.is_empty()).await;
        let seen = (superblock, from);
        let mut rows = LogRows {
            source: &mut self.source,
            target: &mut self.target,
            counts: &mut self.counts,
            from_log: vec![BTreeSet::new(); lost.len()],
            lost,
            waiting: Vec::new(),
            unplaced: 0,
            failure: &mut self.failure,
        };
        match found {
            Ok(found) => {
                let start = match (&found.damage, marks) {
                    (None, Some(_)) => None,
                    (_, marks) => Some(marks.map(|marks| marks.start)),
                };
                let outcome = match start {
                    None => found.replay(shard, seen, &mut rows).await.map(|log| {
                        self.report.log_records = log.records;
                    }),
                    Some(start) => {
                        found.survey(shard, superblock, start, &mut rows).await.map(|seen| {
                            self.report.log_records = seen.records;
                            let newest = marks.map_or(Lsn::ZERO, |marks| marks.newest);
                            let known = (superblock, newest);
                            self.report.log_gaps = super::gaps(&found, &seen, known).0;
                        })
                    }
                };
                outcome.map_err(SalvageError::Source)?;
                // Without the root table the search for damage begins where no log may be.
                let damage = found.damage.filter(|_| marks.is_some());
                self.report.log_damage = damage.map(|damage| damage.error.to_string());
            }
            Err(error) => {
                let place = check::log_place(dir, &error);
                rows.from_log.push(BTreeSet::new());
                rows.lost.push(problem(place, "a log that can be read", error));
            }
        }
        let (lost, from_log) = (rows.lost, rows.from_log);
        // With the root table whole, a keyspace that it does not know was dropped.
        if marks.is_none() {
            self.report.log_writes_unplaced = rows.unplaced;
        }
        let told = lost.into_iter().zip(from_log);
        self.report.lost = told
            .map(|(problem, rows)| LostKeys { problem, rows_from_log: rows.len() as u64 })
            .collect();
        self.target.flush().await?;
        self.failure.take().map_or(Ok(()), Err)
    }
}

pub(super) fn counted(name: &str) -> SalvagedKeyspace {
    SalvagedKeyspace { name: name.to_owned(), rows_from_trees: 0, writes_from_log: 0 }
}

/// Brings in every row of a tree that can be believed; tells the rest.
async fn copy_tree(
    shard: &Shard,
    volume: &Volume,
    tablet: &mut SourceTablet,
    (target, counts): (&mut Target, &mut BTreeMap<KeyspaceId, SalvagedKeyspace>),
) -> Result<Vec<CheckProblem>, SalvageError> {
    let Some(root) = tablet.root else { return Ok(Vec::new()) };
    let id = tablet.walked.name.id.keyspace;
    let key_offset = tablet.walked.key_offset();
    let mut walk = TreeWalk::new(shard, volume, &tablet.walked);
    walk.begin(root);
    let mut last_key = None;
    while let Some(found) = walk.next_leaf().await {
        let leaf = Leaf::new(&found.page);
        for index in 0..leaf.len() {
            let key = leaf.key(index);
            let outside;
            let value = match leaf.value(index) {
                LeafValue::Inline(range) => &found.page[range],
                LeafValue::Overflow(reference) => {
                    match walk.read_value(&key, &reference).await {
                        Some(value) => outside = value,
                        None => continue,
                    }
                    &outside[..]
                }
            };
            let key = &key[key_offset.min(key.len())..];
            target.add(id, key, Some(value)).await?;
            last_key = Some(key.to_vec());
            counts.entry(id).and_modify(|count| count.rows_from_trees += 1);
        }
    }
    let problems = walk.problems;
    tablet.last_key = last_key;
    Ok(problems)
}

/// For a look at where a log is damaged.
struct Nowhere;

impl ReplaySink for Nowhere {
    fn record(&mut self, _lsn: Lsn, _record: Record<'_>) -> Result<(), OpenError> {
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), OpenError> {
        Ok(())
    }
}
