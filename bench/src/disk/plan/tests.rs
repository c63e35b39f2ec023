//! Plans as fio makes them: the numbers below are what fio 3.33 does with the same jobs.

use std::path::Path;

use super::*;
use crate::disk::job::CpuChoice;
use crate::disk::job_file::{CommandLine, JobFile, Surroundings};

fn plan_with(text: &str, entropy: u64) -> Result<Plan, PlanError> {
    let surroundings = Surroundings { memory_bytes: 1 << 30, ..Surroundings::NONE };
    let file = JobFile::parse(text, "t.fio", &CommandLine::default(), &surroundings).unwrap();
    let jobs: Vec<Arc<Job>> = file.jobs.into_iter().map(Arc::new).collect();
    Plan::new(&jobs, entropy)
}

fn plan(text: &str) -> Plan {
    plan_with(text, 0).unwrap()
}

/// `path offset+size` of each file, in order.
fn files(plan: &Plan) -> Vec<String> {
    let bytes = |extent| match extent {
        Extent::Bytes(bytes) => bytes.to_string(),
        Extent::Percent(percent) => format!("{percent}%"),
    };
    let files = plan.threads().flat_map(|thread| &thread.files);
    files
        .map(|file| {
            let size = file.size.map_or_else(|| "all".into(), bytes);
            format!("{} {}+{size}", file.path.display(), bytes(file.offset))
        })
        .collect()
}

const MIXED: &str = "[global]\nsize=8k\nrw=write\n[a]\nnumjobs=2\nnrfiles=2\n[b]\nstonewall\n\
                     offset=4k\noffset_increment=8k\nnumjobs=2\n[c]\nnew_group\nfilename=x:z\n\
                     directory=/d\n";

#[test]
fn groups_threads_and_files_are_those_of_fio() {
    let plan = plan(MIXED);
    let threads: Vec<Vec<(u32, u32, u32, &str)>> = plan
        .groups
        .iter()
        .map(|group| {
            let of = |thread: &Arc<JobThread>| {
                (thread.thread_number, thread.group_id, thread.clone_number)
            };
            let named = group.jobs.iter().map(|thread| (of(thread), thread.job.name.as_str()));
            named.map(|((number, group, clone), name)| (number, group, clone, name)).collect()
        })
        .collect();
    assert_eq!(
        threads,
        [
            vec![(1, 0, 0, "a"), (2, 0, 1, "a")],
            vec![(3, 1, 0, "b"), (4, 1, 1, "b"), (5, 2, 0, "c")],
        ]
    );
    assert_eq!(
        files(&plan),
        [
            "a.0.0 0+4096",
            "a.0.1 0+4096",
            "a.1.0 0+4096",
            "a.1.1 0+4096",
            "b.0.0 4096+8192",
            "b.1.0 12288+8192",
            "/d/x 0+4096",
            "/d/z 0+4096",
        ]
    );
}

#[test]
fn first_jobs_stonewall_opens_no_second_group() {
    let plan = plan("[a]\nstonewall\nnew_group\nsize=1m\n[b]\nsize=1m\n");
    assert_eq!(plan.groups.len(), 1);
    assert!(plan.threads().all(|thread| thread.group_id == 0));
}

#[test]
fn directory_holds_absolute_names_too() {
    let plan = plan("[a]\ndirectory=/d\nfilename=/dev/sda:b\nsize=1m\n");
    assert_eq!(files(&plan), ["/d/dev/sda 0+524288", "/d/b 0+524288"]);
}

#[test]
fn percentages_stay_shares_of_what_is_there() {
    let plan = plan("[a]\nfilename=x\nsize=20%\noffset_increment=25%\nnumjobs=3\n");
    assert_eq!(files(&plan), ["x 0%+20%", "x 25%+20%", "x 50%+20%"]);
    let all = plan_with("[a]\nfilename=x\n", 0).unwrap();
    assert_eq!(files(&all), ["x 0+all"]);
}

