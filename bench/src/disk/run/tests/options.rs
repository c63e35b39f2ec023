use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::disk::job::{
    BlockSize, ByDirection, Direction, Distribution, Extent, FileService, Mix, WriteSync,
};
use crate::disk::testing::{MIB, sequential};

#[test]
fn rw_decides_kind_and_order() {
    use SubmittedKind::{Read, Trim, Write};
    for (mix, kind) in [(Mix::Read, Read), (Mix::Write, Write), (Mix::Trim, Trim)] {
        for is_random in [false, true] {
            let mut job = sequential(mix);
            job.pattern.is_random = is_random;
            let seen = simulate(&job);
            assert!(seen.kinds().iter().all(|found| *found == kind), "{mix:?}");
            let offsets = seen.offsets();
            assert_eq!(offsets.len() as u64, MIB / BLOCK);
            assert_eq!(offsets.is_sorted(), !is_random);
            let distinct: BTreeSet<u64> = offsets.into_iter().collect();
            assert_eq!(distinct.len() as u64, MIB / BLOCK);
        }
    }
}

#[test]
fn rwmixread_decides_the_share_of_reads() {
    for percent in [0, 25, 90] {
        let mut job = sequential(Mix::ReadWrite);
        (job.read_percent, job.size) = (percent, Some(Extent::Bytes(8 * MIB)));
        let seen = simulate(&job);
        let share = seen.count(SubmittedKind::Read) * 100 / seen.stream.len();
        assert!(share.abs_diff(percent as usize) <= 2, "{share} for {percent}");
    }
}

#[test]
fn trimwrite_trims_and_then_writes_each_block() {
    let mut job = sequential(Mix::TrimWrite);
    job.size = Some(Extent::Bytes(4 * BLOCK));
    let seen = simulate(&job);
    let order: Vec<_> = seen.stream.iter().map(|io| (io.kind, io.offset / BLOCK)).collect();
    use SubmittedKind::{Trim, Write};
    let expected = (0..4).flat_map(|block| [(Trim, block), (Write, block)]);
    assert_eq!(order, expected.collect::<Vec<_>>());
}

