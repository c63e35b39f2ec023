//! Who has the bytes of the data file: what a store believes while it is open, and what its files
//! say once it is closed. What one of them has and nobody holds has leaked.

use std::path::Path;

use sombra::format::root_table::ROOT_EXTENTS;
use sombra::inspect::{self, CheckReport, SpaceReport};
use sombra::limits::{EXTENT_BYTES, EXTENTS_KEPT};
use sombra::{Db, Metrics};

use super::opening::STORE_DIR;
use super::run::{Failed, Run};

/// What an open store says of its data file, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Believed {
    pub(super) file: u64,
    /// Extents that no tablet has.
    pub(super) free: u64,
    pub(super) tablets: u64,
    /// Extents of dropped keyspaces that somebody could still need.
    pub(super) dropped: u64,
    /// Pages that the roots in force reach.
    pub(super) live: u64,
    /// Pages that wait for their release.
    pub(super) waiting: u64,
    /// Pages that may not be written.
    pub(super) held: u64,
}

impl Believed {
    pub(super) fn of(metrics: &Metrics) -> Believed {
        let value = |name| {
            let is_there = metrics.lines().iter().any(|line| line.name == name);
            assert!(is_there, "the engine does not count {name}");
            metrics.value(name) as u64
        };
        Believed {
            file: value("sombra_data_file_bytes"),
            free: value("sombra_data_free_bytes"),
            tablets: value("sombra_data_tablets_bytes"),
            dropped: value("sombra_data_dropped_bytes"),
            live: value("sombra_data_live_bytes"),
            waiting: value("sombra_data_waiting_bytes"),
            held: value("sombra_data_held_bytes"),
        }
    }

    /// Every extent has an owner, whatever the store was at when it was closed.
    pub(super) fn extents_are_owned(&self) -> Result<(), Failed> {
        let roots = u64::from(ROOT_EXTENTS) * EXTENT_BYTES;
        if self.file == roots + self.free + self.tablets + self.dropped {
            return Ok(());
        }
        Err(format!("space: the store counts extents that nobody has, or two have: {self:?}"))
    }

    /// Every page of a store that merges nothing is reached, or waits for its release.
    pub(super) fn pages_are_owned(&self) -> Result<(), Failed> {
        if self.held == self.live + self.waiting {
            return Ok(());
        }
        Err(format!("space: the store holds pages for nobody: {self:?}"))
    }

    /// The files reach what the store believed to be live, and use nothing that it believed to be
    /// free. Of what it kept in use, they use all but a few empty extents of each tablet.
    /// Where room is short, merges that found none keep what they took.
    pub(super) fn agrees_with(&self, files: &CheckReport, is_short: bool) -> Result<(), Failed> {
        let pages: u64 = files.tablets.iter().map(reached_pages).sum();
        let live = pages * u64::from(files.page_size_bytes);
        // The file is cut without a flush: after a power cut it may be as long as before.
        let uncut = files.data_file_bytes.saturating_sub(self.file);
        let free = (u64::from(files.free_extents) * EXTENT_BYTES).saturating_sub(uncut);
        let unlike = |what: &str, found: u64| {
            Err(format!("space: the closed files have {found} bytes {what}, the store {self:?}"))
        };
        if files.data_file_bytes < self.file {
            return unlike("altogether", files.data_file_bytes);
        }
        // A keyspace that was dropped last may still have its rows, and then its pages are reached.
        if live < self.live || self.dropped == 0 && live > self.live {
            return unlike("reached", live);
        }
        let spare_max = (files.tablets.len() * EXTENTS_KEPT) as u64 * EXTENT_BYTES;
        let is_idle = self.waiting == 0 && self.dropped == 0 && !is_short;
        if free < self.free || is_idle && free > self.free + spare_max {
            return unlike("free", free);
        }
        Ok(())
    }
}

/// What the checker's walk over the tree reached, and the map that it was compared with.
fn reached_pages(tablet: &inspect::CheckedTablet) -> u64 {
    tablet.leaf_pages + tablet.inner_pages + tablet.overflow_pages + tablet.map_pages
}

impl Run {
    /// Notes what a store that has just been closed believed; `before` it was closed, it believed
    /// the same if nothing was under way.
    pub(super) fn note_space(&mut self, db: &Db, before: Believed) -> Result<(), Failed> {
        let after = Believed::of(&db.metrics());
        after.extents_are_owned()?;
        // A merge that the close cut off leaves pages that only an opening gives back.
        self.believed = (after == before).then_some(after);
        self.believed.map_or(Ok(()), |believed| believed.pages_are_owned())
    }

    /// Compares what the store believed when it was closed with what was found in its files.
    pub(super) fn compare_space(&mut self, files: Option<&CheckReport>) -> Result<(), Failed> {
        match (self.believed.take(), files) {
            (Some(believed), Some(files)) => {
                self.report.trees.spaces_compared += 1;
                let is_short =
                    self.options.data_bytes_max != u64::MAX || self.swarm.disk_bytes.is_some();
                believed.agrees_with(files, is_short)
            }
            (None, _) | (_, None) => Ok(()),
        }
    }

    /// Every byte of the closed store's data file is the root table's, a tablet's or free:
    /// nothing is kept for keyspaces that are gone.
    pub(super) fn nothing_is_set_aside(&mut self) -> Result<(), Failed> {
        set_aside(&self.space()?)
    }

    pub(super) fn space(&mut self) -> Result<SpaceReport, Failed> {
        let report = self.on_closed_store("space", |runtime| async move {
            inspect::space(&runtime, Path::new(STORE_DIR)).await
        })?;
        report.map_err(|error| format!("space: {error}"))
    }
}

pub(super) fn set_aside(report: &SpaceReport) -> Result<(), Failed> {
    let Some(data) = &report.data else { return Ok(()) };
    let extents: u64 = data.tablets.iter().map(|tablet| tablet.extents.len() as u64).sum();
    let tablets = extents * report.extent_bytes;
    let known = data.root_table_bytes + data.free_extents_bytes + tablets;
    if known == data.file_bytes {
        return Ok(());
    }
    let (file, roots, free) = (data.file_bytes, data.root_table_bytes, data.free_extents_bytes);
    Err(format!("space: {file} bytes, of them {roots} of roots, {tablets} of tablets, {free} free"))
}
