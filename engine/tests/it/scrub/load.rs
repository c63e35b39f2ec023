//! Writes that make windows be merged, keyspaces come and go.

use std::ops::Range;
use std::time::Duration;

use sombra::{Db, Keyspace, Routing, ScrubReport, WriteBatch};
use sombra_runtime::sim::SimClients;

/// Writes rows whose values are of this length.
pub(super) async fn fill(db: &Db, keyspace: &Keyspace, numbers: Range<u32>, len: usize) {
    fill_with(db, keyspace, numbers, (0, len)).await;
}

/// The same, with values that tell the round.
pub(super) async fn fill_with(
    db: &Db,
    keyspace: &Keyspace,
    numbers: Range<u32>,
    (round, len): (u32, usize),
) {
    let rows = (200_000 / len as u32).clamp(1, 50);
    for first in numbers.clone().step_by(rows as usize) {
        let mut batch = WriteBatch::new();
        for number in first..(first + rows).min(numbers.end) {
            let value: Vec<u8> =
                format!("{number}/{round}/").into_bytes().into_iter().cycle().take(len).collect();
            batch.put(keyspace, format!("key-{number:06}"), value);
        }
        db.write(&batch).await.unwrap();
    }
}

/// What one life of a seed does.
pub(super) struct Load {
    pub(super) db: Db,
    pub(super) clients: SimClients,
    pub(super) life: u32,
    pub(super) seed: u64,
}

impl Load {
    /// Returns what the scrubber has found meanwhile, and how many merges there were.
    pub(super) async fn run(self) -> (ScrubReport, f64) {
        let draw = |most: u64| self.clients.random_u64() % most;
        for round in 0..12 {
            let name = format!("k{}", draw(4));
            let routing = match draw(3) {
                0 => Routing::range(),
                1 => Routing::range_split(["key-000300", "key-000600"]),
                _ => Routing::hash_tablets(16, 3),
            };
            let keyspace = match self.db.keyspace(&name) {
                Some(keyspace) if draw(5) == 0 => {
                    self.db.drop_keyspace(&keyspace).await.unwrap();
                    continue;
                }
                Some(keyspace) => keyspace,
                None => self.db.create_keyspace(&name, routing).await.unwrap(),
            };
            let first = draw(800) as u32;
            let (count, len) = match draw(4) {
                0 => (40, 20_000),
                1 => (900, 900),
                _ => (400, 300 + draw(900) as usize),
            };
            let stamp = self.life * 100 + round;
            fill_with(&self.db, &keyspace, first..first + count, (stamp, len)).await;
            if draw(3) == 0 {
                self.delete(&keyspace, first..first + count / 2).await;
            }
            self.clients.sleep(Duration::from_micros(draw(3_000))).await;
        }
        // Somebody may also ask for a pass beside the one that is running.
        if self.seed.is_multiple_of(2) {
            let asked = self.db.scrub().await.unwrap();
            assert!(asked.problems.is_empty(), "{:?}", asked.problems);
        }
        (self.db.scrub_report(), self.db.metrics().value("sombra_merges_total"))
    }

    async fn delete(&self, keyspace: &Keyspace, numbers: Range<u32>) {
        let mut batch = WriteBatch::new();
        for number in numbers {
            batch.delete(keyspace, format!("key-{number:06}"));
        }
        self.db.write(&batch).await.unwrap();
    }
}
