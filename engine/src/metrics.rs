//! The store's numbers: counters, gauges and latencies under their Prometheus names.
//!
//! Knows names and units. Encodings for people and monitoring belong to the command line.

use std::fmt;
use std::sync::Mutex;

use hdrhistogram::Histogram;
use sombra_runtime::sync::atomic::{AtomicU64, Ordering};
use sombra_runtime::{IoClass, ShardIoMetrics, TaskClass};

use crate::commit::{DataWork, ShardCounters};
use crate::error::ConflictReason;
use crate::shard::StoreShared;

const QUANTILES: [(f64, &str); 3] = [(0.5, "0.5"), (0.99, "0.99"), (0.999, "0.999")];

/// Whether a value only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
}

/// One value with its name and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricLine {
    pub name: &'static str,
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
    pub kind: MetricKind,
    pub help: &'static str,
}

/// All numbers of a store at one moment. `Display` writes `name{label="value"} number` lines.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    lines: Vec<MetricLine>,
}

impl Metrics {
    pub(crate) fn of(shared: &StoreShared) -> Metrics {
        let mut metrics = Metrics::default();
        metrics.add_log(shared);
        metrics.add_transactions(shared);
        metrics.add_trees(shared);
        metrics.add_scrub(shared);
        metrics.add_latencies(shared);
        let shards = shared.runtime.metrics();
        metrics.add_io(&shards);
        metrics.add_executor(&shards, shared.runtime.io_workers());
        metrics
    }

    /// The lines in a fixed order.
    #[must_use]
    pub fn lines(&self) -> &[MetricLine] {
        &self.lines
    }

    /// The sum of all lines of that name.
    #[must_use]
    pub fn value(&self, name: &str) -> f64 {
        self.lines.iter().filter(|line| line.name == name).map(|line| line.value).sum()
    }

    fn counter(&mut self, name: &'static str, value: u64, help: &'static str) {
        let (labels, kind) = (Vec::new(), MetricKind::Counter);
        self.lines.push(MetricLine { name, labels, value: value as f64, kind, help });
    }

    fn gauge(&mut self, name: &'static str, value: f64, help: &'static str) {
        let (labels, kind) = (Vec::new(), MetricKind::Gauge);
        self.lines.push(MetricLine { name, labels, value, kind, help });
    }

