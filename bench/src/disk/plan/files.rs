//! Names, offsets and sizes of a clone's files, as fio makes them.

use std::path::{Path, PathBuf};

use super::{PlanError, PlannedFile};
use crate::disk::job::{BlockSize, Engine, Extent, Job};
use crate::random::Random;

/// The files of clone `clone_number`: those that the job names, which all clones share, or
/// `NAME.CLONE.FILE` below its directory.
pub(super) fn of_clone(
    job: &Job,
    clone_number: u32,
    random: &mut Random,
) -> Result<Vec<PlannedFile>, PlanError> {
    if job.engine == Engine::Null && job.filenames.is_empty() {
        return Ok(Vec::new());
    }
    let offset = offset_of_clone(job, clone_number)?;
    let paths = paths_of_clone(job, clone_number);
    let sizes = Sizes::new(job, paths.len() as u64);
    let planned =
        paths.into_iter().map(|path| PlannedFile { path, offset, size: sizes.next(random) });
    Ok(planned.collect())
}

fn paths_of_clone(job: &Job, clone_number: u32) -> Vec<PathBuf> {
    // As fio has it, an absolute name is below the directory as well: with a directory given, no
    // job of the file touches anything outside of it by an absolute path.
    let below = |path: &Path| match &job.directory {
        Some(directory) => directory.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    };
    if !job.filenames.is_empty() {
        return job.filenames.iter().map(|name| below(name)).collect();
    }
    let file = |number| below(Path::new(&format!("{}.{clone_number}.{number}", job.name)));
    (0..job.nrfiles).map(file).collect()
}

fn offset_of_clone(job: &Job, clone_number: u32) -> Result<Extent, PlanError> {
    use Extent::{Bytes, Percent};
    let wrong = |found: String| PlanError::Offset { job: job.name.clone(), found };
    let shown = || format!("{:?} + {clone_number} x {:?}", job.offset, job.offset_increment);
    match (job.offset, job.offset_increment) {
        (offset, Bytes(0) | Percent(0)) => Ok(offset),
        (Bytes(start), Bytes(step)) => step
            .checked_mul(u64::from(clone_number))
            .and_then(|added| start.checked_add(added))
            .map(Bytes)
            .ok_or_else(|| wrong(shown())),
        (Percent(start), Percent(step)) => step
            .checked_mul(clone_number)
            .and_then(|added| start.checked_add(added))
            .filter(|sum| *sum <= 100)
            .map(Percent)
            .ok_or_else(|| wrong(shown())),
        (Bytes(0), Percent(step)) => step
            .checked_mul(clone_number)
            .filter(|sum| *sum <= 100)
            .map(Percent)
            .ok_or_else(|| wrong(shown())),
        (Bytes(_), Percent(_)) | (Percent(_), Bytes(_)) => Err(wrong(shown())),
    }
}

/// Hands out the sizes of one clone's files.
enum Sizes {
    /// An even share of the job's `size`, or what is there.
    Share(Option<Extent>),
    /// Each of the same `filesize`, or drawn between two, in units of the largest block.
    Drawn { min: u64, max: u64, unit: u64 },
}

impl Sizes {
    fn new(job: &Job, count: u64) -> Sizes {
        if let Some((min, max)) = job.filesize {
            let unit = job.block.0.iter().map(BlockSize::min_bytes).max();
            return Sizes::Drawn { min, max, unit: unit.unwrap_or(1).max(1) };
        }
        Sizes::Share(job.size.map(|size| match size {
            Extent::Bytes(bytes) => Extent::Bytes(bytes / count.max(1)),
            Extent::Percent(percent) => Extent::Percent(percent),
        }))
    }

    fn next(&self, random: &mut Random) -> Option<Extent> {
        match *self {
            Sizes::Share(share) => share,
            Sizes::Drawn { min, max, .. } if min == max => Some(Extent::Bytes(min)),
            Sizes::Drawn { min, max, unit } => {
                let drawn = min + random.below((max - min).saturating_add(1));
                Some(Extent::Bytes((drawn / unit * unit).max(min)))
            }
        }
    }
}
