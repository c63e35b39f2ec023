//! `export` and `import`.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;
use sombra::{Db, Options, Routing};

use crate::harness::{Scratch, command, fail, names, run, small_store, succeed};
use crate::trees::{contents, runtime, tree_store};

/// The keyspace in which an import that is not finished keeps its mark.
const MARKS: &str = "sombra.import";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Makes a store with one keyspace of this routing and name `k`.
fn store_with(path: &str, routing: Routing) {
    let runtime = runtime();
    let options = Options { metrics_file: false, ..Default::default() };
    let db = runtime.block_on(Db::open(&runtime, path, options)).unwrap();
    db.blocking().create_keyspace("k", routing).unwrap();
    runtime.block_on(db.close()).unwrap();
    runtime.shutdown();
}

#[test]
fn import_gives_back_what_was_exported() {
    let scratch = Scratch::new();
    let (store, file, copy) = (tree_store(&scratch), scratch.join("file"), scratch.join("copy"));
    let exported = json(&succeed(&["export", "--json", &store, &file]));
    assert_eq!(exported["keyspaces"], 2);
    assert_eq!(exported["rows"], 40_010);
    assert_eq!(exported["file_bytes"].as_u64(), Some(fs::metadata(&file).unwrap().len()));
    assert!(!scratch.path().join("file.part").exists());
    names(&succeed(&["import", "--dry-run", &copy, &file]), &["whole", "40010 rows"]);
    assert!(!scratch.path().join("copy").exists(), "a dry run makes nothing");
    let imported = json(&succeed(&["import", "--json", &copy, &file]));
    assert_eq!(imported["rows"], 40_010);
    assert_eq!(imported["rows_resumed"], 0);
    assert!(contents(&store) == contents(&copy), "the copy differs");
    names(&succeed(&["check", &copy]), &["sound: "]);
    // Standard output holds the same rows.
    let output = run(&["export", &store]);
    let again = scratch.join("again");
    fs::write(&again, output.stdout).unwrap();
    assert_eq!(json(&succeed(&["import", "--json", "--dry-run", &copy, &again]))["rows"], 40_010);
}

