//! One slot of the root table as its two copies on disk are known to be.

use crate::format::root_table::{ROOT_ROWS_BYTES, RootCopy, RootPage, RootRow, RowKey};
use crate::ids::{Lsn, TabletId};

/// What is known to be durable in one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CopyState {
    /// Never written.
    Blank,
    /// Cannot be believed; the next write of the slot goes here.
    Damaged,
    Valid(RootPage),
}

impl CopyState {
    fn page(&self) -> Option<&RootPage> {
        match self {
            CopyState::Valid(page) => Some(page),
            CopyState::Blank | CopyState::Damaged => None,
        }
    }

    fn generation(&self) -> u64 {
        self.page().map_or(0, |page| page.generation)
    }
}

/// Two copies; the valid one of the higher generation is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) copies: [CopyState; 2],
}

impl Slot {
    pub(super) const EMPTY: Slot = Slot { copies: [CopyState::Blank, CopyState::Blank] };

    fn newest_copy(&self) -> Option<RootCopy> {
        let valid = RootCopy::BOTH.into_iter().filter(|copy| self.page(*copy).is_some());
        valid.max_by_key(|copy| self.copies[copy.index()].generation())
    }

    fn page(&self, copy: RootCopy) -> Option<&RootPage> {
        self.copies[copy.index()].page()
    }

    /// The page in force.
    pub(super) fn newest(&self) -> Option<&RootPage> {
        self.newest_copy().and_then(|copy| self.page(copy))
    }

    /// The page that would be in force if the newest were damaged.
    pub(super) fn older(&self) -> Option<&RootPage> {
        self.newest_copy().and_then(|copy| self.page(copy.other()))
    }

    pub(super) fn rows(&self) -> &[RootRow] {
        self.newest().map_or(&[], |page| &page.rows)
    }

    /// The copy that the next write goes to: never the one in force.
    pub(super) fn next_copy(&self) -> RootCopy {
        self.newest_copy().map_or(RootCopy::A, RootCopy::other)
    }

    pub(super) fn next_generation(&self) -> u64 {
        self.newest().map_or(0, |page| page.generation) + 1
    }

    /// The generation that both copies have reached; 0 while one has none.
    pub(super) fn durable_generation(&self) -> u64 {
        self.copies.iter().map(CopyState::generation).min().unwrap_or(0)
    }

    /// Whether falling back to the other copy would lose anything, or there is none.
    pub(super) fn differs(&self) -> bool {
        let Some(newest) = self.newest() else { return false };
        self.older().is_none_or(|older| older.rows != newest.rows)
    }

    /// Whether falling back to the other copy would add or lose whole rows. A damaged copy is
    /// nothing to fall back to.
    pub(super) fn is_uneven(&self) -> bool {
        let Some(copy) = self.newest_copy() else { return false };
        match &self.copies[copy.other().index()] {
            CopyState::Blank => true,
            CopyState::Damaged => false,
            CopyState::Valid(older) => !keys(&older.rows).eq(keys(self.rows())),
        }
    }

    /// The lowest merge LSN of both copies' tablets, and whose it is.
    pub(super) fn merge_floor(&self) -> Option<(Lsn, TabletId)> {
        let tablets = self.all_rows().filter_map(|row| match row {
            RootRow::Tablet(row) => Some((row.merge_lsn, row.id)),
            RootRow::Keyspace(_) | RootRow::Catalog(_) => None,
        });
        tablets.min()
    }

    /// The lowest catalog LSN of both copies.
    pub(super) fn catalog_floor(&self) -> Option<Lsn> {
        let catalogs = self.all_rows().filter_map(|row| match row {
            RootRow::Catalog(row) => Some(row.catalog_lsn),
            RootRow::Keyspace(_) | RootRow::Tablet(_) => None,
        });
        catalogs.min()
    }

    fn all_rows(&self) -> impl Iterator<Item = &RootRow> {
        self.copies.iter().filter_map(CopyState::page).flat_map(|page| &page.rows)
    }
}

pub(super) fn keys(rows: &[RootRow]) -> impl Iterator<Item = RowKey> {
    rows.iter().map(RootRow::key)
}

/// What the rows of a slot leave free.
pub(super) fn free_bytes(rows: &[RootRow]) -> usize {
    ROOT_ROWS_BYTES - rows.iter().map(RootRow::size_bytes).sum::<usize>()
}
