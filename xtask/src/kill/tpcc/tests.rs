//! A store of orders and payments with the judge that hears of it, and what the judge must find.

use super::line::Line;
use super::terminals::{Clerk, Tally};
use super::*;
use crate::kill::pipe::Pipe;
use crate::kill::workload::{Judge, Reported};
use crate::kill::writer::options;
use sombra::{Db, KeyRange};
use sombra_bench::workload::tpcc::Place;
use sombra_runtime::{Runtime, RuntimeOptions};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

const HOME: u32 = 1;
/// The byte of a key that names its table, and those of two tables.
const TABLE_AT: usize = 4;
const HISTORY: u8 = 4;
const ORDER_LINE: u8 = 7;

struct Scene {
    opened: Opened,
    stage: Stage<Remote>,
    said: PathBuf,
    dir: PathBuf,
    heard: usize,
}

impl Scene {
    /// A filled store that was shown once, and 100 orders and payments on it.
    fn new(name: &str) -> (Scene, TpccJudge) {
        let dir = std::env::temp_dir().join(format!("xtask-tpcc-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let said = dir.join("said");
        let pipe = Arc::new(Pipe::into(File::create(&said).unwrap()));
        let options_of_runtime = RuntimeOptions { shards: 2, pin: false, ..Default::default() };
        let runtime = Runtime::start(options_of_runtime).unwrap();
        let opening = Db::open(&runtime, dir.join("store"), options());
        let db = runtime.block_on(opening).unwrap();
        let opened = Opened { runtime, db, pipe };
        prepare(&opened, 1).unwrap();
        let stage = stage(&opened).unwrap();
        let mut scene = Scene { opened, stage, said, dir, heard: 0 };
        let mut judge = TpccJudge::default();
        let loaded = scene.compare(&mut judge, Some);
        assert!(loaded.compared && loaded.violations.is_empty(), "{:?}", loaded.violations);
        let mut clerk = Clerk::new((HOME, 1), 5, &scene.opened.pipe, &Arc::new(Tally::default()));
        scene.opened.runtime.block_on(async {
            for _ in 0..100 {
                assert!(clerk.turn(&scene.stage).await.is_ok());
            }
        });
        (scene, judge)
    }

    /// Lets the judge hear all that was said since, with the store shown at the end, as `edit`
    /// leaves it.
    fn compare(
        &mut self,
        judge: &mut TpccJudge,
        edit: impl FnMut(Line) -> Option<Line>,
    ) -> Reported {
        show(&self.opened).unwrap();
        let said = std::fs::read_to_string(&self.said).unwrap();
        let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("P ")).collect();
        let lines = said[self.heard..].iter().map(|text| Line::parse(text).unwrap());
        let reports: Vec<String> = lines.filter_map(edit).map(|line| line.format()).collect();
        self.heard = said.len();
        judge.hear(&reports).unwrap()
    }

    /// Removes the last row of a table in the terminal's warehouse: a part of the newest order or
    /// payment of its last district.
    fn remove_last(&self, table: u8) {
        let Stage { db, keyspace, .. } = &self.stage;
        self.opened.runtime.block_on(async {
            let home = KeyRange::prefix(&HOME.to_be_bytes());
            let mut scan = db.snapshot().unwrap().scan_reverse(keyspace, home);
            while let Some((key, _)) = scan.next().await.unwrap() {
                if key[TABLE_AT] == table {
                    db.delete(keyspace, key).await.unwrap();
                    return;
                }
            }
            panic!("table {table} has no rows");
        });
    }

    fn end(self) {
        self.opened.runtime.block_on(self.opened.db.close()).unwrap();
        self.opened.runtime.shutdown();
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

fn says(reported: &Reported, what: &str) -> bool {
    reported.violations.iter().any(|violation| violation.contains(what))
}

#[test]
fn orders_and_payments_fit_what_was_said_of_them() {
    let (mut scene, mut judge) = Scene::new("fit");
    // The last two answers never arrive: what was asked for may be there.
    let mut answers = 0;
    let reported = scene.compare(&mut judge, |line| {
        let is_answer = matches!(line, Line::Acknowledged { .. } | Line::Refused { .. });
        answers += u32::from(is_answer);
        (!is_answer || answers <= 98).then_some(line)
    });
    assert!(reported.violations.is_empty(), "{:?}", reported.violations);
    assert!((90..=98).contains(&reported.acknowledged), "{}", reported.acknowledged);
    let again = scene.compare(&mut judge, Some);
    assert!(again.compared && again.violations.is_empty(), "{:?}", again.violations);
    scene.end();
}

#[test]
fn order_that_lost_a_line_is_found_half_applied() {
    let (mut scene, mut judge) = Scene::new("line");
    scene.remove_last(ORDER_LINE);
    let reported = scene.compare(&mut judge, Some);
    // The fourth condition, the order's lines, its stock twice, and the order itself.
    assert_eq!((reported.lost, reported.half_applied), (0, 5), "{:?}", reported.violations);
    assert!(says(&reported, "condition 4"), "{:?}", reported.violations);
    assert!(says(&reported, "is not whole"), "{:?}", reported.violations);
    scene.end();
}

#[test]
fn payment_that_lost_its_history_is_found() {
    let (mut scene, mut judge) = Scene::new("history");
    scene.remove_last(HISTORY);
    let reported = scene.compare(&mut judge, Some);
    assert_eq!((reported.lost, reported.half_applied), (1, 3), "{:?}", reported.violations);
    assert!(says(&reported, "CustomerPaid"), "{:?}", reported.violations);
    scene.end();
}

#[test]
fn order_that_was_acknowledged_and_never_placed_is_lost() {
    let (mut scene, mut judge) = Scene::new("lost");
    let (id, digest) = ((99, 1), 7);
    let place = Place::Order { warehouse: 1, district: 1, number: 9_999 };
    for line in [Line::Intent { id, digest }, Line::Acknowledged { id, place }] {
        scene.opened.pipe.send(&format!("{}\n", line.format()));
    }
    let reported = scene.compare(&mut judge, Some);
    assert_eq!((reported.lost, reported.violations.len()), (1, 1), "{:?}", reported.violations);
    assert!(says(&reported, "number: 9999 } was acknowledged and is lost"));
    scene.end();
}

#[test]
fn payment_that_was_refused_and_is_there_is_found() {
    let (mut scene, mut judge) = Scene::new("refused");
    let mut is_first = true;
    let reported = scene.compare(&mut judge, |line| match line {
        Line::Acknowledged { id, place: Place::Payment { .. } } if is_first => {
            is_first = false;
            Some(Line::Refused { id })
        }
        line => Some(line),
    });
    assert_eq!(reported.violations.len(), 1, "{:?}", reported.violations);
    assert!(says(&reported, "or it was refused"), "{:?}", reported.violations);
    scene.end();
}

#[test]
fn lines_say_the_same_after_a_round_trip() {
    let id = (3, 4);
    let order = Place::Order { warehouse: 1, district: 2, number: 30 };
    let payment = Place::Payment { warehouse: 1, district: 2, terminal: 3, sequence: 4 };
    let lines = [
        Line::Intent { id, digest: u64::MAX },
        Line::Acknowledged { id, place: order },
        Line::Acknowledged { id, place: payment },
        Line::Refused { id },
        Line::Shown { place: order, digest: 5 },
        Line::Shown { place: payment, digest: 6 },
        Line::Wrong("a b".to_owned()),
        Line::ShownAll { conditions: 1, accounts: 2 },
        Line::Broken("c d".to_owned()),
    ];
    for line in lines {
        assert_eq!(Line::parse(&line.format()), Some(line));
    }
    for wrong in
        ["", "I", "I 1 2", "A 1 2 3", "R 1", "s 1 2", "S 1 2 3", "Z 1 2", "R 1 99999999999"]
    {
        assert_eq!(Line::parse(wrong), None, "{wrong}");
    }
}
