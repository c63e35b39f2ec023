//! Typed keys and values on a real store: every handle, both worlds, rows of other types.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use sombra::typed::{KeyPrefix, RowPart, TypedError, TypedKeyspace};
use sombra::{
    BlockingDb, Db, ReadError, Routing, TransactionError, WriteBatch, WriteError, limits,
};
use sombra_runtime::{DriverChoice, Runtime};

use crate::support::{TestDir, open, runtime};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum User {
    V1 { name: String },
    V2 { name: String, born: Option<u16> },
}

fn user(name: &str) -> User {
    User::V2 { name: name.to_owned(), born: Some(1815) }
}

/// A store on two shards for one test.
struct World {
    runtime: Runtime,
    db: Db,
    blocking: BlockingDb,
    _dir: TestDir,
}

impl World {
    fn new() -> World {
        let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 2));
        let db = open(&runtime, &dir);
        let blocking = db.blocking();
        World { runtime, db, blocking, _dir: dir }
    }

    fn keyspace<K, V>(&self, name: &str, routing: Routing) -> TypedKeyspace<K, V> {
        TypedKeyspace::new(self.blocking.create_keyspace(name, routing).unwrap())
    }

    fn end(self) {
        self.blocking.close().unwrap();
        self.runtime.shutdown();
    }
}

#[test]
fn typed_rows_come_back_through_every_handle_that_blocks() {
    let world = World::new();
    let db = &world.blocking;
    let users: TypedKeyspace<String, User> = world.keyspace("users", Routing::range());
    let first = users.put(db, "ada", &user("Ada")).unwrap();
    assert_eq!(users.get(db, "ada").unwrap(), Some(user("Ada")));
    assert_eq!(users.get(db, &"nobody".to_owned()).unwrap(), None);

    let tx = db.begin().unwrap();
    users.put(&tx, "grace", &User::V1 { name: "Grace".to_owned() }).unwrap();
    users.delete(&tx, "ada").unwrap();
    let found = users.multi_get(&tx, ["grace", "ada"]).unwrap();
    assert_eq!(found, [Some(User::V1 { name: "Grace".to_owned() }), None]);
    let before = db.snapshot().unwrap();
    assert!(tx.commit().unwrap().lsn() > first);
    assert_eq!(users.get(&before, "ada").unwrap(), Some(user("Ada")));
    assert_eq!(users.multi_get(&before, ["grace"]).unwrap(), [None]);
    drop(before);

    let mut batch = WriteBatch::new();
    users.put(&mut batch, "alan", &user("Alan")).unwrap();
    users.delete(&mut batch, "grace").unwrap();
    db.write(&batch).unwrap();
    let view = db.snapshot().unwrap();
    let rows: Vec<_> = users.scan(&view, ..).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows, [("alan".to_owned(), user("Alan"))]);
    drop(view);
    users.delete(db, "alan").unwrap();
    assert_eq!(users.get(db, "alan").unwrap(), None);
    world.end();
}

#[test]
fn typed_rows_come_back_through_every_handle_that_is_awaited() {
    fn sent<F: Future + Send>(future: F) -> F {
        future
    }
    let world = World::new();
    let users: TypedKeyspace<(u64, u16), User> = world.keyspace("users", Routing::hash(8));
    let db = &world.db;
    world.runtime.block_on(sent(async {
        users.put(db, &(7, 1), &user("Ada")).await.unwrap();
        assert_eq!(users.get(db, &(7, 1)).await.unwrap(), Some(user("Ada")));
        let tx = db.begin().unwrap();
        users.put(&tx, &(7, 2), &user("Grace")).unwrap();
        users.delete(&tx, &(7, 1)).unwrap();
        assert_eq!(users.get(&tx, &(7, 2)).await.unwrap(), Some(user("Grace")));
        tx.commit().await.unwrap();
        let view = db.snapshot().unwrap();
        let found = users.multi_get(&view, &[(7, 2), (7, 1)]).await.unwrap();
        assert_eq!(found, [Some(user("Grace")), None]);
        let mut rows = users.scan(&view, ..).unwrap();
        assert_eq!(rows.next().await.unwrap(), Some(((7, 2), user("Grace"))));
        assert_eq!(rows.next().await.unwrap(), None);
        assert_eq!(users.scan_reverse(&view, ..).unwrap().collect().await.unwrap().len(), 1);
    }));
    // Where the key lives.
    let key = TypedKeyspace::<(u64, u16), User>::encode_key(&(7, 3)).unwrap();
    let there = users.clone();
    let on_shard = db.on_shard_of(users.keyspace(), key, move |local| async move {
        there.put(&local, &(7, 3), &user("Alan")).await?;
        let tx = local.begin().unwrap();
        there.delete(&tx, &(7, 2))?;
        assert_eq!(there.get(&tx, &(7, 3)).await?, Some(user("Alan")));
        tx.commit().await?;
        let rows = there.scan_prefix(&local.snapshot().unwrap(), &(7,))?.collect().await?;
        there.delete(&local, &(7, 3)).await?;
        Ok::<_, TypedError>(rows)
    });
    let rows = world.runtime.block_on(on_shard).unwrap().unwrap();
    assert_eq!(rows, [((7, 3), user("Alan"))]);
    assert_eq!(users.get(&world.blocking, &(7, 3)).unwrap(), None);
    world.end();
}

