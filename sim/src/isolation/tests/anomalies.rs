//! The phenomena between transactions.

use super::*;
use Phenomenon::{G0, G1a, G1b, G1c, G2, G2Item, GNonadjacent, GSingle, LostUpdate};

#[test]
fn interleaved_writes_are_a_g0_cycle() {
    let other = txn(2).read("x", "x1").write("x", "x2").write("y", "y2").unknown();
    let one = txn(1).read("y", "y2").write("x", "x1").write("y", "y1").commit(5);
    let found = report([one, other.clone()]);
    assert_finds(&found, &[G0, G1c]);
    let g0 = found.of(G0).next().unwrap();
    assert_eq!(g0.text, "T1 -ww(s/78)-> T2 -ww(s/79)-> T1");
    let one = txn(1).read("y", "y0").write("x", "x1").write("y", "y1").commit(5);
    assert_finds(&report([one, other]), &[]);
}

#[test]
fn a_read_of_an_aborted_write_is_g1a() {
    let aborted = txn(1).write("x", "x1").abort();
    let found = report([aborted.clone(), txn(2).read("x", "x1").commit(0)]);
    assert_finds(&found, &[G1a]);
    let text = "T2 read s/78 = 7831, written by T1, aborted: conflict";
    assert_eq!(found.of(G1a).next().unwrap().text, text);
    assert_finds(&report([aborted, txn(2).read("x", "x0").commit(0)]), &[]);
}

#[test]
fn an_aborted_reader_of_an_aborted_write_is_allowed() {
    let aborted = txn(1).write("x", "x1").abort();
    assert_finds(&report([aborted, txn(2).read("x", "x1").abort()]), &[]);
}

#[test]
fn a_read_of_an_overwritten_value_is_g1b() {
    let writer = txn(1).write("x", "x1").write("x", "x2").commit(1);
    let found = report([writer.clone(), txn(2).read("x", "x1").commit(0)]);
    assert_finds(&found, &[G1b]);
    assert_finds(&report([writer, txn(2).read("x", "x2").commit(0)]), &[]);
}

#[test]
fn transactions_that_saw_each_other_are_a_g1c_cycle() {
    let one = txn(1).write("x", "x1").read("y", "y2").commit(1);
    let found = report([one.clone(), txn(2).write("y", "y2").read("x", "x1").commit(2)]);
    assert_finds(&found, &[G1c]);
    assert_eq!(found.of(G1c).next().unwrap().text, "T1 -wr(s/78)-> T2 -wr(s/79)-> T1");
    assert_finds(&report([one, txn(2).write("y", "y2").read("x", "x0").commit(2)]), &[]);
}

#[test]
fn two_updates_of_one_version_are_a_lost_update() {
    let one = txn(1).read("x", "x0").write("x", "x1").commit(1);
    let found =
        report_under_snapshot([one.clone(), txn(2).read("x", "x0").write("x", "x2").commit(2)]);
    assert_finds(&found, &[LostUpdate, GSingle]);
    let text = "T1, T2 all saw its initial value at s/78 and wrote it";
    assert_eq!(found.of(LostUpdate).next().unwrap().text, text);
    assert_finds(&report([one, txn(2).read("x", "x1").write("x", "x2").commit(2)]), &[]);
}

#[test]
fn half_of_a_transaction_seen_is_a_g_single_cycle() {
    let writer = txn(1).write("x", "x1").write("y", "y1").commit(1);
    let skewed = txn(2).read("x", "x0").read("y", "y1").commit(0);
    let found = report_under_snapshot([writer.clone(), skewed]);
    assert_finds(&found, &[GSingle]);
    assert_eq!(found.of(GSingle).next().unwrap().level, Isolation::Snapshot);
    let whole = txn(2).read("x", "x1").read("y", "y1").commit(0);
    assert_finds(&report([writer, whole]), &[]);
}

#[test]
fn a_scan_that_saw_half_of_a_transaction_is_a_g_single_cycle() {
    let writer = txn(1).write("a1", "v1").write("b1", "v2").commit(1);
    let skewed = txn(2).scan("a", "az", &[]).scan("b", "bz", &[("b1", "v2")]).commit(0);
    assert_finds(&report_under_snapshot([writer.clone(), skewed]), &[GSingle]);
    let before = txn(2).scan("a", "az", &[]).scan("b", "bz", &[]).commit(0);
    assert_finds(&report([writer, before]), &[]);
}

#[test]
fn write_skew_is_a_g2_item_cycle_and_allowed_under_snapshot() {
    let one = txn(1).read("x", "x0").read("y", "y0").write("x", "x1").commit(1);
    let two = txn(2).read("x", "x0").read("y", "y0").write("y", "y2").commit(2);
    let found = report([one.clone(), two.clone()]);
    assert_finds(&found, &[G2Item]);
    assert_eq!(found.of(G2Item).next().unwrap().text, "T1 -rw(s/79)-> T2 -rw(s/78)-> T1");
    assert!(found.violates(Isolation::Serializable) && !found.violates(Isolation::Snapshot));
    assert_finds(&report_under_snapshot([one.clone(), two]), &[]);
    let after = txn(2).read("x", "x1").read("y", "y0").write("y", "y2").commit(2);
    assert_finds(&report([one, after]), &[]);
}

#[test]
fn write_skew_is_allowed_where_one_transaction_declared_snapshot() {
    let one = txn(1).read("x", "x0").read("y", "y0").write("x", "x1").commit(1);
    let two = txn(2).snapshot().read("x", "x0").read("y", "y0").write("y", "y2").commit(2);
    assert_finds(&report([one, two]), &[]);
}

