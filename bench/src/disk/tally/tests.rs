use super::buckets::testing;
use super::*;
use crate::disk::testing::job;

fn done(direction: Direction, queued_ns: u64, submitted_ns: u64, completed_ns: u64) -> IoDone {
    let (offset, bytes, is_short) = (8192, 4096, false);
    IoDone { direction, offset, bytes, queued_ns, submitted_ns, completed_ns, is_short }
}

#[test]
fn buckets_have_the_middles_that_fio_prints() {
    // Values as measured, and the bins in which fio 3.33 counts them.
    let known = [(0, 0), (110, 110), (127, 127), (140, 141), (150, 151), (1_024, 1_032)];
    for (value_ns, bin) in known.into_iter().chain([(999, 996), (2_906_628, 2_899_968)]) {
        assert_eq!(testing::middle_for(value_ns), bin, "{value_ns}");
    }
    let middles: Vec<u64> = testing::middles().collect();
    for bin in [262, 270, 548, 1_448, 4_128, 33_024, 66_048, 2_039_808, 2_056_192] {
        assert!(middles.binary_search(&bin).is_ok(), "{bin} is a bin of fio's");
    }
    assert!(middles.is_sorted());
}

#[test]
fn buckets_keep_every_value_within_a_hundredth() {
    let mut value_ns = 1u64;
    while value_ns < 1 << 34 {
        let middle = testing::middle_for(value_ns);
        assert!(middle.abs_diff(value_ns) as f64 <= value_ns as f64 / 100.0, "{value_ns}");
        value_ns += value_ns / 7 + 1;
    }
    let largest = testing::middles().last().unwrap();
    assert_eq!(testing::middle_for(u64::MAX), largest);
}

#[test]
fn buckets_percentile_is_the_bucket_that_reaches_the_share() {
    let mut buckets = Buckets::default();
    assert!(buckets.percentiles(&[50.0]).is_empty());
    (1..=100).for_each(|value| buckets.add(value));
    assert_eq!(buckets.percentiles(&[1.0, 50.0, 99.0, 99.99, 100.0]), [1, 50, 99, 100, 100]);
}

