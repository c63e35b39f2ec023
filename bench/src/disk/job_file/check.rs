//! What must hold between the options of a job, and between the jobs of a file.

use super::Surroundings;
use super::draft::Draft;
use super::error::{JobFileError, Place, Problem};
use super::value::Expected;
use crate::disk::job::{BlockSize, Direction, Distribution, Engine, Extent, Job, Mix};
use crate::limits::{
    DISK_JOB_BUFFER_BYTES_MAX, DISK_JOB_DIRECT_ALIGN_BYTES, DISK_JOB_FILES_MAX,
    DISK_JOB_THREADS_MAX, DISK_JOB_VERIFY_BLOCK_BYTES_MIN,
};

/// Adds what is wrong with one job to `errors`, and what is odd to the draft's notices.
pub(super) fn job(
    draft: &mut Draft,
    surroundings: &Surroundings<'_>,
    errors: &mut Vec<JobFileError>,
) {
    let mut conflicts = Conflicts { draft, errors };
    conflicts.sizes();
    conflicts.direct();
    conflicts.engine();
    conflicts.time();
    conflicts.rates();
    conflicts.verify();
    conflicts.cpus(surroundings.cpus);
    oddities(draft);
}

struct Conflicts<'a> {
    draft: &'a Draft,
    errors: &'a mut Vec<JobFileError>,
}

