//! What operations a job makes, how large, with which engine, and how many at once.

use super::{OptionRow, accept, one_of, refuse, set};
use crate::disk::job::{Distribution, Engine, Mix, Sequencer, WriteSync};
use crate::disk::job_file::draft::{Draft, Given, RwSuffix, Split};
use crate::disk::job_file::value::{
    KbBase, Parsed, bounded, bounded_u32, by_direction, colon_list, flag, float, number, range,
};
use crate::limits::{
    DISK_JOB_BLOCK_BYTES_MAX, DISK_JOB_IODEPTH_MAX, DISK_JOB_OPS_PER_OFFSET_MAX,
    DISK_JOB_SPLIT_PARTS_MAX,
};

pub(super) const ROWS: &[OptionRow] = &[
    set(&["rw", "readwrite"], rw),
    set(&["rw_sequencer"], |draft, given| {
        let choices = [("sequential", Sequencer::Sequential), ("identical", Sequencer::Identical)];
        one_of(given.text()?, &choices).map(|sequencer| draft.sequencer = sequencer)
    }),
    set(&["rwmixread"], |draft, given| {
        percent(draft, given).map(|share| draft.job.read_percent = share)
    }),
    set(&["rwmixwrite"], |draft, given| {
        percent(draft, given).map(|share| draft.job.read_percent = 100 - share)
    }),
    set(&["bs", "blocksize"], bs),
    set(&["bsrange", "blocksize_range"], bsrange),
    set(&["bssplit"], bssplit),
    set(&["ioengine"], ioengine),
    set(&["iodepth"], |draft, given| {
        let depth = bounded_u32(given.text()?, draft.kb_base, 1, DISK_JOB_IODEPTH_MAX)?;
        draft.job.iodepth = depth;
        Ok(())
    }),
    set(&["iodepth_batch", "iodepth_batch_submit"], |draft, given| {
        depth(draft, given).map(|batch| draft.batch_submit = Some(batch))
    }),
    set(&["iodepth_batch_complete_min", "iodepth_batch_complete"], |draft, given| {
        depth(draft, given).map(|batch| draft.job.batch_complete_min = batch)
    }),
    set(&["iodepth_batch_complete_max"], |draft, given| {
        depth(draft, given).map(|batch| draft.batch_complete_max = Some(batch))
    }),
    set(&["iodepth_low"], |draft, given| {
        depth(draft, given).map(|low| draft.iodepth_low = Some(low))
    }),
    set(&["direct"], |draft, given| flag(given.value).map(|is| draft.job.direct = is)),
    set(&["buffered"], |draft, given| flag(given.value).map(|is| draft.job.direct = !is)),
    set(&["sync"], |draft, given| {
        let choices = [
            ("none", WriteSync::None),
            ("0", WriteSync::None),
            ("sync", WriteSync::Sync),
            ("1", WriteSync::Sync),
            ("dsync", WriteSync::Dsync),
        ];
        one_of(given.value.unwrap_or("1"), &choices).map(|sync| draft.job.write_sync = sync)
    }),
    set(&["fsync"], |draft, given| {
        let every = bounded(given.text()?, draft.kb_base, 0, u32::MAX.into())?;
        draft.job.fsync_every = every;
        Ok(())
    }),
    set(&["fdatasync"], |draft, given| {
        let every = bounded(given.text()?, draft.kb_base, 0, u32::MAX.into())?;
        draft.job.fdatasync_every = every;
        Ok(())
    }),
    set(&["end_fsync"], |draft, given| flag(given.value).map(|is| draft.job.end_fsync = is)),
    set(&["fsync_on_close"], |draft, given| {
        flag(given.value).map(|is| draft.job.fsync_on_close = is)
    }),
    set(&["hipri"], |draft, given| flag(given.value).map(|is| draft.job.hipri = is)),
    set(&["registerfiles"], |draft, given| {
        flag(given.value).map(|is| draft.job.register_files = is)
    }),
    set(&["fixedbufs"], |draft, given| flag(given.value).map(|is| draft.job.fixed_buffers = is)),
    set(&["zero_buffers"], |draft, given| flag(given.value).map(|is| draft.job.zero_buffers = is)),
    set(&["refill_buffers"], |draft, given| {
        flag(given.value).map(|is| draft.job.refill_buffers = is)
    }),
    set(&["random_distribution"], random_distribution),
    set(&["norandommap"], |draft, given| flag(given.value).map(|is| draft.job.no_random_map = is)),
    set(&["randseed"], |draft, given| {
        draft.job.rand_seed = number(given.text()?, draft.kb_base)?;
        draft.is_seeded = true;
        Ok(())
    }),
    set(&["randrepeat"], |draft, given| flag(given.value).map(|is| draft.rand_repeat = is)),
    set(&["allrandrepeat"], |draft, given| flag(given.value).map(|is| draft.all_rand_repeat = is)),
    set(&["random_generator"], |draft, given| {
        let choices = [("tausworthe", ()), ("lfsr", ()), ("tausworthe64", ())];
        one_of(given.text()?, &choices)?;
        draft
            .warn("option 'random_generator': this tool draws offsets with a generator of its own");
        Ok(())
    }),
    refuse(&["scramble_buffers"], &["1"], "buffers are changed for each write, or `zero_buffers`"),
    accept(&["softrandommap"], ""),
];

