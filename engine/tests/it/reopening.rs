//! Killed and reopened, again and again: nothing acknowledged goes, nothing piles up.

use sombra::{Isolation, OpenReport};

use crate::disk::{self, copy_as_killed, log_bytes};
use crate::support::{Bench, keys};

const SEGMENT_BYTES: u64 = 1 << 20;

#[test]
fn kill_leaves_every_acknowledged_commit_in_the_directory() {
    let bench = Bench::new();
    let mut store = bench.store();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..6_usize {
        let (db, keyspace) = bench.open_at(&store);
        assert_eq!(keys(&db, &keyspace), acknowledged, "round {round}");
        for key in 0..8 {
            let transaction = db.blocking().begin_with(Isolation::Snapshot).unwrap();
            // Several shards, several blocks, and in some rounds several segments.
            for part in ["l", "m", "r"] {
                let key = format!("{round}-{key}-{part}");
                transaction.put(&keyspace, &key, vec![b'v'; 30_000 * round]).unwrap();
                acknowledged.push(key);
            }
            transaction.commit().unwrap();
        }
        acknowledged.sort();
        let copy = bench.dir.beside(&format!("killed-{round}"));
        copy_as_killed(&store, &copy);
        // Negative control: the copy is of this moment, later commits are not in it.
        db.blocking().put(&keyspace, "too late", "v").unwrap();
        db.blocking().close().unwrap();
        store = copy;
    }
    let (db, keyspace) = bench.open_at(&store);
    for key in &acknowledged {
        let round: usize = key[..1].parse().unwrap();
        let value = db.blocking().get(&keyspace, key).unwrap().expect("acknowledged");
        assert!(value.len() == 30_000 * round && value.iter().all(|&byte| byte == b'v'), "{key}");
    }
    db.blocking().close().unwrap();
    bench.end();
}

#[test]
fn kill_between_openings_that_write_nothing_loses_nothing() {
    let bench = Bench::new();
    bench.write_and_close(&["a", "b"]);
    let mut store = bench.store();
    for round in 0..5 {
        let (db, keyspace) = bench.open_at(&store);
        assert_eq!(keys(&db, &keyspace), ["a", "b"], "round {round}");
        let copy = bench.dir.beside(&format!("idle-{round}"));
        copy_as_killed(&store, &copy);
        db.blocking().close().unwrap();
        store = copy;
    }
    assert_eq!(disk::superblock(&store).links.len(), 2, "one that wrote, one that runs");
    bench.end();
}

#[test]
fn hundred_openings_without_a_write_leave_links_and_disk_as_they_were() {
    let bench = Bench::new();
    bench.write_and_close(&["a"]);
    let first = bench.keys_and_close().1;
    let links = disk::superblock(&bench.store()).links.len();
    let bytes = log_bytes(&bench.store());
    for _ in 0..100 {
        bench.try_open().unwrap().blocking().close().unwrap();
    }
    let (keys, last): (Vec<String>, OpenReport) = bench.keys_and_close();
    assert_eq!(keys, ["a"]);
    assert_eq!(last.incarnation.as_u64(), first.incarnation.as_u64() + 101, "none is used twice");
    assert_eq!(disk::superblock(&bench.store()).links.len(), links);
    assert_eq!(log_bytes(&bench.store()), bytes);
    // The write; and the keyspace, until an opening that lives long enough makes it a root's row.
    let replayed = (first.replayed_records, last.replayed_records);
    assert!(replayed.1 >= 1 && replayed.1 <= replayed.0, "{replayed:?}");
    bench.end();
}

#[test]
fn hundred_openings_with_one_write_each_keep_the_log_small() {
    const ROUNDS: u64 = 100;
    let bench = Bench::new();
    for round in 0..ROUNDS {
        let (db, keyspace) = bench.open();
        db.blocking().put(&keyspace, round.to_be_bytes(), "v").unwrap();
        db.blocking().close().unwrap();
    }
    let (keys, report) = bench.keys_and_close();
    assert_eq!(keys.len() as u64, ROUNDS);
    let once = ROUNDS..=ROUNDS + 1;
    assert!(once.contains(&report.replayed_records), "each write once, the keyspace at most once");
    let links = disk::superblock(&bench.store()).links.len() as u64;
    assert_eq!(links, ROUNDS + 1, "one for each opening that wrote, one for the last");
    // Old openings keep a header, their records and at most a few stamps.
    let bound = 3 * SEGMENT_BYTES + ROUNDS * 8 * 4096;
    assert!(log_bytes(&bench.store()) <= bound, "{} bytes", log_bytes(&bench.store()));
    bench.end();
}

#[test]
fn close_leaves_no_segment_under_preparation_to_the_next_opener() {
    let bench = Bench::new();
    for _ in 0..10 {
        // The first commit of an opening makes it prepare the next segment.
        bench.write_and_close(&["a"]);
        let unfinished: Vec<String> = std::fs::read_dir(bench.store().join("wal"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| !name.ends_with(".log"))
            .collect();
        assert!(unfinished.is_empty(), "{unfinished:?}");
    }
    bench.end();
}
