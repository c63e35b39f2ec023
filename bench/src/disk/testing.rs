//! Jobs for the tests of this module's parts.

use std::time::Duration;

use super::job::*;

const PERCENTILES: [f64; 17] = [
    1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95,
    99.99,
];

pub(crate) const MIB: u64 = 1 << 20;

/// Goes through a file of one MiB in order.
pub(crate) fn sequential(mix: Mix) -> Job {
    Job { size: Some(Extent::Bytes(MIB)), ..job("job", mix) }
}

/// A job with every option at its default.
pub(crate) fn job(name: &str, mix: Mix) -> Job {
    Job {
        name: name.to_owned(),
        description: None,
        options: Vec::new(),
        pattern: pattern(mix),
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
        size: Some(Extent::Bytes(1 << 20)),
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
        rate: ByDirection::default(),
        rate_cycle: Duration::from_secs(1),
        think_time: None,
        distribution: Distribution::Uniform,
        no_random_map: false,
        rand_seed: 1,
        rand_repeat: true,
        verify: false,
        do_verify: true,
        verify_fatal: false,
        percentiles: PERCENTILES.to_vec(),
        slat_percentiles: false,
        clat_percentiles: true,
        lat_percentiles: false,
        logs: logs(),
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

fn pattern(mix: Mix) -> Pattern {
    let (is_random, ops_per_offset, skip_bytes) = (false, 1, 0);
    Pattern { mix, is_random, ops_per_offset, skip_bytes, sequencer: Sequencer::Sequential }
}

fn logs() -> Logs {
    let (bandwidth_sample_ms, iops_sample_ms) = (500, 500);
    Logs { per_job: true, bandwidth_sample_ms, iops_sample_ms, ..Logs::default() }
}
