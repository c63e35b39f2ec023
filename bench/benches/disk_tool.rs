//! What the disk tool and the executor under it cost for each operation: the figures that explain a
//! change in CPU per I/O.
//!
//! `cargo bench -p sombra-bench --bench disk_tool`

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on must fail")]

use std::hint::black_box;
use std::path::Path;
use std::sync::mpsc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use sombra_bench::disk::job::{ByDirection, Direction, Job};
use sombra_bench::disk::job_file::{CommandLine, JobFile, Surroundings};
use sombra_bench::disk::stream::{Region, Stream};
use sombra_bench::disk::tally::{IoDone, JobTally};
use sombra_runtime::{
    DriverChoice, IoClass, IoQueue, OpenHow, Runtime, RuntimeOptions, Shard, ShardId, Span,
    TaskClass, TaskSpec,
};

const PROFILE: &str = include_str!("../../fio-profiles/random-read.fio");
const REGION: Region = Region { offset: 0, len: 1 << 30 };
const BLOCK_BYTES: usize = 4096;
const DEPTH: u32 = 32;
const OPERATIONS: u64 = 10_000;

fn jobs(text: &str) -> Vec<Job> {
    JobFile::parse(text, "bench", &CommandLine::default(), &Surroundings::NONE).unwrap().jobs
}

fn job_file(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("job file");
    group.throughput(Throughput::Bytes(PROFILE.len() as u64));
    group.bench_function("parse random-read.fio", |bencher| {
        bencher.iter(|| black_box(jobs(black_box(PROFILE))));
    });
    group.finish();
}

fn stream(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stream, next step");
    for (name, options) in [
        ("sequential", "rw=read"),
        ("random, map", "rw=randread"),
        ("random, zipf", "rw=randread\nrandom_distribution=zipf:1.2"),
        ("mixed", "rw=randrw\nnorandommap\nbssplit=4k/50:8k/50"),
    ] {
        let job = jobs(&format!("[j]\nsize=1g\n{options}\n")).remove(0);
        let mut stream = Stream::new(&job, &[REGION], u64::MAX, 1);
        let any = ByDirection([true; 3]);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let step = stream.next_step(any);
                if step.is_none() {
                    stream.restart();
                }
                black_box(step)
            });
        });
    }
    group.finish();
}

fn tally(criterion: &mut Criterion) {
    let job = jobs("[j]\nsize=1g\n").remove(0);
    let mut tally = JobTally::new(&job);
    let mut at_ns = 0;
    criterion.bench_function("tally, one operation", |bencher| {
        bencher.iter(|| {
            at_ns += 10_000;
            tally.io(black_box(&IoDone {
                direction: Direction::Read,
                offset: at_ns,
                bytes: 4096,
                queued_ns: at_ns,
                submitted_ns: at_ns + 1_000,
                completed_ns: at_ns + 90_000,
                is_short: false,
            }));
            tally.tick(at_ns);
        });
    });
}

/// Reads that complete at once: what is left is the executor's own cost.
async fn null_reads(shard: Shard) {
    let file = shard.open(Path::new("/dev/null"), OpenHow::buffered_read()).await.unwrap();
    let queue = IoQueue::new(&shard, IoClass::Read, DEPTH as usize);
    let span = Span { offset: 0, from: 0, len: BLOCK_BYTES };
    for tag in 0..DEPTH {
        queue.read(tag, &file, span, shard.alloc_buffer(BLOCK_BYTES)).unwrap();
    }
    let mut left = OPERATIONS;
    while left > 0 {
        queue.wait(1).await;
        while let Some(done) = queue.take() {
            left = left.saturating_sub(1);
            if left >= u64::from(DEPTH) {
                let buf = done.buf.unwrap().into_owned().unwrap();
                queue.read(done.tag, &file, span, buf).unwrap();
            }
        }
        if queue.in_flight() == 0 && queue.done() == 0 {
            return;
        }
    }
}

fn executor(criterion: &mut Criterion) {
    let options = RuntimeOptions {
        shards: 1,
        driver: DriverChoice::Null,
        pin: false,
        idle_spin_us: 0,
        ..RuntimeOptions::default()
    };
    let runtime = Runtime::start(options).unwrap();
    let mut group = criterion.benchmark_group("executor");
    group.throughput(Throughput::Elements(OPERATIONS));
    group.bench_function("null reads at depth 32", |bencher| {
        bencher.iter(|| {
            let (sender, receiver) = mpsc::channel();
            runtime.run_on(ShardId::new(0), move |shard| {
                let reads = null_reads(shard.clone());
                shard.spawn(TaskSpec::new("reads", TaskClass::Foreground), async move {
                    reads.await;
                    sender.send(()).unwrap();
                });
            });
            receiver.recv().unwrap();
        });
    });
    group.finish();
    runtime.shutdown();
}

criterion_group!(benches, job_file, stream, tally, executor);
criterion_main!(benches);
