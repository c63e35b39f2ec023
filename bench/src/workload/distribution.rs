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
    /// YCSB's skewed latest: the newest record is the most popular, by zipfian rank.
    Latest,
}

impl Distribution {
    /// The name that reports and options use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Distribution::Uniform => "uniform",
            Distribution::Zipfian => "zipfian",
            Distribution::Latest => "latest",
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
    /// Records `0..span` are drawn from, those that do not exist yet included.
    span: u64,
    distribution: Distribution,
    ranks: ZipfianRanks,
}

/// Part of the loaded records by which a growing set is expected to grow.
const GROWTH_SHARE: u64 = 8;
/// Draws of one choice: a draw beyond the records that exist is repeated, one time in nine.
const DRAWS_MAX: u32 = 64;

impl Chooser {
    /// Chooses among records `0..record_count`.
    #[must_use]
    pub fn new(distribution: Distribution, record_count: u64) -> Chooser {
        assert!(record_count > 0, "there is nothing to choose from");
        let ranks = match distribution {
            Distribution::Latest => ZipfianRanks::over(record_count),
            Distribution::Uniform | Distribution::Zipfian => ZipfianRanks::scrambled(),
        };
        Chooser { span: record_count, distribution, ranks }
    }

    /// Chooses among records that `record_count` were loaded of and that grow meanwhile. As in
    /// YCSB the drawn span is fixed, so that popular records stay popular while others are added.
    #[must_use]
    pub fn growing(distribution: Distribution, record_count: u64) -> Chooser {
        let growth = (record_count / GROWTH_SHARE).max(1);
        Chooser { span: record_count + growth, ..Chooser::new(distribution, record_count) }
    }

    /// The next record, of those `0..existing` that exist now.
    pub fn draw(&self, random: &mut Random, existing: u64) -> u64 {
        assert!(existing > 0, "there is nothing to choose from");
        for _ in 0..DRAWS_MAX {
            let record = match self.distribution {
                Distribution::Uniform => random.below(self.span),
                Distribution::Zipfian => fnv_hash64(self.ranks.draw(random)) % self.span,
                Distribution::Latest => (existing - 1).saturating_sub(self.ranks.draw(random)),
            };
            if record < existing {
                return record;
            }
        }
        random.below(existing)
    }
}

/// Ranks by Zipf's law, rank 0 the most frequent.
///
/// Source: Gray et al., "Quickly Generating Billion-Record Synthetic Databases", SIGMOD 1994,
/// in the form and with the constants of YCSB's `ScrambledZipfianGenerator`.
#[derive(Clone, Debug)]
pub(crate) struct ZipfianRanks {
    items: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
    second_threshold: f64,
}

impl ZipfianRanks {
    /// Ranks of the fixed space that is hashed onto the records.
    fn scrambled() -> ZipfianRanks {
        ZipfianRanks::new(ZIPFIAN_ITEMS, ZIPFIAN_ZETA, ZIPFIAN_THETA)
    }

    fn over(record_count: u64) -> ZipfianRanks {
        ZipfianRanks::with_theta(record_count, ZIPFIAN_THETA)
    }

    /// Ranks `0..count`. Shape: theta above 0 and not 1.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub(crate) fn with_theta(count: u64, theta: f64) -> ZipfianRanks {
        ZipfianRanks::new(count as f64, zeta(count, theta), theta)
    }

    fn new(items: f64, zeta: f64, theta: f64) -> ZipfianRanks {
        let zeta_of_two = 1.0 + 0.5f64.powf(theta);
        let numerator = 1.0 - (2.0 / items).powf(1.0 - theta);
        ZipfianRanks {
            items,
            zeta,
            alpha: 1.0 / (1.0 - theta),
            // Of one or two items every draw is decided before this is used.
            eta: if items > 2.0 { numerator / (1.0 - zeta_of_two / zeta) } else { 0.0 },
            second_threshold: zeta_of_two,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the product lies in 0..items"
    )]
    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 || self.items <= 1.0 {
            return 0;
        }
        if scaled < self.second_threshold || self.items <= 2.0 {
            return 1;
        }
        let rank = self.items * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        rank.min(self.items - 1.0) as u64
    }
}

/// Terms of zeta that are added one by one; what follows is as smooth as an integral.
const ZETA_TERMS_EXACT: u64 = 10_000;

/// The sum of 1 / i^theta over i in 1..=n.
///
/// Shape: theta above 0, not 1. Cost: the named number of terms at most. Error: below 10^-9 of the
/// result. Source: Euler-Maclaurin, first correction.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) fn zeta(n: u64, theta: f64) -> f64 {
    let exact = n.min(ZETA_TERMS_EXACT);
    let head: f64 = (1..=exact).map(|i| (i as f64).powf(-theta)).sum();
    if n == exact {
        return head;
    }
    let (from, to) = (exact as f64, n as f64);
    let integral = (to.powf(1.0 - theta) - from.powf(1.0 - theta)) / (1.0 - theta);
    head + integral + (to.powf(-theta) - from.powf(-theta)) / 2.0
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
