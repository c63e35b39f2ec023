//! Transactions that disagree with themselves, and values from nowhere.

use super::*;
use Phenomenon::{Garbage, Internal};

#[test]
fn a_value_that_nobody_wrote_is_garbage() {
    let found = report([txn(1).read("x", "??").commit(0)]);
    assert_finds(&found, &[Garbage]);
    let text = "T1 read s/78 = 3f3f, which nobody had written";
    assert_eq!(found.violations[0].text, text);
    assert_finds(&report([txn(1).read("x", "x0").commit(0)]), &[]);
}

#[test]
fn garbage_counts_even_for_an_aborted_reader() {
    assert_finds(&report([txn(1).scan("x", "x", &[("x", "??")]).abort()]), &[Garbage]);
}

#[test]
fn a_value_of_another_key_is_garbage() {
    assert_finds(&report([txn(1).read("x", "y0").commit(0)]), &[Garbage]);
    assert_finds(&report([txn(1).read("z", "y0").commit(0)]), &[Garbage]);
}

#[test]
fn a_row_that_nobody_deleted_and_a_scan_misses_is_garbage() {
    let found = report([txn(1).scan("x", "y", &[("x", "x0")]).commit(0)]);
    assert_finds(&found, &[Garbage]);
    assert_finds(&report([txn(1).scan("x", "x", &[("x", "x0")]).commit(0)]), &[]);
}

#[test]
fn an_own_write_that_is_not_read_back_is_internal() {
    assert_finds(&report([txn(1).write("x", "x1").read("x", "x0").commit(1)]), &[Internal]);
    assert_finds(&report([txn(1).write("x", "x1").absent("x").commit(1)]), &[Internal]);
    assert_finds(&report([txn(1).delete("x").read("x", "x0").commit(1)]), &[Internal]);
    assert_finds(&report([txn(1).write("x", "x1").read("x", "x1").commit(1)]), &[]);
    assert_finds(&report([txn(1).delete("x").absent("x").commit(1)]), &[]);
}

#[test]
fn an_own_write_that_a_scan_misses_is_internal() {
    let inserted = || txn(1).write("a", "a1");
    assert_finds(&report([inserted().scan("a", "b", &[]).commit(1)]), &[Internal]);
    assert_finds(&report([inserted().scan("a", "b", &[("a", "a1")]).commit(1)]), &[]);
    let deleted = || txn(1).delete("x");
    let stale = deleted().scan("x", "x", &[("x", "x0")]).commit(1);
    assert_finds(&report([stale]), &[Internal]);
    assert_finds(&report([deleted().scan("x", "x", &[]).commit(1)]), &[]);
}

#[test]
fn two_states_of_a_key_in_one_transaction_are_internal() {
    let writer = txn(1).write("x", "x1").write("a", "a1").commit(1);
    let reader = || txn(2).read("x", "x0");
    let found = report([writer.clone(), reader().read("x", "x1").commit(0)]);
    assert_finds(&found, &[Internal]);
    let text = "T2: read s/78 = 7830 and then read 7831";
    assert_eq!(found.violations[0].text, text);
    assert_finds(&report([writer, reader().read("x", "x0").commit(0)]), &[]);
}

#[test]
fn a_read_that_contradicts_an_earlier_scan_is_internal() {
    let writer = txn(1).write("a", "a1").commit(1);
    let scan = || txn(2).scan("a", "b", &[]);
    let reads = [scan().read("a", "a1"), scan().scan("a", "a", &[("a", "a1")])];
    for read in reads {
        assert_finds(&report([writer.clone(), read.commit(0)]), &[Internal]);
    }
    assert_finds(&report([writer, scan().absent("a").commit(0)]), &[]);
}

#[test]
fn a_scan_that_shows_a_row_twice_or_outside_its_bounds_is_internal() {
    let twice = txn(1).scan("x", "x", &[("x", "x0"), ("x", "x0")]).commit(0);
    assert_finds(&report([twice]), &[Internal]);
    let outside = txn(1).scan("x", "x", &[("x", "x0"), ("y", "y0")]).commit(0);
    assert_finds(&report([outside]), &[Internal]);
}

#[test]
fn a_scan_of_an_inverted_range_shows_nothing() {
    assert_finds(&report([txn(1).scan("y", "x", &[]).commit(0)]), &[]);
}

#[test]
fn a_value_read_before_its_own_write_is_internal() {
    assert_finds(&report([txn(1).read("x", "x1").write("x", "x1").commit(1)]), &[Internal]);
}
