use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Scratch, command, fail, names, succeed};

const QUICK: [&str; 8] = ["--seconds", "1", "--warmup", "0", "--records", "2000", "--clients", "8"];

fn bench(dir: &str, options: &[&str]) -> String {
    let mut arguments = vec!["bench", "--dir", dir];
    arguments.extend(QUICK);
    arguments.extend(options);
    succeed(&arguments)
}

fn numbers(report: &Value, group: &str, fields: &[&str]) {
    for field in fields {
        assert!(report[group][field].is_number(), "{group}.{field} in {report}");
    }
}

#[test]
fn bench_json_has_every_promised_figure_and_loses_nothing() {
    let scratch = Scratch::new();
    let dir = scratch.join("data");
    let report: Value =
        serde_json::from_str(&bench(&dir, &["--json", "--workload", "a,f"])).unwrap();
    numbers(&report, "disk", &["durable_write_per_s", "random_read_iops"]);
    let latencies = ["per_s", "p50_us", "p99_us"];
    numbers(&report, "commit", &latencies);
    let commit = ["clients", "p999_us", "flushes_per_commit", "log_bytes_per_commit"];
    numbers(&report, "commit", &commit);
    numbers(&report, "lone_client", &["per_s", "p50_us", "flushes_per_commit"]);
    numbers(&report, "read", &latencies);
    numbers(&report, "ratio", &["commit_per_durable_write"]);
    numbers(&report, "verify", &["acknowledged", "missing"]);
    assert_eq!(report["commit"]["clients_on"], "shards");
    assert_eq!(report["commit_beside"]["clients_on"], "handle");
    assert_eq!(report["ycsb"].as_array().unwrap().len(), 2);
    assert_eq!(report["verify"]["missing"], 0);
    assert_eq!(report["verify"]["records_read"], 2000);
    assert_eq!(report["read"]["wrong"], 0);
    assert_eq!(report["notes"].as_array().map(Vec::len), Some(usize::from(cfg!(debug_assertions))));
    assert!(!Path::new(&dir).exists(), "the run's files are left behind");
}

#[test]
fn bench_paces_an_open_loop_and_tells_the_response_time() {
    let scratch = Scratch::new();
    let options = ["--json", "--workload", "none", "--rate", "200", "--clients", "handle"];
    let report: Value = serde_json::from_str(&bench(&scratch.join("data"), &options)).unwrap();
    assert_eq!(report["commit"]["clients_on"], "handle");
    assert_eq!(report["commit"]["clients"], 8);
    let per_s = report["commit"]["per_s"].as_f64().unwrap();
    assert!(per_s <= 210.0, "{per_s} commits/s at a rate of 200");
    let response = report["commit"]["response"]["p50_us"].as_f64().unwrap();
    assert!(response >= report["commit"]["p50_us"].as_f64().unwrap());
}

#[test]
fn bench_pairs_give_a_ratio_beside_the_reference_against_itself() {
    let scratch = Scratch::new();
    let dir = scratch.join("data");
    let report: Value = serde_json::from_str(&bench(&dir, &["--json", "--pairs", "3"])).unwrap();
    let pairs = &report["pairs"];
    assert_eq!(pairs["pairs"], 3);
    let orders: Vec<_> =
        pairs["rows"].as_array().unwrap().iter().map(|row| row["order"].clone()).collect();
    assert_eq!(orders, ["A A B", "B A A", "A A B"]);
    for row in ["reference_against_itself", "commit_against_reference"] {
        let at = |field: &str| pairs[row]["interval_90"][field].as_f64().unwrap();
        let median = pairs[row]["median"].as_f64().unwrap();
        assert!(at("low") <= median && median <= at("high"), "{pairs}");
    }
    assert_eq!(report["verify"]["missing"], 0);
    names(&bench(&dir, &["--pairs", "1"]), &["A/A", "90 % interval"]);
}

#[test]
fn bench_keeps_its_files_when_asked_and_the_store_opens_again() {
    let scratch = Scratch::new();
    let dir = scratch.join("data");
    bench(&dir, &["--keep", "--workload", "none"]);
    let store = only_run(Path::new(&dir)).unwrap().join("store");
    let rows = succeed(&["kv", "scan", store.to_str().unwrap(), "usertable", "--limit", "3"]);
    assert_eq!(rows.lines().filter(|row| row.starts_with("user")).count(), 3);
}

#[test]
fn bench_checks_free_space_first_and_names_both_numbers() {
    let scratch = Scratch::new();
    let dir = scratch.join("data");
    let arguments = ["bench", "--dir", &dir, "--records", "60000000", "--value-bytes", "20000"];
    names(&fail(1, &arguments), &["needs", "found", "GiB", "--dir"]);
    assert!(!Path::new(&dir).exists());
}

