//! What one seed is about. Each seed draws its own mixture, so that rare combinations are not
//! drowned by an average.

use std::time::Duration;

use sombra::{OpenMode, Options};

use super::faults::FaultMix;
use crate::limits;
use crate::machine;
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
    load: Load,
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
    /// Crashes and closes after which newest root copies rot, and seeds that end with rotten
    /// data pages.
    pub(super) rot_percent: u64,
    pub(super) faults: FaultMix,
}

/// What a seed strains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// Nothing: all that is written fits the windows and the log.
    Ample,
    /// The log's bound: laggards are merged, segments recycled.
    Log,
    /// The windows' share of memory, and mostly the log too.
    Memory,
    /// The data file's bound: merges get stuck and unstuck.
    Data,
    /// The log's bound, by keyspaces that come, fill and go.
    Churn,
}

impl std::str::FromStr for Load {
    type Err = String;

    fn from_str(word: &str) -> Result<Load, String> {
        let loads = [Load::Ample, Load::Log, Load::Memory, Load::Data, Load::Churn];
        let named = |load: &Load| format!("{load:?}").eq_ignore_ascii_case(word);
        let found = loads.into_iter().find(named);
        found.ok_or_else(|| format!("`{word}` is none of {loads:?}"))
    }
}

/// How often each load is drawn, in percent. Most seeds must cross merges.
const LOAD_PERCENT: [(Load, u64); 5] =
    [(Load::Ample, 3), (Load::Log, 50), (Load::Memory, 35), (Load::Data, 4), (Load::Churn, 8)];

impl Load {
    fn draw(random: &mut Random) -> Load {
        let mut draw = random.below(100);
        for (load, percent) in LOAD_PERCENT {
            match draw.checked_sub(percent) {
                Some(rest) => draw = rest,
                None => return load,
            }
        }
        Load::Ample
    }
}

impl Swarm {
    /// Draws everything; `load` takes the place of the load that is drawn.
    pub(super) fn draw(random: &mut Random, load: Option<Load>) -> Swarm {
        let mut mix = Mix::draw(random);
        let drawn = Load::draw(random);
        let load = load.unwrap_or(drawn);
        let options = draw_options(random, load);
        shape(&mut mix, random, load);
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
            load,
            mix,
            episodes: random.between(3, 7) as u32,
            clients: random.between(4, limits::CLIENTS_MAX),
            shards_max: random.between(2, 4),
            on_shard_percent: *random.pick(&[0, 50, 50, 50, 80, 100]),
            reuse_names: random.percent(60),
            crash_in_open_percent,
            ending_weights,
            options,
            disk_bytes: random.percent(5).then(|| random.between(8, 24) << 20),
            rot_percent: *random.pick(&[0, 0, 30, 60]),
            faults: FaultMix::draw(random),
        }
    }

    /// What a reader of a failing seed wants to know.
    pub(super) fn describe(&self) -> String {
        let Options { page_size_bytes, memory_bytes, log_bytes_max, data_bytes_max, .. } =
            self.options;
        let (memory, log) = (memory_bytes >> 20, log_bytes_max >> 20);
        format!(
            "load {:?}, pages of {page_size_bytes}, memory {memory} MiB, log {log} MiB, \
             data {data_bytes_max}, {} keys of up to {} bytes, {} clients",
            self.load, self.mix.keys, self.mix.small_bytes_max, self.clients
        )
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

fn draw_options(random: &mut Random, load: Load) -> Options {
    let tight = limits::MEMORY_BYTES_TIGHT;
    let memory_bytes = match load {
        Load::Ample => limits::MEMORY_BYTES_AMPLE,
        Load::Log | Load::Churn => *random.pick(&[tight, limits::MEMORY_BYTES_AMPLE]),
        Load::Memory | Load::Data => *random.pick(&[tight, tight, tight, 2 * tight, tight]),
    };
    // A budget above the smallest is felt by no seed: the log's bound then makes it merge.
    let is_log_tight = match load {
        Load::Ample => false,
        Load::Log => true,
        Load::Data => random.percent(50),
        Load::Memory | Load::Churn => memory_bytes > tight || random.percent(70),
    };
    let segment_bytes = limits::SEGMENT_BYTES * *random.pick(&[1, 1, 1, 2]);
    let page_kib = *random.pick(&[4, 4, 8, 16, 32]);
    Options {
        memory_bytes,
        page_size_bytes: page_kib << 10,
        data_bytes_max: match load {
            Load::Data => {
                let pages = sombra::limits::DATA_PAGES_MIN * u64::from(page_kib << 10);
                (random.between(16, 24) << 20).max(pages)
            }
            Load::Ample | Load::Log | Load::Memory | Load::Churn => u64::MAX,
        },
        segment_bytes,
        log_bytes_max: match is_log_tight {
            true => random.between(2, 4) * segment_bytes,
            false => limits::LOG_BYTES_AMPLE,
        },
        open_mode: OpenMode::CreateIfMissing,
        durability_method: *random.pick(&machine::DURABILITY_METHODS),
        metrics_file: random.percent(20),
        scrub_bytes_per_second: *random.pick(&[0, 4 << 20, 64 << 20, 1 << 30]),
        scrub_interval: Duration::from_millis(random.scale(1, 10_000)),
        ..Options::default()
    }
}

/// Makes the values large enough for the load to be felt within a seed's few operations.
fn shape(mix: &mut Mix, random: &mut Random, load: Load) {
    match load {
        Load::Ample => {}
        Load::Log => {
            mix.keys = mix.keys.max(80);
            mix.small_bytes_max = random.scale(4_000, 10_000);
        }
        Load::Churn => {
            mix.keyspace_percent = random.between(40, 90);
            mix.drop_percent = *random.pick(&[3, 10, 40]);
            mix.relaxed_percent = *random.pick(&[0, 50, 100]);
            (mix.read_percent, mix.hold_percent, mix.scan_percent) = (5, 1, 1);
            mix.small_bytes_max = random.scale(3_000, 8_000);
        }
        Load::Memory | Load::Data => {
            mix.keys = random.scale(150, 400) as u32;
            mix.small_bytes_max = random.scale(4_000, 10_000);
            mix.large_percent = mix.large_percent.max(random.between(3, 12));
            mix.scan_percent = mix.scan_percent.min(2);
        }
    }
    if load == Load::Data {
        (mix.keys, mix.large_percent) = (400, random.between(5, 30));
        mix.large_bytes_max = random.scale(12_000, u64::from(limits::VALUE_BYTES_MAX));
        mix.delete_percent = random.between(10, 40);
    } else if load == Load::Memory && random.percent(15) {
        // Only many large values reach the bound itself.
        (mix.keys, mix.large_percent, mix.delete_percent) = (400, random.between(20, 60), 5);
        mix.large_bytes_max = u64::from(limits::VALUE_BYTES_MAX);
    }
}
