//! What a run of the disk tool found, before anybody puts it into words.

use std::sync::Arc;
use std::time::Duration;

pub use super::devices::DiskUtil;
pub use super::environment::DiskEnvironment;
use super::job::Job;
use super::punts::Punts;
use super::tally::JobTally;

/// What the kernel counted for a job's thread while it was measured.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CpuUse {
    pub user_us: u64,
    pub system_us: u64,
    pub context_switches: u64,
    pub major_faults: u64,
    pub minor_faults: u64,
}

impl CpuUse {
    pub(super) fn add(&mut self, other: &CpuUse) {
        self.user_us += other.user_us;
        self.system_us += other.system_us;
        self.context_switches += other.context_switches;
        self.major_faults += other.major_faults;
        self.minor_faults += other.minor_faults;
    }
}

/// Why a job ended early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobError {
    pub errno: i32,
    pub text: String,
}

/// One clone of one job.
#[derive(Clone, Debug)]
pub struct JobOutcome {
    pub job: Arc<Job>,
    pub clone_number: u32,
    /// Counts all clones of all jobs, from 0.
    pub thread_number: u32,
    pub group_id: u32,
    /// The kernel's number of the thread.
    pub thread_id: u32,
    pub tally: JobTally,
    pub error: Option<JobError>,
    pub started_wall_ms: u64,
    /// With the ramp.
    pub elapsed: Duration,
    /// Without it.
    pub measured: Duration,
    pub cpu: CpuUse,
}

/// Everything that one run found.
#[derive(Clone, Debug, Default)]
pub struct RunOutcome {
    /// In the order of the file, clones of a job next to each other.
    pub jobs: Vec<JobOutcome>,
    pub disk_util: Vec<DiskUtil>,
    pub environment: DiskEnvironment,
    pub punts: Punts,
    pub global_options: Vec<(String, String)>,
    pub started_wall_ms: u64,
    /// Somebody asked the run to stop.
    pub interrupted: bool,
    /// What a reader of the figures must know.
    pub notes: Vec<String>,
    /// Jobs that never started.
    pub skipped: Vec<String>,
}

impl RunOutcome {
    /// When the last job ended.
    pub fn ended_wall_ms(&self) -> u64 {
        let ends = self.jobs.iter().map(|job| {
            let elapsed_ms = u64::try_from(job.elapsed.as_millis()).unwrap_or(u64::MAX);
            job.started_wall_ms.saturating_add(elapsed_ms)
        });
        ends.max().unwrap_or(self.started_wall_ms)
    }
}