type Key = (i16, String, Option<u8>);

fn key() -> impl Strategy<Value = Key> {
    let letter = prop_oneof![Just('\0'), Just('a'), Just('ß')];
    let text = proptest::collection::vec(letter, 0..4).prop_map(String::from_iter);
    (-2..3_i16, text, proptest::option::of(0..2_u8))
}

#[test]
fn typed_scans_yield_what_a_sorted_map_does_in_ranges_and_prefixes_and_both_directions() {
    let world = World::new();
    let round = Cell::new(0);
    let rows = proptest::collection::btree_map(key(), any::<u32>(), 0..40);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) };
    proptest!(config, |(model in rows, from in key(), to in key())| {
        round.set(round.get() + 1);
        let boundary = TypedKeyspace::<Key, u32>::encode_key(&(0, String::new(), None)).unwrap();
        let routing = Routing::range_split([boundary]);
        let rows: TypedKeyspace<Key, u32> = world.keyspace(&format!("k{}", round.get()), routing);
        let mut batch = WriteBatch::new();
        for (key, value) in &model {
            rows.put(&mut batch, key, value).unwrap();
        }
        world.blocking.write(&batch).unwrap();
        let view = world.blocking.snapshot().unwrap();
        let expected = |chosen: &dyn Fn(&Key) -> bool| -> Vec<(Key, u32)> {
            let chosen = model.iter().filter(|(key, _)| chosen(key));
            chosen.map(|(key, value)| (key.clone(), *value)).collect()
        };
        let range = (&from).min(&to)..(&from).max(&to);
        let found = rows.scan(&view, range.clone()).unwrap();
        let found: Vec<_> = found.map(Result::unwrap).collect();
        prop_assert_eq!(found, expected(&|key| range.contains(&key)));
        let found = rows.scan_reverse(&view, ..=&from).unwrap();
        let mut found: Vec<_> = found.map(Result::unwrap).collect();
        found.reverse();
        prop_assert_eq!(found, expected(&|key| *key <= from));
        let prefix = (from.0, from.1.clone());
        let found = rows.scan_prefix(&view, &prefix).unwrap();
        let found: Vec<_> = found.map(Result::unwrap).collect();
        prop_assert_eq!(found, expected(&|key| key.0 == prefix.0 && key.1 == prefix.1));
        let found = rows.scan_prefix_reverse(&view, &(to.0,)).unwrap();
        let mut found: Vec<_> = found.map(Result::unwrap).collect();
        found.reverse();
        prop_assert_eq!(found, expected(&|key| key.0 == to.0));
        drop(view);
        world.blocking.drop_keyspace(rows.keyspace()).unwrap();
    });
    world.end();
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct OrderKey {
    customer: u64,
    number: u32,
}

impl KeyPrefix<OrderKey> for (u64,) {}

