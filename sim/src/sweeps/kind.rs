//! What fails, and which replies that allows.

use sombra_runtime::FaultPoint;
use sombra_runtime::sim::DiskOp;

use super::report::Reply;

/// What a sweep lets fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SweepKind {
    Read,
    Write,
    Flush,
    /// Everything about names.
    Path,
    /// A write for which the disk has no room; sticky: a disk that is full from there on.
    NoSpace,
    /// Pages for what a merge writes.
    PageAllocation,
    /// Growth of the data file.
    Extent,
    /// The charge of a commit's memory.
    Memory,
}

impl SweepKind {
    pub const ALL: [SweepKind; 8] = [
        SweepKind::Read,
        SweepKind::Write,
        SweepKind::Flush,
        SweepKind::Path,
        SweepKind::NoSpace,
        SweepKind::PageAllocation,
        SweepKind::Extent,
        SweepKind::Memory,
    ];

    /// The name that commands and tables use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SweepKind::Read => "read",
            SweepKind::Write => "write",
            SweepKind::Flush => "flush",
            SweepKind::Path => "path",
            SweepKind::NoSpace => "no-space",
            SweepKind::PageAllocation => "page-allocation",
            SweepKind::Extent => "extent",
            SweepKind::Memory => "memory",
        }
    }

    /// Parts of paths that together name every file on which the kind can fail: what a failure
    /// may lead to depends on the file.
    #[must_use]
    pub const fn targets(self) -> &'static [&'static str] {
        match self {
            SweepKind::Write | SweepKind::Flush => {
                &[".log", ".preparing", "pages", "superblock", "probe.tmp"]
            }
            _ => &[""],
        }
    }

    pub(super) const fn disk_op(self) -> Option<DiskOp> {
        match self {
            SweepKind::Read => Some(DiskOp::Read),
            SweepKind::Write | SweepKind::NoSpace => Some(DiskOp::Write),
            SweepKind::Flush => Some(DiskOp::Flush),
            SweepKind::Path => Some(DiskOp::Path),
            SweepKind::PageAllocation | SweepKind::Extent | SweepKind::Memory => None,
        }
    }

    pub(super) const fn fault_point(self) -> Option<FaultPoint> {
        match self {
            SweepKind::PageAllocation => Some(FaultPoint::PageAllocation),
            SweepKind::Extent => Some(FaultPoint::FileGrowth),
            SweepKind::Memory => Some(FaultPoint::MemoryCharge),
            _ => None,
        }
    }
}

impl std::str::FromStr for SweepKind {
    type Err = String;

    fn from_str(word: &str) -> Result<SweepKind, String> {
        let found = SweepKind::ALL.into_iter().find(|kind| kind.name() == word);
        let names = SweepKind::ALL.map(SweepKind::name);
        found.ok_or_else(|| format!("`{word}` is none of {names:?}"))
    }
}

/// A negative control: something is made wrong on purpose, and the judge must notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// After the failure flushes do nothing any more.
    FlushesSuppressed,
    /// A commit that a stopped store refuses is reported as acknowledged.
    ReplyMisreported,
}

/// One run of the workload: its `nth` request of this kind fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Case {
    pub kind: SweepKind,
    /// A part of the path of the files that are meant; empty for all.
    pub target: &'static str,
    /// All further requests fail too, until the store is reopened.
    pub sticky: bool,
    pub nth: u64,
    pub control: Option<Control>,
}

impl Case {
    /// The failure of the `nth` request on any file, without a control.
    #[must_use]
    pub const fn new(kind: SweepKind, nth: u64) -> Case {
        Case { kind, target: "", sticky: false, nth, control: None }
    }

    /// Whether docs/durability.md allows the reply once the failure has happened.
    pub(super) fn allows(self, reply: Reply) -> bool {
        use Reply::{
            Damaged, Device, DiskFull, Done, LogFull, MemoryFull, Poisoned, TooOld, Unknown,
        };
        let is_full = matches!(reply, DiskFull | LogFull | MemoryFull | TooOld);
        let has_stopped = matches!(reply, Unknown | Poisoned);
        reply == Done
            || match self.kind {
                // A tablet whose pages cannot be read for long counts as damaged; what it holds is
                // not merged then.
                SweepKind::Read => reply == Device || self.sticky && (reply == Damaged || is_full),
                // A segment that cannot be prepared is a want of room.
                SweepKind::Write | SweepKind::Flush | SweepKind::Path => {
                    has_stopped || reply == DiskFull
                }
                SweepKind::NoSpace => is_full || !self.sticky && has_stopped,
                SweepKind::Extent => is_full,
                SweepKind::PageAllocation | SweepKind::Memory => false,
            }
    }

    /// Whether an open store may stop: the device failed to write what it was sure of.
    pub(super) fn may_stop(self) -> bool {
        self.allows(Reply::Poisoned)
    }

    /// Whether an open store must stop, whatever the failure was about.
    pub(super) fn must_stop(self) -> bool {
        let is_device = matches!(self.kind, SweepKind::Write | SweepKind::Flush);
        is_device
            && (self.target == ".log" || self.kind == SweepKind::Flush && self.target == "pages")
    }

    /// Whether the opening may be refused.
    pub(super) fn may_stay_shut(self) -> bool {
        self.kind.disk_op().is_some()
    }
}
