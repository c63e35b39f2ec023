//! What runs when, and on which files: jobs cloned, numbered and put in groups, as fio does it.
//! Knows the jobs' text no more, and not yet which files exist or how large a device is.

mod files;
mod space;
#[cfg(test)]
mod tests;
mod text;

use std::path::PathBuf;
use std::sync::Arc;

use super::job::{Extent, Job};
use crate::limits::{DISK_JOB_FILES_MAX, DISK_JOB_THREADS_MAX};
use crate::random::Random;

pub use space::{OnDisk, SpaceNeed};

/// Groups run one after the other, the threads of one group together.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    pub groups: Vec<Group>,
}

/// Threads that run together: up to the next job with `stonewall`.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    pub jobs: Vec<Arc<JobThread>>,
}

/// One clone of a job: one thread, one line of the report unless the group reports as one.
#[derive(Clone, PartialEq, Debug)]
pub struct JobThread {
    pub job: Arc<Job>,
    /// Among the clones of its job, from 0.
    pub clone_number: u32,
    /// Over the whole run, from 1.
    pub thread_number: u32,
    /// Which threads report together: grows with each `stonewall` and `new_group`.
    pub group_id: u32,
    /// Empty for a job that touches no file (engine `null` without a file name).
    pub files: Vec<PlannedFile>,
    /// The seed of all of this thread's chance.
    pub seed: u64,
    /// CPUs that this thread may use; `None`: any.
    pub cpus: Option<Vec<usize>>,
}

/// A file of a thread, and the region of it that the thread works on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedFile {
    pub path: PathBuf,
    /// Where the region begins.
    pub offset: Extent,
    /// Length of the region from `offset`; `None`: to the end of what is there.
    pub size: Option<Extent>,
}

/// Why there is no plan.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanError {
    /// Caller: fewer `numjobs`.
    #[error("job '{job}': expected at most {max} threads over all jobs, found {found}")]
    Threads { job: String, max: u32, found: u64 },
    /// Caller: fewer `nrfiles` or `numjobs`.
    #[error("job '{job}': expected at most {max} files over all threads, found {found}")]
    Files { job: String, max: u64, found: u64 },
    /// Caller: one unit for both.
    #[error(
        "job '{job}': offset_increment in the same unit as offset (both bytes or both percent) \
         and a sum within range expected, found {found}"
    )]
    Offset { job: String, found: String },
}

impl Plan {
    /// Clones and numbers `jobs`, in the order of the file. `entropy` seeds the jobs that ask for
    /// another sequence in every run (`randrepeat=0`).
    pub fn new(jobs: &[Arc<Job>], entropy: u64) -> Result<Plan, PlanError> {
        let mut plan = Plan { groups: Vec::new() };
        let mut thread_number = 0;
        let mut file_count = 0;
        let mut group_id = 0;
        for (index, job) in jobs.iter().enumerate() {
            check_counts(job, thread_number, &mut file_count)?;
            if index == 0 || job.stonewall {
                plan.groups.push(Group { jobs: Vec::new() });
            }
            if index > 0 && (job.stonewall || job.new_group) {
                group_id += 1;
            }
            let group = plan.groups.last_mut().expect("the first job opened a group");
            for clone_number in 0..job.numjobs {
                thread_number += 1;
                let seed = if job.rand_repeat { job.rand_seed } else { job.rand_seed ^ entropy };
                let mut random = Random::for_client(seed, u64::from(thread_number));
                let files = files::of_clone(job, clone_number, &mut random)?;
                group.jobs.push(Arc::new(JobThread {
                    job: Arc::clone(job),
                    clone_number,
                    thread_number,
                    group_id,
                    files,
                    seed: random.next_u64(),
                    cpus: cpus_of_clone(job, clone_number),
                }));
            }
        }
        Ok(plan)
    }

    /// Every thread of the run in order.
    pub fn threads(&self) -> impl Iterator<Item = &Arc<JobThread>> {
        self.groups.iter().flat_map(|group| &group.jobs)
    }
}

fn check_counts(job: &Job, threads: u32, files: &mut u64) -> Result<(), PlanError> {
    let found = u64::from(threads) + u64::from(job.numjobs);
    if found > u64::from(DISK_JOB_THREADS_MAX) {
        let job = job.name.clone();
        return Err(PlanError::Threads { job, max: DISK_JOB_THREADS_MAX, found });
    }
    *files = files.saturating_add(job.file_count().saturating_mul(u64::from(job.numjobs)));
    if *files > DISK_JOB_FILES_MAX {
        let job = job.name.clone();
        return Err(PlanError::Files { job, max: DISK_JOB_FILES_MAX, found: *files });
    }
    Ok(())
}

fn cpus_of_clone(job: &Job, clone_number: u32) -> Option<Vec<usize>> {
    let choice = job.cpus.as_ref()?;
    if !choice.split || choice.cpus.is_empty() {
        return Some(choice.cpus.clone());
    }
    Some(vec![choice.cpus[clone_number as usize % choice.cpus.len()]])
}