#[test]
fn drawn_file_sizes_are_in_range_in_blocks_and_the_same_again() {
    let text = "[a]\nsize=1m\nfilesize=4k-64k\nbs=4k\nnrfiles=50\n";
    let sizes: Vec<u64> = plan(text)
        .threads()
        .flat_map(|thread| thread.files.iter())
        .map(|file| match file.size {
            Some(Extent::Bytes(bytes)) => bytes,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(sizes.iter().all(|size| (4096..=65_536).contains(size) && size % 4096 == 0));
    assert!(sizes.iter().any(|size| *size != sizes[0]));
    assert_eq!(plan(text), plan(text));
    assert_eq!(
        files(&plan("[a]\nsize=8k\nfilesize=4k\nnrfiles=2\n")),
        ["a.0.0 0+4096", "a.0.1 0+4096"]
    );
}

#[test]
fn seeds_differ_by_clone_and_repeat_unless_told_otherwise() {
    let seeds = |text: &str, entropy| -> Vec<u64> {
        plan_with(text, entropy).unwrap().threads().map(|thread| thread.seed).collect()
    };
    let repeating = "[a]\nsize=1m\nnumjobs=3\n";
    let mut distinct = seeds(repeating, 1);
    assert_eq!(distinct, seeds(repeating, 2));
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 3);
    let fresh = "[a]\nsize=1m\nrandrepeat=0\n";
    assert_ne!(seeds(fresh, 1), seeds(fresh, 2));
    assert_ne!(seeds("[a]\nsize=1m\nrandseed=5\n", 0), seeds("[a]\nsize=1m\nrandseed=6\n", 0));
}

#[test]
fn cpus_are_shared_or_split() {
    let cpus = |policy: &str| -> Vec<Option<Vec<usize>>> {
        let text = format!("[a]\nsize=1m\nnumjobs=3\ncpus_allowed=1,4\n{policy}\n");
        plan(&text).threads().map(|thread| thread.cpus.clone()).collect()
    };
    assert_eq!(cpus(""), [const { &[1, 4] }; 3].map(|all| Some(all.to_vec())));
    let split = [[1], [4], [1]].map(|one| Some(one.to_vec()));
    assert_eq!(cpus("cpus_allowed_policy=split"), split);
}

#[test]
fn null_jobs_have_no_files() {
    let plan = plan("[a]\nioengine=null\nsize=1m\n");
    assert_eq!(files(&plan), [""; 0]);
    assert_eq!(plan.threads().count(), 1);
}

#[test]
fn jobs_beyond_the_bounds_are_refused() {
    let mut job = crate::disk::job_file::default_job("a");
    job.numjobs = DISK_JOB_THREADS_MAX;
    let job = Arc::new(job);
    assert!(Plan::new(&[Arc::clone(&job)], 0).is_ok());
    let refused = Plan::new(&[Arc::clone(&job), job], 0).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "job 'a': expected at most 4096 threads over all jobs, found 8192"
    );
    let mut many = crate::disk::job_file::default_job("m");
    (many.numjobs, many.nrfiles) = (1_000, 1_000);
    let refused = Plan::new(&[Arc::new(many)], 0).unwrap_err();
    assert!(matches!(refused, PlanError::Files { found: 1_000_000, .. }), "{refused}");
}

#[test]
fn offsets_that_do_not_add_up_are_refused() {
    let refused = |offset, step, clones| {
        let mut job = crate::disk::job_file::default_job("a");
        (job.offset, job.offset_increment, job.numjobs) = (offset, step, clones);
        job.cpus = Some(CpuChoice { cpus: Vec::new(), split: true });
        Plan::new(&[Arc::new(job)], 0).is_err()
    };
    use Extent::{Bytes, Percent};
    assert!(refused(Bytes(4096), Percent(1), 1));
    assert!(refused(Percent(1), Bytes(4096), 1));
    assert!(refused(Bytes(0), Percent(60), 3));
    assert!(refused(Bytes(1), Bytes(u64::MAX), 2));
    assert!(!refused(Percent(10), Percent(30), 4));
}

#[test]
fn space_counts_each_file_once_and_only_what_it_grows_by() {
    let text = "[a]\nfilename=/d/x\nsize=1m\n[b]\nfilename=/d/x\nsize=1m\noffset=1m\n\
                [c]\ndirectory=/e\nsize=4m\nnumjobs=2\n[d]\nfilename=/dev/sdz\nsize=1g\n\
                [e]\nfilename=/e/old\n[f]\nsize=8k\n";
    let on_disk = |path: &Path| match path.to_str().unwrap() {
        "/d/x" => OnDisk::File { allocated_bytes: 1 << 20 },
        "/dev/sdz" => OnDisk::Device,
        _ => OnDisk::Absent,
    };
    let need = plan(text).space_need(&on_disk);
    let directories: Vec<(&str, u64)> =
        need.bytes_by_directory.iter().map(|(path, n)| (path.to_str().unwrap(), *n)).collect();
    assert_eq!(directories, [("/d", 1 << 20), ("/e", 8 << 20), (".", 8 << 10)]);
    assert_eq!(need.total_bytes(), (9 << 20) + (8 << 10));
    assert_eq!(need.as_they_are, [PathBuf::from("/e/old")]);
}

#[test]
fn plan_reads_as_what_will_happen() {
    let text = "[global]\nioengine=io_uring\ndirect=1\nsize=1m\n[w]\nrw=randrw:4\nrwmixread=70\n\
                bs=4k,8k\nnumjobs=2\noffset_increment=1m\nfilename=x\n[r]\nstonewall\niodepth=8\n\
                nrfiles=10\nruntime=5\ntime_based\nramp_time=1\ncpus_allowed=1\n";
    let expected = "\
first:
  thread 1, group 0: w (clone 0 of 2): random reads (70 %) and writes, read of 4.0 KiB, write of \
  8.0 KiB, io_uring depth 1, direct
    x: 1.0 MiB
  thread 2, group 0: w (clone 1 of 2): random reads (70 %) and writes, read of 4.0 KiB, write of \
  8.0 KiB, io_uring depth 1, direct
    x: 1.0 MiB from 1.0 MiB
then, once all of these have ended:
  thread 3, group 1: r: sequential reads, read of 4.0 KiB, io_uring depth 8, direct, for 5s after \
  a ramp of 1s, on CPUs [1]
    r.0.0: 102.4 KiB
    r.0.1: 102.4 KiB
    r.0.2: 102.4 KiB
    r.0.3: 102.4 KiB
    r.0.4: 102.4 KiB
    r.0.5: 102.4 KiB
    r.0.6: 102.4 KiB
    r.0.7: 102.4 KiB
    and 2 files more
";
    assert_eq!(plan(text).to_string(), expected);
}

/// Found by made-up files: the plan counted files that a job with a name of its own does not have.
#[test]
fn names_of_files_count_and_nrfiles_beside_them_does_not() {
    let text = "[global]\nsize=64m\n[a]\nfilename=x\nnrfiles=65536\n[b]\n";
    assert_eq!(plan(text).threads().map(|thread| thread.files.len()).sum::<usize>(), 2);
}
