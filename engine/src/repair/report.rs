//! What a repair found, does and costs.

use std::fmt;
use std::path::PathBuf;

use super::LogGap;
use crate::check::{CheckProblem, ProblemTablet};
use crate::ids::{KeyspaceId, Lsn, StoreId};

/// What a repair found, what it does or has done about it, and what that costs.
#[derive(Clone, Debug)]
pub struct RepairReport {
    pub store_id: StoreId,
    /// Whether it was done; else it is a plan.
    pub is_applied: bool,
    pub findings: Vec<Finding>,
    /// What ending the log costs, where one of the findings needs that.
    pub log_cut: Option<LogCut>,
    /// Directory that holds what was taken away.
    pub kept_in: Option<PathBuf>,
    /// What a check found afterwards.
    pub left: Vec<CheckProblem>,
}

/// Something that is wrong, and what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub problem: CheckProblem,
    pub remedy: Remedy,
}

/// What helps against damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The damaged copy is written anew from the whole one; an opening does that by itself. Also
    /// an older root that reaches damage, and a page of the root table that was never used.
    RewriteCopy,
    /// The file is moved out of the log's directory.
    MoveAside,
    /// The log ends at its last whole record before the damage; what follows is lost.
    /// Not done while a finding needs a salvage: see [`RepairReport::does`].
    CutLog,
    /// Nothing in place: what can be read is read into a new store.
    Salvage,
}

/// What ending the log before its damage costs.
#[derive(Clone, Debug)]
pub struct LogCut {
    /// End of the last whole record before the damage: every commit above it is lost, unless
    /// its tablets' trees hold it.
    pub end: Lsn,
    /// The newest position that was written as far as stamps, links, roots and the ends of missing
    /// segments tell. The log may have gone further.
    pub lost_up_to: Lsn,
    /// Records that can still be read behind the end, and valid blocks.
    pub records: u64,
    pub blocks: u64,
    /// Where nothing can be read: which keys were written there, nobody knows.
    pub gaps: Vec<LogGap>,
    /// Keyspaces that are gone, and dropped ones that are there again.
    pub keyspaces_made: Vec<String>,
    pub keyspaces_dropped: Vec<KeyspaceId>,
    /// Writes behind the end that no tree holds, the first `limits::REPAIR_LOST_KEYS_MAX`.
    pub keys: Vec<LostKey>,
    pub keys_total: u64,
    /// Trees that hold commits which the log then does not: of a transaction over several
    /// tablets they may hold a part whose other part is lost.
    pub tablets_ahead: Vec<TabletAhead>,
}

/// A write that is lost with the log's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostKey {
    pub tablet: ProblemTablet,
    pub key: Vec<u8>,
    pub lsn: Lsn,
    pub is_delete: bool,
}

/// A tablet whose tree holds newer commits than the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TabletAhead {
    pub tablet: ProblemTablet,
    pub tree_lsn: Lsn,
}

impl RepairReport {
    pub(super) fn new(store_id: StoreId) -> RepairReport {
        RepairReport {
            store_id,
            is_applied: false,
            findings: Vec::new(),
            log_cut: None,
            kept_in: None,
            left: Vec::new(),
        }
    }

    /// Whether a repair in place does this. It leaves a damaged log as it is where another finding
    /// needs a salvage, which reads the log past its damage.
    #[must_use]
    pub fn does(&self, remedy: Remedy) -> bool {
        match remedy {
            Remedy::RewriteCopy | Remedy::MoveAside => true,
            Remedy::CutLog => self.findings.iter().all(|finding| finding.remedy != Remedy::Salvage),
            Remedy::Salvage => false,
        }
    }

    pub(super) fn find(&mut self, problem: CheckProblem, remedy: Remedy) {
        self.findings.push(Finding { problem, remedy });
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Remedy::RewriteCopy => "write the damaged copy anew from the whole one",
            Remedy::MoveAside => "move the file aside",
            Remedy::CutLog => "end the log at its last whole record before the damage",
            Remedy::Salvage => "read what is whole into a new store (--salvage)",
        })
    }
}
