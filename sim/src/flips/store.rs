//! The store that is swept: small, with every part that the format knows.

use std::sync::{Arc, Mutex, PoisonError};

use sombra::{Db, DurabilityMethod, Keyspace, Options, Routing, WriteBatch};
use sombra_runtime::Runtime;
use sombra_runtime::sim::{RunEnd, SimDisk, SimDiskOptions, SimOptions, SimWorld};

use super::map;
use crate::limits;
use crate::random::Random;

pub(super) const STORE_DIR: &str = "/store";

/// How the last opening of the store ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreEnd {
    /// Closed: the log's last block vouches for all before it.
    Closed,
    /// Killed between the two writes of a root page: the older copy needs pages and log that
    /// the newest does not, and nothing vouches for the log's last blocks.
    Killed,
}

pub(super) fn options() -> Options {
    Options {
        memory_bytes: limits::MEMORY_BYTES_TIGHT,
        segment_bytes: limits::SEGMENT_BYTES,
        log_bytes_max: 4 * limits::SEGMENT_BYTES,
        data_bytes_max: 16 << 20,
        durability_method: Some(DurabilityMethod::RingFlush),
        metrics_file: false,
        scrub_bytes_per_second: 0,
        ..Options::default()
    }
}

/// Makes the store in several openings.
pub(super) fn make(seed: u64, end: StoreEnd) -> Result<SimDisk, String> {
    let disk = SimDisk::new(SimDiskOptions::new(seed));
    for life in 0..limits::FLIP_LIVES {
        let is_killed = life + 1 == limits::FLIP_LIVES && end == StoreEnd::Killed;
        let world = SimWorld::new(SimOptions::new(seed + life, 2, disk.clone()));
        let work = Life { runtime: world.runtime(), seed, life, is_killed };
        run_life(world, &disk, work)?;
    }
    Ok(disk)
}

fn run_life(mut world: SimWorld, disk: &SimDisk, work: Life) -> Result<(), String> {
    let is_killed = work.is_killed;
    let answer = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&answer);
    world.spawn_client("life", async move {
        let outcome = work.run().await;
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    });
    let is_over = || answer.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    let mut flushes = disk.counters().flushes;
    let mut is_caught = || {
        let now = disk.counters().flushes;
        let is_news = std::mem::replace(&mut flushes, now) != now;
        is_killed && is_news && map::has_differing_roots(disk)
    };
    let ended = world.run(limits::STEPS_OPEN_MAX, || is_over() || is_caught());
    let described = world.describe();
    world.kill();
    let outcome = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (ended, outcome, is_killed) {
        (RunEnd::Done, Some(outcome), false) => outcome,
        (RunEnd::Done, None, true) => Ok(()),
        (_, Some(Ok(())), true) => Err("no root page was caught between two writes".to_owned()),
        (_, outcome, _) => Err(format!("making the store: {outcome:?}, {ended:?}, {described}")),
    }
}

/// One opening.
struct Life {
    runtime: Runtime,
    seed: u64,
    life: u64,
    is_killed: bool,
}

impl Life {
    async fn run(self) -> Result<(), String> {
        let opened = Db::open(&self.runtime, STORE_DIR, options()).await;
        let db = opened.map_err(text)?;
        let mut random = Random::new(self.seed ^ self.life << 20);
        let gone = db.open_keyspace(&format!("gone-{}", self.life), Routing::range()).await;
        let gone = gone.map_err(text)?;
        db.put(&gone, "here today", vec![1; 2_000]).await.map_err(text)?;
        // The opening that is killed goes on until then.
        let rounds = match (self.is_killed, self.life + 1 == limits::FLIP_LIVES) {
            (true, _) => 8 * limits::FLIP_ROUNDS,
            // Enough for whole segments below the floor.
            (false, true) => 3 * limits::FLIP_ROUNDS,
            (false, false) => limits::FLIP_ROUNDS,
        };
        for round in 0..rounds {
            for (name, routing) in [
                ("plain", Routing::range_split(["key-000200"])),
                ("hashed", Routing::hash_tablets(16, 2)),
            ] {
                let keyspace = db.open_keyspace(name, routing).await.map_err(text)?;
                self.fill(&db, &keyspace, round, &mut random).await?;
            }
        }
        db.drop_keyspace(&gone).await.map_err(text)?;
        db.close().await.map_err(text)
    }

    async fn fill(
        &self,
        db: &Db,
        keyspace: &Keyspace,
        round: u32,
        random: &mut Random,
    ) -> Result<(), String> {
        for first in (0..limits::FLIP_ROWS).step_by(20) {
            let mut batch = WriteBatch::new();
            for number in first..first + 20 {
                let key = format!("key-{number:06}");
                let len = match number % 50 {
                    7 => random.between(5_000, 9_000),
                    _ => random.between(60, 400),
                };
                let stamp = format!("{number}/{}/{round}/", self.life).into_bytes();
                let value: Vec<u8> = stamp.into_iter().cycle().take(len as usize).collect();
                match random.percent(5) {
                    true => batch.delete(keyspace, key),
                    false => batch.put(keyspace, key, value),
                };
            }
            db.write(&batch).await.map_err(text)?;
        }
        Ok(())
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