fn rw(draft: &mut Draft, given: Given<'_>) -> Parsed<()> {
    let text = given.text()?;
    let (mode, suffix) = match text.split_once(':') {
        Some((mode, suffix)) => (mode, Some(suffix)),
        None => (text, None),
    };
    let modes = [
        ("read", (Mix::Read, false)),
        ("write", (Mix::Write, false)),
        ("trim", (Mix::Trim, false)),
        ("randread", (Mix::Read, true)),
        ("randwrite", (Mix::Write, true)),
        ("randtrim", (Mix::Trim, true)),
        ("rw", (Mix::ReadWrite, false)),
        ("readwrite", (Mix::ReadWrite, false)),
        ("randrw", (Mix::ReadWrite, true)),
        ("trimwrite", (Mix::TrimWrite, false)),
        ("randtrimwrite", (Mix::TrimWrite, true)),
    ];
    let (mix, is_random) = one_of(mode.trim(), &modes)?;
    draft.rw_suffix = match suffix.map(str::trim) {
        None => None,
        Some(count) if is_random => Some(RwSuffix::Ops(ops(count, draft.kb_base)?)),
        Some(skip) => Some(RwSuffix::SkipBytes(skip_bytes(skip, draft.kb_base)?)),
    };
    draft.job.pattern.mix = mix;
    draft.job.pattern.is_random = is_random;
    Ok(())
}

fn ops(text: &str, base: KbBase) -> Parsed<u64> {
    let max = DISK_JOB_OPS_PER_OFFSET_MAX;
    bounded(text, base, 1, max)
        .map_err(|_| format!("a count of operations of 1 to {max} behind ':'").into())
}

fn skip_bytes(text: &str, base: KbBase) -> Parsed<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let bytes = number(digits, base).ok().and_then(|bytes| i64::try_from(bytes).ok());
    bytes.map(|bytes| sign * bytes).ok_or_else(|| "a number of bytes to skip behind ':'".into())
}

fn percent(draft: &Draft, given: Given<'_>) -> Parsed<u32> {
    bounded_u32(given.text()?, draft.kb_base, 0, 100)
}

fn depth(draft: &Draft, given: Given<'_>) -> Parsed<u32> {
    bounded_u32(given.text()?, draft.kb_base, 0, DISK_JOB_IODEPTH_MAX)
}

fn bs(draft: &mut Draft, given: Given<'_>) -> Parsed<()> {
    let base = draft.kb_base;
    let sizes = by_direction(given.text()?, |one| bounded(one, base, 1, DISK_JOB_BLOCK_BYTES_MAX))?;
    overlay(&mut draft.bs.0, sizes.0);
    Ok(())
}

fn bsrange(draft: &mut Draft, given: Given<'_>) -> Parsed<()> {
    let base = draft.kb_base;
    // fio separates the directions by a slash as well.
    let text = given.text()?.replace('/', ",");
    let ranges = by_direction(&text, |one| match range(one, base)? {
        (min, max) if min >= 1 && max <= DISK_JOB_BLOCK_BYTES_MAX => Ok((min, max)),
        _ => Err(format!("sizes of 1 to {DISK_JOB_BLOCK_BYTES_MAX} bytes").into()),
    })?;
    overlay(&mut draft.bsrange.0, ranges.0);
    Ok(())
}

fn bssplit(draft: &mut Draft, given: Given<'_>) -> Parsed<()> {
    let base = draft.kb_base;
    let splits = by_direction(given.text()?, |one| split(one, base))?;
    overlay(&mut draft.bssplit.0, splits.0);
    Ok(())
}

