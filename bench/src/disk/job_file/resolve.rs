//! What a job's options make together: fio's rules of which one counts, and its silent bounds,
//! told aloud.

use super::draft::{BLOCK_BYTES, Draft, RwSuffix};
use crate::disk::job::{
    BlockSize, CpuChoice, Direction, Distribution, Engine, Mix, Sequencer, ThinkTime,
};

/// Works out the fields of the job that several options make up.
pub(super) fn finish(draft: &mut Draft) {
    pattern(draft);
    blocks(draft);
    depths(draft);
    names_of_logs(draft);
    let job = &mut draft.job;
    job.cpus = draft.cpus.take().map(|cpus| CpuChoice { cpus, split: draft.cpus_split });
    // A seed is there to have the same run again, so it repeats whatever `randrepeat` says.
    job.rand_repeat = draft.rand_repeat || draft.all_rand_repeat || draft.is_seeded;
    if !draft.think_pause.is_zero() {
        job.think_time = Some(ThinkTime {
            pause: draft.think_pause,
            spin: draft.think_spin.min(draft.think_pause),
            blocks: draft.think_blocks,
        });
    }
    // A skewed job visits its hot blocks again and again: fio drops the map of visited ones too.
    if job.distribution != Distribution::Uniform {
        job.no_random_map = true;
    }
    if job.time_based && job.runtime.is_some() && job.io_size.is_some() {
        draft.note("option 'io_size' does not end a job with time_based=1: 'runtime' does");
    }
}

fn pattern(draft: &mut Draft) {
    let pattern = &mut draft.job.pattern;
    pattern.sequencer = draft.sequencer;
    match draft.rw_suffix {
        Some(RwSuffix::Ops(ops)) => pattern.ops_per_offset = ops,
        Some(RwSuffix::SkipBytes(bytes)) => pattern.skip_bytes = bytes,
        None => {}
    }
    let is_without_use = draft.is_given("rw_sequencer")
        && draft.sequencer == Sequencer::Identical
        && !matches!(draft.rw_suffix, Some(RwSuffix::Ops(_)));
    if is_without_use {
        draft.note("option 'rw_sequencer' has no effect without a number, as in rw=randread:8");
    }
}

/// `bssplit` counts before `bsrange`, that before `bs`, wherever they stand.
fn blocks(draft: &mut Draft) {
    for direction in Direction::ALL {
        let block = match (
            draft.bssplit.of_mut(direction).take(),
            *draft.bsrange.of(direction),
            *draft.bs.of(direction),
        ) {
            (Some(split), _, _) if split.len() == 1 => BlockSize::Fixed(split[0].0),
            (Some(split), _, _) => BlockSize::Split(split),
            (None, Some((min, max)), _) if min == max => BlockSize::Fixed(min),
            (None, Some((min, max)), _) => BlockSize::Range { min, max },
            (None, None, bs) => BlockSize::Fixed(bs.unwrap_or(BLOCK_BYTES)),
        };
        *draft.job.block.of_mut(direction) = block;
    }
    if draft.job.pattern.mix == Mix::TrimWrite {
        // The write follows into the block that was trimmed.
        let write = draft.job.block.of(Direction::Write).clone();
        *draft.job.block.of_mut(Direction::Trim) = write;
    }
}

fn depths(draft: &mut Draft) {
    if draft.job.engine == Engine::Psync && draft.job.iodepth > 1 {
        let asked = draft.job.iodepth;
        draft.note(format!("option 'iodepth': psync runs one operation at a time, not {asked}"));
        draft.job.iodepth = 1;
    }
    let depth = draft.job.iodepth;
    let bounded = |draft: &mut Draft, option: &str, asked: u32| {
        if asked > depth {
            draft.note(format!("option '{option}': {depth}, the depth, in place of {asked}"));
        }
        asked.min(depth)
    };
    draft.job.batch_submit = match draft.batch_submit {
        None | Some(0) => None,
        Some(batch) => Some(bounded(draft, "iodepth_batch", batch)),
    };
    let min = draft.job.batch_complete_min;
    draft.job.batch_complete_min = bounded(draft, "iodepth_batch_complete_min", min);
    draft.job.batch_complete_max = draft.batch_complete_max.map(|max| {
        bounded(draft, "iodepth_batch_complete_max", max).max(draft.job.batch_complete_min).max(1)
    });
    let low = match draft.iodepth_low {
        None | Some(0) => depth,
        Some(low) => bounded(draft, "iodepth_low", low),
    };
    draft.job.iodepth_low = low;
}

fn names_of_logs(draft: &mut Draft) {
    let name = draft.job.name.clone();
    let logs = &mut draft.job.logs;
    for log in [&mut logs.bandwidth, &mut logs.latency, &mut logs.iops] {
        if log.as_deref() == Some("") {
            *log = Some(name.clone());
        }
    }
}
