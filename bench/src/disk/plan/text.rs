//! A plan for people: what runs when, on which files, for how long.

use std::fmt::{self, Display, Formatter};

use super::{Group, JobThread, Plan, PlannedFile};
use crate::disk::job::{BlockSize, Direction, Extent, Job, Mix, WriteSync};
use crate::limits::DISK_JOB_FILES_SHOWN_MAX;
use crate::place::human_bytes;

impl Display for Plan {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for (index, group) in self.groups.iter().enumerate() {
            let when = if index == 0 { "first" } else { "then, once all of these have ended" };
            writeln!(out, "{when}:")?;
            group.fmt(out)?;
        }
        Ok(())
    }
}

impl Display for Group {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        self.jobs.iter().try_for_each(|thread| writeln!(out, "{thread}"))
    }
}

impl Display for JobThread {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let JobThread { job, clone_number, thread_number, group_id, .. } = self;
        write!(out, "  thread {thread_number}, group {group_id}: {}", job.name)?;
        if job.numjobs > 1 {
            write!(out, " (clone {clone_number} of {})", job.numjobs)?;
        }
        write!(out, ": {}", JobText(job))?;
        if let Some(cpus) = &self.cpus {
            write!(out, ", on CPUs {cpus:?}")?;
        }
        for file in self.files.iter().take(DISK_JOB_FILES_SHOWN_MAX) {
            write!(out, "\n    {file}")?;
        }
        match self.files.len().saturating_sub(DISK_JOB_FILES_SHOWN_MAX) {
            0 => Ok(()),
            more => write!(out, "\n    and {more} files more"),
        }
    }
}

impl Display for PlannedFile {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.path.display())?;
        match self.size {
            Some(size) => write!(out, "{}", ExtentText(size))?,
            None => write!(out, "all of it")?,
        }
        match self.offset {
            Extent::Bytes(0) | Extent::Percent(0) => Ok(()),
            offset => write!(out, " from {}", ExtentText(offset)),
        }
    }
}

struct ExtentText(Extent);

impl Display for ExtentText {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Extent::Bytes(bytes) => write!(out, "{}", human_bytes(bytes)),
            Extent::Percent(percent) => write!(out, "{percent} %"),
        }
    }
}

/// What a job does, in one line.
struct JobText<'a>(&'a Job);

impl Display for JobText<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let job = self.0;
        let order = if job.pattern.is_random { "random" } else { "sequential" };
        write!(out, "{order} {}", mix_text(job))?;
        for direction in Direction::ALL.into_iter().filter(|one| job.pattern.mix.has(*one)) {
            write!(out, ", {} of {}", direction.name(), block_text(job.block.of(direction)))?;
        }
        write!(out, ", {} depth {}", job.engine.name(), job.iodepth)?;
        out.write_str(if job.direct { ", direct" } else { ", buffered" })?;
        out.write_str(match job.write_sync {
            WriteSync::None => "",
            WriteSync::Sync => ", O_SYNC",
            WriteSync::Dsync => ", O_DSYNC",
        })?;
        match (job.runtime, job.time_based) {
            (Some(runtime), true) => write!(out, ", for {runtime:?}")?,
            (Some(runtime), false) => write!(out, ", for at most {runtime:?}")?,
            (None, _) => {}
        }
        if !job.ramp_time.is_zero() {
            write!(out, " after a ramp of {:?}", job.ramp_time)?;
        }
        if let Some(io_size) = job.io_size {
            write!(out, ", {} in all", ExtentText(io_size))?;
        }
        if job.loops > 1 {
            write!(out, ", {} times", job.loops)?;
        }
        if job.verify {
            write!(out, ", verified")?;
        }
        Ok(())
    }
}

fn mix_text(job: &Job) -> String {
    match job.pattern.mix {
        Mix::Read => "reads".into(),
        Mix::Write => "writes".into(),
        Mix::Trim => "trims".into(),
        Mix::ReadWrite => format!("reads ({} %) and writes", job.read_percent),
        Mix::TrimWrite => "trims, each followed by a write".into(),
    }
}

fn block_text(block: &BlockSize) -> String {
    match block {
        BlockSize::Fixed(bytes) => human_bytes(*bytes),
        BlockSize::Range { min, max } => {
            format!("{} to {}", human_bytes(*min), human_bytes(*max))
        }
        BlockSize::Split(parts) => {
            let part = |(bytes, share): &(u64, u32)| format!("{} ({share} %)", human_bytes(*bytes));
            parts.iter().map(part).collect::<Vec<_>>().join(" or ")
        }
    }
}
