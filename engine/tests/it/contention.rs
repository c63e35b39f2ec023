//! Many writers on one key.

use std::collections::BTreeSet;
use std::sync::Barrier;

use sombra::{CommitError, ConflictReason, Isolation, Lsn, Routing};
use sombra_runtime::DriverChoice;

use crate::support::{TestDir, open, runtime};

#[test]
fn blind_puts_on_a_hot_key_from_many_threads_all_succeed_in_one_order() {
    const THREADS: u32 = 8;
    const PUTS: u32 = 40;
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    let db = open(&runtime, &dir);
    let keyspace = db.blocking().create_keyspace("k", Routing::range()).unwrap();
    let put_all = |thread: u32| {
        let put = |number: u32| {
            let value = [thread.to_be_bytes(), number.to_be_bytes()].concat();
            let lsn = db.blocking().put(&keyspace, "hot", value.clone());
            (lsn.expect("a blind put never conflicts"), value)
        };
        (0..PUTS).map(put).collect::<Vec<_>>()
    };
    let done: Vec<(Lsn, Vec<u8>)> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || put_all(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let lsns: BTreeSet<Lsn> = done.iter().map(|(lsn, _)| *lsn).collect();
    assert_eq!(lsns.len() as u32, THREADS * PUTS, "each has its own place in the order");
    let (_, newest) = done.iter().max_by_key(|(lsn, _)| *lsn).unwrap();
    assert_eq!(db.blocking().get(&keyspace, "hot").unwrap().unwrap(), newest);
    assert_eq!(db.metrics().value("sombra_conflicts_total"), 0.0);
    db.blocking().close().unwrap();
    let db = open(&runtime, &dir);
    assert_eq!(db.blocking().get(&keyspace, "hot").unwrap().unwrap(), newest, "after replay");
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn exactly_one_of_eight_concurrent_inserts_of_an_absent_key_commits() {
    const THREADS: usize = 8;
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 3);
    let db = open(&runtime, &dir);
    let keyspace = db.blocking().create_keyspace("k", Routing::hash(4)).unwrap();
    for key in 0..20_u32 {
        let all_have_read = Barrier::new(THREADS);
        let insert = |thread: usize| {
            let transaction = db.blocking().begin_with(Isolation::Snapshot).unwrap();
            assert_eq!(transaction.get(&keyspace, key.to_be_bytes()).unwrap(), None);
            transaction.put(&keyspace, key.to_be_bytes(), vec![thread as u8]).unwrap();
            all_have_read.wait();
            transaction.commit().map(|_| thread)
        };
        let outcomes: Vec<Result<usize, CommitError>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..THREADS).map(|thread| scope.spawn(move || insert(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners: Vec<usize> = outcomes.iter().filter_map(|o| o.clone().ok()).collect();
        let [winner] = winners[..] else { panic!("key {key}: {outcomes:?}") };
        for lost in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            let CommitError::Conflict { reason, .. } = lost else { panic!("{lost}") };
            assert_eq!(*reason, ConflictReason::NewerVersion);
        }
        let value = db.blocking().get(&keyspace, key.to_be_bytes()).unwrap().unwrap();
        assert_eq!(value, vec![winner as u8]);
    }
    let conflicts = db.metrics().value("sombra_conflicts_total");
    assert_eq!(conflicts, (20 * (THREADS - 1)) as f64);
    db.blocking().close().unwrap();
    runtime.shutdown();
}

#[test]
fn at_most_one_of_the_concurrent_commits_over_the_same_two_shards_succeeds() {
    const THREADS: usize = 6;
    let dir = TestDir::new();
    let runtime = runtime(DriverChoice::Threads, 2);
    let db = open(&runtime, &dir);
    let keyspace = db.blocking().create_keyspace("k", Routing::range_split(["m"])).unwrap();
    assert_ne!(db.shard_of(&keyspace, "a"), db.shard_of(&keyspace, "z"));
    let (mut committed, mut stored) = (0, 0);
    for round in 0..20_u32 {
        let all_have_begun = Barrier::new(THREADS);
        let write = |thread: usize| {
            let transaction = db.blocking().begin_with(Isolation::Snapshot).unwrap();
            for key in [format!("a{round}"), format!("z{round}")] {
                transaction.put(&keyspace, key, vec![thread as u8]).unwrap();
            }
            all_have_begun.wait();
            transaction.commit()
        };
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..THREADS).map(|thread| scope.spawn(move || write(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let succeeded = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert!(succeeded <= 1, "{outcomes:?}");
        assert!(outcomes.iter().flat_map(|o| o.as_ref().err()).all(CommitError::is_retryable));
        committed += succeeded;
        let halves =
            ["a", "z"].map(|half| db.blocking().get(&keyspace, format!("{half}{round}")).unwrap());
        assert_eq!(halves[0], halves[1], "round {round}: both or neither");
        stored += usize::from(halves[0].is_some());
        // Whoever lost has let the keys go.
        db.blocking().put(&keyspace, format!("a{round}"), "free").unwrap();
        db.blocking().put(&keyspace, format!("z{round}"), "free").unwrap();
    }
    assert_eq!(committed, stored);
    db.blocking().close().unwrap();
    runtime.shutdown();
}
