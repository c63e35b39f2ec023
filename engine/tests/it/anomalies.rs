//! Every anomaly as a forced schedule, at both levels, on one shard, over two, and across merges.
//! What must be seen and what must not stands in `docs/transactions.md`.

use sombra::{
    BlockingDb, BlockingTransaction, CommitError, Db, Isolation, KeyRange, Keyspace, Options,
    Routing,
};
use sombra_runtime::{DriverChoice, Runtime};

use crate::support::{TestDir, options, runtime};

const X: &str = "c/x";
const Y: &str = "p/y";
/// Keys that schedules insert; on both sides of the split.
const NEW: [&str; 2] = ["d/new", "q/new"];

/// Where the keys of a schedule lie, and what happens between its steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Placement {
    OneShard,
    TwoShards,
    /// Two shards, and every window is merged at each pause.
    Merges,
}

struct Stage {
    _dir: TestDir,
    runtime: Runtime,
    handle: Db,
    db: BlockingDb,
    keyspace: Keyspace,
    filler: Keyspace,
    placement: Placement,
    level: Isolation,
}

impl Stage {
    fn new(placement: Placement, level: Isolation) -> Stage {
        let dir = TestDir::new();
        let runtime = runtime(DriverChoice::Threads, 2);
        let options = Options { memory_bytes: 16 << 20, log_bytes_max: 4 << 20, ..options() };
        let handle = runtime.block_on(Db::open(&runtime, dir.store(), options)).unwrap();
        let db = handle.blocking();
        let routing = match placement {
            Placement::OneShard => Routing::range(),
            Placement::TwoShards | Placement::Merges => Routing::range_split(["m"]),
        };
        let keyspace = db.create_keyspace("k", routing).unwrap();
        let filler = db.create_keyspace("filler", Routing::hash_tablets(1, 2)).unwrap();
        let is_split = handle.shard_of(&keyspace, X) != handle.shard_of(&keyspace, Y);
        assert_eq!(is_split, placement != Placement::OneShard);
        Stage { _dir: dir, runtime, handle, db, keyspace, filler, placement, level }
    }

    /// The schedule's first state: two accounts, nothing else.
    fn reset(&self) {
        let tx = self.begin();
        for (key, _) in tx.scan(&self.keyspace, ..).map(Result::unwrap) {
            tx.delete(&self.keyspace, key).unwrap();
        }
        put(self, &tx, X, 0);
        put(self, &tx, Y, 0);
        assert!(commit(tx));
        self.pause();
    }

    fn begin(&self) -> BlockingTransaction {
        self.db.begin_with(self.level).unwrap()
    }

