//! A job while its options are being read: what the section and the globals before it have said so
//! far, in fio's own terms where several options make up one thing.

use std::time::Duration;

use super::error::{Notice, Place, Severity};
use super::value::{Expected, KbBase, Parsed};
use crate::disk::job::{
    BlockSize, ByDirection, Distribution, Engine, Extent, FileService, Job, Logs, Mix, Pattern,
    Preallocate, Rate, Sequencer, WriteSync,
};

/// fio's default percentiles.
const PERCENTILES: [f64; 17] = [
    1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95,
    99.99,
];
/// fio's default block size, depth of reports, and seed.
pub(super) const BLOCK_BYTES: u64 = 4096;
const SAMPLE_MS: u64 = 500;
const SEED: u64 = 0x89;

const IN_ORDER: Pattern = Pattern {
    mix: Mix::Read,
    is_random: false,
    ops_per_offset: 1,
    skip_bytes: 0,
    sequencer: Sequencer::Sequential,
};

fn no_logs() -> Logs {
    Logs {
        per_job: true,
        bandwidth_sample_ms: SAMPLE_MS,
        iops_sample_ms: SAMPLE_MS,
        ..Logs::default()
    }
}

/// A job with fio's defaults and nothing asked for: reads 4 KiB blocks in order, one at a time.
#[must_use]
pub fn default_job(name: &str) -> Job {
    Job {
        name: name.to_owned(),
        description: None,
        options: Vec::new(),
        pattern: IN_ORDER,
        read_percent: 50,
        block: ByDirection::all(BlockSize::Fixed(BLOCK_BYTES)),
        engine: Engine::Psync,
        iodepth: 1,
        batch_submit: None,
        batch_complete_min: 1,
        batch_complete_max: None,
        iodepth_low: 1,
        direct: false,
        write_sync: WriteSync::None,
        fsync_every: 0,
        fdatasync_every: 0,
        end_fsync: false,
        fsync_on_close: false,
        filenames: Vec::new(),
        directory: None,
        nrfiles: 1,
        file_service: FileService::RoundRobin,
        size: None,
        io_size: None,
        offset: Extent::Bytes(0),
        offset_increment: Extent::Bytes(0),
        filesize: None,
        overwrite: false,
        preallocate: Preallocate::Native,
        unlink: false,
        invalidate: true,
        zero_buffers: false,
        refill_buffers: false,
        runtime: None,
        time_based: false,
        ramp_time: Duration::ZERO,
        loops: 1,
        start_delay: Duration::ZERO,
        rate: ByDirection::all(Rate::default()),
        rate_cycle: Duration::from_secs(1),
        think_time: None,
        distribution: Distribution::Uniform,
        no_random_map: false,
        rand_seed: SEED,
        rand_repeat: true,
        verify: false,
        do_verify: true,
        verify_fatal: false,
        percentiles: PERCENTILES.to_vec(),
        slat_percentiles: false,
        clat_percentiles: true,
        lat_percentiles: false,
        logs: no_logs(),
        hipri: false,
        register_files: false,
        fixed_buffers: false,
        cpus: None,
        numjobs: 1,
        group_reporting: false,
        new_group: false,
        stonewall: false,
    }
}

/// The number behind the colon of `rw`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RwSuffix {
    Ops(u64),
    SkipBytes(i64),
}

/// Shares of block sizes, as `bssplit` has them.
pub(super) type Split = Vec<(u64, u32)>;

#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) job: Job,
    pub(super) kb_base: KbBase,
    pub(super) rw_suffix: Option<RwSuffix>,
    pub(super) sequencer: Sequencer,
    pub(super) bs: ByDirection<Option<u64>>,
    pub(super) bsrange: ByDirection<Option<(u64, u64)>>,
    pub(super) bssplit: ByDirection<Option<Split>>,
    pub(super) iodepth_low: Option<u32>,
    pub(super) batch_submit: Option<u32>,
    pub(super) batch_complete_max: Option<u32>,
    pub(super) think_pause: Duration,
    pub(super) think_spin: Duration,
    pub(super) think_blocks: u64,
    pub(super) is_seeded: bool,
    pub(super) rand_repeat: bool,
    pub(super) all_rand_repeat: bool,
    pub(super) cpus: Option<Vec<usize>>,
    pub(super) cpus_split: bool,
    /// Where each option was given last, by its first name.
    places: Vec<(&'static str, Place)>,
    /// Where the option stands that is being read.
    pub(super) here: Place,
    pub(super) notices: Vec<Notice>,
}

impl Draft {
    pub(super) fn new(here: Place) -> Draft {
        Draft {
            job: default_job(""),
            kb_base: KbBase::Compatible,
            rw_suffix: None,
            sequencer: Sequencer::Sequential,
            bs: ByDirection::default(),
            bsrange: ByDirection::default(),
            bssplit: ByDirection::default(),
            iodepth_low: None,
            batch_submit: None,
            batch_complete_max: None,
            think_pause: Duration::ZERO,
            think_spin: Duration::ZERO,
            think_blocks: 1,
            is_seeded: false,
            rand_repeat: true,
            all_rand_repeat: false,
            cpus: None,
            cpus_split: false,
            places: Vec::new(),
            here,
            notices: Vec::new(),
        }
    }

    /// Remembers where `option` was given last.
    pub(super) fn given_at(&mut self, option: &'static str, place: &Place) {
        self.places.retain(|(name, _)| *name != option);
        self.places.push((option, place.clone()));
    }

    pub(super) fn place_of(&self, option: &str) -> Option<&Place> {
        self.places.iter().find(|(name, _)| *name == option).map(|(_, place)| place)
    }

    pub(super) fn is_given(&self, option: &str) -> bool {
        self.place_of(option).is_some()
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notice(Severity::Note, text.into());
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.notice(Severity::Warning, text.into());
    }

    fn notice(&mut self, severity: Severity, text: String) {
        self.notices.push(Notice { place: self.here.clone(), severity, text });
    }
}

/// The value of an option as it is read: environment and keywords are in their places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    pub(super) value: Option<&'a str>,
}

impl<'a> Given<'a> {
    /// The value, which may be empty.
    pub(super) fn text(self) -> Parsed<&'a str> {
        self.value.ok_or_else(|| Expected::from("a value behind '='"))
    }
}
