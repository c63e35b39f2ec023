//! A job that asks for nothing special, for tests to change.

use std::time::Duration;

use super::job::{
    BlockSize, ByDirection, Distribution, Engine, Extent, FileService, Job, Logs, Mix, Pattern,
    Preallocate, Rate, Sequencer, WriteSync,
};

pub(crate) const MIB: u64 = 1 << 20;

pub(crate) fn job() -> Job {
    Job {
        name: "job".to_owned(),
        description: None,
        options: Vec::new(),
        pattern: Pattern {
            mix: Mix::Read,
            is_random: false,
            ops_per_offset: 1,
            skip_bytes: 0,
            sequencer: Sequencer::Sequential,
        },
        read_percent: 50,
        block: ByDirection::all(BlockSize::Fixed(4096)),
        engine: Engine::IoUring,
        iodepth: 1,
        batch_submit: None,
        batch_complete_min: 1,
        batch_complete_max: None,
        iodepth_low: 1,
        direct: true,
        write_sync: WriteSync::None,
        fsync_every: 0,
        fdatasync_every: 0,
        end_fsync: false,
        fsync_on_close: false,
        filenames: Vec::new(),
        directory: None,
        nrfiles: 1,
        file_service: FileService::RoundRobin,
        size: Some(Extent::Bytes(MIB)),
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
        rate: ByDirection([Rate::default(); 3]),
        rate_cycle: Duration::from_secs(1),
        think_time: None,
        distribution: Distribution::Uniform,
        no_random_map: false,
        rand_seed: 0,
        rand_repeat: true,
        verify: false,
        do_verify: true,
        verify_fatal: false,
        percentiles: vec![50.0, 99.0],
        slat_percentiles: false,
        clat_percentiles: true,
        lat_percentiles: false,
        logs: Logs::default(),
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

pub(crate) fn sequential(mix: Mix) -> Job {
    let mut job = job();
    job.pattern.mix = mix;
    job
}
