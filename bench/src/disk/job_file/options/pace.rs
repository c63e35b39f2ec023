//! How long a job runs, how fast, and with which others.

use std::time::Duration;

use super::{OptionRow, accept, one_of, set};
use crate::disk::job::Rate;
use crate::disk::job_file::draft::{Draft, Given};
use crate::disk::job_file::value::{
    Parsed, TimeUnit, bounded, bounded_u32, by_direction, cpu_list, flag, time,
};
use crate::limits::{
    DISK_JOB_CPU_MAX, DISK_JOB_LOOPS_MAX, DISK_JOB_PAUSE_SECONDS_MAX, DISK_JOB_RATE_MAX,
    DISK_JOB_SECONDS_MAX, DISK_JOB_THREADS_MAX,
};

const LONGEST: Duration = Duration::from_secs(DISK_JOB_SECONDS_MAX);
const LONGEST_PAUSE: Duration = Duration::from_secs(DISK_JOB_PAUSE_SECONDS_MAX);

pub(super) const ROWS: &[OptionRow] = &[
    set(&["runtime", "timeout"], |draft, given| {
        let runtime = seconds(given)?;
        draft.job.runtime = (!runtime.is_zero()).then_some(runtime);
        Ok(())
    }),
    set(&["time_based"], |draft, given| flag(given.value).map(|is| draft.job.time_based = is)),
    set(&["ramp_time"], |draft, given| seconds(given).map(|ramp| draft.job.ramp_time = ramp)),
    set(&["startdelay"], |draft, given| seconds(given).map(|delay| draft.job.start_delay = delay)),
    set(&["loops"], |draft, given| {
        let loops = bounded(given.text()?, draft.kb_base, 1, DISK_JOB_LOOPS_MAX)?;
        draft.job.loops = loops;
        Ok(())
    }),
    set(&["numjobs"], |draft, given| {
        let count = bounded_u32(given.text()?, draft.kb_base, 1, DISK_JOB_THREADS_MAX)?;
        draft.job.numjobs = count;
        Ok(())
    }),
    set(&["stonewall", "wait_for_previous"], |draft, given| {
        flag(given.value).map(|is| draft.job.stonewall = is)
    }),
    set(&["new_group"], |draft, given| flag(given.value).map(|is| draft.job.new_group = is)),
    set(&["group_reporting"], |draft, given| {
        flag(given.value).map(|is| draft.job.group_reporting = is)
    }),
    set(&["rate"], |draft, given| rates(draft, given, |rate| &mut rate.bytes_per_s)),
    set(&["rate_min", "ratemin"], |draft, given| {
        rates(draft, given, |rate| &mut rate.bytes_per_s_min)
    }),
    set(&["rate_iops"], |draft, given| rates(draft, given, |rate| &mut rate.iops)),
    set(&["rate_iops_min"], |draft, given| rates(draft, given, |rate| &mut rate.iops_min)),
    set(&["rate_cycle", "ratecycle"], |draft, given| {
        let cycle = time(given.text()?, TimeUnit::Milliseconds, LONGEST_PAUSE)?;
        if cycle.is_zero() {
            return Err("a time above 0".into());
        }
        draft.job.rate_cycle = cycle;
        Ok(())
    }),
    set(&["thinktime"], |draft, given| pause(given).map(|pause| draft.think_pause = pause)),
    set(&["thinktime_spin"], |draft, given| pause(given).map(|spin| draft.think_spin = spin)),
    set(&["thinktime_blocks"], |draft, given| {
        let blocks = bounded(given.text()?, draft.kb_base, 1, u32::MAX.into())?;
        draft.think_blocks = blocks;
        Ok(())
    }),
    set(&["cpus_allowed"], |draft, given| {
        draft.cpus = Some(cpu_list(given.text()?, DISK_JOB_CPU_MAX)?);
        Ok(())
    }),
    set(&["cpus_allowed_policy"], |draft, given| {
        let policy = one_of(given.text()?, &[("shared", false), ("split", true)])?;
        draft.cpus_split = policy;
        Ok(())
    }),
    accept(&["thread"], ""),
];

fn seconds(given: Given<'_>) -> Parsed<Duration> {
    time(given.text()?, TimeUnit::Seconds, LONGEST)
}

fn pause(given: Given<'_>) -> Parsed<Duration> {
    time(given.text()?, TimeUnit::Microseconds, LONGEST_PAUSE)
}

/// A number for each direction; 0 takes the bound away.
fn rates(
    draft: &mut Draft,
    given: Given<'_>,
    field: fn(&mut Rate) -> &mut Option<u64>,
) -> Parsed<()> {
    let base = draft.kb_base;
    let given = by_direction(given.text()?, |one| bounded(one, base, 0, DISK_JOB_RATE_MAX))?;
    for (rate, new) in draft.job.rate.0.iter_mut().zip(given.0) {
        if let Some(new) = new {
            *field(rate) = (new > 0).then_some(new);
        }
    }
    Ok(())
}
