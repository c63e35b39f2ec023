//! What one recorded history is about: its level, its keys, its clients and its machine.

use std::fmt;
use std::ops::RangeInclusive;

use sombra::{Isolation, Options, Routing};

use crate::limits;
use crate::machine;
use crate::random::Random;

/// Keys that share their first byte: those of one prefix in a hash keyspace.
const GROUP_KEYS: u64 = 4;

/// At which level the transactions of a history run.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    #[default]
    Serializable,
    Snapshot,
    /// Each transaction draws its own.
    Mixed,
    /// Negative control: at snapshot isolation, recorded as serializable.
    Mislabelled,
}

impl Level {
    fn draw(random: &mut Random) -> Level {
        match random.below(100) {
            0..50 => Level::Serializable,
            50..65 => Level::Snapshot,
            _ => Level::Mixed,
        }
    }

    /// The level of the next transaction.
    pub(super) fn next(self, random: &mut Random) -> Isolation {
        let serializable = match self {
            Level::Serializable => true,
            Level::Snapshot | Level::Mislabelled => false,
            Level::Mixed => random.percent(60),
        };
        if serializable { Isolation::Serializable } else { Isolation::Snapshot }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Level::Serializable => "serializable",
            Level::Snapshot => "snapshot",
            Level::Mixed => "mixed",
            Level::Mislabelled => "snapshot recorded as serializable",
        })
    }
}

/// What a history strains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Strain {
    /// Nothing in particular.
    Any,
    /// Commits over shards that meet while they are prepared: nothing waits for long, and
    /// messages take as long as writes.
    Races,
    /// Validation against what was merged: transactions over keys that are written rarely are
    /// held while others fill the log.
    Merges,
}

/// How a keyspace spreads its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A tablet for each group of keys.
    Range,
    /// By the first byte of the key.
    Hash,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Range => "range",
            Kind::Hash => "hash",
        }
    }

    pub(super) fn routing(self) -> Routing {
        match self {
            Kind::Range => Routing::range_split(["b", "c", "d"]),
            Kind::Hash => Routing::hash_tablets(1, 8),
        }
    }
}

/// The key of that number: `a0` to `a3`, `b0` to `b3`, and so on.
pub(super) fn key_of(number: u64) -> Vec<u8> {
    vec![b'a' + (number / GROUP_KEYS) as u8, b'0' + (number % GROUP_KEYS) as u8]
}

/// One seed's drawing. Shares are in percent.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) level: Level,
    strain: Strain,
    pub(super) kinds: Vec<Kind>,
    /// Numbers of the keys of each keyspace, ascending.
    keys: Vec<u64>,
    /// Transactions that use only the first keys, and whether all others leave them alone.
    pub(super) hot: u64,
    are_cold_apart: bool,
    pub(super) value_bytes: RangeInclusive<u64>,
    pub(super) transactions: u64,
    pub(super) clients: u64,
    pub(super) on_shard: u64,
    pub(super) operations_max: u64,
    pub(super) writes: u64,
    pub(super) scans: u64,
    pub(super) deletes: u64,
    pub(super) read_only: u64,
    pub(super) rollbacks: u64,
    pub(super) relaxed: u64,
    /// Writes without a transaction around them.
    pub(super) blind: u64,
    /// Merges and conditional writes, of what is no plain write.
    pub(super) dependent: u64,
    /// How often a transaction that is not hot waits for others between two operations, and for
    /// how many.
    pub(super) holds: u64,
    pub(super) held_for_max: u64,
    /// Operations that lock their key first, and how long they wait for it in virtual time.
    pub(super) locks: u64,
    pub(super) lock_wait_us_max: u64,
    /// Operations before which a transaction goes astray, and back to a savepoint.
    pub(super) detours: u64,
    /// Lives that end with a failed write or flush.
    pub(super) faults: u64,
    /// The longest turn of a shard, in virtual time.
    pub(super) turn_ns_max: u64,
    pub(super) options: Options,
}

/// Tells this drawing from others of the same seed.
const DEPENDENT: u64 = 0xDE;

impl Plan {
    pub(super) fn draw(random: &mut Random) -> Plan {
        let mut plan = Plan::draw_any(random);
        match random.below(10) {
            0..4 => {}
            4..7 => plan.strain_races(random),
            _ => plan.strain_merges(random),
        }
        if plan.locks > 0 && plan.holds > 0 {
            // Who holds a lock while it waits for others must not keep those waiting for it.
            (plan.blind, plan.dependent) = (0, 0);
        }
        plan
    }