impl Conflicts<'_> {
    fn add(&mut self, option: &'static str, expected: impl Into<Expected>, found: String) {
        let place = self.draft.place_of(option).unwrap_or(&self.draft.here).clone();
        let job = super::short(&self.draft.job.name);
        let problem = Problem::Conflict { job, option, expected: expected.into(), found };
        self.errors.push(JobFileError { place, problem });
    }

    /// The option that made the block sizes.
    fn block_option(&self) -> &'static str {
        ["bssplit", "bsrange"].into_iter().find(|name| self.draft.is_given(name)).unwrap_or("bs")
    }

    fn sizes(&mut self) {
        let job = &self.draft.job;
        let block_min = used_blocks(job).map(BlockSize::min_bytes).max().unwrap_or(1);
        let block_max = used_blocks(job).map(BlockSize::max_bytes).max().unwrap_or(1);
        let files = job.file_count();
        if let (Some(Extent::Bytes(size)), None) = (job.size, job.filesize)
            && size / files < block_min
        {
            let expected = format!("at least a block ({block_min} bytes) for each file");
            self.add("size", expected, format!("{size} bytes for {files} files"));
        }
        if let Some((min, _)) = job.filesize.filter(|(min, _)| *min < block_min) {
            let expected = format!("at least a block ({block_min} bytes)");
            self.add("filesize", expected, format!("{min} bytes"));
        }
        if let Some(Extent::Bytes(bytes)) = job.io_size
            && bytes < block_min
        {
            let expected = format!("at least a block ({block_min} bytes)");
            self.add("io_size", expected, format!("{bytes} bytes"));
        }
        let buffers = block_max.saturating_mul(job.iodepth.into());
        if buffers > DISK_JOB_BUFFER_BYTES_MAX {
            let expected = format!(
                "blocks that take at most {DISK_JOB_BUFFER_BYTES_MAX} bytes at the job's depth"
            );
            self.add(self.block_option(), expected, format!("{buffers} bytes"));
        }
        self.offsets();
    }

    fn offsets(&mut self) {
        let job = &self.draft.job;
        let last = u64::from(job.numjobs - 1);
        match (job.offset, job.offset_increment) {
            (_, Extent::Bytes(0) | Extent::Percent(0)) => {}
            (Extent::Bytes(start), Extent::Bytes(step)) => {
                let size = match job.size {
                    Some(Extent::Bytes(size)) => size,
                    _ => 0,
                };
                let end = step.checked_mul(last).and_then(|added| start.checked_add(added));
                let end = end.and_then(|begin| begin.checked_add(size));
                if end.is_none_or(|end| i64::try_from(end).is_err()) {
                    let found = format!("{step} bytes, {last} times");
                    self.add("offset_increment", "regions that end before 2^63", found);
                }
            }
            (Extent::Bytes(0), Extent::Percent(step)) => self.percent_offsets(0, step, last),
            (Extent::Percent(start), Extent::Percent(step)) => {
                self.percent_offsets(start, step, last);
            }
            (Extent::Bytes(_), Extent::Percent(_)) | (Extent::Percent(_), Extent::Bytes(_)) => {
                let expected = "the unit of 'offset': both bytes or both percent";
                self.add("offset_increment", expected, "the other".into());
            }
        }
        if let Extent::Percent(100) = job.offset {
            self.add("offset", "less than 100%", "100%".into());
        }
    }

    fn percent_offsets(&mut self, start: u32, step: u32, last: u64) {
        let end = u64::from(start) + u64::from(step) * last;
        if end >= 100 {
            let found = format!("{end}% for the last of {} clones", last + 1);
            self.add("offset_increment", "the last clone to begin below 100%", found);
        }
    }

    fn direct(&mut self) {
        let job = &self.draft.job;
        if !job.direct || job.engine == Engine::Null {
            return;
        }
        let unit = DISK_JOB_DIRECT_ALIGN_BYTES;
        let expected = || format!("multiples of {unit} bytes, as direct=1 needs them");
        let sizes = used_blocks(job).flat_map(sizes_of);
        if let Some(odd) = sizes.into_iter().find(|size| !size.is_multiple_of(unit)) {
            self.add(self.block_option(), expected(), format!("{odd} bytes"));
        }
        for (option, extent) in [("offset", job.offset), ("offset_increment", job.offset_increment)]
        {
            if let Extent::Bytes(bytes) = extent
                && !bytes.is_multiple_of(unit)
            {
                self.add(option, expected(), format!("{bytes} bytes"));
            }
        }
        let skip = job.pattern.skip_bytes;
        if !skip.unsigned_abs().is_multiple_of(unit) {
            self.add("rw", expected(), format!("a skip of {skip} bytes"));
        }
    }

    fn engine(&mut self) {
        let job = &self.draft.job;
        let trims = job.pattern.mix.has(Direction::Trim);
        if job.engine == Engine::Null {
            if trims {
                let found = "a pattern that trims".into();
                self.add("rw", "reads or writes: ioengine=null has nothing to trim", found);
            }
            if job.size.is_none() && job.filesize.is_none() {
                self.add("size", "a size: ioengine=null has no file to ask", "none".into());
            }
            if let Some(Extent::Percent(percent)) = job.size {
                let found = format!("{percent}%");
                self.add("size", "bytes: ioengine=null has no file to ask", found);
            }
        }
        let uring_only = [
            ("registerfiles", job.register_files),
            ("fixedbufs", job.fixed_buffers),
            ("hipri", job.hipri),
        ];
        for (option, is_on) in uring_only {
            if is_on && job.engine != Engine::IoUring {
                self.add(option, "ioengine=io_uring", format!("ioengine={}", job.engine.name()));
            }
        }
        if job.hipri && !job.direct {
            self.add("hipri", "direct=1: only direct operations can be polled", "direct=0".into());
        }
    }

    fn time(&mut self) {
        let job = &self.draft.job;
        if job.time_based && job.runtime.is_none() {
            self.add("time_based", "a 'runtime' above 0", "none".into());
        }
    }

    fn rates(&mut self) {
        let job = &self.draft.job;
        for direction in Direction::ALL.into_iter().filter(|one| job.pattern.mix.has(*one)) {
            let rate = *job.rate.of(direction);
            let name = direction.name();
            if rate.bytes_per_s.is_some() && rate.iops.is_some() {
                let found = format!("both for {name}s");
                self.add("rate_iops", "either 'rate' or 'rate_iops'", found);
            }
            let pairs = [
                ("rate_min", rate.bytes_per_s_min, rate.bytes_per_s),
                ("rate_iops_min", rate.iops_min, rate.iops),
            ];
            for (option, min, rate) in pairs {
                if let (Some(min), Some(rate)) = (min, rate)
                    && min > rate
                {
                    self.add(option, format!("at most the rate, {rate}"), min.to_string());
                }
            }
        }
    }

    fn verify(&mut self) {
        let job = &self.draft.job;
        if !job.verify {
            return;
        }
        if job.engine == Engine::Null {
            self.add("verify", "an engine that keeps data", "ioengine=null".into());
        }
        if job.pattern.mix.has(Direction::Trim) {
            let found = "a pattern that trims".into();
            self.add("verify", "reads or writes: a trimmed block has nothing to check", found);
        }
        if job.zero_buffers {
            self.add("verify", "blocks that may carry a header", "zero_buffers=1".into());
        }
        let min = DISK_JOB_VERIFY_BLOCK_BYTES_MIN;
        let smallest = used_blocks(job).map(BlockSize::min_bytes).min().unwrap_or(min);
        if smallest < min {
            let expected = format!("blocks of at least {min} bytes, to carry the header");
            self.add("verify", expected, format!("{smallest} bytes"));
        }
        self.verify_overlaps();
    }

    /// A block that a later one of another size overwrites in part can never be checked.
    fn verify_overlaps(&mut self) {
        let job = &self.draft.job;
        let is_fixed = used_blocks(job).all(|block| matches!(block, BlockSize::Fixed(_)));
        let visits_again = job.no_random_map || job.distribution != Distribution::Uniform;
        if job.pattern.is_random && visits_again && !is_fixed {
            let expected = "one block size, or the random map: blocks must not overlap in part";
            self.add("verify", expected, "blocks of several sizes at places drawn twice".into());
        }
        let (read, write) = (job.block.of(Direction::Read), job.block.of(Direction::Write));
        if job.pattern.mix == Mix::ReadWrite && read != write {
            let found = "two sizes".into();
            self.add("verify", "reads of the size of the writes, which they check", found);
        }
        if job.pattern.skip_bytes < 0 {
            let expected = "a pattern that goes forward: going back may overlap";
            self.add("verify", expected, format!("a skip of {}", job.pattern.skip_bytes));
        }
    }

    fn cpus(&mut self, exist: Option<&[usize]>) {
        let (Some(choice), Some(exist)) = (&self.draft.job.cpus, exist) else { return };
        let missing: Vec<usize> =
            choice.cpus.iter().copied().filter(|cpu| !exist.contains(cpu)).collect();
        if let Some(first) = missing.first() {
            let more = match missing.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            let expected = format!("CPUs that exist, {} of them", exist.len());
            self.add("cpus_allowed", expected, format!("CPU {first}{more}"));
        }
    }
}

