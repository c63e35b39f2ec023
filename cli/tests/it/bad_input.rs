use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use nix::unistd::Uid;

use crate::harness::{Scratch, command, fail, names, run, small_store, succeed, told};

/// Every command that takes a store, with the arguments that it needs.
fn commands_on(store: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["kv", "get", store, "k", "a"],
        vec!["kv", "put", store, "k", "a", "1"],
        vec!["kv", "del", store, "k", "a"],
        vec!["kv", "scan", store, "k"],
        vec!["stat", store],
        vec!["dump", "superblock", store],
        vec!["dump", "log", store],
        vec!["dump", "page", store, "600"],
        vec!["dump", "root", store],
        vec!["dump", "space", store],
        vec!["check", store],
        vec!["space", store],
        vec!["export", store],
    ]
}

#[test]
fn commands_name_the_path_when_there_is_no_store_and_make_nothing() {
    let scratch = Scratch::new();
    let store = scratch.store();
    for arguments in commands_on(&store) {
        names(&fail(1, &arguments), &[&store]);
        assert!(!Path::new(&store).exists(), "{arguments:?} made something");
    }
}

#[test]
fn commands_refuse_a_directory_without_a_superblock_and_leave_it_alone() {
    let scratch = Scratch::new();
    let store = scratch.store();
    fs::create_dir(&store).unwrap();
    fs::write(scratch.path().join("store/letter.txt"), "hello").unwrap();
    for arguments in commands_on(&store) {
        names(&fail(1, &arguments), &[&store]);
    }
    assert_eq!(fs::read(scratch.path().join("store/letter.txt")).unwrap(), b"hello");
}

#[test]
fn commands_refuse_a_file_where_the_store_should_be() {
    let scratch = Scratch::new();
    let store = scratch.store();
    fs::write(&store, "hello").unwrap();
    for arguments in commands_on(&store) {
        names(&fail(1, &arguments), &[&store]);
    }
    assert_eq!(fs::read(&store).unwrap(), b"hello");
}

#[test]
fn commands_refuse_a_foreign_superblock_and_leave_it_as_it_is() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    let superblock = scratch.path().join("store/superblock");
    let foreign = b"not a superblock ".repeat(200_000);
    let own = fs::read(&superblock).unwrap();
    fs::write(&superblock, &foreign).unwrap();
    for arguments in commands_on(&store) {
        let message = fail(1, &arguments);
        names(&message, &["superblock", "SOMBRASB"]);
    }
    assert_eq!(fs::read(&superblock).unwrap(), foreign);
    fs::write(&superblock, own).unwrap();
    assert_eq!(succeed(&["kv", "get", &store, "k", "a"]), "1\n");
}

#[test]
fn commands_refuse_a_truncated_superblock() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    let superblock = scratch.path().join("store/superblock");
    fs::write(&superblock, &fs::read(&superblock).unwrap()[..100]).unwrap();
    for arguments in commands_on(&store) {
        names(&fail(1, &arguments), &["superblock"]);
    }
}

#[test]
fn kv_names_the_keyspaces_that_there_are() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    for arguments in [
        ["kv", "get", &store, "other", "a"].as_slice(),
        &["kv", "put", &store, "other", "a", "1"],
        &["kv", "scan", &store, "other"],
    ] {
        names(&fail(1, arguments), &["\"other\"", "has: k"]);
    }
}

#[test]
fn kv_names_the_limit_for_keys_and_values_beyond_it() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    let long = "x".repeat(1_025);
    for arguments in [
        ["kv", "put", &store, "k", &long, "1"].as_slice(),
        &["kv", "get", &store, "k", &long],
        &["kv", "del", &store, "k", &long],
    ] {
        names(&fail(1, arguments), &["key", "1024", "1025"]);
    }
    names(&fail(1, &["kv", "put", &store, "k", "", "1"]), &["key", "1024", "found 0"]);
    assert_eq!(succeed(&["kv", "scan", &store, "k", "--limit", "1"]), "a\t1\n");
}

#[test]
fn command_line_mistakes_are_told_in_one_line_with_code_2() {
    let cases: [(&[&str], &[&str]); 7] = [
        (&["bench", "--recods", "5"], &["--recods", "--records"]),
        (&["bench", "--clients", "some"], &["some", "handle"]),
        (&["bench", "--workload", "g"], &["'g'", "a, b, c, d, e, f"]),
        (&["kv", "get", "store"], &["<KEYSPACE>", "<KEY>"]),
        (&["kv", "scan", "s", "k", "--limit", "-1"], &["-1"]),
        (&["stat", "s", "--json", "--prometheus"], &["--json", "--prometheus"]),
        (&["frob"], &["frob"]),
    ];
    for (arguments, parts) in cases {
        names(&fail(2, arguments), parts);
    }
}

#[test]
fn help_tells_the_exit_codes_and_goes_to_standard_output() {
    for arguments in [["--help"].as_slice(), &["bench", "--help"], &["kv", "--help"]] {
        names(&succeed(arguments), &["Exit codes", "130 interrupted"]);
    }
    let nothing = run(&[]);
    assert_eq!(nothing.status.code(), Some(2));
    names(&String::from_utf8(nothing.stderr).unwrap(), &["Usage: sombra", "expected a subcommand"]);
}

/// Root may read everything, so a root's test drops its privileges in the child.
#[test]
fn commands_name_the_path_when_permission_is_missing() {
    let scratch = Scratch::new();
    let store = small_store(&scratch);
    let mode = if Uid::effective().is_root() { 0o700 } else { 0o000 };
    fs::set_permissions(&store, fs::Permissions::from_mode(mode)).unwrap();
    let arguments = ["kv", "get", &store, "k", "a"];
    let mut child = command(&arguments);
    if Uid::effective().is_root() {
        child.uid(65_534).gid(65_534);
    }
    let outcome = child.output();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
    let Ok(output) = outcome else {
        eprintln!("not tested: an ordinary user may not run {}", env!("CARGO_BIN_EXE_sombra"));
        return;
    };
    names(&told(1, &arguments, &output), &[&store, "ermission denied"]);
    assert_eq!(succeed(&["kv", "get", &store, "k", "a"]), "1\n");
}
