//! The parts of a store, as far as a flipped bit tells them apart.

/// What a byte is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    Superblock,
    /// Behind a copy's `used_bytes`.
    SuperblockRest,
    /// The newest copy of a root page.
    RootInForce,
    /// The other copy.
    RootTwin,
    /// Root pages that were never written.
    RootBlank,
    Leaf,
    Inner,
    Overflow,
    SpaceMap,
    /// Pages that only the older copy of a root reaches.
    OlderOnly,
    /// Pages that no root reaches.
    Free,
    SegmentHeader,
    /// Blocks that an opening reads records from, and a later block vouches for.
    LogReplayed,
    /// Blocks that only a fallback to an older root would read.
    LogMerged,
    /// Blocks that nothing vouches for: the last stamp, or what a kill left unstamped.
    LogTail,
    /// Blocks and headers of segments below the floor.
    LogBelowFloor,
    /// Behind the end of an opening's log: what an earlier use of the file left, and zeros.
    LogBehindEnd,
}

impl Part {
    pub const ALL: [Part; 17] = [
        Part::Superblock,
        Part::SuperblockRest,
        Part::RootInForce,
        Part::RootTwin,
        Part::RootBlank,
        Part::Leaf,
        Part::Inner,
        Part::Overflow,
        Part::SpaceMap,
        Part::OlderOnly,
        Part::Free,
        Part::SegmentHeader,
        Part::LogReplayed,
        Part::LogMerged,
        Part::LogTail,
        Part::LogBelowFloor,
        Part::LogBehindEnd,
    ];

    /// Whether a flip must be noticed. Nothing depends on the other bytes, by the format.
    #[must_use]
    pub const fn is_needed(self) -> bool {
        match self {
            Part::SuperblockRest
            | Part::Free
            | Part::LogTail
            | Part::LogBelowFloor
            | Part::LogBehindEnd => false,
            Part::Superblock
            | Part::RootInForce
            | Part::RootTwin
            | Part::RootBlank
            | Part::Leaf
            | Part::Inner
            | Part::Overflow
            | Part::SpaceMap
            | Part::OlderOnly
            | Part::SegmentHeader
            | Part::LogReplayed
            | Part::LogMerged => true,
        }
    }

    /// Whether nearly all of it was never written.
    pub(super) const fn is_vast(self) -> bool {
        matches!(
            self,
            Part::SuperblockRest
                | Part::RootBlank
                | Part::Free
                | Part::LogBelowFloor
                | Part::LogBehindEnd
        )
    }

    /// A row's heading for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Part::Superblock => "superblock, used bytes",
            Part::SuperblockRest => "superblock, behind used_bytes",
            Part::RootInForce => "root page in force",
            Part::RootTwin => "root page, other copy",
            Part::RootBlank => "root page, never written",
            Part::Leaf => "leaf",
            Part::Inner => "inner node",
            Part::Overflow => "overflow run",
            Part::SpaceMap => "space map",
            Part::OlderOnly => "page of an older root only",
            Part::Free => "page that no root reaches",
            Part::SegmentHeader => "segment header",
            Part::LogReplayed => "log, replayed and vouched for",
            Part::LogMerged => "log, for a fallback only",
            Part::LogTail => "log tail, not vouched for",
            Part::LogBelowFloor => "log below the floor",
            Part::LogBehindEnd => "log behind the end",
        }
    }
}
