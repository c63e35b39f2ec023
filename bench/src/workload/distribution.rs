//! Which record an operation touches.

use serde::Serialize;

use crate::random::Random;

/// How records are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Every record is as likely as any other.
    Uniform,
    /// YCSB's scrambled zipfian, constant 0.99: popular records lie scattered over the key space.
    Zipfian,
}

impl Distribution {
    /// The name that reports and options use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Distribution::Uniform => "uniform",
            Distribution::Zipfian => "zipfian",
        }
    }
}

/// YCSB draws ranks from a fixed space of this many items and hashes them onto the records, so
/// that the skew does not depend on how many records are loaded.
const ZIPFIAN_ITEMS: f64 = 10_000_000_001.0;
/// zeta(10^10, 0.99), as YCSB carries it.
const ZIPFIAN_ZETA: f64 = 26.469_028_201_783_02;
const ZIPFIAN_THETA: f64 = 0.99;

/// Draws records by one distribution.
#[derive(Clone, Debug)]
pub struct Chooser {
    record_count: u64,
    distribution: Distribution,
    zipfian: ZipfianRanks,
}

impl Chooser {
    /// Chooses among records `0..record_count`.
    #[must_use]
    pub fn new(distribution: Distribution, record_count: u64) -> Chooser {
        assert!(record_count > 0, "there is nothing to choose from");
        Chooser { record_count, distribution, zipfian: ZipfianRanks::new() }
    }

    /// The next record.
    pub fn draw(&self, random: &mut Random) -> u64 {
        match self.distribution {
            Distribution::Uniform => random.below(self.record_count),
            Distribution::Zipfian => fnv_hash64(self.zipfian.draw(random)) % self.record_count,
        }
    }
}

/// Ranks by Zipf's law, rank 0 the most frequent.
///
/// Source: Gray et al., "Quickly Generating Billion-Record Synthetic Databases", SIGMOD 1994,
/// in the form and with the constants of YCSB's `ScrambledZipfianGenerator`.
#[derive(Clone, Debug)]
struct ZipfianRanks {
    alpha: f64,
    eta: f64,
    second_threshold: f64,
}

impl ZipfianRanks {
    fn new() -> ZipfianRanks {
        let zeta_of_two = 1.0 + 0.5f64.powf(ZIPFIAN_THETA);
        let numerator = 1.0 - (2.0 / ZIPFIAN_ITEMS).powf(1.0 - ZIPFIAN_THETA);
        ZipfianRanks {
            alpha: 1.0 / (1.0 - ZIPFIAN_THETA),
            eta: numerator / (1.0 - zeta_of_two / ZIPFIAN_ZETA),
            second_threshold: zeta_of_two,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the product lies in 0..ZIPFIAN_ITEMS"
    )]
    fn draw(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let scaled = unit * ZIPFIAN_ZETA;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < self.second_threshold {
            return 1;
        }
        (ZIPFIAN_ITEMS * (self.eta * unit - self.eta + 1.0).powf(self.alpha)) as u64
    }
}

/// YCSB's `fnvhash64`: FNV-1a over the eight bytes of a number, made non-negative.
#[must_use]
pub fn fnv_hash64(number: u64) -> u64 {
    const OFFSET_BASIS: u64 = 0xCBF2_9CE4_8422_2325;
    const PRIME: u64 = 1_099_511_628_211;
    let hash = number
        .to_le_bytes()
        .iter()
        .fold(OFFSET_BASIS, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(PRIME));
    hash.cast_signed().unsigned_abs()
}