#[test]
fn typed_pages_of_one_prefix_follow_each_other_in_a_hash_keyspace() {
    let world = World::new();
    let orders: TypedKeyspace<OrderKey, ()> = world.keyspace("orders", Routing::hash(8));
    let mut batch = WriteBatch::new();
    for customer in 0..5 {
        for number in 0..250 {
            orders.put(&mut batch, &OrderKey { customer, number }, &()).unwrap();
        }
    }
    world.blocking.write(&batch).unwrap();
    let view = world.blocking.snapshot().unwrap();
    let (mut found, mut last) = (Vec::new(), None);
    loop {
        let rows = orders.scan_prefix(&view, &(3,)).unwrap();
        let rows = match &last {
            Some(last) => rows.after(last).unwrap(),
            None => rows,
        };
        let page: Vec<OrderKey> = rows.take(100).map(|row| row.unwrap().0).collect();
        let Some(end) = page.last() else { break };
        last = Some(end.clone());
        found.extend(page);
    }
    assert!(found.is_sorted() && found.iter().all(|key| key.customer == 3));
    assert_eq!(found.len(), 250);
    assert_eq!(orders.scan(&view, ..).unwrap().count(), 1250);
    drop(view);
    let awaited = async {
        let view = world.db.snapshot().unwrap();
        let after = OrderKey { customer: 3, number: 10 };
        let rows = orders.scan_prefix_reverse(&view, &(3,)).unwrap().after(&after).unwrap();
        rows.collect().await.unwrap()
    };
    assert_eq!(world.runtime.block_on(awaited).len(), 10);
    world.end();
}

#[test]
fn typed_read_of_another_type_names_keyspace_key_and_type_and_leaves_the_row() {
    let world = World::new();
    let db = &world.blocking;
    let users: TypedKeyspace<String, User> = world.keyspace("users", Routing::range());
    users.put(db, "ada", &user("Ada")).unwrap();
    db.put(users.keyspace(), b"b\0\0", "no user at all").unwrap();
    db.put(users.keyspace(), b"c\0", "a key that is none").unwrap();
    users.put(db, "dora", &user("Dora")).unwrap();

    let error = users.get(db, "b").unwrap_err();
    let said = error.to_string();
    for part in ["\"users\"", r"b\x00\x00", "value", "User"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let TypedError::Decode { key, part: RowPart::Value, .. } = &error else { panic!("{error:?}") };
    assert_eq!(db.get(users.keyspace(), key).unwrap().unwrap(), "no user at all");
    let trailing: TypedKeyspace<String, ()> = TypedKeyspace::new(users.keyspace().clone());
    assert!(matches!(trailing.get(db, "ada"), Err(TypedError::Decode { .. })), "bytes are left");

    let view = db.snapshot().unwrap();
    let rows: Vec<_> = users.scan(&view, ..).unwrap().collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0].as_ref().unwrap().0, "ada");
    assert_eq!(rows[1].as_ref().unwrap_err(), &error);
    assert!(
        matches!(&rows[2], Err(TypedError::Decode { part: RowPart::Key, .. })),
        "{:?}",
        rows[2]
    );
    assert_eq!(rows[3].as_ref().unwrap().0, "dora", "the scan goes on");
    drop(view);

    // A long key is whole in the error and short in its message.
    let long = "x".repeat(600);
    db.put(users.keyspace(), format!("{long}\0\0"), "").unwrap();
    let error = users.get(db, long.as_str()).unwrap_err();
    let said = error.to_string();
    assert!(said.len() < 300 && said.contains("602 bytes"), "{said}");
    assert!(matches!(error, TypedError::Decode { key, .. } if key.len() == 602));
    world.end();
}

#[test]
fn typed_calls_refuse_what_cannot_be_stored_before_anything_is_written() {
    let world = World::new();
    let db = &world.blocking;
    let maps: TypedKeyspace<BTreeMap<u8, u8>, u8> = world.keyspace("maps", Routing::range());
    let map = BTreeMap::new();
    let refused =
        |error: TypedError| matches!(error, TypedError::Encode { part: RowPart::Key, .. });
    let mut batch = WriteBatch::new();
    assert!(refused(maps.put(db, &map, &1).unwrap_err()));
    assert!(refused(maps.put(&mut batch, &map, &1).unwrap_err()));
    assert!(refused(maps.delete(&mut batch, &map).unwrap_err()));
    assert!(refused(maps.get(db, &map).unwrap_err()));
    let view = db.snapshot().unwrap();
    assert!(refused(maps.multi_get(&view, [&map]).unwrap_err()));
    assert!(refused(maps.scan(&view, &map..).err().unwrap()));
    assert_eq!(maps.scan(&view, ..).unwrap().count(), 0);
    drop(view);

    let blobs: TypedKeyspace<String, String> = world.keyspace("blobs", Routing::range());
    let tx = db.begin().unwrap();
    let long = "x".repeat(limits::KEY_BYTES_MAX - 1);
    let error = blobs.put(&tx, long.as_str(), "").unwrap_err();
    assert!(matches!(error, TypedError::Write(WriteError::KeyLength { found: 1025, .. })));
    assert!(matches!(blobs.get(&tx, &long), Err(TypedError::Read(ReadError::KeyLength { .. }))));
    let longest = "x".repeat(limits::KEY_BYTES_MAX - 2);
    blobs.put(&tx, &longest, "kept").unwrap();
    let large = "x".repeat(limits::VALUE_BYTES_MAX);
    let error = blobs.put(&tx, "large", &large).unwrap_err();
    assert!(matches!(error, TypedError::Write(WriteError::ValueLength { .. })));
    tx.commit().unwrap();
    assert_eq!(blobs.get(db, &longest).unwrap().as_deref(), Some("kept"));
    let units: TypedKeyspace<(), u8> = world.keyspace("units", Routing::range());
    assert!(units.put(db, &(), &1).is_err(), "a key has at least one byte");
    world.end();
}

