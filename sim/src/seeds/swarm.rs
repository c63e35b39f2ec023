//! What one seed is about. Each seed draws its own mixture, so that rare combinations are not
//! drowned by an average.

use sombra::{DurabilityMethod, OpenMode, Options};

use crate::limits;
use crate::random::Random;
use crate::workload::Mix;

/// How an episode ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// The machine loses power: what was not flushed is kept, lost or torn by sectors.
    PowerCut,
    /// The process dies; what it had written is still in the device.
    Kill,
    /// The process dies, then the machine loses power before anybody opens the store.
    KillThenPowerCut,
    /// The store is closed, then the machine loses power.
    Close,
    /// The last handle goes away without a close, then the machine loses power.
    DropHandles,
    /// A write or a flush fails; the store must stop, then the machine loses power.
    Fault,
}

/// One seed's drawing.
#[derive(Clone, Debug)]
pub(super) struct Swarm {
    pub(super) mix: Mix,
    pub(super) episodes: u32,
    pub(super) clients: u64,
    pub(super) shards_max: u64,
    pub(super) on_shard_percent: u64,
    pub(super) reuse_names: bool,
    /// Episodes that crash while they open.
    pub(super) crash_in_open_percent: u64,
    pub(super) ending_weights: [(Ending, u64); 6],
    pub(super) options: Options,
    pub(super) disk_bytes: Option<u64>,
}

impl Swarm {
    pub(super) fn draw(random: &mut Random) -> Swarm {
        let mut mix = Mix::draw(random);
        let options = draw_options(random);
        if options.memory_bytes == limits::MEMORY_BYTES_TIGHT {
            // Only many large values reach the smallest budget that opens.
            (mix.keys, mix.large_percent) = (400, 60);
            (mix.large_bytes_max, mix.delete_percent) = (u64::from(limits::VALUE_BYTES_MAX), 0);
        }
        let mut weight = |often: u64, high: u64| match random.percent(often) {
            true => random.between(1, high),
            false => 0,
        };
        let ending_weights = [
            (Ending::PowerCut, 4 + weight(80, 10)),
            (Ending::Kill, weight(70, 6)),
            (Ending::KillThenPowerCut, weight(70, 6)),
            (Ending::Close, weight(60, 4)),
            (Ending::DropHandles, weight(40, 3)),
            (Ending::Fault, weight(30, 4)),
        ];
        let crash_in_open_percent = weight(70, 40);
        Swarm {
            mix,
            episodes: random.between(3, 7) as u32,
            clients: random.between(4, limits::CLIENTS_MAX),
            shards_max: random.between(2, 4),
            on_shard_percent: *random.pick(&[0, 50, 50, 50, 80, 100]),
            reuse_names: random.percent(60),
            crash_in_open_percent,
            ending_weights,
            options,
            disk_bytes: random.percent(5).then(|| random.between(6, 12) << 20),
        }
    }

    pub(super) fn ending(&self, random: &mut Random) -> Ending {
        let total = self.ending_weights.iter().map(|(_, weight)| weight).sum();
        let mut draw = random.below(total);
        for (ending, weight) in self.ending_weights {
            if draw < weight {
                return ending;
            }
            draw -= weight;
        }
        Ending::PowerCut
    }
}

fn draw_options(random: &mut Random) -> Options {
    let methods = [
        None,
        Some(DurabilityMethod::Dsync),
        Some(DurabilityMethod::Dsync),
        Some(DurabilityMethod::RingFlush),
        Some(DurabilityMethod::PoolFlush),
    ];
    let tight_memory = random.percent(4);
    let tight_log = random.percent(12);
    Options {
        memory_bytes: match tight_memory {
            true => limits::MEMORY_BYTES_TIGHT,
            false => limits::MEMORY_BYTES_AMPLE,
        },
        segment_bytes: limits::SEGMENT_BYTES,
        log_bytes_max: match tight_log {
            true => random.between(2, 5) * limits::SEGMENT_BYTES,
            false => limits::LOG_BYTES_AMPLE,
        },
        open_mode: OpenMode::CreateIfMissing,
        durability_method: *random.pick(&methods),
        metrics_file: random.percent(20),
    }
}
