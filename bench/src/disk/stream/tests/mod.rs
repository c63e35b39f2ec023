mod against_fio;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::disk::job::{Distribution, Pattern, Sequencer};
use crate::disk::testing::{MIB, sequential};

const BLOCK: u64 = 4096;
const ANY: ByDirection<bool> = ByDirection([true; 3]);

fn steps_of(job: &Job, regions: &[Region], bytes: u64) -> Vec<Step> {
    let mut stream = Stream::new(job, regions, bytes, 1);
    std::iter::from_fn(|| stream.next_step(ANY)).collect()
}

fn steps(job: &Job) -> Vec<Step> {
    steps_of(job, &[Region { offset: 0, len: MIB }], MIB)
}

fn ios(steps: &[Step]) -> Vec<(Direction, u64, u64)> {
    let io = |step: &Step| match step.action {
        Action::Io { direction, offset, len } => Some((direction, offset, len)),
        _ => None,
    };
    steps.iter().filter_map(io).collect()
}

fn offsets(steps: &[Step]) -> Vec<u64> {
    ios(steps).into_iter().map(|(_, offset, _)| offset).collect()
}

#[test]
fn sequential_stream_covers_the_region_in_order() {
    for (mix, direction) in
        [(Mix::Read, Direction::Read), (Mix::Write, Direction::Write), (Mix::Trim, Direction::Trim)]
    {
        let region = Region { offset: 8 * BLOCK, len: MIB + 100 };
        let steps = steps_of(&sequential(mix), &[region], MIB + 100);
        let expected: Vec<_> =
            (0..256).map(|block| (direction, (8 + block) * BLOCK, BLOCK)).collect();
        assert_eq!(ios(&steps)[..256], expected, "what is left is less than a request");
    }
}

#[test]
fn sequential_stream_wraps_when_more_is_asked_than_there_is() {
    let region = Region { offset: 0, len: 3 * BLOCK };
    let steps = steps_of(&sequential(Mix::Read), &[region], 7 * BLOCK);
    assert_eq!(offsets(&steps), [0, 1, 2, 0, 1, 2, 0].map(|block| block * BLOCK));
}

#[test]
fn stream_ends_with_a_whole_request() {
    let region = Region { offset: 0, len: MIB };
    let steps = steps_of(&sequential(Mix::Read), &[region], 2 * BLOCK + 100);
    assert_eq!(ios(&steps).iter().map(|io| io.2).collect::<Vec<_>>(), [BLOCK; 3]);
}

#[test]
fn sequential_stream_skips_and_goes_backwards() {
    let mut skipping = sequential(Mix::Write);
    skipping.pattern.skip_bytes = BLOCK as i64;
    let region = Region { offset: 0, len: 8 * BLOCK };
    assert_eq!(
        offsets(&steps_of(&skipping, &[region], 4 * BLOCK)),
        [0, 2, 4, 6].map(|block| block * BLOCK)
    );
    skipping.pattern.skip_bytes = -2 * BLOCK as i64;
    assert_eq!(
        offsets(&steps_of(&skipping, &[region], 4 * BLOCK)),
        [7, 6, 5, 4].map(|block| block * BLOCK)
    );
}

fn random(mix: Mix) -> Job {
    let mut job = sequential(mix);
    job.pattern.is_random = true;
    job
}

#[test]
fn random_stream_visits_each_block_once_and_not_in_order() {
    let steps = steps(&random(Mix::Read));
    let offsets = offsets(&steps);
    let distinct: BTreeSet<u64> = offsets.iter().copied().collect();
    assert_eq!((offsets.len(), distinct.len()), (256, 256));
    assert!(!offsets.is_sorted());
    assert!(distinct.iter().all(|offset| offset.is_multiple_of(BLOCK)));
}

#[test]
fn random_stream_without_map_visits_blocks_again() {
    let mut job = random(Mix::Read);
    job.no_random_map = true;
    let distinct: BTreeSet<u64> = offsets(&steps(&job)).into_iter().collect();
    // 256 draws of 256 leave about a third unvisited.
    assert!((140..190).contains(&distinct.len()), "{}", distinct.len());
}

#[test]
fn random_stream_of_a_popularity_draws_popular_blocks_often() {
    let mut job = random(Mix::Read);
    job.distribution = Distribution::Zipf { theta: 1.2, center: None };
    let mut counts = BTreeMap::new();
    for offset in offsets(&steps_of(&job, &[Region { offset: 0, len: MIB }], 16 * MIB)) {
        *counts.entry(offset).or_insert(0u32) += 1;
    }
    let most = counts.values().max().unwrap();
    assert!(*most > 500, "of 4,096: {most}");
}

#[test]
fn random_stream_with_a_count_draws_a_place_only_so_often() {
    let mut job = random(Mix::Read);
    job.no_random_map = true;
    job.pattern.ops_per_offset = 4;
    for run in offsets(&steps(&job)).chunks(4) {
        // At the end of the region a run is cut short by a new draw.
        let runs_on = run.windows(2).all(|pair| pair[1] == pair[0] + BLOCK);
        assert!(runs_on || run[0] + 4 * BLOCK > MIB, "{run:?}");
    }
    job.pattern.sequencer = Sequencer::Identical;
    assert!(offsets(&steps(&job)).chunks(4).all(|run| run.iter().all(|at| *at == run[0])));
}