#[test]
fn typed_calls_in_run_count_every_increment_under_conflicts() {
    let world = World::new();
    let hits: TypedKeyspace<String, u64> = world.keyspace("hits", Routing::hash(4));
    let pages = ["index", "about"];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..25 {
                    let counted = world.blocking.run(|tx| {
                        let page = pages[round % 2];
                        let count = hits.get(tx, page)?.unwrap_or(0);
                        Ok(hits.put(tx, page, &(count + 1))?)
                    });
                    counted.unwrap();
                }
            });
        }
        scope.spawn(|| {
            world.runtime.block_on(async {
                for _ in 0..25 {
                    let counted = world.db.run(|tx| {
                        let hits = hits.clone();
                        async move {
                            let counts = hits.multi_get(&tx, pages).await?;
                            for (page, count) in pages.into_iter().zip(counts) {
                                hits.put(&tx, page, &(count.unwrap_or(0) + 1))?;
                            }
                            Ok(())
                        }
                    });
                    counted.await.unwrap();
                }
            });
        });
    });
    let counts = pages.map(|page| hits.get(&world.blocking, page).unwrap().unwrap());
    assert_eq!(counts, [4 * 13 + 25, 4 * 12 + 25]);
    world.end();
}

#[test]
fn typed_errors_in_run_stay_what_they_are_and_end_it_at_once() {
    let world = World::new();
    let db = &world.blocking;
    let users: TypedKeyspace<u64, User> = world.keyspace("users", Routing::hash(8));
    db.put(users.keyspace(), 7_u64.to_be_bytes(), vec![9]).unwrap();
    let mut attempts = 0;
    let outcome = db.run(|tx| {
        attempts += 1;
        Ok(users.get(tx, &7)?)
    });
    let Err(TransactionError::Abort(reason)) = outcome else { panic!("{outcome:?}") };
    assert!(matches!(reason.downcast_ref(), Some(TypedError::Decode { .. })), "{reason}");
    assert_eq!(attempts, 1);

    let names: TypedKeyspace<String, u8> = TypedKeyspace::new(users.keyspace().clone());
    let long = "x".repeat(2_000);
    let outcome = db.run(|tx| Ok(names.put(tx, &long, &1)?));
    assert!(matches!(outcome, Err(TransactionError::Write(WriteError::KeyLength { .. }))));
    let outcome = db.run(|tx| Ok(names.get(tx, &long)?));
    assert!(matches!(outcome, Err(TransactionError::Read(ReadError::KeyLength { .. }))));
    world.end();
}

/// The kinds that values have and keys may not.
#[test]
fn typed_values_of_every_kind_come_back_from_a_reopened_store() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Everything {
        map: HashMap<String, Vec<f32>>,
        nested: Option<Box<Everything>>,
        text: String,
        numbers: (u8, i64, u128, char),
        bytes: Vec<u8>,
    }
    let inner = Everything {
        map: HashMap::new(),
        nested: None,
        text: "in\0ner".to_owned(),
        numbers: (255, i64::MIN, u128::MAX, 'ß'),
        bytes: vec![0; 50_000],
    };
    let map = HashMap::from([("a".to_owned(), vec![-0.5, f32::MAX])]);
    let outer = Everything { map, nested: Some(Box::new(inner.clone())), ..inner };
    let (dir, runtime) = (TestDir::new(), runtime(DriverChoice::Threads, 2));
    let db = open(&runtime, &dir).blocking();
    let keyspace = db.create_keyspace("k", Routing::hash(4)).unwrap();
    let rows: TypedKeyspace<i32, Everything> = TypedKeyspace::new(keyspace);
    rows.put(&db, &-1, &outer).unwrap();
    db.close().unwrap();
    let db = open(&runtime, &dir).blocking();
    let rows: TypedKeyspace<i32, Everything> = TypedKeyspace::new(db.keyspace("k").unwrap());
    assert_eq!(rows.get(&db, &-1).unwrap(), Some(outer));
    db.close().unwrap();
    runtime.shutdown();
}

