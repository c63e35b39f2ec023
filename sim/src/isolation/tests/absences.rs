//! A read of nothing names no writer: which delete it saw must be worked out, or left open.

use super::*;
use Phenomenon::{G1a, G1b, G1c, GSingle, Garbage, LostUpdate};

/// The key `k` is inserted with `y`, deleted, and inserted with `y` and deleted again.
fn inserted_and_deleted_twice() -> Vec<Transaction> {
    vec![
        txn(1).write("k", "k1").at(10).write("y", "y1").commit(1),
        txn(2).delete("k").at(20).commit(2),
        txn(3).write("k", "k3").at(30).write("y", "y3").commit(3),
        txn(4).delete("k").at(40).commit(4),
    ]
}

#[test]
fn an_absence_orders_nothing_where_a_later_delete_may_explain_it() {
    let reader = txn(5).absent("k").at(50).read("y", "y3").commit(0);
    let history = inserted_and_deleted_twice().into_iter().chain([reader]);
    let found = report(history);
    assert_finds(&found, &[]);
    assert_eq!((found.edges.wr, found.edges.rw), (1, 0));
}

#[test]
fn an_absence_precedes_the_insert_after_the_last_delete_that_had_begun() {
    let history = |y: &str| {
        let reader = txn(5).absent("k").at(35).read("y", y).commit(0);
        report(inserted_and_deleted_twice().into_iter().chain([reader]))
    };
    assert_finds(&history("y3"), &[GSingle]);
    assert_finds(&history("y1"), &[]);
}

#[test]
fn an_absence_that_one_delete_alone_explains_is_a_read_of_that_delete() {
    let delete = |y: &str| txn(1).delete("x").read("y", y).commit(1);
    let reader = txn(2).absent("x").write("y", "y2").commit(2);
    assert_finds(&report([delete("y2"), reader.clone()]), &[G1c]);
    let found = report([delete("y0"), reader]);
    assert_finds(&found, &[]);
    assert_eq!((found.edges.wr, found.edges.rw), (1, 1));
}

#[test]
fn an_absence_that_only_an_aborted_delete_explains_is_g1a() {
    let delete = txn(1).delete("x");
    let reader = txn(2).absent("x").commit(0);
    assert_finds(&report([delete.clone().abort(), reader.clone()]), &[G1a]);
    assert_finds(&report([delete.commit(1), reader]), &[]);
}

#[test]
fn an_absence_that_only_an_overwritten_delete_explains_is_g1b() {
    let writer = txn(1).delete("x").write("x", "x1").commit(1);
    assert_finds(&report([writer.clone(), txn(2).absent("x").commit(0)]), &[G1b]);
    assert_finds(&report([writer, txn(2).read("x", "x1").commit(0)]), &[]);
}

#[test]
fn an_absence_before_any_delete_began_is_garbage() {
    let delete = txn(1).delete("x").at(20).commit(1);
    assert_finds(&report([delete.clone(), txn(2).absent("x").at(10).commit(0)]), &[Garbage]);
    assert_finds(&report([delete, txn(2).absent("x").at(20).commit(0)]), &[]);
}

#[test]
fn deletes_of_an_absent_key_lose_no_update_of_each_other() {
    let delete = |id: u64| txn(id).absent("k").delete("k");
    assert_finds(&report([delete(1).commit(1), delete(2).commit(2)]), &[]);
}

#[test]
fn an_absence_of_a_key_that_was_never_there_orders_nothing() {
    let found = report([txn(1).absent("k").scan("a", "b", &[]).commit(0)]);
    assert_finds(&found, &[]);
    assert_eq!(found.edges, EdgeCounts::default());
}

#[test]
fn an_absence_precedes_no_delete_that_changes_nothing() {
    let reader = txn(1).absent("k").at(10).read("y", "y2").commit(0);
    let delete = txn(2).delete("k").at(20).write("y", "y2").commit(1);
    assert_finds(&report([reader.clone(), delete]), &[]);
    let insert = txn(2).write("k", "k2").at(20).write("y", "y2").commit(1);
    assert_finds(&report([reader, insert]), &[GSingle]);
}

#[test]
fn an_own_delete_explains_no_absence_before_it() {
    let insert = txn(1).write("k", "k1").commit(1);
    let delete = txn(2).absent("k").delete("k").commit(2);
    assert_finds(&report([insert.clone(), delete]), &[GSingle]);
    assert_finds(&report([insert, txn(2).read("k", "k1").delete("k").commit(2)]), &[]);
}

#[test]
fn an_insert_after_a_delete_of_an_absent_key_loses_no_update() {
    let delete = |lsn: u64| txn(1).absent("k").delete("k").at(20).commit(lsn);
    let insert = txn(2).absent("k").write("k", "k2").commit(2);
    assert_finds(&report([delete(1), insert.clone()]), &[]);
    assert_finds(&report([delete(3), insert]), &[LostUpdate, GSingle]);
}
