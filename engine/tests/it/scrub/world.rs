//! A simulated machine whose store is opened again and again.

use std::future::Future;

use sombra::{Db, Options, ScrubReport};
use sombra_runtime::sim::{SimClients, SimDisk, SimDiskOptions, SimOptions, SimWorld};

use crate::support::run_client;

const DIR: &str = "/store";
const STEPS_MAX: u64 = 30_000_000;

pub(super) struct World {
    pub(super) disk: SimDisk,
    seed: u64,
    shards: usize,
    lives: u64,
    running: Option<SimWorld>,
}

impl World {
    pub(super) fn new(seed: u64, shards: usize) -> World {
        let disk = SimDisk::new(SimDiskOptions::new(seed));
        World { disk, seed, shards, lives: 0, running: None }
    }

    fn running(&mut self) -> &mut SimWorld {
        if self.running.is_none() {
            self.lives += 1;
            let seed = self.seed * 1_000 + self.lives;
            self.running =
                Some(SimWorld::new(SimOptions::new(seed, self.shards, self.disk.clone())));
        }
        self.running.as_mut().unwrap()
    }

    pub(super) fn clients(&mut self) -> SimClients {
        self.running().clients()
    }

    /// Runs a client to its end.
    pub(super) fn run<T: 'static>(&mut self, client: impl Future<Output = T> + 'static) -> T {
        run_client(self.running(), STEPS_MAX, client)
    }

    pub(super) fn open(&mut self, options: Options) -> Db {
        let runtime = self.running().runtime();
        self.run(async move { Db::open(&runtime, DIR, options).await.unwrap() })
    }

    pub(super) fn scrub(&mut self, db: &Db) -> ScrubReport {
        let db = db.clone();
        self.run(async move { db.scrub().await.unwrap() })
    }

    pub(super) fn close(&mut self, db: Db) {
        self.run(async move { db.close().await.unwrap() });
    }

    /// Ends this life one way or another; the next opening is in another.
    pub(super) fn end(&mut self, db: Db, how: u64) {
        match how % 3 {
            0 => {
                self.close(db);
                self.running.take().unwrap().kill();
            }
            1 => self.running.take().unwrap().kill(),
            _ => self.running.take().unwrap().power_cut(),
        }
    }
}
