//! The kernel's worker threads of this process's rings, counted.

use std::fs;
use std::path::Path;

/// Names of io_uring's threads: those that carry out what cannot be done inline, and those that
/// poll a submission queue. The rest of the name is the number of the ring's thread.
const WORKER_NAMES: [&str; 2] = ["iou-wrk-", "iou-sqp-"];

/// `None`: /proc cannot be read. Cost: one small file for each thread of the process.
pub(crate) fn io_workers() -> Option<u64> {
    count_below(Path::new("/proc/self/task"))
}

fn count_below(tasks: &Path) -> Option<u64> {
    let mut count = 0;
    for entry in fs::read_dir(tasks).ok()? {
        // A thread may end between being listed and being asked for its name.
        let Ok(name) = fs::read_to_string(entry.ok()?.path().join("comm")) else { continue };
        count += u64::from(WORKER_NAMES.iter().any(|worker| name.starts_with(worker)));
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_threads_of_rings_are_counted_and_without_a_list_there_is_no_count() {
        let tasks = std::env::temp_dir().join(format!("sombra-tasks-{}", std::process::id()));
        assert_eq!(count_below(&tasks), None);
        let names =
            ["sombra-shard-0", "iou-wrk-4711", "iou-sqp-4711", "iou-wrk-4712", "my-iou-wrk-1"];
        for (number, name) in names.iter().enumerate() {
            let task = tasks.join(number.to_string());
            fs::create_dir_all(&task).unwrap();
            fs::write(task.join("comm"), format!("{name}\n")).unwrap();
        }
        fs::create_dir_all(tasks.join("ended-meanwhile")).unwrap();
        assert_eq!(count_below(&tasks), Some(3));
        fs::remove_dir_all(&tasks).unwrap();
    }
}