/// An empty value leaves its direction as it was.
fn overlay<T>(old: &mut [Option<T>; 3], new: [Option<T>; 3]) {
    for (old, new) in old.iter_mut().zip(new) {
        if new.is_some() {
            *old = new;
        }
    }
}

/// `4k/50:8k/30:16k`: what is left of 100 is shared out among the sizes that have no share.
fn split(text: &str, base: KbBase) -> Parsed<Split> {
    let mut parts: Vec<(u64, Option<u32>)> = Vec::new();
    for part in text.split(':') {
        let (size, share) = part.split_once('/').unwrap_or((part, ""));
        let size = bounded(size.trim(), base, 1, DISK_JOB_BLOCK_BYTES_MAX)?;
        let share = match share.trim().trim_end_matches('%') {
            "" => None,
            share => Some(bounded_u32(share, base, 0, 100)?),
        };
        parts.push((size, share));
        if parts.len() > DISK_JOB_SPLIT_PARTS_MAX {
            return Err(format!("at most {DISK_JOB_SPLIT_PARTS_MAX} sizes").into());
        }
    }
    let sum: u32 = parts.iter().filter_map(|(_, share)| *share).sum();
    let open = u32::try_from(parts.iter().filter(|(_, share)| share.is_none()).count());
    let open = open.expect("the number of parts is bounded");
    if sum > 100 || (sum < 100 && open == 0) {
        return Err(format!("shares that add up to 100, not to {sum}").into());
    }
    let (each, mut over) = match open {
        0 => (0, 0),
        open => ((100 - sum) / open, (100 - sum) % open),
    };
    let shared = parts.into_iter().map(|(size, share)| {
        let share = share.unwrap_or_else(|| {
            let one_more = u32::from(over > 0);
            over -= one_more;
            each + one_more
        });
        (size, share)
    });
    Ok(shared.filter(|(_, share)| *share > 0).collect())
}

fn ioengine(draft: &mut Draft, given: Given<'_>) -> Parsed<()> {
    let text = given.text()?;
    let (engine, instead_of) = match text {
        "io_uring" => (Engine::IoUring, None),
        "libaio" | "posixaio" => (Engine::IoUring, Some(text)),
        "psync" => (Engine::Psync, None),
        "sync" | "vsync" | "pvsync" | "pvsync2" => (Engine::Psync, Some(text)),
        "null" => (Engine::Null, None),
        _ => {
            return Err("an engine of this tool: io_uring, psync, null, or one that stands for \
                        one of them: libaio, posixaio, sync, vsync, pvsync, pvsync2"
                .into());
        }
    };
    draft.job.engine = engine;
    if let Some(asked) = instead_of {
        draft.note(format!("option 'ioengine': {} in place of {asked}", engine.name()));
    }
    Ok(())
}

fn random_distribution(draft: &mut Draft, given: Given<'_>) -> Parsed<()> {
    let text = given.text()?;
    if text.contains(',') {
        return Err("one distribution for all directions".into());
    }
    let parts = colon_list(text);
    if parts.len() > 3 {
        return Err("at most two parameters behind the distribution's name".into());
    }
    let center = match parts.get(2) {
        Some(center) => Some(float(center, 0.0, 1.0)?),
        None => None,
    };
    let parameter = |min, max| match parts.get(1) {
        Some(value) => float(value, min, max),
        None => Err(format!("a parameter of {min} to {max} behind '{}:'", parts[0]).into()),
    };
    draft.job.distribution = match parts[0].as_str() {
        "random" if parts.len() == 1 => Distribution::Uniform,
        "zipf" => {
            let theta = parameter(f64::MIN_POSITIVE, 100.0).map_err(|_| THETA)?;
            if theta == 1.0 {
                return Err(THETA.into());
            }
            Distribution::Zipf { theta, center }
        }
        "pareto" => {
            let wrong = "a power above 0 and below 1, like pareto:0.2";
            let h = parameter(f64::MIN_POSITIVE, 1.0).map_err(|_| wrong)?;
            if h == 1.0 {
                return Err(wrong.into());
            }
            Distribution::Pareto { h, center }
        }
        "normal" | "gauss" => {
            let deviation = parameter(0.0, 100.0)?;
            Distribution::Normal { deviation, center }
        }
        _ => {
            return Err("random, zipf:THETA[:CENTER], pareto:POWER[:CENTER] or \
                        normal:DEVIATION[:CENTER]"
                .into());
        }
    };
    Ok(())
}

const THETA: &str = "a theta above 0 and not 1, like zipf:1.2";