    fn draw_any(random: &mut Random) -> Plan {
        let kinds = match random.below(8) {
            0..3 => vec![Kind::Range],
            3 => vec![Kind::Hash],
            _ => vec![Kind::Range, Kind::Hash],
        };
        let per_kind = limits::RECORDED_KEYS_MAX / kinds.len() as u64;
        let value_bytes_max = match random.below(10) {
            0 => 8,
            1..7 => random.scale(1_000, 8_000),
            _ => random.scale(8_000, limits::RECORDED_VALUE_BYTES_MAX),
        };
        Plan {
            level: Level::draw(random),
            strain: Strain::Any,
            keys: draw_keys(random, per_kind),
            kinds,
            hot: *random.pick(&[0, 0, 30, 60]),
            are_cold_apart: false,
            value_bytes: 8..=value_bytes_max,
            transactions: limits::RECORDED_TRANSACTIONS_MIN + random.below(1_000),
            clients: random.between(4, 10),
            on_shard: *random.pick(&[0, 50, 50, 100]),
            operations_max: random.between(2, limits::RECORDED_OPERATIONS_MAX),
            writes: random.between(30, 60),
            scans: *random.pick(&[0, 10, 25, 40]),
            deletes: random.between(5, 40),
            read_only: *random.pick(&[5, 10, 20]),
            rollbacks: *random.pick(&[0, 3, 8]),
            relaxed: *random.pick(&[0, 0, 5, 30]),
            blind: *random.pick(&[0, 0, 5, 15]),
            dependent: *random.fork(DEPENDENT).pick(&[0, 0, 10, 30]),
            holds: *random.pick(&[0, 5, 10, 20]),
            held_for_max: random.scale(2, 60),
            locks: *random.pick(&[0, 0, 10, 40, 90]),
            lock_wait_us_max: random.scale(100, 100_000),
            detours: *random.pick(&[0, 0, 5, 20]),
            faults: *random.pick(&[0, 10, 30]),
            turn_ns_max: 5_000,
            options: draw_options(random),
        }
    }

    fn strain_races(&mut self, random: &mut Random) {
        self.strain = Strain::Races;
        self.value_bytes = 8..=8;
        self.transactions += 1_000;
        self.clients = random.between(6, 10);
        self.operations_max = random.between(2, 4);
        self.writes = random.between(40, 60);
        self.scans = *random.pick(&[0, 30, 60, 90]);
        (self.read_only, self.blind) = (0, 0);
        self.relaxed = *random.pick(&[0, 50, 90]);
        self.holds = 0;
        self.turn_ns_max = *random.pick(&[5_000, 50_000, 500_000]);
    }

    fn strain_merges(&mut self, random: &mut Random) {
        self.strain = Strain::Merges;
        let max = limits::RECORDED_VALUE_BYTES_MAX;
        self.value_bytes = max / 2..=max;
        (self.hot, self.are_cold_apart) = (random.between(50, 80), true);
        self.clients = random.between(6, 10);
        self.writes = random.between(40, 60);
        self.scans = *random.pick(&[10, 40, 70]);
        (self.read_only, self.blind, self.rollbacks) = (0, 0, 0);
        self.holds = random.between(20, 50);
        self.held_for_max = random.between(30, 150);
        self.options.log_bytes_max = 2 * limits::SEGMENT_BYTES;
    }

    /// What a reader of a failing seed wants to know.
    pub(super) fn describe(&self) -> String {
        let Plan { level, strain, kinds, keys, value_bytes, clients, .. } = self;
        let log_bytes_max = self.options.log_bytes_max;
        format!(
            "{level}, strains {strain:?}, {kinds:?} of {} keys, values of {value_bytes:?} bytes, \
             {clients} clients, log of {log_bytes_max} bytes",
            keys.len()
        )
    }

    /// A key for a transaction that is hot, or is not.
    pub(super) fn key(&self, random: &mut Random, is_hot: bool) -> u64 {
        let (hot, cold) = self.keys.split_at(self.keys.len().div_ceil(4));
        *random.pick(match is_hot {
            true => hot,
            false if self.are_cold_apart => cold,
            false => &self.keys,
        })
    }
}

/// Some of the first `max` keys, so that a seed's keys lie close together or apart.
fn draw_keys(random: &mut Random, max: u64) -> Vec<u64> {
    let count = random.between(3, max);
    let mut keys: Vec<u64> = (0..max).collect();
    while keys.len() as u64 > count {
        keys.remove(random.below(keys.len() as u64) as usize);
    }
    keys
}

fn draw_options(random: &mut Random) -> Options {
    let is_tight = random.percent(90);
    Options {
        memory_bytes: limits::MEMORY_BYTES_TIGHT,
        page_size_bytes: *random.pick(&[4, 4, 8, 32]) << 10,
        segment_bytes: limits::SEGMENT_BYTES,
        log_bytes_max: match is_tight {
            true => random.between(2, 3) * limits::SEGMENT_BYTES,
            false => limits::LOG_BYTES_AMPLE,
        },
        durability_method: *random.pick(&machine::DURABILITY_METHODS),
        metrics_file: false,
        ..Options::default()
    }
}
