//! `stat` and `dump`.

use serde_json::Value;

use crate::harness::{Scratch, names, small_store, succeed};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn stat_shows_the_same_counters_in_all_three_forms() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    let name = "sombra_wal_commits_total";
    names(&succeed(&["stat", &store]), &[name, "replayed"]);
    let document = json(&succeed(&["stat", "--json", &store]));
    assert_eq!(document["source"], "opened");
    let metrics = document["metrics"].as_array().unwrap();
    assert!(metrics.iter().any(|metric| metric["name"] == name), "{document}");
    let prometheus = succeed(&["stat", "--prometheus", &store]);
    names(&prometheus, &["# HELP sombra_wal_commits_total", "# TYPE sombra_wal_commits_total"]);
    names(&prometheus, &["sombra_io_workers ", "sombra_task_cpu_seconds_total{class=\"merge\"} "]);
    for line in prometheus.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn dump_superblock_shows_both_copies() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    names(&succeed(&["dump", "superblock", &store]), &["SOMBRASB", "store_id"]);
    let document = json(&succeed(&["dump", "superblock", "--json", &store]));
    assert_eq!(document["copies"].as_array().unwrap().len(), 2);
}

#[test]
fn dump_log_shows_commits_in_order_from_an_lsn_and_up_to_a_limit() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    let entries = |options: &[&str]| {
        let mut arguments = vec!["dump", "log", "--json", store.as_str()];
        arguments.extend(options);
        succeed(&arguments).lines().map(json).collect::<Vec<_>>()
    };
    let all = entries(&[]);
    let commits: Vec<_> = all.iter().filter(|entry| entry["kind"] == "commit").collect();
    assert_eq!(commits.len(), 3, "{all:?}");
    let lsns: Vec<_> = all.iter().filter_map(|entry| entry["lsn"].as_u64()).collect();
    assert!(lsns.is_sorted(), "{lsns:?}");
    assert_eq!(entries(&["--limit", "1"])[0], all[0]);
    let from = lsns[1].to_string();
    let later = entries(&["--from", &from]);
    assert!(later.iter().filter_map(|entry| entry["lsn"].as_u64()).all(|lsn| lsn >= lsns[1]));
    names(&succeed(&["dump", "log", &store]), &["commit"]);
}

#[test]
fn dump_leaves_the_store_as_it_is() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    let superblock = scratch.path().join("store/superblock");
    let before = std::fs::read(&superblock).unwrap();
    succeed(&["dump", "superblock", &store]);
    succeed(&["dump", "log", &store]);
    assert_eq!(std::fs::read(&superblock).unwrap(), before);
}
