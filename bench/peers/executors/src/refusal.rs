//! What an executor cannot do of a job, said before anything runs.

use std::fmt;

use sombra_bench::disk::job::{BlockSize, Direction, Engine, Job, Rate};
use sombra_bench::disk::plan::Plan;

use crate::Executor;

/// Caller: another executor, or the job without the option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    executor: Executor,
    job: String,
    option: &'static str,
    why: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { executor, job, option, why } = self;
        write!(out, "{}: job '{job}': option '{option}' refused: {why}", executor.name())
    }
}

impl std::error::Error for Refusal {}

/// Looks at every job of the plan.
pub(crate) fn check(executor: Executor, plan: &Plan) -> Result<(), Refusal> {
    let refused = plan.threads().find_map(|thread| {
        let (option, why) = refused(executor, &thread.job)?;
        Some(Refusal { executor, job: thread.job.name.clone(), option, why })
    });
    refused.map_or(Ok(()), Err)
}

fn refused(executor: Executor, job: &Job) -> Option<(&'static str, &'static str)> {
    let by_all = (!job.ramp_time.is_zero())
        .then_some(("ramp_time", "the process's CPU is counted from start to end"));
    if executor == Executor::Sombra {
        return by_all;
    }
    by_all.or_else(|| by_peers(job)).or_else(|| match executor {
        Executor::Glommio => by_glommio(job),
        _ => job.fixed_buffers.then_some(("fixedbufs", "it runs with buffers of the heap")),
    })
}

/// What none of the others can, or what this program asks of none of them.
fn by_peers(job: &Job) -> Option<(&'static str, &'static str)> {
    let own_batches = "it hands over and takes in batches of its own making";
    let has_batches = job.batch_submit.is_some()
        || job.batch_complete_max.is_some()
        || job.batch_complete_min != 1;
    let logs = &job.logs;
    let has_logs = [&logs.bandwidth, &logs.latency, &logs.iops].into_iter().any(Option::is_some);
    let table = [
        (job.pattern.mix.has(Direction::Trim), "rw", "it has no trim"),
        (job.engine != Engine::IoUring, "ioengine", "it has one driver, io_uring"),
        (has_batches, "iodepth_batch", own_batches),
        (job.iodepth_low != job.iodepth, "iodepth_low", own_batches),
        (job.hipri, "hipri", "it does not poll"),
        (job.register_files, "registerfiles", "it does not register files"),
        (job.verify, "verify", "what was read is not looked at here"),
        (job.rate.0.iter().any(|rate| *rate != Rate::default()), "rate", NO_PACE),
        (job.think_time.is_some(), "thinktime", NO_PACE),
        (!job.start_delay.is_zero(), "startdelay", NO_PACE),
        (has_logs, "write_lat_log", "no log is written here"),
        (job.unlink, "unlink", "the files serve every executor"),
    ];
    table.into_iter().find_map(|(is_asked, option, why)| is_asked.then_some((option, why)))
}

const NO_PACE: &str = "it runs as fast as it goes";

fn by_glommio(job: &Job) -> Option<(&'static str, &'static str)> {
    let writes = job.pattern.mix.has(Direction::Write);
    let is_fixed = matches!(job.block.of(Direction::Write), BlockSize::Fixed(_));
    let flushes_all = job.fsync_every > 0 || job.end_fsync || job.fsync_on_close;
    if !job.direct {
        return Some(("direct", "its DmaFile is direct I/O"));
    }
    if writes && !is_fixed {
        return Some(("bs", "its DmaBuffer is written whole, so one size for all"));
    }
    (writes && flushes_all).then_some(("fsync", "its DmaFile has fdatasync alone"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Arguments;

    /// What an executor says of a job with these options.
    fn said(executor: Executor, options: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let start = "[j]\nrw=write\nsize=1m\ndirect=1\nioengine=io_uring\nfilename=/x/y\n";
        std::fs::write(file.path(), format!("{start}{options}\n")).unwrap();
        let words = ["--executor", executor.name(), file.path().to_str().unwrap()];
        let parsed = Arguments::parse(words.map(str::to_owned).into_iter());
        let plan = crate::jobs::read(&parsed.unwrap().unwrap()).unwrap();
        check(executor, &plan).err().map(|refusal| refusal.to_string()).unwrap_or_default()
    }

    #[test]
    fn refusal_names_the_executor_the_job_and_the_option() {
        let expected = "monoio: job 'j': option 'fixedbufs' refused: \
                        it runs with buffers of the heap";
        assert_eq!(said(Executor::Monoio, "fixedbufs=1"), expected);
    }

    #[test]
    fn what_an_executor_cannot_is_refused_and_the_rest_is_not() {
        use Executor::{Compio, Glommio, Monoio, Sombra, TokioUring};
        let peers = [TokioUring, Glommio, Monoio, Compio];
        let of_peers = [
            ("rw=trim", "rw"),
            ("ioengine=psync", "ioengine"),
            ("iodepth=4\niodepth_batch_submit=2", "iodepth_batch"),
            ("iodepth=4\niodepth_low=2", "iodepth_low"),
            ("registerfiles=1", "registerfiles"),
            ("rate_iops=9", "rate"),
            ("thinktime=9", "thinktime"),
            ("verify=crc32c", "verify"),
        ];
        for (options, name) in of_peers {
            for executor in peers {
                let option = format!("option '{name}' refused");
                assert!(said(executor, options).contains(&option), "{executor:?}: {options}");
            }
            assert_eq!(said(Sombra, options), "");
        }
        for options in ["fsync=4", "end_fsync=1", "direct=0", "bsrange=4k-8k"] {
            assert_ne!(said(Glommio, options), "", "{options}");
            assert_eq!(said(Compio, options), "", "{options}");
        }
        for executor in Executor::ALL {
            assert!(said(executor, "runtime=1\nramp_time=1").contains("'ramp_time'"));
            assert_eq!(said(executor, "iodepth=8\nfdatasync=2\nsync=dsync"), "");
        }
    }
}
