//! The store's numbers after known work.

use sombra::{Db, Isolation, METRICS_FILE, MetricKind, Options, Routing};
use sombra_runtime::DriverChoice;

use crate::support::{TestDir, open, options, runtime};

#[test]
fn metrics_count_known_work_exactly() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    let db = open(&runtime, &dir);
    let blocking = db.blocking();
    let keyspace = blocking.create_keyspace("k", Routing::range_split(["m"])).unwrap();
    for key in 0..10_u8 {
        blocking.put(&keyspace, [key + 1], "v").unwrap();
    }
    let across = blocking.begin_with(Isolation::Snapshot).unwrap();
    let loser = blocking.begin_with(Isolation::Snapshot).unwrap();
    across.put(&keyspace, "a", "v").unwrap();
    across.put(&keyspace, "z", "v").unwrap();
    loser.put(&keyspace, "z", "v").unwrap();
    across.commit().unwrap();
    assert!(loser.commit().is_err());
    let empty = blocking.begin_with(Isolation::Snapshot).unwrap();
    empty.commit().unwrap();
    for _ in 0..7 {
        blocking.get(&keyspace, "a").unwrap();
    }
    let reader = blocking.begin_with(Isolation::Snapshot).unwrap();
    let metrics = db.metrics();
    for (name, expected) in [
        ("sombra_commits_total", 11.0),
        ("sombra_commits_across_shards_total", 1.0),
        ("sombra_commit_latency_seconds_count", 11.0),
        ("sombra_conflicts_total", 1.0),
        ("sombra_reads_total", 7.0),
        ("sombra_transactions_active", 1.0),
        // The keyspace's record beside the commits.
        ("sombra_wal_commits_total", 12.0),
        ("sombra_wal_flush_errors_total", 0.0),
        ("sombra_poisoned", 0.0),
    ] {
        assert_eq!(metrics.value(name), expected, "{name}");
    }
    let flushes = metrics.value("sombra_wal_flushes_total");
    let stamps = metrics.value("sombra_wal_stamps_total");
    // One writer: one log write for each record, unless a stamp shares it.
    assert!((12.0..=12.0 + stamps).contains(&flushes), "{flushes} writes, {stamps} stamps");
    let written_bytes = metrics.value("sombra_wal_written_bytes_total");
    assert!(written_bytes % 4096.0 == 0.0 && written_bytes >= flushes * 4096.0);
    // Twelve keys of one byte, with values of one byte.
    let bytes_per_version = 2.0 + sombra::limits::WINDOW_ENTRY_OVERHEAD_BYTES as f64;
    assert_eq!(metrics.value("sombra_window_bytes"), 12.0 * bytes_per_version);
    drop(reader);
    assert_eq!(db.metrics().value("sombra_transactions_active"), 0.0);
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn metrics_have_a_line_of_text_for_each_value_and_counters_end_in_total_or_count() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 1);
    let db = open(&runtime, &dir);
    let metrics = db.metrics();
    let text = metrics.to_string();
    assert_eq!(text.lines().count(), metrics.lines().len());
    for (line, metric) in text.lines().zip(metrics.lines()) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert_eq!(value.parse::<f64>().unwrap(), metric.value, "{line}");
        assert!(name.starts_with(metric.name) && metric.name.starts_with("sombra_"), "{line}");
        let is_named_as_counter = ["_total", "_count"].iter().any(|end| metric.name.ends_with(end));
        assert_eq!(is_named_as_counter, metric.kind == MetricKind::Counter, "{line}");
        assert!(!metric.help.is_empty(), "{line}");
    }
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn metrics_tell_what_classes_of_tasks_took_and_the_kernels_workers() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 1);
    let db = open(&runtime, &dir);
    let keyspace = db.blocking().create_keyspace("k", Routing::range()).unwrap();
    let of_class = |name: &str, class: &str| {
        let metrics = db.metrics();
        let of = |line: &&sombra::MetricLine| line.name == name && line.labels[0].1 == class;
        metrics.lines().iter().find(of).unwrap().value
    };
    let names = ["sombra_task_polls_total", "sombra_task_cpu_seconds_total"];
    for class in ["foreground", "flush"] {
        let before = names.map(|name| of_class(name, class));
        db.blocking().put(&keyspace, "a", "v").unwrap();
        // They trail the shard by a turn: another commit comes after that.
        db.blocking().put(&keyspace, "a", "w").unwrap();
        let after = names.map(|name| of_class(name, class));
        assert!(before[0] < after[0] && before[1] < after[1], "{class}: {before:?}, {after:?}");
    }
    let metrics = db.metrics();
    assert!(metrics.lines().iter().any(|line| line.name == "sombra_io_workers"));
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn live_store_writes_its_metrics_file_and_refreshes_it() {
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 1);
    let with_file = Options { metrics_file: true, ..options() };
    let db = runtime.block_on(Db::open(&runtime, dir.store(), with_file)).unwrap();
    let keyspace = db.blocking().create_keyspace("k", Routing::range()).unwrap();
    for key in 1..=3_u8 {
        db.blocking().put(&keyspace, [key], "v").unwrap();
    }
    let file = dir.store().join(METRICS_FILE);
    // The file is replaced whole: whenever it is read, each line is whole.
    let commits_in_file = || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("sombra_commits_total "));
        line.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
    };
    while commits_in_file() != Some(3) {
        std::thread::yield_now();
    }
    db.blocking().put(&keyspace, "4", "v").unwrap();
    while commits_in_file() != Some(4) {
        std::thread::yield_now();
    }
    db.blocking().close().unwrap();
    // Negative control: without the option there is no file.
    std::fs::remove_file(&file).unwrap();
    let db = open(&runtime, &dir);
    db.blocking().put(&keyspace, "5", "v").unwrap();
    db.blocking().close().unwrap();
    assert!(!file.exists());
    runtime.shutdown();
}