#[test]
fn a_cycle_between_serializable_transactions_counts_beside_snapshot_ones() {
    let one = txn(1).read("x", "x0").read("y", "y0").write("x", "x1").commit(1);
    let two = txn(2).read("x", "x0").read("y", "y0").write("y", "y2").commit(2);
    let three = txn(3).snapshot().read("x", "x1").write("z", "z3").commit(3);
    assert_finds(&report([one, two, three]), &[G2Item]);
}

#[test]
fn a_phantom_is_a_g2_cycle_and_allowed_under_snapshot() {
    let one = txn(1).scan("a", "az", &[]).write("a1", "v1").commit(1);
    let two = txn(2).scan("a", "az", &[]).write("a2", "v2").commit(2);
    let found = report([one.clone(), two.clone()]);
    assert_finds(&found, &[G2]);
    let text = "T1 -rw-predicate(s/6132)-> T2 -rw-predicate(s/6131)-> T1";
    assert_eq!(found.of(G2).next().unwrap().text, text);
    assert_finds(&report_under_snapshot([one.clone(), two]), &[]);
    let after = txn(2).scan("a", "az", &[("a1", "v1")]).write("a2", "v2").commit(2);
    assert_finds(&report([one.clone(), after]), &[]);
    let elsewhere = txn(2).scan("b", "bz", &[]).write("a2", "v2").commit(2);
    assert_finds(&report([one, elsewhere]), &[]);
}

#[test]
fn a_deleted_row_that_two_scans_saw_is_a_g2_item_cycle() {
    let rows = [("x", "x0"), ("y", "y0")];
    let one = txn(1).scan("x", "y", &rows).delete("x").commit(1);
    let two = txn(2).scan("x", "y", &rows).delete("y").commit(2);
    assert_finds(&report([one.clone(), two]), &[G2Item]);
    let after = txn(2).scan("x", "y", &rows[1..]).delete("y").commit(2);
    assert_finds(&report([one, after]), &[]);
}

#[test]
fn a_long_fork_is_forbidden_under_snapshot() {
    let writers = [txn(1).write("x", "x1").commit(1), txn(2).write("y", "y2").commit(2)];
    let one = txn(3).read("x", "x1").read("y", "y0").commit(0);
    let fork = txn(4).read("x", "x0").read("y", "y2").commit(0);
    let history = || writers.iter().cloned().chain([one.clone(), fork.clone()]);
    assert_finds(&report_under_snapshot(history()), &[GNonadjacent]);
    assert_finds(&report(history()), &[GNonadjacent, G2Item]);
    let agreeing = txn(4).read("x", "x1").read("y", "y2").commit(0);
    assert_finds(&report(writers.into_iter().chain([one, agreeing])), &[]);
}

/// Fekete, O'Neil, O'Neil, "A Read-Only Transaction Anomaly Under Snapshot Isolation" (2004).
#[test]
fn a_read_only_transaction_closes_a_g2_item_cycle_that_snapshot_allows() {
    let withdrawal = txn(1).read("x", "x0").read("y", "y0").write("x", "x1").commit(3);
    let deposit = txn(2).read("y", "y0").write("y", "y2").commit(1);
    let balance = txn(3).read("x", "x0").read("y", "y2").commit(2);
    let history = [withdrawal.clone(), deposit.clone(), balance];
    assert_finds(&report(history.clone()), &[G2Item]);
    assert_finds(&report_under_snapshot(history), &[]);
    let early = txn(3).read("x", "x0").read("y", "y0").commit(0);
    assert_finds(&report([withdrawal, deposit, early]), &[]);
}

#[test]
fn inserts_if_absent_lose_an_update_where_two_of_eight_commit() {
    let insert = |id: u64| txn(id).absent("k").write("k", &format!("k{id}"));
    let committed = |ids: &'static [u64]| {
        (1..=8).map(move |id| match ids.contains(&id) {
            true => insert(id).commit(id),
            false => insert(id).abort(),
        })
    };
    let found = report_under_snapshot(committed(&[3, 6]));
    assert_finds(&found, &[LostUpdate, GSingle]);
    assert_eq!((found.committed, found.aborted), (2, 6));
    assert_finds(&report(committed(&[3])), &[]);
}

#[test]
fn inserts_if_absent_after_a_scan_lose_an_update_where_two_commit() {
    let insert = |id: u64| txn(id).scan("a", "z", &[("x", "x0"), ("y", "y0")]);
    let one = insert(1).write("k", "k1").commit(1);
    let two = insert(2).write("k", "k2");
    let found = report_under_snapshot([one.clone(), two.clone().commit(2)]);
    assert_finds(&found, &[LostUpdate, GSingle]);
    assert_finds(&report([one, two.abort()]), &[]);
}

#[test]
fn a_report_names_its_counts_and_violations() {
    let one = txn(1).read("x", "x0").write("x", "x1").commit(1);
    let two = txn(2).read("x", "x0").write("x", "x2").commit(2);
    let found = report([one, two, txn(3).write("x", "x3").abort(), txn(4).unknown()]);
    let text = "4 transactions: 2 committed, 1 aborted, 1 unknown (0 seen)\n\
        edges: 1 ww, 0 wr, 1 rw, 0 rw-predicate\n\
        2 violations, 2 listed\n\
        \x20 lost update (forbidden by snapshot): \
        T1, T2 all saw its initial value at s/78 and wrote it\n\
        \x20 G-single (forbidden by snapshot): T2 -rw(s/78)-> T1 -ww(s/78)-> T2\n";
    assert_eq!(found.to_string(), text);
}

#[test]
fn updates_of_a_version_from_the_future_are_g1c_and_lose_nothing() {
    let update = |id: u64| txn(id).read("x", "x3").write("x", &format!("x{id}")).commit(id);
    let found = report([update(1), update(2), txn(3).write("x", "x3").commit(3)]);
    assert_finds(&found, &[G1c]);
}
