//! Coverage marks: places of the engine that runs must reach, or passing says little of them.

use sombra::{Db, OpenReport};

use super::run::Run;

/// A root page that a power cut tore; its other copy counts.
pub(super) const TORN_ROOT: &str = "torn root";
/// A newest root copy that rotted; an opening fell back to its twin.
pub(super) const ROTTEN_ROOT: &str = "rotten newest root copy";
pub(super) const SUPERBLOCK_TWIN: &str = "superblock copy made good";
pub(super) const REPLAY_PAST_LINK: &str = "replay past an incarnation link";
pub(super) const STALE_LATER_FLUSH: &str = "stale later flush behind a hole";
pub(super) const FLUSHES_WITH_HOLE: &str = "several flushes in flight with a hole";
pub(super) const VIEW_KEPT: &str = "view kept";
pub(super) const SNAPSHOT_ENDED: &str = "snapshot ended";
pub(super) const SEGMENT_RECYCLED: &str = "segment recycled";
pub(super) const POISON: &str = "poison";
pub(super) const PREPARE_CONFLICT: &str = "cross-shard prepare conflict";
pub(super) const RESERVE_USED: &str = "reserve used";
pub(super) const MERGE_STUCK: &str = "merge waits for room";
pub(super) const CRASH_IN_MERGE: &str = "crash in a merge";
pub(super) const CRASH_IN_PUBLICATION: &str = "crash in a publication";
pub(super) const CRASH_IN_SWITCH: &str = "crash in a segment switch";
pub(super) const CRASH_IN_GROWTH: &str = "crash while the file grows";
pub(super) const CRASH_IN_OPENING: &str = "crash while opening";
pub(super) const LOG_FULL: &str = "log full";
pub(super) const DISK_FULL: &str = "disk full";
pub(super) const READ_ONLY_OPENING: &str = "opening to read before one to write";
pub(super) const SECOND_OPENER: &str = "second opener refused";
pub(super) const DAMAGE_TOLD: &str = "read refused for damage";
pub(super) const DAMAGED_LOG_REFUSED: &str = "opening refused for a damaged log";
pub(super) const SCRUBBED: &str = "pass of the scrubber";
pub(super) const FAULTS_STOPPED: &str = "progress once faults have stopped";

/// All marks.
pub const MARKS: [&str; 26] = [
    TORN_ROOT,
    ROTTEN_ROOT,
    SUPERBLOCK_TWIN,
    REPLAY_PAST_LINK,
    STALE_LATER_FLUSH,
    FLUSHES_WITH_HOLE,
    VIEW_KEPT,
    SNAPSHOT_ENDED,
    SEGMENT_RECYCLED,
    POISON,
    PREPARE_CONFLICT,
    RESERVE_USED,
    MERGE_STUCK,
    CRASH_IN_MERGE,
    CRASH_IN_PUBLICATION,
    CRASH_IN_SWITCH,
    CRASH_IN_GROWTH,
    CRASH_IN_OPENING,
    LOG_FULL,
    DISK_FULL,
    READ_ONLY_OPENING,
    SECOND_OPENER,
    DAMAGE_TOLD,
    DAMAGED_LOG_REFUSED,
    SCRUBBED,
    FAULTS_STOPPED,
];

impl Run {
    /// What an opening says of what it found.
    pub(super) fn mark_opening(&mut self, report: &OpenReport) {
        let is_root = |note: &&String| note.starts_with("root slot");
        let damaged_roots = report.notes.iter().filter(is_root).count() as u64;
        let name = if self.roots_rotted { ROTTEN_ROOT } else { TORN_ROOT };
        let marks = &mut self.report.marks;
        marks.add(name, damaged_roots);
        marks.add(SUPERBLOCK_TWIN, u64::from(report.superblock_repaired.is_some()));
        marks.add(REPLAY_PAST_LINK, u64::from(report.replayed_incarnations > 1));
        marks.add(STALE_LATER_FLUSH, u64::from(report.dropped_blocks > 0));
        // A rotten copy stays until the publisher has written it anew.
        self.roots_rotted &= damaged_roots > 0;
    }

    /// What a store's numbers say before it is cut off or closed.
    pub(super) fn mark_store(&mut self, db: &Db) {
        let metrics = db.metrics();
        let is = |name: &str| u64::from(metrics.value(name) > 0.0);
        let marks = &mut self.report.marks;
        marks.add(FLUSHES_WITH_HOLE, is("sombra_wal_flushes_out_of_order_total"));
        marks.add(VIEW_KEPT, is("sombra_views_kept"));
        marks.add(POISON, is("sombra_poisoned"));
        marks.add(RESERVE_USED, is("sombra_data_reserve_extents_total"));
        marks.add(MERGE_STUCK, is("sombra_merge_stuck"));
        marks.add(SCRUBBED, metrics.value("sombra_scrub_passes_total") as u64);
        let is_prepared = |line: &&sombra::MetricLine| {
            line.name == "sombra_conflicts_total"
                && line.labels.iter().any(|(_, value)| value == "prepared")
        };
        let prepared = metrics.lines().iter().find(is_prepared).map_or(0.0, |line| line.value);
        marks.add(PREPARE_CONFLICT, u64::from(prepared > 0.0));
    }

    /// What the report has counted by other names.
    pub(super) fn mark_counts(&mut self) {
        let (work, trees) = (self.report.work, self.report.trees);
        let marks = &mut self.report.marks;
        for (name, count) in [
            (LOG_FULL, work.log_full),
            (DISK_FULL, work.disk_full),
            (SNAPSHOT_ENDED, trees.snapshots_ended),
            (SEGMENT_RECYCLED, trees.recycled),
            (CRASH_IN_MERGE, trees.crashes_in_merge),
            (CRASH_IN_PUBLICATION, trees.crashes_in_publication),
            (CRASH_IN_SWITCH, trees.crashes_in_switch),
            (CRASH_IN_GROWTH, trees.crashes_in_growth),
            (CRASH_IN_OPENING, self.report.crashes_in_open),
            (DAMAGE_TOLD, trees.damaged_reads),
        ] {
            marks.add(name, count);
        }
    }
}
