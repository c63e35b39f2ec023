//! `check`, `space` and `dump page`, `root` and `space`, on sound and on damaged stores.

use std::fs;

use serde_json::Value;
use sombra::format::superblock::{FEATURE_DATA_FILE, SUPERBLOCK_COPY_BYTES, Superblock};
use sombra::inspect::{self, CheckReport};
use sombra::{Db, Options};

use crate::harness::{Scratch, names, run, small_store, succeed};
use crate::trees::{
    INNER, LEAF, OVERFLOW, SPACE_MAP, flip, pages_file, pages_of_kind, runtime, tree_store,
};

/// Runs a command that must find problems, and gives what it printed.
fn find_problems(arguments: &[&str]) -> String {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{arguments:?}: {stderr}");
    names(&stderr, &["sombra: ", "found"]);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn check_finds_a_sound_store_sound_and_leaves_it_as_it_is() {
    let scratch = Scratch::new();
    let store = tree_store(&scratch);
    let before = fs::read(pages_file(&store)).unwrap();
    names(&succeed(&["check", &store]), &["sound: no problem", "ranges", "hashes", "log: "]);
    let report = json(&succeed(&["check", "--json", &store]));
    assert_eq!(report["is_sound"], true);
    assert_eq!(report["problems"].as_array().unwrap().len(), 0);
    let tablets = report["tablets"].as_array().unwrap();
    assert_eq!(tablets.len(), 5, "{report}");
    assert!(tablets.iter().any(|tablet| tablet["leaf_pages"].as_u64() > Some(10)), "{report}");
    assert!(before == fs::read(pages_file(&store)).unwrap(), "the data file was changed");
}

#[test]
fn check_names_the_page_when_a_byte_of_a_leaf_differs() {
    let scratch = Scratch::new();
    let store = tree_store(&scratch);
    let page = pages_of_kind(&store, LEAF)[3];
    flip(&store, page, 2_000);
    let place = format!("(page {page})");
    names(&find_problems(&["check", &store]), &["problem: ", &place, "checksum", "expected"]);
    let report = json(&find_problems(&["check", "--json", &store]));
    assert_eq!(report["is_sound"], false);
    let problems = report["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "{report}");
    let problem = &problems[0];
    names(problem["place"].as_str().unwrap(), &["pages.sombra at byte ", &place]);
    assert_eq!((&problem["page"], &problem["offset_bytes"]), (&page.into(), &(page * 4096).into()));
    names(problem["file"].as_str().unwrap(), &["pages.sombra"]);
    assert_eq!(problem["keyspace"], "ranges");
    assert!(problem["keys"]["key_hex"].is_null(), "{report}");
    let number = page.to_string();
    let dumped = find_problems(&["dump", "page", &store, &number]);
    names(&dumped, &["Leaf", "checksum", "rows:", "key-"]);
}

/// Every key that a read cannot get, and no other, lies in the range that the check names.
#[test]
fn check_names_the_keys_that_a_damaged_page_costs() {
    let scratch = Scratch::new();
    let store = tree_store(&scratch);
    for kind in [LEAF, INNER] {
        let all = pages_of_kind(&store, kind);
        for page in [all[0], *all.last().unwrap()] {
            flip(&store, page, 2_000);
            let report = check_of(&store);
            assert!(!report.problems.is_empty());
            let (mut lost, mut kept) = (0, 0);
            for keyspace in ["ranges", "hashes"] {
                for number in 0..20_000_u32 {
                    let key = format!("key-{number:08}");
                    let is_named = report.problems.iter().any(|problem| {
                        let of = problem.tablet.as_ref().unwrap().keyspace == keyspace;
                        of && problem.keys.as_ref().unwrap().contains(key.as_bytes())
                    });
                    *if is_named { &mut lost } else { &mut kept } += 1;
                }
            }
            assert!(lost > 0 && kept > 10_000, "page {page}: {lost} lost, {kept} kept");
            let told = find_problems(&["check", &store]);
            names(&told, &["keyspace \"", "tablet ", ", keys "]);
            flip(&store, page, 2_000);
        }
    }
    let overflow = pages_of_kind(&store, OVERFLOW)[0];
    flip(&store, overflow, 2_000);
    let report = check_of(&store);
    let keys = report.problems[0].keys.as_ref().unwrap();
    assert!(keys.contains(b"large") && !keys.contains(b"empty"), "{keys}");
    assert!(report.problems[0].to_string().contains("\"large\""), "{}", report.problems[0]);
    flip(&store, overflow, 2_000);
    flip(&store, pages_of_kind(&store, SPACE_MAP)[0], 100);
    let problem = &check_of(&store).problems[0];
    assert!(problem.tablet.is_some() && problem.keys.is_none(), "a map costs no key: {problem}");
    assert!(problem.place.page.is_some(), "{problem}");
}

fn check_of(store: &str) -> CheckReport {
    let runtime = runtime();
    let checked = inspect::check(&runtime, std::path::Path::new(store), |_, _| {});
    let report = runtime.block_on(checked).unwrap();
    runtime.shutdown();
    report
}

#[test]
fn check_tells_of_a_truncated_data_file() {
    let scratch = Scratch::new();
    let store = tree_store(&scratch);
    let file = fs::OpenOptions::new().write(true).open(pages_file(&store)).unwrap();
    file.set_len(3 << 20).unwrap();
    names(&find_problems(&["check", &store]), &["problem: ", "pages.sombra"]);
    names(&find_problems(&["space", &store]), &["problem: ", "pages.sombra"]);
    file.set_len(100).unwrap();
    names(&find_problems(&["check", &store]), &["pages.sombra", "at least 2097152 bytes"]);
    fs::remove_file(pages_file(&store)).unwrap();
    names(&find_problems(&["check", &store]), &["pages.sombra", "No such file"]);
}

#[test]
fn check_notes_one_damaged_root_copy_and_refuses_two() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    let damage = |offset: usize| {
        let mut bytes = fs::read(pages_file(&store)).unwrap();
        bytes[offset] ^= 1;
        fs::write(pages_file(&store), bytes).unwrap();
    };
    damage(100);
    names(&succeed(&["check", &store]), &["note: ", "copy A", "sound: "]);
    names(&succeed(&["dump", "root", &store]), &["slot 0 copy A: damaged", "in force"]);
    damage((1 << 20) + 100);
    names(&find_problems(&["check", &store]), &["problem: ", "slot 0"]);
    names(&find_problems(&["dump", "root", &store]), &["copy A: damaged", "copy B: damaged"]);
}

/// A store from before there were data files: its log holds everything.
#[test]
fn check_of_a_store_with_only_a_log_counts_its_records() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    let path = format!("{store}/superblock");
    let mut bytes = fs::read(&path).unwrap();
    for copy in [0, SUPERBLOCK_COPY_BYTES] {
        let mut superblock = Superblock::decode(&bytes[copy..]).unwrap();
        superblock.required_features &= !FEATURE_DATA_FILE;
        let encoded = superblock.encode();
        bytes[copy..copy + encoded.len()].copy_from_slice(&encoded);
    }
    fs::write(&path, bytes).unwrap();
    fs::remove_file(pages_file(&store)).unwrap();
    names(&succeed(&["check", &store]), &["log: 4 records", "sound: "]);
    names(&succeed(&["space", &store]), &["has no data file"]);
    let dump = run(&["dump", "page", &store, "600"]);
    assert_eq!(dump.status.code(), Some(1));
    names(&String::from_utf8_lossy(&dump.stderr), &["only a log"]);
}

