//! Ten stores, each damaged in its own way: what `check` and `repair` say of them, and what is
//! there afterwards. With `--nocapture` the test prints all of it.

use std::fs;

use serde_json::Value;
use sombra::Lsn;
use sombra::format::superblock::{SUPERBLOCK_COPY_BYTES, Superblock};
use sombra::inspect::KeySpan;

use crate::damage::{
    Contents, LATE_ROWS, Original, contents_of, flip_byte, logged_writes, newest_blocks,
};
use crate::harness::{names, run, succeed};
use crate::trees::{INNER, LEAF, OVERFLOW, SPACE_MAP, flip, pages_file, pages_of_kind, runtime};

/// Runs a command, prints what it printed, and gives that.
fn tell(code: i32, arguments: &[&str]) -> String {
    let output = run(arguments);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    println!("$ sombra {}\n{stdout}{stderr}", arguments.join(" "));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stdout}{stderr}");
    stdout
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn ten_damaged_stores_are_told_repaired_or_salvaged_and_nothing_is_lost_unsaid() {
    let mut original = Original::new();
    torn_tail_below_a_stamp(&mut original);
    hole_in_the_log(&mut original);
    missing_segment(&mut original);
    superblock_copy(&mut original);
    newest_root_copy(&mut original);
    both_root_copies(&mut original);
    for (kind, name) in [(LEAF, "leaf"), (INNER, "inner node"), (OVERFLOW, "overflow run")] {
        println!("\n## {name}");
        page_of_a_tree(&mut original, kind);
    }
    space_map(&mut original);
}

fn torn_tail_below_a_stamp(original: &mut Original) {
    println!("\n## torn tail below a stamp");
    let store = original.copy();
    newest_blocks(&store).last().unwrap().write(1_024, &[0x5A; 3_072]);
    let cut = cut_log(original, &store);
    assert_eq!(cut["records_behind"], 0, "nothing but the stamp lies behind it");
    assert_eq!(cut["gaps"].as_array().unwrap().len(), 1);
}

fn hole_in_the_log(original: &mut Original) {
    println!("\n## hole in the log");
    let store = original.copy();
    newest_blocks(&store)[10].write(0, &[0; 4_096]);
    let cut = cut_log(original, &store);
    assert_eq!(cut["records_behind"], 19, "{cut}");
    assert_eq!(cut["lost_writes"], 38, "{cut}");
}

fn missing_segment(original: &mut Original) {
    println!("\n## missing segment");
    let store = original.copy();
    fs::remove_file(&newest_blocks(&store)[0].path).unwrap();
    cut_log(original, &store);
}

/// The log is ended before its damage: what is lost is told, before and after.
fn cut_log(original: &mut Original, store: &str) -> Value {
    names(&tell(3, &["check", store]), &["problem: ", "a whole log", "sombra repair"]);
    let wal = format!("{store}/wal");
    let files = || fs::read_dir(&wal).unwrap().count();
    let before = files();
    names(&tell(3, &["repair", store]), &["end the log", "lost: ", "--apply"]);
    let plan = json(&tell(3, &["repair", "--json", store]));
    assert_eq!((files(), &plan["is_applied"]), (before, &false.into()), "a plan changes nothing");
    let applied = json(&tell(0, &["repair", "--apply", "--json", store]));
    assert_eq!(applied["log_cut"], plan["log_cut"], "what was done is what was planned");
    let kept = applied["kept_in"].as_str().unwrap();
    assert!(kept.ends_with("repair-1"), "{kept}");
    names(&tell(0, &["check", store]), &["sound: "]);
    names(&tell(0, &["repair", store]), &["nothing to repair"]);
    assert_only_listed_writes_are_gone(original, &plan["log_cut"], &contents_of(store));
    // Another opening writes above everything, and what was cut off never comes back.
    succeed(&["kv", "put", store, "ranges", "later", "1"]);
    assert_eq!(contents_of(store)[&("ranges".to_owned(), b"later".to_vec())], b"1");
    plan["log_cut"].clone()
}

