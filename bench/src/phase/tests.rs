use crate::Stop;
use crate::phase::load::load;
use crate::phase::verify::verify;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::session::Session;
use crate::workload::{Shape, WriteTag};

const SHAPE: Shape = Shape { key_len_bytes: 24, value_len_bytes: 50 };
const RECORDS: u64 = 300;

fn loaded(name: &str) -> Session {
    let name = format!("sombra-bench-{}-{name}", std::process::id());
    let plan = Plan {
        dir: std::env::temp_dir().join(name),
        records: RECORDS,
        shape: SHAPE,
        ..Plan::default()
    };
    let session = Session::open(plan, Stop::new(), Progress::new(false)).unwrap();
    assert_eq!(load(&session).unwrap().records, RECORDS);
    session
}

#[test]
fn verification_finds_every_record_after_reopening() {
    let mut session = loaded("whole");
    let found = verify(&mut session).unwrap();
    assert_eq!((found.acknowledged, found.records_read), (RECORDS, RECORDS));
    assert_eq!((found.missing, found.foreign, found.complete), (0, 0, true));
    session.end().unwrap();
}

/// What a store that loses or mixes up writes would look like.
#[test]
fn verification_names_what_was_lost_reverted_or_written_by_nobody() {
    let mut session = loaded("lost");
    let (db, space) = (session.db.clone(), session.keyspace.clone());
    let lost = SHAPE.key(7);
    session.runtime.block_on(db.delete(&space, &lost)).unwrap();
    // The store still has the value of the loading, and acknowledged a newer one.
    session.ledger.acknowledge(8, WriteTag::new(1, 1), u64::MAX);
    let put = db.put(&space, SHAPE.key(9), SHAPE.value(10, WriteTag::LOAD));
    session.runtime.block_on(put).unwrap();
    let found = verify(&mut session).unwrap();
    assert_eq!((found.missing, found.foreign), (2, 1));
    assert_eq!(found.examples.len(), 3);
    assert!(found.examples.contains(&String::from_utf8(lost).unwrap()), "{:?}", found.examples);
    session.end().unwrap();
}
