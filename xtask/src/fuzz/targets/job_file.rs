//! The reader of job files as a target: what must hold of every text.

use crate::fuzz::subject::{Subject, plant};
use crate::fuzz::text::{Dictionary, TextMutator};
use sombra_bench::disk::job::{BlockSize, Direction, Job};
use sombra_bench::disk::job_file::{
    CommandLine, JobFile, JobFileError, Problem, Surroundings, option_names, parse_overrides,
};
use sombra_bench::disk::plan::{OnDisk, Plan};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

/// Files of a plan that is made for every input, and how many larger ones are made.
const SMALL_FILES_MAX: u64 = 64;
const LARGE_ONE_IN: usize = 32;

/// Files that inputs may include.
const SHELF: &[(&str, &str)] = &[
    ("a.fio", "bs=8k\niodepth=4\n"),
    ("b.fio", "include a.fio\ninclude b.fio\n"),
    ("c.fio", "include d.fio\ninclude d.fio\n"),
    ("d.fio", "include e.fio\ninclude e.fio\n"),
    ("e.fio", "include c.fio\nrw=randwrite\n[x]\n"),
];

pub(in crate::fuzz) struct JobFiles {
    mutator: TextMutator,
}

impl JobFiles {
    pub(in crate::fuzz) fn new(seed: u64) -> JobFiles {
        JobFiles { mutator: TextMutator::new(seed, dictionary()) }
    }
}

impl Subject for JobFiles {
    fn corpus(&self) -> Vec<Vec<u8>> {
        corpus()
    }

    fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        self.mutator.input(corpus)
    }

    fn check(&self, input: &[u8], has_planted: bool) -> u64 {
        check(&String::from_utf8_lossy(input), has_planted)
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let profiles = [
        include_str!("../../../../fio-profiles/wal-log.fio"),
        include_str!("../../../../fio-profiles/checkpoint.fio"),
        include_str!("../../../../fio-profiles/random-read.fio"),
        include_str!("../../../../fio-profiles/sequential.fio"),
        "[global]\nrw=randrw:8\nrw_sequencer=identical\nrwmixread=70\nsize=64m\n[a]\n\
         bssplit=4k/50:8k/:16k,4k/10:8k/90\n[b]\nstonewall\nbsrange=1k-4k,8k:16k\n",
        "[a]\nsize=1g\nnrfiles=4\nfilesize=1m-4m\nfile_service_type=random\nnumjobs=3\n\
         offset=4k\noffset_increment=10%\ndirectory=/d\nnew_group\ngroup_reporting\n",
        "[a]\nfilename=/dev/x\\:y:z\nsize=50%\nrate=1m,2m,3m\nrate_min=,1k\nrate_cycle=500\n\
         thinktime=10ms\nthinktime_spin=5\nruntime=10\ntime_based\nramp_time=2s\n",
        "[a]\nioengine=null\nsize=(4*$pagesize+2k)\nverify=0\nrandom_distribution=zipf:1.2:0.5\n\
         percentile_list=50:99:99.9\nwrite_lat_log\nlog_avg_msec=100\ncpus_allowed=0-2\n",
        "[global]\ninclude a.fio\nkb_base=1000\n[w]\nsize=${SIZE}\nrw=write\nverify=crc32c\n\
         include c.fio\n[r]\nioengine=io_uring\ndirect=1\nhipri\nfixedbufs\nsize=1m\n",
    ];
    profiles.map(|text| text.as_bytes().to_vec()).to_vec()
}

const VALUES: &[&str] = &[
    "0",
    "1",
    "2",
    "4k",
    "1m",
    "1g",
    "100%",
    "50%",
    "read",
    "write",
    "trim",
    "randread",
    "randrw:4",
    "rw:-4k",
    "trimwrite",
    "io_uring",
    "psync",
    "null",
    "libaio",
    "pvsync2",
    "none",
    "dsync",
    "crc32c",
    "md5",
    "zipf:1.1",
    "pareto:0.5:0.1",
    "normal:20",
    "0-3",
    "4k-8k",
    "4k/50:8k",
    "1k:2k:3k/",
    ",8k",
    "4k,,",
    "1m,2m",
    "x:y",
    "-",
    "\\:",
    "split",
    "sequential",
    "identical",
    "roundrobin",
    "random:1",
    "$ncpus",
    "8*$pagesize",
    "${SIZE}",
    "${X",
    "$",
    "(1+2)*3",
    "((((((((1))))))))",
    "(9^9^9)",
    "(1/0)",
    "1:5:99.99",
    "nan",
    "inf",
    "-1",
    "0x",
    "0xffffffffffffffff",
    "10s",
    "7ms",
    "1d",
    "yes",
    "\u{e9}",
    "18446744073709551615",
    "9223372036854775807",
    "4096",
    "65536",
    "1000",
    "1024",
];

const LINES: &[&str] = &[
    "[a]",
    "[global]",
    "[]",
    "[b",
    "include a.fio",
    "include b.fio",
    "include c.fio",
    "include",
    "; x",
    "# x",
    "=",
    "= =",
    "stonewall",
    "time_based",
];

fn dictionary() -> Dictionary {
    Dictionary { names: option_names().collect(), values: VALUES, lines: LINES }
}