    /// Lets every window be merged, if that is the placement.
    fn pause(&self) {
        if self.placement != Placement::Merges {
            return;
        }
        for number in 0..100_u32 {
            self.db.put(&self.filler, number.to_be_bytes(), vec![7; 16 << 10]).unwrap();
        }
        // Only when nothing older waits in any window is so little left to replay.
        for _ in 0..3_000 {
            if self.handle.metrics().value("sombra_log_replay_lag_bytes") < 1_100_000.0 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("the windows are never merged");
    }

    fn now(&self, key: &str) -> i64 {
        self.db.get(&self.keyspace, key).unwrap().map_or(-1, |value| number(&value))
    }

    fn close(self) {
        self.handle.blocking().close().unwrap();
        self.runtime.shutdown();
    }
}

fn number(value: &[u8]) -> i64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

fn put(stage: &Stage, tx: &BlockingTransaction, key: &str, value: i64) {
    tx.put(&stage.keyspace, key, value.to_string()).unwrap();
}

/// The value, or -1 when there is none.
fn get(stage: &Stage, tx: &BlockingTransaction, key: &str) -> i64 {
    tx.get(&stage.keyspace, key).unwrap().map_or(-1, |value| number(&value))
}

/// How many keys were inserted by schedules.
fn inserted(stage: &Stage, tx: &BlockingTransaction) -> usize {
    let rows = tx.scan(&stage.keyspace, KeyRange::from("d".."z")).map(Result::unwrap);
    rows.filter(|(key, _)| key.as_ref() != Y.as_bytes()).count()
}

/// Whether it committed; a conflict is the other outcome.
fn commit(tx: BlockingTransaction) -> bool {
    match tx.commit() {
        Ok(_) => true,
        Err(error @ CommitError::Conflict { .. }) => {
            assert!(error.is_retryable());
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// Commits them one after the other; the first finds nobody in its way.
fn more_than_one_commits(s: &Stage, all: Vec<BlockingTransaction>) -> bool {
    s.pause();
    let mut committed = 0;
    for tx in all {
        committed += u32::from(commit(tx));
        s.pause();
    }
    assert!(committed > 0);
    committed > 1
}

fn g0(s: &Stage) -> bool {
    let (t1, t2) = (s.begin(), s.begin());
    put(s, &t1, X, 1);
    put(s, &t2, X, 2);
    put(s, &t2, Y, 2);
    let _ = commit(t2);
    s.pause();
    put(s, &t1, Y, 1);
    let _ = commit(t1);
    s.now(X) != s.now(Y)
}

fn g1a(s: &Stage) -> bool {
    let (t1, t2) = (s.begin(), s.begin());
    put(s, &t1, X, 101);
    let before = get(s, &t2, X);
    t1.rollback();
    s.pause();
    before == 101 || get(s, &t2, X) == 101 || s.now(X) == 101
}

fn g1b(s: &Stage) -> bool {
    let (t1, t2) = (s.begin(), s.begin());
    put(s, &t1, X, 101);
    let during = get(s, &t2, X);
    put(s, &t1, X, 11);
    assert!(commit(t1));
    s.pause();
    during == 101 || get(s, &t2, X) == 101 || s.now(X) == 101
}

fn g1c(s: &Stage) -> bool {
    let (t1, t2) = (s.begin(), s.begin());
    put(s, &t1, X, 11);
    put(s, &t2, Y, 22);
    let (y, x) = (get(s, &t1, Y), get(s, &t2, X));
    let _ = commit(t1);
    s.pause();
    let _ = commit(t2);
    (x, y) == (11, 22)
}

fn imp(s: &Stage) -> bool {
    let (t1, t2) = (s.begin(), s.begin());
    let before = get(s, &t1, X);
    put(s, &t2, X, 5);
    assert!(commit(t2));
    s.pause();
    get(s, &t1, X) != before
}

fn pmp(s: &Stage) -> bool {
    let (t1, t2) = (s.begin(), s.begin());
    let before = inserted(s, &t1);
    put(s, &t2, NEW[0], 1);
    put(s, &t2, NEW[1], 1);
    assert!(commit(t2));
    s.pause();
    inserted(s, &t1) != before
}

fn otv(s: &Stage) -> bool {
    let (t1, t2) = (s.begin(), s.begin());
    put(s, &t1, X, 11);
    put(s, &t1, Y, 19);
    put(s, &t2, X, 12);
    assert!(commit(t1));
    let t3 = s.begin();
    let first = get(s, &t3, X);
    s.pause();
    put(s, &t2, Y, 18);
    let _ = commit(t2);
    s.pause();
    first != 11 || (get(s, &t3, X), get(s, &t3, Y)) != (11, 19)
}

fn fractured_read(s: &Stage) -> bool {
    let t1 = s.begin();
    let x = get(s, &t1, X);
    let t2 = s.begin();
    put(s, &t2, X, 1);
    put(s, &t2, Y, 1);
    assert!(commit(t2));
    s.pause();
    get(s, &t1, Y) != x
}

fn lost_update(s: &Stage) -> bool {
    let (t1, t2) = (s.begin(), s.begin());
    let (a, b) = (get(s, &t1, X), get(s, &t2, X));
    put(s, &t1, X, a + 1);
    put(s, &t2, X, b + 1);
    more_than_one_commits(s, vec![t1, t2])
}

fn g_single(s: &Stage) -> bool {
    let (t1, t2) = (s.begin(), s.begin());
    let x = get(s, &t1, X);
    assert_eq!((get(s, &t2, X), get(s, &t2, Y)), (0, 0));
    put(s, &t2, X, 12);
    put(s, &t2, Y, 18);
    assert!(commit(t2));
    s.pause();
    let y = get(s, &t1, Y);
    // Writing what it saw would make it lasting.
    put(s, &t1, NEW[0], x + y);
    let _ = commit(t1);
    (x, y) != (0, 0)
}

fn long_fork(s: &Stage) -> bool {
    let (t1, t2) = (s.begin(), s.begin());
    put(s, &t1, X, 1);
    put(s, &t2, Y, 1);
    assert!(commit(t1));
    let t3 = s.begin();
    s.pause();
    assert!(commit(t2));
    let t4 = s.begin();
    s.pause();
    let (seen_3, seen_4) = ((get(s, &t3, X), get(s, &t3, Y)), (get(s, &t4, X), get(s, &t4, Y)));
    seen_3 != (1, 0) || seen_4 != (1, 1)
}

fn atomicity_committed(s: &Stage) -> bool {
    let tx = s.begin();
    for (key, value) in [(X, 7), (Y, 7), (NEW[0], 7), (NEW[1], 7)] {
        put(s, &tx, key, value);
    }
    assert!(commit(tx));
    s.pause();
    let tx = s.begin();
    [X, Y, NEW[0], NEW[1]].iter().any(|key| get(s, &tx, key) != 7)
}

fn atomicity_rolled_back(s: &Stage) -> bool {
    let tx = s.begin();
    for (key, value) in [(X, 7), (Y, 7), (NEW[0], 7), (NEW[1], 7)] {
        put(s, &tx, key, value);
    }
    tx.rollback();
    s.pause();
    let tx = s.begin();
    (get(s, &tx, X), get(s, &tx, Y), inserted(s, &tx)) != (0, 0, 0)
}

fn insert_if_absent_by_key(s: &Stage) -> bool {
    let all: Vec<_> = (0..8).map(|_| s.begin()).collect();
    for (value, tx) in all.iter().enumerate() {
        assert_eq!(get(s, tx, NEW[0]), -1);
        put(s, tx, NEW[0], value as i64);
    }
    more_than_one_commits(s, all)
}

fn insert_if_absent_by_scan(s: &Stage) -> bool {
    let all: Vec<_> = (0..8).map(|_| s.begin()).collect();
    for (at, tx) in all.iter().enumerate() {
        assert_eq!(inserted(s, tx), 0);
        put(s, tx, &format!("{}/{at}", NEW[at % 2]), at as i64);
    }
    more_than_one_commits(s, all)
}

fn write_skew(s: &Stage) -> bool {
    let (t1, t2) = (s.begin(), s.begin());
    assert_eq!((get(s, &t1, X), get(s, &t1, Y)), (0, 0));
    assert_eq!((get(s, &t2, X), get(s, &t2, Y)), (0, 0));
    put(s, &t1, X, 1);
    put(s, &t2, Y, 1);
    more_than_one_commits(s, vec![t1, t2])
}

fn predicate_write_skew(s: &Stage) -> bool {
    let (t1, t2) = (s.begin(), s.begin());
    assert_eq!((inserted(s, &t1), inserted(s, &t2)), (0, 0));
    put(s, &t1, NEW[0], 1);
    put(s, &t2, NEW[1], 1);
    more_than_one_commits(s, vec![t1, t2])
}

fn read_only_anomaly(s: &Stage) -> bool {
    let t2 = s.begin();
    assert_eq!((get(s, &t2, X), get(s, &t2, Y)), (0, 0));
    let t1 = s.begin();
    let y = get(s, &t1, Y);
    put(s, &t1, Y, y + 20);
    assert!(commit(t1));
    s.pause();
    let t3 = s.begin();
    let seen = (get(s, &t3, X), get(s, &t3, Y));
    assert!(commit(t3), "a transaction without writes never conflicts");
    put(s, &t2, X, -11);
    s.pause();
    commit(t2) && seen == (0, 20)
}

/// X is the customer's savings, Y the checking account.
fn small_bank(s: &Stage) -> bool {
    let tx = s.begin();
    put(s, &tx, X, 100);
    assert!(commit(tx));
    s.pause();
    // WriteCheck: covered by both accounts together, so no penalty.
    let check = s.begin();
    let covered = get(s, &check, X) + get(s, &check, Y);
    assert_eq!(covered, 100);
    // TransactSavings takes the money meanwhile.
    let savings = s.begin();
    let balance = get(s, &savings, X);
    put(s, &savings, X, balance - 100);
    assert!(commit(savings));
    s.pause();
    // Balance shows it gone.
    let reader = s.begin();
    let total = get(s, &reader, X) + get(s, &reader, Y);
    assert!(commit(reader));
    put(s, &check, Y, -100);
    commit(check) && total == 0
}

/// Runs a schedule; tells whether its anomaly was seen.
type Schedule = fn(&Stage) -> bool;

/// By the first words of the table's line.
const SCHEDULES: [(&str, Schedule); 19] = [
    ("G0:", g0),
    ("G1a:", g1a),
    ("G1b:", g1b),
    ("G1c:", g1c),
    ("IMP:", imp),
    ("PMP:", pmp),
    ("OTV:", otv),
    ("FR:", fractured_read),
    ("Lost update:", lost_update),
    ("G-single:", g_single),
    ("Long fork:", long_fork),
    ("Atomicity-C:", atomicity_committed),
    ("Atomicity-RB:", atomicity_rolled_back),
    ("Insert if absent, by key:", insert_if_absent_by_key),
    ("Insert if absent, by scan:", insert_if_absent_by_scan),
    ("G2-item:", write_skew),
    ("G2:", predicate_write_skew),
    ("Read-only anomaly:", read_only_anomaly),
    ("SmallBank:", small_bank),
];

/// What the table says of each anomaly: whether it is possible under Snapshot and under
/// Serializable.
fn documented() -> Vec<(String, [bool; 2])> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/transactions.md");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().skip_while(|line| !line.starts_with("| anomaly | Snapshot |"));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, snapshot, serializable] = cells[..] else { panic!("{line}") };
        let is_possible = |cell| match cell {
            "possible" => true,
            "prevented" => false,
            other => panic!("{other}: expected possible or prevented"),
        };
        (name.to_owned(), [is_possible(snapshot), is_possible(serializable)])
    })
    .collect()
}

#[test]
fn anomalies_are_seen_and_prevented_as_the_table_says() {
    let documented = documented();
    assert_eq!(documented.len(), SCHEDULES.len());
    for placement in [Placement::OneShard, Placement::TwoShards, Placement::Merges] {
        for (at, level) in [Isolation::Snapshot, Isolation::Serializable].into_iter().enumerate() {
            let stage = Stage::new(placement, level);
            for (name, schedule) in SCHEDULES {
                let row = documented.iter().find(|(row, _)| row.starts_with(name));
                let (row, is_possible) = row.unwrap_or_else(|| panic!("no line for {name}"));
                stage.reset();
                let is_seen = schedule(&stage);
                assert_eq!(is_seen, is_possible[at], "{row}, {level:?}, {placement:?}");
            }
            stage.close();
        }
    }
}

/// What a transaction does with what changes.
type Touch<'a> = &'a dyn Fn(&BlockingTransaction);

#[test]
fn conflict_names_the_key_that_changed_and_why() {
    for placement in [Placement::OneShard, Placement::TwoShards] {
        let stage = Stage::new(placement, Isolation::Serializable);
        stage.reset();
        let cases: [(Touch<'_>, &str, &str); 4] = [
            (&|tx| put(&stage, tx, X, 5), X, "newer_version"),
            (&|tx| _ = get(&stage, tx, X), X, "read_changed"),
            (&|tx| _ = get(&stage, tx, NEW[0]), NEW[0], "read_changed"),
            (&|tx| _ = inserted(&stage, tx), NEW[0], "range_changed"),
        ];
        for (touch, changed, reason) in cases {
            let tx = stage.begin();
            touch(&tx);
            put(&stage, &tx, "z", 1);
            stage.db.put(&stage.keyspace, changed, "9").unwrap();
            let error = tx.commit().unwrap_err();
            let text = error.to_string();
            let CommitError::Conflict { keyspace, key, reason: found } = error else {
                panic!("{text}")
            };
            assert_eq!((keyspace.as_str(), key.as_slice()), ("k", changed.as_bytes()), "{text}");
            assert_eq!(found.name(), reason, "{text}");
            assert!(text.contains("running it again can help"), "{text}");
        }
        assert!(stage.handle.metrics().to_string().contains("reason=\"range_changed\""));
        stage.close();
    }
}

#[test]
fn reads_that_stay_true_do_not_conflict() {
    let stage = Stage::new(Placement::TwoShards, Isolation::Serializable);
    stage.reset();
    for number in 0..20 {
        stage.db.put(&stage.keyspace, format!("d/{number:02}"), number.to_string()).unwrap();
    }
    // The first rows of a range: what changes behind them was not seen.
    let tx = stage.begin();
    let rows: Vec<_> = tx.scan(&stage.keyspace, "d/".."e").take(3).map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3);
    put(&stage, &tx, X, 1);
    stage.db.put(&stage.keyspace, "d/03", "changed").unwrap();
    assert!(commit(tx), "the fourth row was not taken");
    // Backwards the seen part lies at the end.
    let tx = stage.begin();
    assert_eq!(tx.scan_reverse(&stage.keyspace, "d/".."e").take(3).count(), 3);
    put(&stage, &tx, X, 2);
    stage.db.put(&stage.keyspace, "d/16", "changed").unwrap();
    assert!(commit(tx), "the fourth from the end was not taken");
    let tx = stage.begin();
    assert_eq!(tx.scan_reverse(&stage.keyspace, "d/".."e").take(3).count(), 3);
    put(&stage, &tx, X, 3);
    stage.db.delete(&stage.keyspace, "d/18").unwrap();
    assert!(!commit(tx), "a row that was taken went");
    // A scan to the end covers the gap behind its last row.
    let tx = stage.begin();
    assert!(tx.scan(&stage.keyspace, "d/".."e").count() > 3);
    put(&stage, &tx, X, 4);
    stage.db.put(&stage.keyspace, "d/zz", "new").unwrap();
    assert!(!commit(tx), "a key appeared behind the last row");
    // A transaction that only reads is never checked.
    let tx = stage.begin();
    let before = get(&stage, &tx, X);
    stage.db.put(&stage.keyspace, X, "99").unwrap();
    assert_eq!(get(&stage, &tx, X), before);
    assert!(commit(tx));
    stage.close();
}

#[test]
fn what_the_newest_commit_wrote_is_read_without_a_conflict() {
    for placement in [Placement::OneShard, Placement::TwoShards] {
        let stage = Stage::new(placement, Isolation::Serializable);
        stage.reset();
        for value in 1..4 {
            stage.db.put(&stage.keyspace, Y, value.to_string()).unwrap();
            let tx = stage.begin();
            assert_eq!(get(&stage, &tx, Y), value);
            put(&stage, &tx, X, value);
            assert!(commit(tx), "the version that was read is the snapshot's newest");
        }
        stage.close();
    }
}

#[test]
fn transaction_with_many_reads_conflicts_more_and_never_less() {
    let stage = Stage::new(Placement::TwoShards, Isolation::Serializable);
    stage.reset();
    let many = sombra::limits::TRANSACTION_READ_KEYS_MAX as u32 + 10;
    let read_many = |tx: &BlockingTransaction| {
        for number in 0..many {
            assert_eq!(get(&stage, tx, &format!("d/{number:06}")), -1);
        }
    };
    for (changed, must_conflict) in [
        (format!("d/{:06}", 3), true),
        (format!("d/{:06}", many - 1), true),
        ("a".to_owned(), false),
        ("r".to_owned(), false),
    ] {
        let tx = stage.begin();
        read_many(&tx);
        put(&stage, &tx, X, 1);
        stage.db.put(&stage.keyspace, &changed, "1").unwrap();
        assert_eq!(commit(tx), !must_conflict, "{changed}");
        stage.db.delete(&stage.keyspace, &changed).unwrap();
    }
    stage.close();
}