/// Stores on disk hold these bytes: they never change.
#[test]
fn typed_value_bytes_of_known_values_never_change() {
    #[derive(Serialize, Deserialize)]
    enum Plan {
        #[allow(dead_code, reason = "gives the next one its number")]
        Free,
        Paid {
            since: u16,
        },
    }
    #[derive(Serialize, Deserialize)]
    struct Account {
        name: String,
        balance: i64,
        plan: Plan,
        friend: Option<u32>,
        enemy: Option<u32>,
    }
    let world = World::new();
    let accounts: TypedKeyspace<u8, Account> = world.keyspace("accounts", Routing::range());
    let (name, plan) = ("ab".to_owned(), Plan::Paid { since: 300 });
    let account = Account { name, balance: -65, plan, friend: Some(5), enemy: None };
    accounts.put(&world.blocking, &1, &account).unwrap();
    let stored = world.blocking.get(accounts.keyspace(), [1]).unwrap().unwrap();
    assert_eq!(stored[..], [2, b'a', b'b', 0x81, 1, 1, 0xAC, 2, 1, 5, 0]);
    world.end();
}

#[cfg(debug_assertions)]
mod unreadable {
    use std::fmt::Debug;

    use serde::de::{DeserializeOwned, Deserializer, IgnoredAny};

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Skipping {
        #[serde(skip_serializing_if = "Option::is_none")]
        a: Option<u8>,
        b: u8,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct OneWay {
        #[serde(skip_serializing)]
        #[allow(dead_code, reason = "only decoded")]
        a: u8,
        b: u8,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Flattening {
        #[serde(flatten)]
        inner: OneWay,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u64),
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Named { number: u64 },
    }

    /// Takes what it finds, as `serde_json::Value` does.
    #[derive(Debug, Serialize)]
    struct Any(u64);

    impl<'de> Deserialize<'de> for Any {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Any, D::Error> {
            from.deserialize_any(IgnoredAny).map(|_| Any(0))
        }
    }

    fn refused<T>(part: RowPart, outcome: Result<T, TypedError>) {
        match outcome {
            Err(TypedError::Encode { part: found, .. }) => assert_eq!(found, part),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("this {part} was written"),
        }
    }

    /// Puts it as a key and as a value.
    fn refused_as_both<T: Debug + Serialize + DeserializeOwned>(world: &World, it: &T) {
        let db = &world.blocking;
        let keyspace = db.keyspace("k").unwrap();
        let keys: TypedKeyspace<T, u8> = TypedKeyspace::new(keyspace.clone());
        let values: TypedKeyspace<u8, T> = TypedKeyspace::new(keyspace);
        refused(RowPart::Key, keys.put(db, it, &1));
        refused(RowPart::Value, values.put(db, &1, it));
        refused(RowPart::Value, values.put(&mut WriteBatch::new(), &1, it));
    }

    #[test]
    fn type_that_cannot_read_what_it_writes_is_refused_by_put() {
        let world = World::new();
        let db = &world.blocking;
        let skipping: TypedKeyspace<u8, Skipping> = world.keyspace("k", Routing::range());
        refused_as_both(&world, &Skipping { a: None, b: 5 });
        refused_as_both(&world, &OneWay { a: 1, b: 5 });
        refused_as_both(&world, &Flattening { inner: OneWay { a: 1, b: 5 } });
        refused_as_both(&world, &Untagged::Number(3));
        refused_as_both(&world, &Tagged::Named { number: 3 });
        refused_as_both(&world, &Any(3));
        assert_eq!(db.snapshot().unwrap().scan(skipping.keyspace(), ..).count(), 0);

        let said = skipping.put(db, &1, &Skipping { a: None, b: 5 }).unwrap_err().to_string();
        assert!(said.contains("writes what it cannot read"), "{said}");
        skipping.put(db, &1, &Skipping { a: Some(1), b: 5 }).unwrap();
        let found = skipping.get(db, &1).unwrap().unwrap();
        assert_eq!((found.a, found.b), (Some(1), 5));
        world.end();
    }
}
