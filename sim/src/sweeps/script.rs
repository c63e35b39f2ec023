//! The workload: five lives of one store, the same every time.

use sombra::{DurabilityMethod, OpenMode, Options, Routing};

use crate::limits;
use crate::model::{KeyId, SpaceId, Write};

pub(super) const SPLIT: SpaceId = SpaceId(0);
pub(super) const WHOLE: SpaceId = SpaceId(1);
const TEMPORARY: SpaceId = SpaceId(2);
/// The same name in its second life.
const TEMPORARY_AGAIN: SpaceId = SpaceId(3);

/// Keys of each keyspace.
pub(super) const KEYS: u32 = 48;

/// One thing that the worker does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Create(SpaceId),
    Drop(SpaceId),
    /// Writes of one key without a transaction around them.
    Put(KeyId, u32),
    Delete(KeyId),
    Commit {
        writes: Vec<Write>,
        relaxed: bool,
    },
    /// Takes a snapshot and reads; reads it again later; lets it go.
    Hold,
    Reread,
    Release,
    Get(KeyId),
    Scan(SpaceId),
    /// Lets timers and merges run, for so many milliseconds.
    Pause(u64),
}

/// How a life ends that no failure ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    Close,
    Kill,
    PowerCut,
}

/// One opening of the store, what is done in it, and its end.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) options: Options,
    pub(super) steps: Vec<Step>,
    pub(super) ending: Ending,
}

pub(super) const fn name(space: SpaceId) -> &'static str {
    match space.0 {
        0 => "split",
        1 => "whole",
        _ => "temporary",
    }
}

pub(super) fn routing(space: SpaceId) -> Routing {
    match space.0 {
        // Its two tablets lie on the two shards.
        0 => Routing::range_split(["8000"]),
        1 => Routing::range(),
        _ => Routing::hash_tablets(4, 4),
    }
}

pub(super) fn options(mode: OpenMode, method: Option<DurabilityMethod>) -> Options {
    Options {
        memory_bytes: limits::MEMORY_BYTES_TIGHT,
        page_size_bytes: 4 << 10,
        segment_bytes: limits::SEGMENT_BYTES,
        log_bytes_max: 4 * limits::SEGMENT_BYTES,
        open_mode: mode,
        durability_method: method,
        metrics_file: false,
        ..Options::default()
    }
}

/// All lives in their order: creation with the measurement of the device and a death, replay with
/// merges, views, recycled segments and keyspaces that come and go, trees that are there already
/// and a power cut, an opening that only reads, and a last one.
pub(super) fn lives() -> Vec<Life> {
    let method = Some(DurabilityMethod::RingFlush);
    let write = options(OpenMode::CreateIfMissing, method);
    let life = |options: &Options, steps: Vec<Step>, ending| {
        let options = options.clone();
        Life { options, steps, ending }
    };
    vec![
        life(&options(OpenMode::CreateIfMissing, None), first(), Ending::Kill),
        life(&write, merging(), Ending::Close),
        life(&write, on_trees(), Ending::PowerCut),
        life(&options(OpenMode::ReadOnly, method), reading(), Ending::Close),
        life(&write, last(), Ending::Close),
    ]
}

/// What a reopened store must take: a write in each keyspace and one over both shards.
pub(super) fn writes_again() -> Vec<Step> {
    vec![
        Step::Create(SPLIT),
        Step::Create(WHOLE),
        Step::Put(key(SPLIT, 1), 3_000),
        Step::Put(key(WHOLE, 2), 20_000),
        across(11, 200, false),
        Step::Delete(key(WHOLE, 3)),
        Step::Scan(SPLIT),
    ]
}

/// A write that asks for next to nothing.
pub(super) const fn small_put() -> Step {
    Step::Put(key(SPLIT, 13), 100)
}

const fn key(space: SpaceId, index: u32) -> KeyId {
    KeyId { space, index: index % KEYS }
}

/// A transaction over several keys of both keyspaces, one of them deleted.
fn across(round: u32, len: u32, relaxed: bool) -> Step {
    let mut writes: Vec<Write> = (0..5)
        .map(|at| Write { key: key(SPLIT, round + at * 9), value_len: Some(len + at * 100) })
        .collect();
    writes.push(Write { key: key(WHOLE, round), value_len: Some(len) });
    writes.push(Write { key: key(WHOLE, round + 1), value_len: None });
    Step::Commit { writes, relaxed }
}

/// `count` steps that write about 20 KiB each, values in leaves and values that need pages of
/// their own, and one delete in eight.
fn fill(round: u32, count: u32) -> impl Iterator<Item = Step> {
    (0..count).map(move |at| {
        let number = round * 5 + at * 7;
        let space = if at % 3 == 0 { WHOLE } else { SPLIT };
        match at % 8 {
            7 => Step::Delete(key(space, number + 3)),
            5 => across(number, 1_500, false),
            3 => across(number, 9_000, at % 16 == 11),
            other => {
                Step::Put(key(space, number), [48 << 10, 2_000, 30_000, 700][other as usize % 4])
            }
        }
    })
}

fn first() -> Vec<Step> {
    let mut steps = vec![Step::Create(SPLIT), Step::Create(WHOLE)];
    steps.extend(fill(1, 10));
    steps.push(Step::Get(key(SPLIT, 5)));
    steps
}

fn merging() -> Vec<Step> {
    let mut steps = vec![Step::Scan(SPLIT), Step::Hold];
    steps.extend(fill(2, 40));
    steps.extend([Step::Reread, Step::Create(TEMPORARY)]);
    steps.extend((0..4).map(|at| Step::Put(key(TEMPORARY, at), 9_000)));
    steps.push(Step::Drop(TEMPORARY));
    steps.extend(fill(3, 40));
    steps.extend([Step::Create(TEMPORARY_AGAIN), Step::Put(key(TEMPORARY_AGAIN, 1), 500)]);
    steps.extend([Step::Reread, Step::Pause(400)]);
    steps.extend(fill(4, 40));
    steps.extend([Step::Reread, Step::Release, across(20, 600, true), across(21, 600, false)]);
    steps.extend([Step::Scan(WHOLE), Step::Pause(600)]);
    steps
}

fn on_trees() -> Vec<Step> {
    let mut steps: Vec<Step> = (0..6).map(|at| Step::Get(key(SPLIT, at * 8))).collect();
    steps.push(Step::Hold);
    steps.extend(fill(5, 50));
    steps.extend([Step::Scan(SPLIT), Step::Reread, Step::Release, Step::Pause(300)]);
    steps.extend(fill(6, 12));
    // The last of these is relaxed: without this the power cut may take it.
    steps.push(small_put());
    steps
}

fn reading() -> Vec<Step> {
    vec![Step::Scan(SPLIT), Step::Get(key(WHOLE, 7)), Step::Scan(WHOLE)]
}

fn last() -> Vec<Step> {
    let mut steps = vec![Step::Scan(WHOLE), Step::Drop(TEMPORARY_AGAIN)];
    steps.extend(fill(7, 12));
    steps.extend([Step::Pause(300), Step::Scan(SPLIT)]);
    steps
}