/// Reads `text`, checks what must hold, and sums up what came out.
fn check(text: &str, has_planted: bool) -> u64 {
    // The last lines may stand for options of the command line.
    let arguments = text.lines().rev().take(4).filter(|line| line.starts_with("--"));
    let arguments: Vec<String> = arguments.map(str::to_owned).collect();
    let command_line = parse_overrides(&arguments).unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    match read(text, &command_line) {
        Ok(file) => {
            file.jobs.iter().for_each(check_job);
            // A plan of thousands of threads takes thousands of times as long as its text.
            if is_small(&file) || text.len().is_multiple_of(LARGE_ONE_IN) {
                check_plan(&file);
            }
            let is_planted = file.jobs.len() > 2
                && file.jobs.iter().any(|job| matches!(job.block.0[0], BlockSize::Split(_)))
                && file.jobs.iter().any(|job| job.iodepth == 8);
            plant(has_planted, is_planted);
            file.jobs.iter().take(2).for_each(|job| shape_of_job(job).hash(&mut hasher));
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a reason");
            errors.iter().take(8).for_each(check_error);
            // Of the first alone: with more of them nearly every input would be a new outcome.
            errors.iter().take(1).for_each(|error| shape_of_error(error).hash(&mut hasher));
        }
    }
    hasher.finish()
}

fn is_small(file: &JobFile) -> bool {
    let files = file.jobs.iter().map(|job| u64::from(job.numjobs) * u64::from(job.nrfiles));
    files.sum::<u64>() <= SMALL_FILES_MAX
}

fn read(text: &str, command_line: &CommandLine) -> Result<JobFile, Vec<JobFileError>> {
    let load = |path: &Path| {
        let found = SHELF.iter().find(|(name, _)| path == Path::new(name));
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| "no such file".to_owned())
    };
    let variable = |name: &str| (name == "SIZE").then(|| "64m".to_owned());
    let surroundings = Surroundings {
        variable: &variable,
        load: &load,
        cpus: Some(&[0, 1, 2, 3]),
        page_bytes: 4096,
        memory_bytes: 1 << 33,
        lenient: text.len().is_multiple_of(2),
    };
    JobFile::parse(text, "t.fio", command_line, &surroundings)
}

/// What later stages take for granted.
fn check_job(job: &Job) {
    assert!(job.iodepth >= 1 && job.numjobs >= 1 && job.nrfiles >= 1 && job.loops >= 1);
    let most = [job.batch_submit, job.batch_complete_max].into_iter().flatten();
    let mut most = most;
    assert!(most.all(|most| (1..=job.iodepth).contains(&most)));
    assert!(job.batch_complete_min <= job.batch_complete_max.unwrap_or(job.iodepth));
    assert!((1..=job.iodepth).contains(&job.iodepth_low), "{}", job.iodepth_low);
    assert!(job.read_percent <= 100 && job.pattern.ops_per_offset >= 1);
    assert!(job.percentiles.is_sorted() && job.percentiles.iter().all(|p| p.is_finite()));
    for block in &job.block.0 {
        assert!(block.min_bytes() >= 1 && block.min_bytes() <= block.max_bytes(), "{block:?}");
        if let BlockSize::Split(parts) = block {
            assert_eq!(parts.iter().map(|(_, share)| share).sum::<u32>(), 100, "{parts:?}");
        }
    }
    assert!(!job.time_based || job.runtime.is_some());
}

/// What the reader accepts has a plan, with a thread for each clone and space that can be summed.
fn check_plan(file: &JobFile) {
    let jobs: Vec<Arc<Job>> = file.jobs.iter().cloned().map(Arc::new).collect();
    let plan = Plan::new(&jobs, 1).unwrap_or_else(|error| panic!("no plan: {error}"));
    let threads: u64 = jobs.iter().map(|job| u64::from(job.numjobs)).sum();
    assert_eq!(plan.threads().count() as u64, threads);
    assert!(plan.groups.iter().all(|group| !group.jobs.is_empty()));
    let names: Vec<&str> = plan
        .threads()
        .filter(|thread| thread.clone_number == 0)
        .map(|thread| thread.job.name.as_str())
        .collect();
    assert!(names.iter().eq(jobs.iter().map(|job| &job.name)), "{names:?}");
    let _bytes = plan.space_need(&|_| OnDisk::Absent).total_bytes();
    assert!(threads > 64 || !plan.to_string().is_empty());
}

/// One line, of a bounded length, with the place in front.
fn check_error(error: &JobFileError) {
    let line = error.to_string();
    assert!(!line.contains('\n') && line.chars().count() < 1_000, "{line}");
    let sources = ["command line", "t.fio"].into_iter().chain(SHELF.iter().map(|(name, _)| *name));
    assert!(sources.into_iter().any(|source| line.starts_with(source)), "{line}");
}

fn shape_of_job(job: &Job) -> impl Hash {
    let facts = (job.pattern.mix as u8, job.pattern.is_random, job.engine as u8, job.direct);
    let named = (job.filenames.len().min(3), job.filesize.is_some(), job.stonewall, job.verify);
    let sizes = Direction::ALL.map(|direction| match job.block.of(direction) {
        BlockSize::Fixed(_) => 0,
        BlockSize::Range { .. } => 1,
        BlockSize::Split(_) => 2,
    });
    (facts, named, sizes, std::mem::discriminant(&job.distribution))
}

/// Which rule refused, without what was found.
fn shape_of_error(error: &JobFileError) -> String {
    match &error.problem {
        Problem::UnknownOption { similar, .. } => format!("unknown {similar:?}"),
        Problem::Value { option, expected, .. } => format!("{option} {expected}"),
        Problem::Unsupported { option, .. } => format!("unsupported {option}"),
        Problem::Conflict { option, .. } => format!("with {option}"),
        Problem::Syntax { expected, .. } => (*expected).to_owned(),
        Problem::Include { file, .. } => format!("include {file}"),
        other => format!("{other}"),
    }
}