#[test]
fn bs_bsrange_and_bssplit_decide_lengths() {
    let lengths = |size: BlockSize| {
        let mut job = sequential(Mix::Read);
        job.block = ByDirection::all(size);
        let mut counts = BTreeMap::new();
        for io in simulate(&job).stream {
            *counts.entry(io.len_bytes / BLOCK).or_insert(0) += 1;
        }
        counts
    };
    assert_eq!(lengths(BlockSize::Fixed(4 * BLOCK)), BTreeMap::from([(4, 64)]));
    let range = lengths(BlockSize::Range { min: BLOCK, max: 4 * BLOCK });
    assert_eq!(range.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    let split = lengths(BlockSize::Split(vec![(BLOCK, 80), (8 * BLOCK, 20)]));
    assert!(split[&1] > 3 * split[&8] && split[&8] > 5, "{split:?}");
}

#[test]
fn iodepth_decides_how_many_are_in_flight() {
    for depth in [1, 4, 32] {
        let mut job = sequential(Mix::Read);
        (job.iodepth, job.iodepth_low) = (depth, depth);
        let seen = simulate(&job);
        assert_eq!(seen.most_in_flight(), depth as usize);
        assert_eq!(seen.end().tally.operations(), MIB / BLOCK);
    }
}

/// How many operations were submitted together: time stands still within a turn.
fn groups(seen: &Seen) -> Vec<usize> {
    let mut groups = vec![1];
    for pair in seen.stream.windows(2) {
        match pair[1].at_ns - pair[0].at_ns {
            0 => *groups.last_mut().unwrap() += 1,
            _ => groups.push(1),
        }
    }
    groups
}

#[test]
fn batch_submit_bounds_what_is_handed_over_at_once() {
    let mut job = sequential(Mix::Read);
    (job.iodepth, job.iodepth_low) = (16, 16);
    assert!(groups(&simulate(&job)).contains(&16), "the executor hands over what it has");
    job.batch_submit = Some(4);
    let groups = groups(&simulate(&job));
    assert!(groups.iter().all(|count| *count <= 4) && groups[..4] == [4; 4], "{groups:?}");
}

#[test]
fn batch_complete_min_waits_for_so_many_completions() {
    let mut job = sequential(Mix::Read);
    (job.iodepth, job.iodepth_low, job.batch_submit) = (16, 16, Some(1));
    let singly = simulate(&job);
    assert!(singly.end().tally.completions().total() > 100, "one or a few at a time");
    job.batch_complete_min = 16;
    let together = simulate(&job);
    // All sixteen must be back before the next is submitted.
    let times = together.times_us();
    for (index, round) in times.chunks(16).enumerate().skip(1) {
        let last_before = times[index * 16 - 1];
        assert!(round[0] >= last_before + u64::from(LATENCY_US), "{round:?}");
    }
}

#[test]
fn batch_complete_max_bounds_what_is_taken_at_once() {
    let mut job = sequential(Mix::Read);
    (job.iodepth, job.iodepth_low, job.batch_complete_max) = (16, 16, Some(2));
    let seen = simulate(&job);
    let groups = groups(&seen);
    assert_eq!(groups[0], 16);
    assert!(groups[1..].iter().all(|count| *count <= 2), "{groups:?}");
}

#[test]
fn iodepth_low_lets_the_queue_drain_before_it_is_filled_again() {
    let mut job = sequential(Mix::Read);
    (job.iodepth, job.iodepth_low, job.batch_complete_max) = (16, 4, Some(1));
    let groups = groups(&simulate(&job));
    assert_eq!(groups[0], 16);
    assert!(groups[1..groups.len() - 1].iter().all(|count| *count == 12), "{groups:?}");
}

#[test]
fn sync_decides_the_kind_of_each_write() {
    for (sync, kind) in [
        (WriteSync::None, SubmittedKind::Write),
        (WriteSync::Dsync, SubmittedKind::WriteDsync),
        (WriteSync::Sync, SubmittedKind::WriteSync),
    ] {
        let mut job = sequential(Mix::Write);
        job.write_sync = sync;
        assert_eq!(simulate(&job).count(kind) as u64, MIB / BLOCK);
    }
}

#[test]
fn fsync_and_fdatasync_follow_so_many_writes() {
    let mut job = sequential(Mix::Write);
    job.size = Some(Extent::Bytes(8 * BLOCK));
    job.fdatasync_every = 1;
    let seen = simulate(&job);
    let expected = [SubmittedKind::Write, SubmittedKind::FlushData].repeat(8);
    assert_eq!(seen.kinds(), expected, "at depth 1 each write is flushed before the next");
    assert_eq!(seen.end().tally.syncs().moments.count(), 8);
    (job.fdatasync_every, job.fsync_every) = (0, 4);
    let seen = simulate(&job);
    assert_eq!((seen.count(SubmittedKind::FlushAll), seen.stream.len()), (2, 10));
}

#[test]
fn end_fsync_flushes_once_at_the_end_of_a_writing_job() {
    for end_fsync in [false, true] {
        let mut job = sequential(Mix::Write);
        job.end_fsync = end_fsync;
        let kinds = simulate(&job).kinds();
        let is_flushed = kinds.last() == Some(&SubmittedKind::FlushAll);
        assert_eq!(is_flushed, end_fsync);
    }
    let mut job = sequential(Mix::Read);
    job.end_fsync = true;
    assert_eq!(simulate(&job).count(SubmittedKind::FlushAll), 0, "nothing was written");
}

#[test]
fn size_offset_and_io_size_bound_the_region_and_the_amount() {
    let mut job = sequential(Mix::Read);
    job.offset = Extent::Bytes(16 * BLOCK);
    job.size = Some(Extent::Bytes(4 * BLOCK));
    job.io_size = Some(Extent::Bytes(6 * BLOCK));
    let blocks: Vec<u64> = simulate(&job).offsets().iter().map(|offset| offset / BLOCK).collect();
    assert_eq!(blocks, [16, 17, 18, 19, 16, 17]);
    job.io_size = Some(Extent::Percent(50));
    assert_eq!(simulate(&job).stream.len(), 2);
}

#[test]
fn percentages_are_of_the_file_that_is_there() {
    let disk = disk();
    disk.write_file("job.0.0", &vec![1; MIB as usize]);
    let mut job = sequential(Mix::Read);
    (job.offset, job.size) = (Extent::Percent(50), Some(Extent::Percent(25)));
    let seen = simulate_on(&disk, &job, &Stop::new());
    let offsets = seen.offsets();
    assert_eq!((offsets[0], offsets.len() as u64), (MIB / 2, MIB / 4 / BLOCK));
    job.size = None;
    let rest = simulate_on(&disk, &job, &Stop::new());
    assert_eq!(rest.stream.len() as u64, MIB / 2 / BLOCK, "to the end of what is there");
}

#[test]
fn numjobs_gives_each_clone_its_file_and_offset_increment_its_part() {
    let mut job = sequential(Mix::Read);
    (job.numjobs, job.size) = (3, Some(Extent::Bytes(4 * BLOCK)));
    let seen = simulate(&job);
    let paths: BTreeSet<&str> = seen.stream.iter().map(|io| io.path.as_str()).collect();
    assert_eq!(paths.into_iter().collect::<Vec<_>>(), ["job.0.0", "job.1.0", "job.2.0"]);
    job.filenames = vec!["shared".into()];
    job.offset_increment = Extent::Bytes(8 * BLOCK);
    let seen = simulate(&job);
    for shard in 0..3 {
        let own = seen.stream.iter().filter(|io| io.shard == shard);
        let first = own.map(|io| io.offset).min().unwrap();
        assert_eq!(first, shard as u64 * 8 * BLOCK);
    }
    assert!(seen.stream.iter().all(|io| io.path == "shared"));
}

#[test]
fn nrfiles_and_file_service_type_spread_operations_over_files() {
    let mut job = sequential(Mix::Read);
    (job.nrfiles, job.size) = (2, Some(Extent::Bytes(8 * BLOCK)));
    let paths = |job: &Job| -> String {
        simulate(job)
            .stream
            .iter()
            .map(|io| if io.path.ends_with('0') { 'a' } else { 'b' })
            .collect()
    };
    assert_eq!(paths(&job), "abababab");
    job.file_service = FileService::Sequential;
    assert_eq!(paths(&job), "aaaabbbb");
}

#[test]
fn random_distribution_decides_which_blocks_are_popular() {
    let most = |distribution: Distribution| {
        let mut job = sequential(Mix::Read);
        job.pattern.is_random = true;
        (job.distribution, job.iodepth) = (distribution, 16);
        (job.io_size, job.iodepth_low) = (Some(Extent::Bytes(8 * MIB)), 16);
        let mut counts = BTreeMap::new();
        for offset in simulate(&job).offsets() {
            *counts.entry(offset).or_insert(0) += 1;
        }
        *counts.values().max().unwrap()
    };
    assert_eq!(most(Distribution::Uniform), 8, "each block once in each of eight passes");
    assert!(most(Distribution::Zipf { theta: 1.2, center: None }) > 200);
    assert!(most(Distribution::Pareto { h: 0.1, center: None }) > 60);
    assert!(most(Distribution::Normal { deviation: 5.0, center: None }) > 40);
}

#[test]
fn norandommap_lets_blocks_be_visited_again_at_once() {
    let mut job = sequential(Mix::Read);
    (job.pattern.is_random, job.no_random_map) = (true, true);
    let distinct: BTreeSet<u64> = simulate(&job).offsets().into_iter().collect();
    assert!((distinct.len() as u64) < MIB / BLOCK * 3 / 4);
}

#[test]
fn randseed_decides_the_order_and_randrepeat_repeats_it() {
    let mut job = sequential(Mix::Read);
    job.pattern.is_random = true;
    let first = simulate(&job).offsets();
    assert_eq!(simulate(&job).offsets(), first);
    job.rand_seed = 77;
    assert_ne!(simulate(&job).offsets(), first);
    job.rand_repeat = false;
    let seed = |entropy: u64| {
        let plan = Plan::new(&[Arc::new(job.clone())], entropy).unwrap();
        plan.threads().next().unwrap().seed
    };
    assert_ne!(seed(1), seed(2), "without randrepeat each run has its own order");
}

#[test]
fn loops_repeat_the_pass() {
    let mut job = sequential(Mix::Read);
    (job.loops, job.size) = (3, Some(Extent::Bytes(2 * BLOCK)));
    let blocks: Vec<u64> = simulate(&job).offsets().iter().map(|offset| offset / BLOCK).collect();
    assert_eq!(blocks, [0, 1, 0, 1, 0, 1]);
}

#[test]
fn overwrite_and_preallocate_decide_what_a_writing_job_finds() {
    let mut job = sequential(Mix::Write);
    job.size = Some(Extent::Bytes(4 * BLOCK));
    let len = |job: &Job, before: &[u8]| {
        let disk = disk();
        if !before.is_empty() {
            disk.write_file("job.0.0", before);
        }
        let seen = simulate_on(&disk, job, &Stop::new());
        seen.disk.counters().writes
    };
    assert_eq!(len(&job, &[]), 4, "room is reserved, nothing written beforehand");
    job.overwrite = true;
    assert_eq!(len(&job, &[]), 5, "one request lays the file out");
    assert_eq!(len(&job, &[7; 4 * BLOCK as usize]), 4, "the file is there");
}

#[test]
fn unlink_removes_the_file_afterwards() {
    for unlink in [false, true] {
        let mut job = sequential(Mix::Read);
        job.unlink = unlink;
        assert_eq!(simulate(&job).disk.files().is_empty(), unlink);
    }
}

#[test]
fn trimwrite_never_has_a_trim_beside_its_write() {
    let mut job = sequential(Mix::TrimWrite);
    (job.size, job.iodepth, job.iodepth_low) = (Some(Extent::Bytes(8 * BLOCK)), 16, 16);
    assert_eq!(simulate(&job).most_in_flight(), 1);
}

#[test]
fn bs_of_each_direction_must_fit_the_region() {
    let mut job = sequential(Mix::ReadWrite);
    job.block.0[1] = BlockSize::Fixed(2 * MIB);
    let error = simulate(&job).end().error.clone().unwrap();
    assert!(error.text.contains("no room for one request of 2097152 bytes"), "{}", error.text);
}

#[test]
fn zero_buffers_and_refill_buffers_decide_what_is_written() {
    let content = |change: &dyn Fn(&mut Job)| {
        let mut job = sequential(Mix::Write);
        change(&mut job);
        simulate(&job).disk.read_file("job.0.0").unwrap()
    };
    assert!(content(&|job| job.zero_buffers = true).iter().all(|byte| *byte == 0));
    let same_tail = |bytes: &[u8]| {
        let tails = bytes.chunks(BLOCK as usize).map(|block| &block[8..512]);
        tails.collect::<BTreeSet<_>>().len()
    };
    assert_eq!(same_tail(&content(&|_| ())), 1, "only the stamps differ");
    let refilled = same_tail(&content(&|job| job.refill_buffers = true));
    assert_eq!(refilled as u64, MIB / BLOCK);
    let blocks = content(&|_| ());
    let distinct: BTreeSet<_> = blocks.chunks(512).collect();
    assert_eq!(distinct.len() as u64, MIB / 512, "no sector is stored twice");
}

#[test]
fn short_transfers_are_continued_and_counted() {
    let disk = disk();
    disk.set_options(|options| options.short_io_one_in = 3);
    let mut job = sequential(Mix::Read);
    job.block = ByDirection::all(BlockSize::Fixed(8 * BLOCK));
    let seen = simulate_on(&disk, &job, &Stop::new());
    let tally = &seen.end().tally;
    let reads = tally.direction(Direction::Read);
    assert_eq!((reads.operations, reads.bytes), (32, MIB));
    assert!(reads.short > 3, "{}", reads.short);
    assert!(seen.stream.len() as u64 > 32 && seen.end().error.is_none());
}

#[test]
fn failed_operation_ends_the_job_with_its_place() {
    let disk = disk();
    disk.write_file("job.0.0", &vec![1; MIB as usize]);
    disk.fail_next(sombra_runtime::sim::DiskOp::Read, 10, 5);
    let seen = simulate_on(&disk, &sequential(Mix::Read), &Stop::new());
    let error = seen.end().error.clone().unwrap();
    assert_eq!(error.errno, 5);
    assert!(error.text.starts_with("job.0.0: read of 4096 bytes at 36864: "), "{}", error.text);
    assert_eq!(seen.stream.len(), 10, "nothing is issued afterwards");
}
