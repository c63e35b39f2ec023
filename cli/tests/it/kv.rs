use std::io::{BufRead, BufReader};

use crate::harness::{Scratch, command, fail, names, small_store, succeed};

#[test]
fn kv_gives_back_what_was_put_after_the_process_ended() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    assert_eq!(succeed(&["kv", "get", &store, "k", "ab"]), "2\n");
    succeed(&["kv", "put", &store, "k", "ab", "two"]);
    assert_eq!(succeed(&["kv", "get", &store, "k", "ab"]), "two\n");
    succeed(&["kv", "del", &store, "k", "ab"]);
    let message = fail(1, &["kv", "get", &store, "k", "ab"]);
    names(&message, &["\"ab\"", "not in keyspace \"k\""]);
}

#[test]
fn kv_hex_carries_every_byte_both_ways() {
    let scratch = Scratch::new();
    let store = scratch.store();
    succeed(&["kv", "put", "--create", "--hex", &store, "k", "00ff0a", "0009feff"]);
    assert_eq!(succeed(&["kv", "get", "--hex", &store, "k", "00ff0a"]), "0009feff\n");
    assert_eq!(succeed(&["kv", "scan", "--hex", &store, "k"]), "00ff0a\t0009feff\n");
    assert_eq!(succeed(&["kv", "scan", &store, "k"]), "\\u{0}\\xff\\n\t\\u{0}\\t\\xfe\\xff\n");
    let message = fail(2, &["kv", "get", "--hex", &store, "k", "0x00"]);
    names(&message, &["KEY", "expected pairs of hex digits", "0x00"]);
}

#[test]
fn kv_scan_honours_prefix_bounds_and_limit() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    let scan = |options: &[&str]| {
        let mut arguments = vec!["kv", "scan", store.as_str(), "k"];
        arguments.extend(options);
        succeed(&arguments)
    };
    assert_eq!(scan(&[]), "a\t1\nab\t2\nb\t3\n");
    assert_eq!(scan(&["--prefix", "a"]), "a\t1\nab\t2\n");
    assert_eq!(scan(&["--from", "ab"]), "ab\t2\nb\t3\n");
    assert_eq!(scan(&["--from", "a", "--to", "b"]), "a\t1\nab\t2\n");
    assert_eq!(scan(&["--limit", "1"]), "a\t1\n");
    assert_eq!(scan(&["--limit", "0"]), "");
    let rows = scan(&["--json", "--prefix", "ab"]);
    let row: serde_json::Value = serde_json::from_str(&rows).unwrap();
    assert_eq!(row, serde_json::json!({"key": "ab", "value": "2"}));
}

#[test]
fn kv_scan_ends_quietly_when_its_reader_leaves() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let value = "v".repeat(100_000);
    for key in 0..10 {
        let key = format!("key{key}");
        succeed(&["kv", "put", "--create", &store, "k", &key, &value]);
    }
    let mut child = command(&["kv", "scan", &store, "k"]).spawn().unwrap();
    // One row is far more than a pipe holds: the writer is certainly not done yet.
    let mut line = Vec::new();
    let stdout = child.stdout.take().unwrap();
    BufReader::with_capacity(64, stdout).read_until(b'\n', &mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