#[test]
fn moments_are_exact_and_add_up() {
    let (mut left, mut right) = (Moments::default(), Moments::default());
    [2u64, 4, 4, 4].into_iter().for_each(|value| left.add(value));
    [5u64, 5, 7, 9].into_iter().for_each(|value| right.add(value));
    left.merge(&right);
    assert_eq!((left.count(), left.min(), left.max()), (8, 2, 9));
    assert!((left.mean() - 5.0).abs() < 1e-12);
    assert!((left.deviation() - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
    let none = Moments::default();
    assert_eq!((none.min(), none.max(), none.mean(), none.deviation()), (0, 0, 0.0, 0.0));
}

#[test]
fn moments_of_large_values_lose_no_deviation() {
    let mut moments = Moments::default();
    let base = 1u64 << 40;
    (0..1_000_000).for_each(|step| moments.add(base + step % 2));
    assert!((moments.deviation() - 0.5).abs() < 1e-6, "{}", moments.deviation());
}

#[test]
fn levels_class_depths_and_batches_as_fio_does() {
    let mut levels = Levels::default();
    [1, 2, 3, 4, 7, 8, 31, 32, 63, 64, 900].into_iter().for_each(|depth| levels.add_depth(depth));
    assert_eq!(levels.0, [1, 2, 2, 1, 1, 2, 2]);
    let mut levels = Levels::default();
    [0, 1, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65].into_iter().for_each(|size| levels.add_batch(size));
    assert_eq!(levels.0, [1, 2, 2, 2, 2, 2, 1]);
}

#[test]
fn magnitudes_class_latencies_as_fio_does() {
    let mut magnitudes = Magnitudes::default();
    let values = [0, 1, 2, 3, 4, 9, 10, 249, 250, 499, 500, 749, 750, 999];
    values.into_iter().for_each(|value| magnitudes.add(value));
    assert_eq!(magnitudes.ns, [2, 2, 2, 1, 0, 0, 1, 2, 2, 2]);
    [1_000, 999_999, 1_000_000].into_iter().for_each(|value| magnitudes.add(value));
    assert_eq!((magnitudes.us[0], magnitudes.us[9], magnitudes.ms[0]), (1, 1, 1));
    let seconds = [999, 1_000, 1_999, 2_000, 90_000].map(|ms| ms * 1_000_000);
    seconds.into_iter().for_each(|value| magnitudes.add(value));
    assert_eq!(magnitudes.ms[9..], [1, 2, 2]);
}

#[test]
fn tally_splits_a_latency_into_submission_and_completion() {
    let mut tally = JobTally::new(&job("a", Mix::ReadWrite));
    tally.io(&done(Direction::Write, 100, 350, 1_350));
    tally.io(&IoDone { bytes: 512, is_short: true, ..done(Direction::Write, 0, 10, 500) });
    let writes = tally.direction(Direction::Write);
    assert_eq!((writes.operations, writes.bytes, writes.short), (2, 4_608, 1));
    let max = |latency: &Latency| latency.moments.max();
    assert_eq!(max(&writes.submission), 250);
    assert_eq!(max(&writes.completion), 1_000);
    assert_eq!(max(&writes.whole), 1_250);
    assert!(writes.submission.buckets.is_none() && writes.completion.buckets.is_some());
    assert_eq!(tally.direction(Direction::Read).operations, 0);
}

#[test]
fn tally_of_an_engine_with_one_call_has_no_submission_latency() {
    let mut job = job("a", Mix::Read);
    job.engine = Engine::Psync;
    let mut tally = JobTally::new(&job);
    tally.io(&done(Direction::Read, 5, 10, 20));
    assert_eq!(tally.direction(Direction::Read).submission.moments.count(), 0);
}

#[test]
fn tally_samples_each_interval_by_its_true_length() {
    const MS: u64 = 1_000_000;
    let mut tally = JobTally::new(&job("a", Mix::Read));
    for step in 1..=500 {
        tally.io(&done(Direction::Read, step * MS - 10, step * MS - 5, step * MS));
        tally.tick(step * MS);
    }
    // Then a stall: one second, in which one read is done.
    tally.io(&done(Direction::Read, 501 * MS, 501 * MS, 1_500 * MS));
    tally.tick(1_500 * MS);
    // An empty interval is no sample, nor is one that has not ended.
    tally.tick(2_100 * MS);
    tally.io(&done(Direction::Read, 0, 1, 2_200 * MS));
    tally.finish(2_200 * MS);
    let reads = tally.direction(Direction::Read);
    assert_eq!((reads.iops.samples(), reads.iops.min(), reads.iops.max()), (2, 1, 1_000));
    assert_eq!((reads.bandwidth.min(), reads.bandwidth.max()), (4, 4_000));
    assert!((reads.iops.mean() - 500.5).abs() < 1e-9);
    assert_eq!(tally.run_ns(Direction::Read), 2_200 * MS);
    assert_eq!(tally.run_ns(Direction::Write), 0);
}

#[test]
fn tally_forgets_the_ramp() {
    let mut tally = JobTally::new(&job("a", Mix::Read));
    tally.io(&done(Direction::Read, 0, 1, 2));
    tally.sync(0, 9);
    tally.depth(1);
    tally.submitted(1);
    tally.completed(1);
    tally.end_ramp(1_000);
    tally.finish(4_000);
    assert_eq!(tally.operations(), 0);
    assert_eq!(tally.syncs().moments.count(), 0);
    let levels = [tally.depths(), tally.submissions(), tally.completions()];
    assert!(levels.iter().all(|levels| levels.total() == 0));
    tally.io(&done(Direction::Read, 3_000, 3_000, 4_000));
    assert_eq!(tally.run_ns(Direction::Read), 3_000);
}

#[test]
fn tally_gives_the_time_of_verification_to_reads() {
    let mut tally = JobTally::new(&job("a", Mix::Write));
    tally.io(&done(Direction::Write, 0, 1, 2));
    tally.verifying(true, 700);
    tally.io(&done(Direction::Read, 800, 801, 802));
    tally.finish(1_000);
    assert_eq!((tally.run_ns(Direction::Write), tally.run_ns(Direction::Read)), (700, 300));
}

#[test]
fn tally_merge_adds_what_ran_side_by_side() {
    const MS: u64 = 1_000_000;
    let one = |count: u64| {
        let mut tally = JobTally::new(&job("a", Mix::Read));
        (0..count).for_each(|_| tally.io(&done(Direction::Read, 0, 100, 200)));
        tally.tick(500 * MS);
        tally.finish(500 * MS + count);
        tally
    };
    let mut both = one(100);
    both.merge(&one(50));
    let reads = both.direction(Direction::Read);
    assert_eq!((reads.operations, reads.completion.moments.count()), (150, 150));
    assert_eq!(reads.completion.buckets.as_ref().unwrap().count(), 150);
    assert_eq!((reads.iops.min(), reads.iops.max(), reads.iops.samples()), (300, 300, 2));
    assert_eq!(both.run_ns(Direction::Read), 500 * MS + 100);
}

#[test]
fn log_of_each_operation_keeps_place_and_size() {
    let mut job = job("a", Mix::ReadWrite);
    job.logs.latency = Some("a".to_owned());
    job.logs.bandwidth = Some("a".to_owned());
    let mut tally = JobTally::new(&job);
    tally.end_ramp(5_000_000);
    tally.io(&done(Direction::Write, 7_000_000, 7_000_100, 7_004_196));
    let entry = tally.log(LogKind::Completion).unwrap().iter().next().copied().unwrap();
    assert_eq!((entry.time_ms, entry.value, entry.block_bytes), (2, 4_096, 4_096));
    assert_eq!((entry.direction(), entry.offset()), (Direction::Write, 8_192));
    let rate = tally.log(LogKind::Bandwidth).unwrap().iter().next().copied().unwrap();
    assert_eq!(rate.value, 1_000_000_000 / 1_024);
    assert!(tally.log(LogKind::Iops).is_none());
}

#[test]
fn log_averages_its_interval_and_the_last_part_of_one() {
    const MS: u64 = 1_000_000;
    let mut job = job("a", Mix::Read);
    job.logs.latency = Some("a".to_owned());
    job.logs.iops = Some("a".to_owned());
    job.logs.average_ms = 100;
    let run = |job: &Job| {
        let mut tally = JobTally::new(job);
        for step in 1..=15 {
            tally.io(&done(Direction::Read, 0, 0, step * 10 * MS));
            tally.tick(step * 10 * MS);
        }
        tally.finish(150 * MS);
        let of = |kind| tally.log(kind).unwrap().iter().map(|e| (e.time_ms, e.value)).collect();
        let (whole, iops): (Vec<_>, Vec<_>) = (of(LogKind::Whole), of(LogKind::Iops));
        (whole, iops)
    };
    let (whole, iops) = run(&job);
    assert_eq!(whole, [(100, 55 * MS), (150, 130 * MS)]);
    assert_eq!(iops, [(100, 100), (150, 100)]);
    job.logs.max_value = true;
    assert_eq!(run(&job).0, [(100, 100 * MS), (150, 150 * MS)]);
}

#[test]
fn log_beyond_its_bound_is_counted() {
    let mut entries = Entries::with_room(5_000);
    (0..5_003).for_each(|value| entries.push(LogEntry::new(0, value, Direction::Read)));
    assert_eq!((entries.len(), entries.dropped()), (5_000, 3));
    assert!(entries.iter().map(|entry| entry.value).eq(0..5_000));
}

#[test]
fn intervals_that_close_late_do_not_drift() {
    let mut intervals = rates::Intervals::new(100);
    let (mut closed, mut spent_ns) = (0, 0);
    for now_ns in (0..10_000_000_000u64).step_by(7_000_000) {
        if now_ns >= intervals.due_ns() {
            spent_ns += intervals.close(now_ns);
            closed += 1;
        }
    }
    assert_eq!(closed, 99);
    assert!((9_893_000_000..=9_907_000_000).contains(&spent_ns), "{spent_ns}");
    intervals.close(12_345_000_000);
    assert_eq!(intervals.due_ns(), 12_400_000_000);
}
