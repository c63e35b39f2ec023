//! Before anything is written: may the jobs write where they want to?

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use sombra_bench::disk::job::{Direction, Engine};
use sombra_bench::disk::plan::Plan;
use sombra_bench::disk::target::check_target;
use sombra_bench::limits::DISK_TARGET_HEAD_BYTES;

use crate::Outcome;
use crate::failure::Failure;

/// Refuses a plan that would write to a device in use, or one that holds something which the
/// caller has not given up by name; and a name given up that no job writes to.
pub(super) fn check(plan: &Plan, destroy: &[PathBuf]) -> Outcome {
    let written = written_by(plan);
    if let Some(other) = destroy.iter().find(|named| !written.contains(named.as_path())) {
        let found = other.display();
        return Err(Failure::usage(format!(
            "--destroy-data: expected the name of a device as a writing job gives it, found {found}"
        )));
    }
    for path in written {
        let head =
            head_of(path).map_err(|error| Failure::work(format!("{}: {error}", path.display())))?;
        check_target(path, Path::new("/"), destroy, &head).map_err(Failure::work)?;
    }
    Ok(())
}

fn written_by(plan: &Plan) -> BTreeSet<&Path> {
    let writing = plan.threads().filter(|thread| {
        let mix = thread.job.pattern.mix;
        let changes = mix.has(Direction::Write) || mix.has(Direction::Trim);
        changes && thread.job.engine != Engine::Null
    });
    writing.flat_map(|thread| &thread.files).map(|file| file.path.as_path()).collect()
}

/// The beginning of a block device; nothing of anything else.
fn head_of(path: &Path) -> io::Result<Vec<u8>> {
    let is_device = path.metadata().is_ok_and(|found| found.file_type().is_block_device());
    let mut head = Vec::new();
    if is_device {
        File::open(path)?.take(DISK_TARGET_HEAD_BYTES as u64).read_to_end(&mut head)?;
    }
    Ok(head)
}