    fn labelled(&mut self, (label, of): (&'static str, &str)) {
        if let Some(line) = self.lines.last_mut() {
            line.labels.push((label, of.to_owned()));
        }
    }

    fn add_log(&mut self, shared: &StoreShared) {
        let log = &shared.core.log;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &log.counters;
        self.counter(
            "sombra_wal_written_bytes_total",
            count(&counters.written_bytes),
            "Log blocks written, in bytes.",
        );
        self.counter("sombra_wal_flushes_total", count(&counters.flushes), "Log writes.");
        self.counter(
            "sombra_wal_flush_errors_total",
            count(&counters.flush_errors),
            "Failed log writes; the first stops the store.",
        );
        let help = "Log writes that ended before an earlier one.";
        self.counter("sombra_wal_flushes_out_of_order_total", count(&counters.out_of_order), help);
        self.counter("sombra_wal_commits_total", count(&counters.commits), "Records logged.");
        self.counter("sombra_wal_stamps_total", count(&counters.stamps), "Stamps of an idle log.");
        let unflushed = log.ring().tail().saturating_sub(log.ring().durable());
        self.gauge("sombra_wal_unflushed_bytes", unflushed as f64, "Reserved, not yet durable.");
        let segments = log.segments();
        let recycled = segments.recycled_total();
        self.counter("sombra_wal_recycled_segments_total", recycled, "Segments taken again.");
        let preparing = f64::from(u8::from(segments.is_preparing()));
        let help = "1 while a segment is being made, taken again or removed.";
        self.gauge("sombra_wal_segment_preparing", preparing, help);
        let lag = log.ring().tail().saturating_sub(segments.floor().as_u64());
        self.gauge("sombra_log_replay_lag_bytes", lag as f64, "Log that an opening would replay.");
        self.gauge("sombra_wal_segments", segments.count() as f64, "Segments open for writing.");
        self.gauge("sombra_wal_disk_bytes", segments.used_bytes() as f64, "Segments on disk.");
        self.gauge("sombra_wal_durability_method", 1.0, "The method in use.");
        self.labelled(("method", log.method().name()));
    }

    fn add_transactions(&mut self, shared: &StoreShared) {
        let core = &shared.core;
        let sum = |of: fn(&ShardCounters) -> &AtomicU64| {
            core.counters.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum::<u64>()
        };
        self.counter("sombra_commits_total", sum(|c| &c.commits), "Commits acknowledged.");
        let across = sum(|c| &c.commits_across);
        self.counter("sombra_commits_across_shards_total", across, "Commits over several shards.");
        let help = "Commits refused because another was first.";
        for (reason, count) in [
            (ConflictReason::NewerVersion, sum(|c| &c.conflicts_newer_version)),
            (ConflictReason::ReadChanged, sum(|c| &c.conflicts_read_changed)),
            (ConflictReason::RangeChanged, sum(|c| &c.conflicts_range_changed)),
            (ConflictReason::Prepared, sum(|c| &c.conflicts_prepared)),
            (ConflictReason::Locked, sum(|c| &c.conflicts_locked)),
        ] {
            self.counter("sombra_conflicts_total", count, help);
            self.labelled(("reason", reason.name()));
        }
        self.counter("sombra_lock_waits_total", sum(|c| &c.lock_waits), "Locks waited for.");
        let timeouts = sum(|c| &c.lock_timeouts);
        self.counter("sombra_lock_timeouts_total", timeouts, "Locks given up for the time.");
        let deadlocks = core.locks.deadlocks.load(Ordering::Relaxed);
        self.counter("sombra_deadlocks_total", deadlocks, "Transactions ended to break a cycle.");
        let blocked = sum(|c| &c.blocked) as f64;
        self.gauge("sombra_transactions_blocked", blocked, "Waiting for a lock.");
        self.counter("sombra_reads_total", sum(|c| &c.reads), "Point reads served by shards.");
        self.counter("sombra_scan_pages_total", sum(|c| &c.scans), "Pages of scans served.");
        let (active, oldest_ns) = core.registry.census();
        self.gauge("sombra_transactions_active", active as f64, "Open snapshots.");
        let now_ns = shared.runtime.now().as_nanos();
        let age = oldest_ns.map_or(0.0, |begun| now_ns.saturating_sub(begun) as f64 / 1e9);
        self.gauge("sombra_snapshot_oldest_age_seconds", age, "Age of the oldest snapshot.");
        let open = sum(|c| &c.open_commits) as f64;
        self.gauge("sombra_commits_open", open, "Reserved or prepared, not yet settled.");
        let used = core.memory.used_bytes() as f64;
        self.gauge("sombra_window_bytes", used, "Charged for versions in memory.");
        let max = core.memory.max_bytes() as f64;
        self.gauge(
            "sombra_window_bytes_max",
            max,
            "The bound: commits beyond it wait for merging.",
        );
        self.gauge("sombra_visible_lsn", core.oracle.visible().as_u64() as f64, "Newest snapshot.");
        let poisoned = f64::from(u8::from(core.poison.reason().is_some()));
        self.gauge("sombra_poisoned", poisoned, "1 when the store has stopped.");
    }

    fn add_trees(&mut self, shared: &StoreShared) {
        let core = &shared.core;
        let sum = |of: fn(&ShardCounters) -> &AtomicU64| {
            core.counters.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum::<u64>()
        };
        self.counter("sombra_merges_total", sum(|c| &c.merges), "Windows merged into trees.");
        let merging = core.running(DataWork::Merge) as f64;
        self.gauge("sombra_merges_running", merging, "Windows that are being merged.");
        let publishing = core.running(DataWork::Publication) as f64;
        let help = "1 while root pages are being written.";
        self.gauge("sombra_root_publications_running", publishing, help);
        let writes = core.roots.writes_total();
        self.counter("sombra_root_writes_total", writes, "Root pages made durable.");
        let windows = sum(|c| &c.window_bytes) as f64;
        self.gauge("sombra_merge_backlog_bytes", windows, "Window bytes not yet in trees.");
        self.counter("sombra_cache_hits_total", sum(|c| &c.cache_hits), "Pages found in memory.");
        let misses = sum(|c| &c.cache_misses);
        self.counter("sombra_cache_misses_total", misses, "Pages that had to be read.");
        let evictions = sum(|c| &c.cache_evictions);
        self.counter("sombra_cache_evictions_total", evictions, "Pages dropped to make room.");
        self.gauge("sombra_cache_bytes", sum(|c| &c.cache_bytes) as f64, "Resident pages.");
        self.gauge("sombra_data_file_bytes", core.volume.len_bytes() as f64, "Data file's length.");
        let growing = f64::from(u8::from(core.volume.is_growing()));
        let help = "1 while the data file's length is being changed.";
        self.gauge("sombra_data_file_growing", growing, help);
        let reserve = core.volume.reserve_extents_taken_total();
        let help = "Extents taken out of the reserve of a full data file.";
        self.counter("sombra_data_reserve_extents_total", reserve, help);
        self.add_space(shared);
        let views = sum(|c| &c.views_kept) as f64;
        self.gauge("sombra_views_kept", views, "Older roots and windows kept for snapshots.");
        let kept = sum(|c| &c.kept_bytes) as f64;
        self.gauge("sombra_views_kept_bytes", kept, "Memory that only old snapshots need.");
        let ended = core.registry.ended_total();
        self.counter("sombra_snapshots_ended_total", ended, "Snapshots ended as too old.");
        let stuck = f64::from(u8::from(core.is_merge_stuck()));
        self.gauge("sombra_merge_stuck", stuck, "1 while merges wait for room in the data file.");
    }

    /// Who has the data file's bytes: the root table, free extents, tablets, dropped ones.
    fn add_space(&mut self, shared: &StoreShared) {
        let (core, extent_bytes) = (&shared.core, crate::limits::EXTENT_BYTES);
        let sum = |of: fn(&ShardCounters) -> &AtomicU64| {
            core.counters.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum::<u64>()
        };
        let free = u64::from(core.volume.free_extents()) * extent_bytes;
        self.gauge("sombra_data_free_bytes", free as f64, "Extents that no tablet has.");
        let tablets = sum(|c| &c.tablet_extents) * extent_bytes;
        self.gauge("sombra_data_tablets_bytes", tablets as f64, "Extents that tablets have.");
        let dropped = (sum(|c| &c.dropped_extents) + core.volume.extents_aside()) * extent_bytes;
        let help = "Extents of dropped keyspaces, not free yet.";
        self.gauge("sombra_data_dropped_bytes", dropped as f64, help);
        let page_bytes = core.volume.page_size_bytes() as u64;
        let live = sum(|c| &c.live_pages) * page_bytes;
        self.gauge("sombra_data_live_bytes", live as f64, "Pages that newest roots reach.");
        let waiting = sum(|c| &c.waiting_pages) * page_bytes;
        let help = "Pages that only older roots reach.";
        self.gauge("sombra_data_waiting_bytes", waiting as f64, help);
        let held = sum(|c| &c.held_pages) * page_bytes;
        let help = "Pages that are live, waiting, or being built.";
        self.gauge("sombra_data_held_bytes", held as f64, help);
        self.gauge("sombra_gc_debt_bytes", waiting as f64, "Pages that wait for their release.");
    }

    fn add_scrub(&mut self, shared: &StoreShared) {
        let scrubbed = &shared.scrubbed;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (bytes, pages) = (load(&scrubbed.bytes), load(&scrubbed.pages));
        self.counter("sombra_scrub_bytes_total", bytes, "Read by the scrubber.");
        self.counter("sombra_scrub_pages_total", pages, "Pages read by the scrubber.");
        let passes = load(&scrubbed.passes);
        self.counter("sombra_scrub_passes_total", passes, "Passes over the whole store.");
        let damage = load(&scrubbed.damage);
        self.counter("sombra_scrub_damage_total", damage, "Damaged places that it found.");
        let took = load(&scrubbed.last_pass_ns) as f64 / 1e9;
        self.gauge("sombra_scrub_last_pass_seconds", took, "How long the last pass took.");
    }

    fn add_latencies(&mut self, shared: &StoreShared) {
        let counters = &shared.core.counters;
        let commit = merged(counters.iter().map(|shard| &shard.commit_latency_ns));
        self.add_histogram(LatencyNames::COMMIT, &commit);
        let flush = merged(counters.iter().map(|shard| &shard.flush_latency_ns));
        self.add_histogram(LatencyNames::FLUSH, &flush);
        let merge = merged(counters.iter().map(|shard| &shard.merge_duration_ns));
        self.add_histogram(LatencyNames::MERGE, &merge);
    }

    fn add_histogram(&mut self, names: LatencyNames, histogram: &Histogram<u64>) {
        for (quantile, label) in QUANTILES {
            let seconds = histogram.value_at_quantile(quantile) as f64 / 1e9;
            self.gauge(names.quantile, seconds, names.help);
            self.labelled(("quantile", label));
        }
        self.counter(names.count, histogram.len(), names.help);
    }

    fn add_io(&mut self, shards: &[ShardIoMetrics]) {
        for class in IoClass::ALL {
            let of = |shard: &ShardIoMetrics| shard.classes[class.index()].submitted;
            let submitted = shards.iter().map(of).sum();
            self.counter("sombra_io_submitted_total", submitted, "I/O operations by class.");
            self.labelled(("class", class.name()));
            let of = |shard: &ShardIoMetrics| shard.classes[class.index()].errors;
            let errors = shards.iter().map(of).sum();
            self.counter("sombra_io_errors_total", errors, "Failed I/O operations by class.");
            self.labelled(("class", class.name()));
        }
    }

    /// Of the runtime, which several stores may share.
    fn add_executor(&mut self, shards: &[ShardIoMetrics], io_workers: Option<u64>) {
        let stalls = shards.iter().map(|shard| shard.stalls).sum();
        self.counter("sombra_executor_stalls_total", stalls, "Task polls over their budget.");
        let seen = shards.iter().map(|shard| shard.stalls_seen_by_watchdog).sum();
        let help = "Polls and jobs found over their budget while they lasted.";
        self.counter("sombra_executor_stalls_seen_total", seen, help);
        for class in TaskClass::ALL {
            let of = |shard: &ShardIoMetrics| shard.task_class(class).polls;
            let polls = shards.iter().map(of).sum();
            self.counter("sombra_task_polls_total", polls, "Polls of tasks by class.");
            self.labelled(("class", class.name()));
        }
        for class in TaskClass::ALL {
            let of = |shard: &ShardIoMetrics| shard.task_class(class).cpu_ns;
            let nanos: u64 = shards.iter().map(of).sum();
            let (name, help) = ("sombra_task_cpu_seconds_total", "Time in polls by class.");
            let (labels, kind) = (vec![("class", class.name().to_owned())], MetricKind::Counter);
            self.lines.push(MetricLine { name, labels, value: nanos as f64 / 1e9, kind, help });
        }
        if let Some(workers) = io_workers {
            let help = "The kernel's threads for this process's rings.";
            self.gauge("sombra_io_workers", workers as f64, help);
        }
    }
}

struct LatencyNames {
    quantile: &'static str,
    count: &'static str,
    help: &'static str,
}

impl LatencyNames {
    const COMMIT: LatencyNames = LatencyNames {
        quantile: "sombra_commit_latency_seconds",
        count: "sombra_commit_latency_seconds_count",
        help: "From a commit's arrival at its shard to its acknowledgement.",
    };
    const FLUSH: LatencyNames = LatencyNames {
        quantile: "sombra_wal_flush_latency_seconds",
        count: "sombra_wal_flush_latency_seconds_count",
        help: "One log write, until it is durable.",
    };
    const MERGE: LatencyNames = LatencyNames {
        quantile: "sombra_merge_duration_seconds",
        count: "sombra_merge_duration_seconds_count",
        help: "One window's merge into its tree, from its freeze on.",
    };
}

fn merged<'h>(parts: impl Iterator<Item = &'h Mutex<Histogram<u64>>>) -> Histogram<u64> {
    let mut whole = Histogram::new_with_bounds(1, crate::limits::LATENCY_NS_MAX, 2)
        .expect("constant histogram bounds are valid");
    for part in parts {
        if let Ok(part) = part.lock() {
            whole.add(&*part).expect("all histograms have the same bounds");
        }
    }
    whole
}

impl fmt::Display for MetricLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        for (index, (label, value)) in self.labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            write!(f, "{open}{label}=\"{value}\"")?;
        }
        let close = if self.labels.is_empty() { "" } else { "}" };
        write!(f, "{close} {}", self.value)
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