#[test]
fn bench_refuses_options_outside_their_bounds_and_names_them() {
    let scratch = Scratch::new();
    let dir = scratch.join("data");
    for (option, value, expected) in [
        ("--clients", "5000", "1 to 1024"),
        ("--key-bytes", "2000", "8 to 1024"),
        ("--value-bytes", "3", "16 to 16777216"),
        ("--records", "0", "1 to 67108864"),
        ("--seconds", "0", "1 to 3600"),
        ("--shards", "0", "1 to 1024"),
    ] {
        let message = fail(2, &["bench", "--dir", &dir, option, value]);
        names(&message, &[option, expected, &format!("found {value}")]);
    }
    assert!(!Path::new(&dir).exists());
}

/// One long run, seen from outside: its store is locked, its counters can be read, and Ctrl-C
/// ends it with a report and without leaving files.
#[test]
fn bench_can_be_watched_and_interrupted_while_it_holds_its_store() {
    let scratch = Scratch::new();
    let dir = scratch.join("data");
    let options =
        ["bench", "--dir", &dir, "--records", "2000", "--seconds", "30", "--clients", "8"];
    let child = command(&options).spawn().unwrap();
    let store = wait_for(|| {
        let store = only_run(Path::new(&dir))?.join("store");
        store.join("metrics").exists().then_some(store)
    });
    let store = store.to_str().unwrap();
    for arguments in [
        ["kv", "get", store, "usertable", "x"].as_slice(),
        &["kv", "put", store, "usertable", "x", "1"],
        &["dump", "log", store],
    ] {
        names(&fail(1, arguments), &[store, "held by another process"]);
    }
    names(&succeed(&["stat", store]), &["open elsewhere", "sombra_wal_commits_total"]);
    let counters: Value = serde_json::from_str(&succeed(&["stat", "--json", store])).unwrap();
    assert_eq!(counters["source"], "owner");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "sombra: interrupted\n");
    names(&String::from_utf8(output.stdout).unwrap(), &["disk: durable 4 KiB write"]);
    assert!(!Path::new(&dir).exists(), "the run's files are left behind");
}

/// The directory of the only run under `dir`, once it is there.
fn only_run(dir: &Path) -> Option<PathBuf> {
    let mut runs = fs::read_dir(dir).ok()?;
    runs.next()?.ok().map(|entry| entry.path())
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("nothing to see after 30 s");
}

#[test]
fn bench_transactions_compare_two_levels_and_count_the_log_of_commits_over_shards() {
    let scratch = Scratch::new();
    let dir = scratch.join("data");
    let options = ["--transactions", "--pairs", "2"];
    let report: Value =
        serde_json::from_str(&bench(&dir, &[&options[..], &["--json"]].concat())).unwrap();
    let found = &report["transactions"];
    assert_eq!((&found["pairs"], &found["clients_on"]), (&2.into(), &"shards".into()));
    let orders: Vec<_> =
        found["rows"].as_array().unwrap().iter().map(|row| row["order"].clone()).collect();
    assert_eq!(orders, ["A A B", "B A A"]);
    for row in ["snapshot_against_itself", "serializable_against_snapshot"] {
        assert!(found[row]["median"].is_number(), "{found}");
    }
    for row in found["rows"].as_array().unwrap() {
        assert_eq!(row["serializable"]["isolation"], "serializable");
        for side in [&row["serializable"], &row["snapshot"][0], &row["snapshot"][1]] {
            let at = |field: &str| side[field].as_f64().unwrap();
            assert!(at("committed") > 0.0 && at("cpu_us_per_commit") > 0.0, "{side}");
            assert!(at("across_shards_share") > 0.2 && at("flushes_per_commit") > 0.0, "{side}");
        }
    }
    let crossing = &found["crossing"];
    assert_eq!(
        (&crossing["across"]["across_shards"], &crossing["within"]["across_shards"]),
        (&1000.into(), &0.into())
    );
    for kind in ["across", "within"] {
        assert_eq!(crossing[kind]["log_records"], 1000, "{crossing}");
        assert!(crossing[kind]["flushes"].as_u64() >= Some(1000), "{crossing}");
    }
    assert_eq!(report["verify"]["missing"], 0);
    let text = bench(&dir, &["--transactions", "--pairs", "1", "--clients", "handle"]);
    names(&text, &["A/A commits/s", "exactly one", "aborted", "8 clients through handle"]);
}

#[test]
fn bench_history_has_every_transaction_and_its_level_or_the_run_says_why_not() {
    let scratch = Scratch::new();
    let (dir, file) = (scratch.join("data"), scratch.join("history"));
    let options = ["--transactions", "--pairs", "1", "--json", "--history", &file];
    let report: Value = serde_json::from_str(&bench(&dir, &options)).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let found = &report["history"];
    assert_eq!(found["transactions"].as_u64(), Some(text.lines().count() as u64));
    assert_eq!((&found["path"], &found["is_full"]), (&file.as_str().into(), &false.into()));
    for level in ["snapshot", "serializable"] {
        let named = format!("\"isolation\":\"{level}\"");
        let count = text.lines().filter(|line| line.contains(&named)).count();
        assert!(count > 1_000, "{count} transactions at {level}");
    }
    let plain = ["bench", "--dir", &dir, "--history", &file];
    names(&fail(2, &plain), &["--history", "expected --transactions or --long-transactions"]);
    let full = ["bench", "--dir", &dir, "--transactions", "--history", "/dev/full"];
    let full = [&full[..], &["--records", "1000"]].concat();
    names(&fail(1, &full), &["/dev/full", "write the history", "No space left"]);
    assert!(!Path::new(&dir).exists(), "the run's files are left behind");
}