#[test]
fn mixed_stream_keeps_its_share_of_reads_and_each_direction_its_own_order() {
    let mut job = sequential(Mix::ReadWrite);
    job.read_percent = 70;
    let steps = steps_of(&job, &[Region { offset: 0, len: 64 * MIB }], 64 * MIB);
    let reads = ios(&steps).iter().filter(|io| io.0 == Direction::Read).count() as f64;
    let share = reads / steps.len() as f64;
    assert!((share - 0.7).abs() < 0.02, "{share}");
    for direction in [Direction::Read, Direction::Write] {
        let own: Vec<u64> =
            ios(&steps).into_iter().filter(|io| io.0 == direction).map(|io| io.1).collect();
        assert!(own.iter().enumerate().all(|(at, offset)| *offset == at as u64 * BLOCK));
    }
}

#[test]
fn mixed_stream_takes_the_direction_that_is_allowed() {
    let job = random(Mix::ReadWrite);
    let mut stream = Stream::new(&job, &[Region { offset: 0, len: MIB }], MIB, 1);
    let only_reads = ByDirection([true, false, false]);
    let steps: Vec<Step> = std::iter::from_fn(|| stream.next_step(only_reads)).collect();
    assert!(ios(&steps).iter().all(|io| io.0 == Direction::Read) && steps.len() == 256);
}

#[test]
fn trimwrite_stream_writes_what_it_trimmed() {
    let steps = steps(&random(Mix::TrimWrite));
    assert_eq!(steps.len(), 512);
    for pair in ios(&steps).chunks(2) {
        assert_eq!((pair[0].0, pair[1].0), (Direction::Trim, Direction::Write));
        assert_eq!(pair[0].1, pair[1].1);
    }
}

#[test]
fn stream_flushes_after_so_many_writes() {
    let mut job = sequential(Mix::Write);
    job.fsync_every = 4;
    job.fdatasync_every = 3;
    let steps = steps_of(&job, &[Region { offset: 0, len: 12 * BLOCK }], 12 * BLOCK);
    let order: String = steps
        .iter()
        .map(|step| match step.action {
            Action::Io { .. } => 'w',
            Action::FlushData => 'd',
            Action::FlushAll => 's',
        })
        .collect();
    assert_eq!(order, "wwwdwswwdwwswdwwwsd");
}

#[test]
fn stream_draws_each_directions_sizes_and_loses_no_byte() {
    let mut job = random(Mix::ReadWrite);
    job.block = ByDirection([
        BlockSize::Range { min: BLOCK, max: 4 * BLOCK },
        BlockSize::Split(vec![(BLOCK, 50), (2 * BLOCK, 50)]),
        BlockSize::Fixed(BLOCK),
    ]);
    let steps = steps(&job);
    let mut covered = BTreeSet::new();
    for (direction, offset, len) in ios(&steps) {
        let most = job.block.of(direction).max_bytes();
        assert!(len <= most && len.is_multiple_of(BLOCK) && offset + len <= MIB);
        assert!((offset / BLOCK..(offset + len) / BLOCK).all(|block| covered.insert(block)));
    }
    assert_eq!(covered.len(), 256, "each block once");
}

#[test]
fn stream_serves_files_in_turn_or_one_after_the_other() {
    let mut job = sequential(Mix::Read);
    let regions = [Region { offset: 0, len: 2 * BLOCK }; 3];
    let files = |job: &Job| -> Vec<usize> {
        steps_of(job, &regions, 6 * BLOCK).iter().map(|step| step.file).collect()
    };
    assert_eq!(files(&job), [0, 1, 2, 0, 1, 2]);
    job.file_service = FileService::Sequential;
    assert_eq!(files(&job), [0, 0, 1, 1, 2, 2]);
    job.file_service = FileService::Random;
    let mut drawn = files(&job);
    assert_ne!(drawn, [0, 1, 2, 0, 1, 2]);
    drawn.sort_unstable();
    assert_eq!(drawn, [0, 0, 1, 1, 2, 2]);
}

#[test]
fn stream_of_the_same_seed_is_the_same() {
    let job = random(Mix::ReadWrite);
    let region = [Region { offset: 0, len: MIB }];
    let of = |seed| {
        let mut stream = Stream::new(&job, &region, MIB, seed);
        std::iter::from_fn(|| stream.next_step(ANY)).collect::<Vec<_>>()
    };
    assert_eq!(of(3), of(3));
    assert_ne!(of(3), of(4));
}

#[test]
fn stream_restarts_from_the_beginning_with_every_block_free() {
    let job = random(Mix::Read);
    let mut stream = Stream::new(&job, &[Region { offset: 0, len: MIB }], MIB, 1);
    let mut pass = || {
        let steps: Vec<Step> = std::iter::from_fn(|| stream.next_step(ANY)).collect();
        stream.restart();
        offsets(&steps)
    };
    let (mut first, mut second) = (pass(), pass());
    assert_ne!(first, second, "the draws go on");
    first.sort_unstable();
    second.sort_unstable();
    assert_eq!(first, second);
}

#[test]
fn pattern_of_a_job_says_which_directions_it_has() {
    let has = |mix: Mix| Direction::ALL.map(|direction| mix.has(direction));
    assert_eq!(has(Mix::TrimWrite), [false, true, true]);
    assert_eq!(has(Mix::ReadWrite), [true, true, false]);
    let Pattern { ops_per_offset, .. } = sequential(Mix::Read).pattern;
    assert_eq!(ops_per_offset, 1);
}