#[test]
fn import_goes_on_where_it_was_interrupted() {
    let scratch = Scratch::new();
    let (store, file, copy) = (tree_store(&scratch), scratch.join("file"), scratch.join("copy"));
    succeed(&["export", &store, &file]);
    let bytes = fs::read(&file).unwrap();
    // Cut off in the middle of a frame, as a pipe whose writer dies.
    let import = |length: usize| {
        let mut command = command(&["import", &copy, "-"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes[..length]).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        names(&String::from_utf8_lossy(&output.stderr), &["standard input at byte ", "cut off"]);
    };
    import(bytes.len() / 3);
    let part = contents(&copy);
    assert!(part.iter().any(|(name, ..)| name == MARKS), "the unfinished import has a mark");
    names(&fail(1, &["export", &copy, &scratch.join("other")]), &["not finished"]);
    import(bytes.len() * 2 / 3);
    let imported = json(&succeed(&["import", "--json", &copy, &file]));
    assert!(imported["rows_resumed"].as_u64() > Some(20_000), "{imported}");
    assert!(contents(&store) == contents(&copy), "the copy differs");
}

#[test]
fn import_that_was_killed_is_finished_by_the_next() {
    let scratch = Scratch::new();
    let (store, file, copy) = (tree_store(&scratch), scratch.join("file"), scratch.join("copy"));
    succeed(&["export", &store, &file]);
    let bytes = fs::read(&file).unwrap();
    let mut child = command(&["import", &copy, "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&bytes[..bytes.len() / 2]).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    succeed(&["import", &copy, &file]);
    assert!(contents(&store) == contents(&copy), "the copy differs");
}

#[test]
fn import_refuses_another_file_while_one_is_unfinished() {
    let scratch = Scratch::new();
    let (store, file, copy) = (small_store(&scratch), scratch.join("file"), scratch.join("copy"));
    succeed(&["export", &store, &file]);
    let bytes = fs::read(&file).unwrap();
    let cut = bytes.len() - 20;
    let mut child = command(&["import", &copy, "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&bytes[..cut]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    succeed(&["kv", "put", &store, "k", "c", "4"]);
    let other = scratch.join("other");
    succeed(&["export", &store, &other]);
    names(&fail(1, &["import", &copy, &other]), &["another file is not finished", "LSN"]);
    succeed(&["import", &copy, &file]);
}

#[test]
fn import_refuses_a_file_that_is_cut_damaged_or_something_else() {
    let scratch = Scratch::new();
    let (store, file, copy) = (small_store(&scratch), scratch.join("file"), scratch.join("copy"));
    succeed(&["export", &store, &file]);
    let bytes = fs::read(&file).unwrap();
    let bad = scratch.join("bad");
    let mut damaged = bytes.clone();
    damaged[110] ^= 1;
    let cut = &bytes[..bytes.len() - 1];
    let longer = [bytes.as_slice(), b"x"].concat();
    let foreign = vec![b'#'; 4_096];
    let cases: [(&[u8], &str); 5] = [
        (cut, "cut off"),
        (&damaged, "checksum"),
        (&longer, "the end of the file"),
        (&foreign, "SOMBRAEX"),
        (b"", "cut off"),
    ];
    for (content, reason) in cases {
        fs::write(&bad, content).unwrap();
        let message = fail(1, &["import", &copy, &bad]);
        names(&message, &[&bad, "at byte ", "expected", "found", reason]);
        assert!(!scratch.path().join("copy").exists(), "{reason}: something was made");
    }
}

#[test]
fn import_refuses_keyspaces_that_are_not_what_the_file_needs() {
    let scratch = Scratch::new();
    let (store, file) = (small_store(&scratch), scratch.join("file"));
    succeed(&["export", &store, &file]);
    let other = scratch.join("other");
    store_with(&other, Routing::hash_tablets(4, 2));
    for options in [&[][..], &["--merge"]] {
        let arguments = [&["import"], options, &[other.as_str(), &file]].concat();
        let message = fail(1, &arguments);
        names(&message, &["\"k\"", "expected", "range", "found hash of the first 4 bytes"]);
    }
    assert_eq!(succeed(&["kv", "scan", &other, "k"]), "");
    // The same routing and no rows: as good as none.
    let empty = scratch.join("empty");
    store_with(&empty, Routing::range());
    succeed(&["import", &empty, &file]);
    succeed(&["kv", "put", &empty, "k", "a", "own"]);
    succeed(&["kv", "put", &empty, "k", "z", "own"]);
    names(&fail(1, &["import", &empty, &file]), &["\"k\"", "found rows", "--merge"]);
    succeed(&["import", "--merge", &empty, &file]);
    assert_eq!(succeed(&["kv", "scan", &empty, "k"]), "a\t1\nab\t2\nb\t3\nz\town\n");
}

#[test]
fn export_takes_the_largest_value_and_chosen_keyspaces_only() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    let runtime = runtime();
    let options = Options { metrics_file: false, ..Default::default() };
    let db = runtime.block_on(Db::open(&runtime, &store, options)).unwrap();
    let large = db.blocking().create_keyspace("large", Routing::hash(2)).unwrap();
    let value = vec![7; sombra::limits::VALUE_BYTES_MAX];
    db.blocking().put(&large, vec![1; sombra::limits::KEY_BYTES_MAX], value).unwrap();
    runtime.block_on(db.close()).unwrap();
    runtime.shutdown();
    let (file, copy) = (scratch.join("file"), scratch.join("copy"));
    succeed(&["export", "--keyspace", "large", &store, &file]);
    succeed(&["import", &copy, &file]);
    let all = contents(&store);
    let copied = contents(&copy);
    assert_eq!(copied.len(), 1);
    assert!(copied[0] == all[1], "the copy differs");
}

#[test]
fn export_begins_again_over_what_an_interruption_left_and_keeps_what_is_there() {
    let scratch = Scratch::new();
    let (store, file) = (small_store(&scratch), scratch.join("file"));
    fs::write(scratch.join("file.part"), vec![1; 10_000]).unwrap();
    names(&succeed(&["export", &store, &file]), &["started again", "3 rows"]);
    let whole = fs::read(&file).unwrap();
    names(&fail(1, &["export", &store, &file]), &[&file, "expected no file"]);
    assert_eq!(fs::read(&file).unwrap(), whole);
}