#[test]
fn space_accounts_for_every_byte_of_the_data_file() {
    let scratch = Scratch::new();
    let store = tree_store(&scratch);
    names(&succeed(&["space", &store]), &["live", "log floor: LSN", "reserve: "]);
    let report = json(&succeed(&["space", "--json", &store]));
    let file = &report["data_file"];
    let bytes = |name: &str| file[name].as_u64().unwrap();
    let parts = ["root_table_bytes", "live_bytes", "pinned_bytes", "free_in_tablets_bytes"];
    let sum = parts.into_iter().map(bytes).sum::<u64>() + bytes("free_extents_bytes");
    assert_eq!(sum, bytes("file_bytes"), "{report}");
    assert!(bytes("live_bytes") > 1 << 20, "{report}");
    assert!(report["log"]["file_bytes"].as_u64() > Some(0), "{report}");
}

#[test]
fn dump_page_shows_every_kind_of_page() {
    let scratch = Scratch::new();
    let store = tree_store(&scratch);
    let dump = |page: u64| succeed(&["dump", "page", &store, &page.to_string()]);
    let overflow = pages_of_kind(&store, OVERFLOW)[0];
    names(&dump(pages_of_kind(&store, LEAF)[0]), &["Leaf", "sound", "rows:", "store_id"]);
    names(&dump(pages_of_kind(&store, INNER)[0]), &["Inner", "children:", "rows", "checksum"]);
    names(&dump(overflow), &["Overflow", "page 0 of the 257", "1048576 bytes"]);
    names(&dump(overflow + 7), &["page 7 of the 257", "sound"]);
    names(&dump(pages_of_kind(&store, SPACE_MAP)[0]), &["SpaceMap", "extents:", "#"]);
    names(
        &succeed(&["dump", "root", &store]),
        &["keyspace 1 \"ranges\"", "tablet 2/2", "root page"],
    );
    names(&succeed(&["dump", "space", &store]), &["extent ", "map pages", "#"]);
    assert!(json(&succeed(&["dump", "space", "--json", &store])).is_array());
    names(&succeed(&["dump", "superblock", &store]), &["page_size_bytes    4096", "(data file)"]);
    for page in ["3", "9999999"] {
        let output = run(&["dump", "page", &store, page]);
        assert_eq!(output.status.code(), Some(1));
        names(&String::from_utf8_lossy(&output.stderr), &["pages.sombra", "expected a page"]);
    }
}

#[test]
fn look_is_refused_while_somebody_has_the_store_open() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    let runtime = runtime();
    let db = Db::open(&runtime, &store, Options { metrics_file: false, ..Default::default() });
    let db = runtime.block_on(db).unwrap();
    for arguments in [["check", &store].as_slice(), &["space", &store], &["dump", "root", &store]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        names(&String::from_utf8_lossy(&output.stderr), &["held by"]);
    }
    runtime.block_on(db.close()).unwrap();
    runtime.shutdown();
    succeed(&["check", &store]);
}
