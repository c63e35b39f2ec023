//! The order of a commit as types: a `Visible` is only made here, out of a `Durable` (or of an
//! `Async` commit's reservation), so acknowledging earlier does not compile.

use crate::ids::Lsn;
use crate::options::Durability;

/// The log position of a commit is taken, its record filled and applied where nobody sees it.
#[derive(Debug)]
pub(crate) struct Reserved {
    lsn: Lsn,
    durability: Durability,
}

/// The record is durable, or the caller chose not to wait for that.
#[derive(Debug)]
pub(crate) struct Durable {
    lsn: Lsn,
}

/// Every snapshot from now on sees the commit.
#[derive(Debug)]
pub(crate) struct Visible {
    lsn: Lsn,
}

impl Reserved {
    pub(crate) fn new(lsn: Lsn, durability: Durability) -> Reserved {
        Reserved { lsn, durability }
    }

    pub(crate) fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Passes when the log is durable up to the commit's end, or the commit is `Async`.
    pub(crate) fn durable(self, durable: Lsn) -> Result<Durable, Reserved> {
        let passes = self.durability == Durability::Async || self.lsn <= durable;
        if passes { Ok(Durable { lsn: self.lsn }) } else { Err(self) }
    }
}

impl Durable {
    /// Passes when `visible` has reached the commit.
    pub(crate) fn visible(self, visible: Lsn) -> Result<Visible, Durable> {
        if self.lsn <= visible { Ok(Visible { lsn: self.lsn }) } else { Err(self) }
    }
}

impl Visible {
    pub(crate) fn lsn(&self) -> Lsn {
        self.lsn
    }
}
