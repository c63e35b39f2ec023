//! Transactions whose outcome nobody was told.

use super::*;
use Phenomenon::{G1b, GSingle, LostUpdate};

fn writer() -> Txn {
    txn(1).read("y", "y0").write("x", "x1").write("y", "y1")
}

#[test]
fn an_unknown_transaction_counts_as_committed_once_it_was_seen() {
    let half = txn(2).read("x", "x1").read("y", "y0").commit(0);
    let found = report([writer().unknown(), half]);
    assert_finds(&found, &[GSingle]);
    assert_eq!((found.unknown, found.unknown_seen), (1, 1));
    let whole = txn(2).read("x", "x1").read("y", "y1").commit(0);
    assert_finds(&report([writer().unknown(), whole]), &[]);
}

#[test]
fn an_unknown_transaction_counts_for_nothing_while_nobody_saw_it() {
    let reader = txn(2).read("x", "x0").read("y", "y0").write("y", "y2").commit(1);
    let found = report([writer().unknown(), reader]);
    assert_finds(&found, &[]);
    assert_eq!((found.unknown, found.unknown_seen), (1, 0));
    assert_eq!(found.edges, EdgeCounts::default());
}

#[test]
fn an_aborted_reader_proves_no_commit() {
    let reader = txn(2).read("x", "x1").read("y", "y0").abort();
    let found = report([writer().unknown(), reader]);
    assert_finds(&found, &[]);
    assert_eq!(found.unknown_seen, 0);
}

#[test]
fn an_unknown_transaction_that_a_seen_one_saw_counts_as_committed() {
    let middle = txn(2).read("x", "x1").write("z", "z2").unknown();
    let last = txn(3).read("z", "z2").read("y", "y0").commit(0);
    let found = report([writer().unknown(), middle.clone(), last]);
    assert_finds(&found, &[GSingle]);
    assert_eq!(found.unknown_seen, 2);
    let last = txn(3).read("z", "z2").read("y", "y1").commit(0);
    assert_finds(&report([writer().unknown(), middle, last]), &[]);
}

#[test]
fn an_update_lost_to_an_unknown_transaction_counts_once_that_was_seen() {
    let update = txn(2).read("y", "y0").write("y", "y2").commit(1);
    let witness = txn(3).read("x", "x1").commit(0);
    let found = report([writer().unknown(), update.clone(), witness]);
    assert_eq!(found.of(LostUpdate).count(), 1, "{found}");
    assert_finds(&report([writer().unknown(), update]), &[]);
}

#[test]
fn a_half_overwritten_unknown_transaction_is_followed_by_who_saw_and_replaced_it() {
    let update = txn(2).read("y", "y1").write("y", "y2").write("z", "z2").commit(1);
    let reader = |y: &str| txn(3).read("z", "z2").read("y", y).commit(0);
    assert_finds(&report([writer().unknown(), update.clone(), reader("y1")]), &[GSingle]);
    assert_finds(&report([writer().unknown(), update, reader("y2")]), &[]);
}

#[test]
fn an_overwritten_value_of_an_unknown_transaction_is_g1b() {
    let writer = txn(1).write("x", "x1").write("x", "x2").unknown();
    assert_finds(&report([writer.clone(), txn(2).read("x", "x1").commit(0)]), &[G1b]);
    assert_finds(&report([writer, txn(2).read("x", "x2").commit(0)]), &[]);
}

#[test]
fn an_absence_that_an_unknown_delete_alone_explains_proves_its_commit() {
    let delete = txn(1).delete("x").write("y", "y1").unknown();
    let found = report([delete.clone(), txn(2).absent("x").read("y", "y0").commit(0)]);
    assert_finds(&found, &[GSingle]);
    let found = report([delete, txn(2).absent("x").read("y", "y1").commit(0)]);
    assert_finds(&found, &[]);
    assert_eq!(found.unknown_seen, 1);
}

#[test]
fn an_absence_that_an_unknown_delete_may_explain_orders_nothing() {
    let delete = txn(1).delete("k").unknown();
    let insert = txn(2).write("k", "k2").write("y", "y2").commit(1);
    let reader = txn(3).absent("k").read("y", "y2").commit(0);
    let found = report([delete, insert.clone(), reader.clone()]);
    assert_finds(&found, &[]);
    assert_eq!(found.unknown_seen, 0);
    assert_finds(&report([insert, reader]), &[GSingle]);
}

#[test]
fn an_absence_precedes_no_unknown_delete_that_changes_nothing() {
    let reader = txn(1).absent("k").at(10).read("y", "y2").commit(0);
    let delete = txn(2).delete("k").at(20).write("y", "y2").unknown();
    assert_finds(&report([reader.clone(), delete]), &[]);
    let insert = txn(2).write("k", "k2").at(20).write("y", "y2").unknown();
    assert_finds(&report([reader, insert]), &[GSingle]);
}

#[test]
fn an_unknown_insert_that_may_have_seen_another_absence_loses_no_update() {
    let history = |unknown: Txn| {
        report([
            txn(1).write("k", "k1").at(10).commit(1),
            txn(2).delete("k").at(20).commit(2),
            unknown.write("k", "k3").write("x", "x3").unknown(),
            txn(4).absent("k").at(30).write("k", "k4").commit(4),
            txn(5).read("x", "x3").commit(0),
        ])
    };
    assert_finds(&history(txn(3).absent("k").at(30)), &[]);
    assert_eq!(history(txn(3).absent("k").at(30)).unknown_seen, 1);
}