/// Bounds over all jobs together.
pub(super) fn whole_file(jobs: &[Job], source: &str, errors: &mut Vec<JobFileError>) {
    let place = Place { source: source.into(), line: 0 };
    if jobs.is_empty() {
        let found = "none".into();
        let problem = Problem::Syntax { expected: "at least one section besides [global]", found };
        errors.push(JobFileError { place, problem });
        return;
    }
    let threads = jobs.iter().map(|job| u64::from(job.numjobs)).sum::<u64>();
    if threads > DISK_JOB_THREADS_MAX.into() {
        let max = DISK_JOB_THREADS_MAX.into();
        let problem = Problem::TooMany { what: "threads (numjobs) over all jobs", max };
        errors.push(JobFileError { place: place.clone(), problem });
    }
    let files = jobs.iter().map(|job| job.file_count().saturating_mul(job.numjobs.into()));
    if files.fold(0, u64::saturating_add) > DISK_JOB_FILES_MAX {
        let what = "files (nrfiles) over all threads";
        let problem = Problem::TooMany { what, max: DISK_JOB_FILES_MAX };
        errors.push(JobFileError { place, problem });
    }
}

fn oddities(draft: &mut Draft) {
    let job = &draft.job;
    if job.logs.with_offset && job.logs.average_ms > 0 {
        draft.note("option 'log_offset': an average has no offset: it is logged as 0");
    }
    let job = &draft.job;
    let is_rated = job.rate.0.iter().any(|rate| rate.bytes_per_s.is_some() || rate.iops.is_some());
    if job.engine == Engine::Null && is_rated {
        draft.note("option 'rate' with ioengine=null measures the tool's own pacing");
    }
    let job = &draft.job;
    let writes = job.pattern.mix.has(Direction::Write);
    if !writes && (job.fsync_every > 0 || job.fdatasync_every > 0) {
        draft.note("options 'fsync' and 'fdatasync' have no effect: the job writes nothing");
    }
}

fn used_blocks(job: &Job) -> impl Iterator<Item = &BlockSize> {
    let used = Direction::ALL.into_iter().filter(|direction| job.pattern.mix.has(*direction));
    used.map(|direction| job.block.of(direction))
}

fn sizes_of(block: &BlockSize) -> Vec<u64> {
    match block {
        BlockSize::Fixed(bytes) => vec![*bytes],
        BlockSize::Range { min, max } => vec![*min, *max],
        BlockSize::Split(parts) => parts.iter().map(|(bytes, _)| *bytes).collect(),
    }
}
