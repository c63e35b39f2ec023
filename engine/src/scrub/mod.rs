//! The scrubber: reads everything of an open store from disk, bypassing the cache, and says where
//! it is not what it must be.
//!
//! Knows what may change under its hands: it holds a root for a few pages at a time, believes of
//! root pages only what nobody was writing, and of the log only what is durable and not yet
//! given up. Must never stop the store, and never write.

mod log;
mod tables;
mod trees;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sombra_runtime::Shard;
use sombra_runtime::sync::atomic::{AtomicU64, Ordering};

use crate::check::{CheckProblem, ProblemPlace};
use crate::commit::StoreCore;
use crate::limits;

pub(crate) use log::scrub_log;
pub(crate) use tables::{scrub_roots, scrub_superblock};
pub(crate) use trees::scrub_tablet;

/// What the scrubber has read and found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ScrubReport {
    /// Passes over the whole store that ended.
    pub passes: u64,
    /// Pages of trees, space maps and the root table.
    pub pages: u64,
    /// Bytes read: pages, superblock, log.
    pub bytes: u64,
    /// How long the last pass took; `None` before the first one has ended.
    pub last_pass_took: Option<Duration>,
    /// Damaged places, each once, in the order they were found.
    pub problems: Vec<CheckProblem>,
    /// More places were found than `limits::SCRUB_PROBLEMS_MAX`; the others are not kept.
    pub is_cut: bool,
}

/// What all shards' scrubbing of one opening adds up to.
#[derive(Default)]
pub(crate) struct ScrubState {
    pub(crate) passes: AtomicU64,
    pub(crate) pages: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) damage: AtomicU64,
    pub(crate) last_pass_ns: AtomicU64,
    found: Mutex<Found>,
}

/// Problems with their places, for one pass or one opening.
#[derive(Default)]
struct Found {
    problems: Vec<CheckProblem>,
    places: BTreeSet<ProblemPlace>,
    is_cut: bool,
}

impl Found {
    /// Keeps a problem of a place that is new and finds room; tells whether it did.
    fn add(&mut self, problem: &CheckProblem) -> bool {
        if self.places.contains(&problem.place) {
            return false;
        }
        if self.problems.len() >= limits::SCRUB_PROBLEMS_MAX {
            self.is_cut = true;
            return false;
        }
        self.places.insert(problem.place.clone());
        self.problems.push(problem.clone());
        true
    }
}

impl ScrubState {
    /// Everything since the store was opened.
    pub(crate) fn report(&self) -> ScrubReport {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = load(&self.passes);
        ScrubReport {
            passes,
            pages: load(&self.pages),
            bytes: load(&self.bytes),
            last_pass_took: (passes > 0).then(|| Duration::from_nanos(load(&self.last_pass_ns))),
            problems: found.problems.clone(),
            is_cut: found.is_cut,
        }
    }

    /// A pass over the whole store has ended.
    pub(crate) fn note_pass(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.last_pass_ns.store(nanos, Ordering::Relaxed);
        self.passes.fetch_add(1, Ordering::Relaxed);
    }

    fn note_problem(&self, problem: &CheckProblem) {
        let is_new = self.found.lock().unwrap_or_else(PoisonError::into_inner).add(problem);
        if is_new {
            self.damage.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%problem, "the scrubber found damage");
        }
    }
}

/// The store closes or has stopped: nothing that is read now says anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopped;

/// One shard's part of one pass.
pub(crate) struct ScrubPass<'s> {
    pub(crate) shard: &'s Shard,
    pub(crate) store: &'s StoreCore,
    state: &'s ScrubState,
    /// `None`: as fast as the disk and the share of maintenance allow.
    bytes_per_second: Option<u64>,
    /// Bytes read that were not waited for.
    unpaced_bytes: u64,
    pages: u64,
    bytes: u64,
    found: Found,
}

impl<'s> ScrubPass<'s> {
    pub(crate) fn new(
        shard: &'s Shard,
        (store, state): (&'s StoreCore, &'s ScrubState),
        bytes_per_second: Option<u64>,
    ) -> ScrubPass<'s> {
        ScrubPass {
            shard,
            store,
            state,
            bytes_per_second,
            unpaced_bytes: 0,
            pages: 0,
            bytes: 0,
            found: Found::default(),
        }
    }

    fn note_read(&mut self, pages: u64, bytes: u64) {
        self.pages += pages;
        self.bytes += bytes;
        self.unpaced_bytes += bytes;
        self.state.pages.fetch_add(pages, Ordering::Relaxed);
        self.state.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Tells of damage, unless the store was closed meanwhile: then its files may be the next
    /// opener's.
    fn note_problem(&mut self, problem: &CheckProblem) {
        if self.is_stopped() {
            return;
        }
        self.found.add(problem);
        self.state.note_problem(problem);
    }

    fn is_stopped(&self) -> bool {
        self.store.is_closing() || self.store.poison.reason().is_some()
    }

    /// Waits as long as what was read since the last time may take. The caller holds nothing
    /// that anybody waits for.
    async fn pace(&mut self) -> Result<(), Stopped> {
        let bytes = std::mem::take(&mut self.unpaced_bytes);
        match self.bytes_per_second {
            Some(rate) => {
                let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
                let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
                self.shard.sleep(Duration::from_nanos(nanos)).await;
            }
            None => self.shard.yield_if_needed().await,
        }
        if self.is_stopped() { Err(Stopped) } else { Ok(()) }
    }

    /// What this part of the pass adds to the pass's report.
    pub(crate) fn into_part(self) -> ScrubPart {
        ScrubPart { pages: self.pages, bytes: self.bytes, found: self.found }
    }
}

/// What one shard contributed to a pass.
#[derive(Default)]
pub(crate) struct ScrubPart {
    pages: u64,
    bytes: u64,
    found: Found,
}

impl ScrubPart {
    pub(crate) fn add(&mut self, other: ScrubPart) {
        self.pages += other.pages;
        self.bytes += other.bytes;
        self.found.is_cut |= other.found.is_cut;
        for problem in &other.found.problems {
            self.found.add(problem);
        }
    }

    /// The report of a pass of which this is all.
    pub(crate) fn into_report(self, took: Duration) -> ScrubReport {
        ScrubReport {
            passes: 1,
            pages: self.pages,
            bytes: self.bytes,
            last_pass_took: Some(took),
            problems: self.found.problems,
            is_cut: self.found.is_cut,
        }
    }
}