fn assert_only_listed_writes_are_gone(original: &Original, cut: &Value, after: &Contents) {
    let end = cut["end_lsn"].as_u64().unwrap();
    let number = |value: &Value| value.as_u64().unwrap();
    let gaps: Vec<(u64, u64)> = cut["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gap| (number(&gap["from_lsn"]), number(&gap["to_lsn"])))
        .collect();
    let keys = cut["lost_keys"].as_array().unwrap();
    let listed: Vec<(u64, u32, String)> = keys
        .iter()
        .map(|lost| {
            let id = number(&lost["keyspace_id"]) as u32;
            (number(&lost["lsn"]), id, lost["key_hex"].as_str().unwrap().to_owned())
        })
        .collect();
    let hex = |key: &[u8]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let behind: Vec<_> = logged_writes(&original.log)
        .into_iter()
        .filter(|(lsn, ..)| *lsn > end)
        .map(|(lsn, id, key)| (lsn, id, hex(&key)))
        .collect();
    assert!(!behind.is_empty());
    for lost in &listed {
        assert!(behind.contains(lost), "{lost:?} is listed, and no write behind the damage");
    }
    for write in &behind {
        let is_in_gap = gaps.iter().any(|&(from, to)| write.0 > from && write.0 <= to);
        assert!(is_in_gap || listed.contains(write), "{write:?} is lost and not listed");
    }
    let mut gone = 0;
    for ((keyspace, key), value) in &original.contents {
        let id = original.keyspace_id(keyspace);
        let was_written = behind.iter().any(|(_, of, written)| *of == id && *written == hex(key));
        let found = after.get(&(keyspace.clone(), key.clone()));
        match was_written {
            true => gone += 1,
            false => assert_eq!(found, Some(value), "{keyspace} {}", key.escape_ascii()),
        }
    }
    assert_eq!(after.len() + gone, original.contents.len(), "late rows are written once");
}

fn superblock_copy(original: &mut Original) {
    println!("\n## copy of the superblock");
    for (copy, name) in [(0, "copy A"), (SUPERBLOCK_COPY_BYTES as u64, "copy B")] {
        let store = original.copy();
        flip_byte(&format!("{store}/superblock"), copy + 30);
        names(&tell(0, &["check", &store]), &["note: ", name, "sound: "]);
        names(&tell(3, &["repair", &store]), &["superblock at byte", "write the damaged copy"]);
        names(&tell(0, &["repair", "--apply", &store]), &["sound: "]);
        let bytes = fs::read(format!("{store}/superblock")).unwrap();
        for copy in [0, SUPERBLOCK_COPY_BYTES] {
            Superblock::decode(&bytes[copy..]).expect("both are whole again");
        }
        assert!(!tell(0, &["check", &store]).contains("note: "));
        assert!(contents_of(&store) == original.contents);
    }
}

fn newest_root_copy(original: &mut Original) {
    println!("\n## newest copy of a root");
    let store = original.copy();
    let slots = succeed(&["dump", "root", &store]);
    assert!(slots.contains("slot 0 copy A"), "{slots}");
    for offset in [100, (1 << 20) + 100] {
        flip_byte(&pages_file(&store), offset);
        names(&tell(0, &["check", &store]), &["note: root slot 0", "sound: "]);
        names(&tell(3, &["repair", &store]), &["root slot 0", "write the damaged copy"]);
        names(&tell(0, &["repair", "--apply", &store]), &["sound: "]);
        assert!(!tell(0, &["check", &store]).contains("note: "));
    }
    assert!(contents_of(&store) == original.contents);
}

fn both_root_copies(original: &mut Original) {
    println!("\n## both copies of a root");
    let store = original.copy();
    for offset in [100, (1 << 20) + 100] {
        flip_byte(&pages_file(&store), offset);
    }
    names(&tell(3, &["check", &store]), &["problem: ", "root slot 0"]);
    names(&tell(3, &["repair", &store]), &["--salvage"]);
    let into = original.place();
    let told = json(&tell(3, &["repair", "--salvage", &into, "--json", &store]));
    assert_eq!(told["lost"].as_array().unwrap().len(), 1, "{told}");
    assert!(told["log_writes_unplaced"].as_u64() > Some(0) || told["keyspaces"][0].is_object());
    names(told["lost"][0]["problem"]["expected"].as_str().unwrap(), &["root slot 0", "trees"]);
    for (key, value) in contents_of(&into) {
        assert_eq!(original.contents.get(&key), Some(&value), "what the log gives is right");
    }
    tell(0, &["check", &into]);
}

fn page_of_a_tree(original: &mut Original, kind: u8) {
    let pages = pages_of_kind(&original.copy(), kind);
    for page in [pages[0], *pages.last().unwrap()] {
        let store = original.copy();
        flip(&store, page, 2_000);
        let place = format!("(page {page})");
        names(&tell(3, &["check", &store]), &["problem: ", &place, "keyspace \"", "key"]);
        names(&tell(3, &["repair", &store]), &[&place, "--salvage"]);
        let before = fs::read(pages_file(&store)).unwrap();
        names(&tell(3, &["repair", "--apply", &store]), &["left: ", &place, "--salvage"]);
        let into = original.place();
        let runtime = runtime();
        let paths = (store.as_ref(), into.as_ref());
        let options = sombra::Options { metrics_file: false, ..Default::default() };
        let salvaged = sombra::repair::salvage(&runtime, paths, options, |_, _| {});
        let report = runtime.block_on(salvaged).unwrap();
        runtime.shutdown();
        assert!(before == fs::read(pages_file(&store)).unwrap(), "the old store was changed");
        let lost: Vec<(String, KeySpan)> = report
            .lost
            .iter()
            .map(|lost| {
                let tablet = lost.problem.tablet.as_ref().unwrap();
                (tablet.keyspace.clone(), lost.problem.keys.clone().unwrap())
            })
            .collect();
        let from_log: u64 = report.lost.iter().map(|lost| lost.rows_from_log).sum();
        let missing = missing_rows(original, &contents_of(&into), &lost);
        let named = count_named(original, &lost);
        // How much of it the log still held depends on what had been merged.
        assert!(named > 0 && missing + from_log == named, "{missing} {from_log} {named}");
        tell(0, &["check", &into]);
        if kind == LEAF {
            let again = original.place();
            names(&tell(3, &["repair", "--salvage", &again, &store]), &["lost: ", &place]);
        }
    }
}

/// Rows that are not there; each must be named, and every other must be as it was.
fn missing_rows(original: &Original, after: &Contents, lost: &[(String, KeySpan)]) -> u64 {
    let mut missing = 0;
    for ((keyspace, key), value) in &original.contents {
        match after.get(&(keyspace.clone(), key.clone())) {
            Some(found) => assert!(found == value, "{keyspace} {}", key.escape_ascii()),
            None => {
                let is_named = lost.iter().any(|(of, keys)| of == keyspace && keys.contains(key));
                assert!(is_named, "{keyspace} {} is lost and not named", key.escape_ascii());
                missing += 1;
            }
        }
    }
    assert_eq!(after.len() as u64 + missing, original.contents.len() as u64);
    missing
}

fn count_named(original: &Original, lost: &[(String, KeySpan)]) -> u64 {
    let is_named = |(keyspace, key): &&(String, Vec<u8>)| {
        lost.iter().any(|(of, keys)| of == keyspace && keys.contains(key))
    };
    original.contents.keys().filter(is_named).count() as u64
}

fn space_map(original: &mut Original) {
    println!("\n## space map");
    let store = original.copy();
    flip(&store, pages_of_kind(&store, SPACE_MAP)[0], 100);
    names(&tell(3, &["check", &store]), &["problem: ", "tablet ", "a space map"]);
    names(&tell(3, &["repair", &store]), &["a space map", "--salvage"]);
    let into = original.place();
    names(&tell(0, &["repair", "--salvage", &into, &store]), &["nothing was lost"]);
    assert!(contents_of(&into) == original.contents);
}

#[test]
fn log_is_not_cut_in_place_while_a_damaged_page_needs_a_salvage() {
    let mut original = Original::new();
    let store = original.copy();
    newest_blocks(&store)[10].write(0, &[0; 4_096]);
    flip(&store, pages_of_kind(&store, LEAF)[0], 2_000);
    let wal = format!("{store}/wal");
    let log = || {
        let mut files: Vec<_> =
            fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = log();
    names(&tell(3, &["repair", &store]), &["end the log", "the log is left as it is"]);
    names(&tell(3, &["repair", "--apply", &store]), &["left: ", "the log is left as it is"]);
    assert!(before == log(), "what lies behind the damage is for the salvage");
    let into = original.place();
    let told = json(&tell(3, &["repair", "--salvage", &into, "--json", &store]));
    assert_eq!(told["log_gaps"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["is_complete"], false);
    let last = format!("late-{:02}", LATE_ROWS - 1).into_bytes();
    assert_eq!(contents_of(&into)[&("ranges".to_owned(), last)], b"v29", "from behind the hole");
}

#[test]
fn repair_of_a_sound_store_changes_nothing_and_one_in_use_is_refused() {
    let mut original = Original::new();
    let store = original.copy();
    let before = fs::read(format!("{store}/superblock")).unwrap();
    names(&succeed(&["repair", &store]), &["nothing to repair"]);
    names(&succeed(&["repair", "--apply", &store]), &["nothing to repair"]);
    assert!(before == fs::read(format!("{store}/superblock")).unwrap());
    assert!(!std::path::Path::new(&store).join("repair-1").exists());
    let into = original.place();
    names(&succeed(&["repair", "--salvage", &into, &store]), &["nothing was lost"]);
    assert!(contents_of(&into) == original.contents);
    let again = run(&["repair", "--salvage", &into, &store]);
    assert_eq!(again.status.code(), Some(1));
    names(&String::from_utf8_lossy(&again.stderr), &["the new store", "expected no store"]);
    let runtime = runtime();
    let options = sombra::Options { metrics_file: false, ..Default::default() };
    let db = runtime.block_on(sombra::Db::open(&runtime, &store, options)).unwrap();
    let held = run(&["repair", &store]);
    assert_eq!(held.status.code(), Some(1));
    names(&String::from_utf8_lossy(&held.stderr), &["held by"]);
    assert!(db.open_report().replayed_to > Lsn::ZERO);
    runtime.block_on(db.close()).unwrap();
    runtime.shutdown();
}
