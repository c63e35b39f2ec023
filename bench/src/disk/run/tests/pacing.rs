use std::time::Duration;

use super::*;
use crate::disk::job::{Direction, Extent, Mix, Rate, ThinkTime};
use crate::disk::testing::{MIB, sequential};

const MS: u64 = 1_000;

#[test]
fn runtime_ends_the_job_and_time_based_repeats_until_then() {
    let mut job = sequential(Mix::Read);
    job.size = Some(Extent::Bytes(16 * BLOCK));
    job.runtime = Some(Duration::from_millis(20));
    let seen = simulate(&job);
    assert_eq!(seen.stream.len(), 16, "the size is done before the time");
    job.time_based = true;
    let seen = simulate(&job);
    let last = *seen.times_us().last().unwrap();
    assert!((19 * MS..=20 * MS).contains(&last), "{last}");
    assert!(seen.end().measured >= Duration::from_millis(20));
    job.time_based = false;
    job.size = Some(Extent::Bytes(16 * MIB));
    let seen = simulate(&job);
    assert!(*seen.times_us().last().unwrap() <= 20 * MS, "the time is over before the size");
}

#[test]
fn ramp_time_is_run_and_not_counted() {
    let mut job = sequential(Mix::Read);
    (job.time_based, job.runtime) = (true, Some(Duration::from_millis(20)));
    job.ramp_time = Duration::from_millis(10);
    let seen = simulate(&job);
    let last = *seen.times_us().last().unwrap();
    assert!((29 * MS..=30 * MS).contains(&last), "the runtime comes after the ramp: {last}");
    let counted = seen.end().tally.operations() as usize;
    let in_ramp = seen.times_us().iter().filter(|at| **at < 10 * MS).count();
    assert!(counted.abs_diff(seen.stream.len() - in_ramp) <= 2, "{counted} of {in_ramp}");
    let measured = seen.end().measured;
    assert!(measured < Duration::from_millis(21), "{measured:?}");
}

#[test]
fn startdelay_waits_before_the_first_operation() {
    let first = |delay: Duration| {
        let mut job = sequential(Mix::Read);
        job.start_delay = delay;
        simulate(&job).stream[0].at_ns / 1_000_000
    };
    let (now, later) = (first(Duration::ZERO), first(Duration::from_millis(50)));
    assert!((49..=52).contains(&(later - now)), "{now} {later}");
}

#[test]
fn rate_iops_spaces_the_operations() {
    let mut job = sequential(Mix::Read);
    job.size = Some(Extent::Bytes(32 * BLOCK));
    job.rate.0[0].iops = Some(1_000);
    for (index, at) in simulate(&job).times_us().into_iter().enumerate() {
        assert!(at.abs_diff(index as u64 * MS) < 50, "operation {index} at {at} us");
    }
}

#[test]
fn rate_spaces_the_bytes() {
    let mut job = sequential(Mix::Write);
    job.size = Some(Extent::Bytes(32 * BLOCK));
    job.rate.0[1].bytes_per_s = Some(BLOCK * 500);
    for (index, at) in simulate(&job).times_us().into_iter().enumerate() {
        assert!(at.abs_diff(index as u64 * 2 * MS) < 50, "operation {index} at {at} us");
    }
}

#[test]
fn rate_of_one_direction_leaves_the_other_alone() {
    let mut job = sequential(Mix::ReadWrite);
    (job.time_based, job.runtime) = (true, Some(Duration::from_millis(100)));
    job.rate.0[1] = Rate { iops: Some(100), ..Rate::default() };
    let seen = simulate(&job);
    let (reads, writes) = (seen.count(SubmittedKind::Read), seen.count(SubmittedKind::Write));
    assert!((9..=11).contains(&writes) && reads > 500, "{reads} reads, {writes} writes");
}

#[test]
fn rate_min_fails_a_job_that_is_too_slow() {
    let mut job = sequential(Mix::Read);
    (job.time_based, job.runtime) = (true, Some(Duration::from_secs(1)));
    (job.rate.0[0].iops_min, job.rate_cycle) = (Some(50_000), Duration::from_millis(10));
    let seen = simulate(&job);
    let error = seen.end().error.clone().unwrap();
    assert!(error.text.starts_with("read of at least 50000 operations/s expected"), "{error:?}");
    assert!(*seen.times_us().last().unwrap() < 12 * MS, "after the first cycle");
    job.rate.0[0].iops_min = Some(100);
    assert!(simulate(&job).end().error.is_none());
}

#[test]
fn rate_min_asks_nothing_of_a_direction_that_the_job_has_not_nor_of_ramp_and_verification() {
    let mut job = sequential(Mix::Write);
    let floor = Rate { iops_min: Some(100), ..Rate::default() };
    // As the job file's single value is read: for all directions.
    (job.rate.0, job.rate_cycle) = ([floor; 3], Duration::from_millis(2));
    job.size = Some(Extent::Bytes(64 * BLOCK));
    assert_eq!(simulate(&job).end().error, None);
    job.verify = true;
    let seen = simulate(&job);
    assert_eq!(seen.end().error, None, "reading back is slower than nothing");
    assert_eq!(seen.count(SubmittedKind::Read), 64);
}

#[test]
fn end_fsync_is_part_of_the_measured_time() {
    let mut job = sequential(Mix::Write);
    job.size = Some(Extent::Bytes(BLOCK));
    let without = simulate(&job).end().measured;
    job.end_fsync = true;
    let with = simulate(&job).end().measured;
    assert!(with >= without + Duration::from_micros(LATENCY_US.into()), "{without:?} {with:?}");
}

#[test]
fn thinktime_pauses_after_its_blocks_with_nothing_in_flight() {
    let mut job = sequential(Mix::Read);
    (job.size, job.iodepth, job.iodepth_low) = (Some(Extent::Bytes(12 * BLOCK)), 4, 4);
    let pause = Duration::from_millis(5);
    job.think_time = Some(ThinkTime { pause, spin: Duration::ZERO, blocks: 4 });
    let times = simulate(&job).times_us();
    for round in times.chunks(4) {
        assert!(round[3] - round[0] < 100, "four go together: {times:?}");
    }
    for index in [4, 8] {
        let pause = times[index] - times[index - 1];
        assert!((5 * MS..6 * MS).contains(&pause), "the pause begins when all are back: {pause}");
    }
}

#[test]
fn stop_ends_the_job_at_once_and_keeps_what_was_measured() {
    let mut job = sequential(Mix::Read);
    (job.time_based, job.runtime) = (true, Some(Duration::from_secs(3_600)));
    let stop = Stop::new();
    stop.request();
    let seen = simulate_on(&disk(), &job, &stop);
    assert!(seen.stream.len() <= 1 && seen.end().error.is_none());
    assert_eq!(seen.end().tally.direction(Direction::Read).operations, seen.stream.len() as u64);
}