#[test]
fn bench_long_transactions_are_judged_and_none_commits_wrongly() {
    let scratch = Scratch::new();
    let dir = scratch.join("data");
    let options = [
        "bench",
        "--dir",
        &dir,
        "--long-transactions",
        "--records",
        "20000",
        "--seconds",
        "3",
        "--warmup",
        "0",
        "--clients",
        "4",
        "--rate",
        "2000",
    ];
    let report: Value =
        serde_json::from_str(&succeed(&[&options[..], &["--json"]].concat())).unwrap();
    let found = &report["long_transactions"];
    let at = |field: &str| found[field].as_u64().unwrap();
    assert!(at("committed") + at("aborted") > 0, "{found}");
    let judged = at("true_aborts") + at("false_aborts") + at("undecided_aborts");
    assert_eq!(judged, at("aborted"), "{found}");
    assert_eq!((at("wrong_commits"), at("wrong_reads")), (0, 0), "{found}");
    assert_eq!(report["verify"]["missing"], 0);
}

/// The figure itself is for release builds on quiet machines; here a store that spins is caught.
#[test]
fn bench_idle_measures_the_store_at_rest_three_times() {
    let scratch = Scratch::new();
    let dir = scratch.join("data");
    let options = ["bench", "--dir", &dir, "--idle", "--records", "2000", "--seconds", "2"];
    let report: Value =
        serde_json::from_str(&succeed(&[&options[..], &["--json"]].concat())).unwrap();
    let rows = report["idle"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        let at = |field: &str| row[field].as_f64().unwrap();
        assert!(at("seconds") >= 2.0 && at("wakeups_per_s") > 0.0, "{row}");
        assert!(at("percent_of_a_core") < 10.0, "{row}");
    }
    assert_eq!(report["verify"]["missing"], 0);
    names(&fail(2, &[&options[..4], &["--rate", "5"]].concat()), &["--rate"]);
}

#[test]
fn bench_counter_raises_one_number_in_three_ways_and_loses_nothing() {
    let scratch = Scratch::new();
    let dir = scratch.join("data");
    let options = [
        "bench",
        "--dir",
        &dir,
        "--counter",
        "--records",
        "2000",
        "--seconds",
        "1",
        "--warmup",
        "0",
        "--clients",
        "8",
        "--pairs",
        "2",
    ];
    let report: Value =
        serde_json::from_str(&succeed(&[&options[..], &["--json"]].concat())).unwrap();
    let found = &report["counter"];
    assert_eq!((found["pairs"].as_u64(), found["lost"].as_i64()), (Some(2), Some(0)), "{found}");
    for row in found["rows"].as_array().unwrap() {
        let raised = |side: &Value| side["raised"].as_u64().unwrap();
        assert!(raised(&row["locked"]) > 0 && raised(&row["sum"]) > 0, "{row}");
        assert!(row["optimistic"].as_array().unwrap().iter().all(|side| raised(side) > 0));
        assert_eq!(row["sum"]["retries_per_raise"], 0.0, "sums never conflict");
    }
    assert_eq!(report["verify"]["missing"], 0);
    names(&fail(2, &[&options[..4], &["--rate", "5"]].concat()), &["--rate"]);
}

#[test]
fn bench_tpcc_keeps_the_four_conditions_and_balances_the_books() {
    let scratch = Scratch::new();
    let dir = scratch.join("data");
    let options = [
        "bench",
        "--dir",
        &dir,
        "--tpcc",
        "--warehouses",
        "3",
        "--seconds",
        "1",
        "--warmup",
        "0",
        "--clients",
        "4",
    ];
    let report: Value =
        serde_json::from_str(&succeed(&[&options[..], &["--json"]].concat())).unwrap();
    let found = &report["tpcc"];
    for look in ["consistency", "consistency_reopened"] {
        assert_eq!(found[look]["violations"], Value::from(vec![0; 4]), "{found}");
        assert_eq!(found[look]["districts"], 30);
    }
    let books = &found["books"];
    assert_eq!(books["orders_found"], books["orders_acknowledged"]);
    assert_eq!(books["cents_found"], books["cents_acknowledged"]);
    assert_eq!(found["warehouses_on_shards"].as_array().map(Vec::len), Some(2));
    assert!(books["orders_found"].as_u64() > Some(0), "{books}");
    assert!(!Path::new(&dir).exists(), "the run's files are left behind");
    names(&fail(2, &[&options[..3], &["--tpcc", "--warehouses", "0"]].concat()), &["1 to 1000"]);
    names(&succeed(&[&options[..], &["--clients", "handle"]].concat()), &["balanced", "payment"]);
}
