//! Job files as people write them: of the house, of fio's manual, and option by option.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::disk::job::{
    BlockSize, Direction, Distribution, Engine, Extent, FileService, Mix, Preallocate, Sequencer,
    WriteSync,
};

fn profile(name: &str) -> JobFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fio-profiles").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    parse(&text, &[]).unwrap()
}

#[test]
fn profiles_of_the_house_parse_unchanged_and_without_a_notice() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fio-profiles");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".fio") {
            count += 1;
            assert_eq!(profile(&name).notices, [], "{name}");
        }
    }
    assert!(count >= 8, "{count}");
}

#[test]
fn log_profile_is_what_it_says() {
    let jobs = profile("wal-log.fio").jobs;
    let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names[..3], ["prepare", "dsync-4k", "ring-fdatasync-4k"]);
    let named = |name: &str| jobs.iter().find(|job| job.name == name).unwrap();
    let (prepare, dsync) = (named("prepare"), named("dsync-4k"));
    assert!(prepare.end_fsync && !prepare.stonewall && !prepare.time_based);
    assert_eq!(prepare.block.0, [const { BlockSize::Fixed(256 << 10) }; 3]);
    assert_eq!((dsync.iodepth, named("dsync-4k-depth4").iodepth), (1, 4));
    assert_eq!(named("fdatasync-4k").engine, Engine::Psync);
    for job in &jobs {
        assert_eq!(job.filenames, [PathBuf::from("sombra-wal-log")]);
        assert_eq!((job.size, job.direct), (Some(Extent::Bytes(256 << 20)), true));
        assert_eq!((job.pattern.mix, job.pattern.is_random), (Mix::Write, false));
        assert!(job.lat_percentiles && job.clat_percentiles && !job.slat_percentiles);
    }
    assert_eq!(dsync.write_sync, WriteSync::Dsync);
    assert!(dsync.overwrite && dsync.stonewall && dsync.time_based);
    assert_eq!(dsync.runtime, Some(Duration::from_secs(5)));
}

#[test]
fn random_read_profile_batches_as_it_says() {
    let jobs = profile("random-read.fio").jobs;
    let busy = jobs.last().unwrap();
    assert_eq!((busy.iodepth, busy.batch_submit), (128, Some(16)));
    assert_eq!((busy.batch_complete_min, busy.batch_complete_max), (1, Some(32)));
    assert!(busy.fixed_buffers && busy.register_files);
    assert_eq!((busy.rand_seed, busy.rand_repeat), (1, true));
}

#[test]
fn a_job_of_nothing_has_the_defaults_of_fio() {
    let job = job("[a]\n");
    assert_eq!(job, default_job("a"));
    assert_eq!(job.percentiles.len(), 17);
    assert_eq!((job.rand_seed, job.read_percent, job.invalidate), (0x89, 50, true));
}

#[test]
fn globals_hold_for_the_sections_behind_them_only() {
    let text = "[a]\nsize=1m\n[global]\nsize=2m\nbs=8k\n[b]\n[global]\nbs=16k\n[c]\nsize=4m\n";
    let jobs = parse(text, &[]).unwrap().jobs;
    let facts: Vec<_> = jobs.iter().map(|job| (job.size, job.block.0[0].clone())).collect();
    let mib = |count: u64| Some(Extent::Bytes(count << 20));
    assert_eq!(
        facts,
        [
            (mib(1), BlockSize::Fixed(4096)),
            (mib(2), BlockSize::Fixed(8192)),
            (mib(4), BlockSize::Fixed(16384)),
        ]
    );
}

#[test]
fn comments_blanks_and_case_of_units_are_read_as_fio_reads_them() {
    let job = job("; first\n\n  [a]  # behind\n\tsize = 4K ; four\n#rw=write\nbs=2KiB\n");
    assert_eq!(job.size, Some(Extent::Bytes(4096)));
    assert_eq!(job.pattern.mix, Mix::Read);
    // With fio's kb_base=1024 it is the IEC unit that counts by thousands.
    assert_eq!(job.block.0[0], BlockSize::Fixed(2000));
}

#[test]
fn numbers_have_every_unit_of_fio() {
    for (text, bytes) in [
        ("512", 512),
        ("0x200", 512),
        ("0X1k", 1024),
        ("1k", 1 << 10),
        ("1kb", 1 << 10),
        ("1kB", 1 << 10),
        ("1ki", 1000),
        ("1kib", 1000),
        ("1M", 1 << 20),
        ("1g", 1 << 30),
        ("1t", 1 << 40),
        ("1p", 1 << 50),
        ("4096b", 4096),
        ("(2*3k+1m)", (6 << 10) + (1 << 20)),
        ("((1+2)^3%10)", 7),
        ("8*$pagesize", 32_768),
        ("(4*$ncpus*1k)", 16 << 10),
        ("$mb_memory", 8192),
        ("${SIZE}", 64 << 20),
        ("${SIZE}b", 64 << 20),
    ] {
        let job = job(&format!("[a]\nbs=1\nsize={text}"));
        assert_eq!(job.size, Some(Extent::Bytes(bytes)), "{text}");
    }
    let si = job("[a]\nsize=3k\nkb_base=1000\nbs=2ki");
    assert_eq!((si.size, &si.block.0[0]), (Some(Extent::Bytes(3000)), &BlockSize::Fixed(2048)));
}

#[test]
fn times_have_every_unit_of_fio() {
    for (text, ms) in [
        ("2", 2_000),
        ("2s", 2_000),
        ("2sec", 2_000),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
        ("7ms", 7),
        ("7msec", 7),
        ("7000us", 7),
        ("(3*2s)", 6_000),
    ] {
        let found = job_of(&format!("runtime={text}")).runtime;
        assert_eq!(found, Some(Duration::from_millis(ms)), "{text}");
    }
    let think = job_of("thinktime=50\nthinktime_spin=20us\nthinktime_blocks=8").think_time.unwrap();
    assert_eq!((think.pause, think.spin), (Duration::from_micros(50), Duration::from_micros(20)));
    assert_eq!(think.blocks, 8);
    assert_eq!(job_of("runtime=0").runtime, None);
}

#[test]
fn block_sizes_go_by_direction() {
    let fixed = BlockSize::Fixed;
    assert_eq!(job_of("bs=8k,16k").block.0, [fixed(8 << 10), fixed(16 << 10), fixed(16 << 10)]);
    assert_eq!(job_of("bs=,8k").block.0, [fixed(4096), fixed(8 << 10), fixed(8 << 10)]);
    assert_eq!(job_of("bs=8k,").block.0, [fixed(8 << 10), fixed(4096), fixed(4096)]);
    let range = BlockSize::Range { min: 1024, max: 4096 };
    assert_eq!(*job_of("bsrange=4k-1k\nbs=512").block.of(Direction::Write), range);
    assert_eq!(job_of("bsrange=1k:4k/8k-8k").block.0, [range, fixed(8192), fixed(8192)]);
}

#[test]
fn split_shares_out_what_is_left_and_wins_over_the_other_sizes() {
    let split = |parts: &[(u64, u32)]| BlockSize::Split(parts.to_vec());
    let job = job_of("bssplit=4k/50:1k/:32k/\nbs=512\nbsrange=1k-2k");
    assert_eq!(job.block.0[0], split(&[(4096, 50), (1024, 25), (32768, 25)]));
    let job = job_of("bssplit=1k:2k:4k,4k/90:8k/10");
    assert_eq!(job.block.0[0], split(&[(1024, 34), (2048, 33), (4096, 33)]));
    assert_eq!(job.block.0[1], split(&[(4096, 90), (8192, 10)]));
    assert_eq!(job_of("bssplit=4k/100:8k/").block.0[0], BlockSize::Fixed(4096));
}

#[test]
fn every_pattern_is_known() {
    for (text, mix, is_random) in [
        ("read", Mix::Read, false),
        ("write", Mix::Write, false),
        ("trim", Mix::Trim, false),
        ("randread", Mix::Read, true),
        ("randwrite", Mix::Write, true),
        ("randtrim", Mix::Trim, true),
        ("rw", Mix::ReadWrite, false),
        ("readwrite", Mix::ReadWrite, false),
        ("randrw", Mix::ReadWrite, true),
        ("trimwrite", Mix::TrimWrite, false),
        ("randtrimwrite", Mix::TrimWrite, true),
    ] {
        let pattern = job_of(&format!("readwrite={text}")).pattern;
        assert_eq!((pattern.mix, pattern.is_random), (mix, is_random), "{text}");
        assert_eq!((pattern.ops_per_offset, pattern.skip_bytes), (1, 0), "{text}");
    }
    let pattern = job_of("rw=randread:8\nrw_sequencer=identical").pattern;
    assert_eq!((pattern.ops_per_offset, pattern.sequencer), (8, Sequencer::Identical));
    assert_eq!(job_of("rw=write:4k").pattern.skip_bytes, 4096);
    assert_eq!(job_of("rw=read:-8k").pattern.skip_bytes, -8192);
    assert_eq!(job_of("rw=rw\nrwmixwrite=30").read_percent, 70);
}

#[test]
fn depths_are_bounded_by_the_depth_and_told() {
    let text = "[a]\nsize=1m\nioengine=libaio\niodepth=8\niodepth_batch=32\n\
                iodepth_batch_complete=4\n";
    let file = parse(text, &[]).unwrap();
    let job = &file.jobs[0];
    assert_eq!((job.engine, job.iodepth, job.batch_submit), (Engine::IoUring, 8, Some(8)));
    assert_eq!((job.batch_complete_min, job.batch_complete_max, job.iodepth_low), (4, None, 8));
    let notices: Vec<String> = file.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        [
            "dir/t.fio:3: note: option 'ioengine': io_uring in place of libaio",
            "dir/t.fio:1: note: option 'iodepth_batch': 8, the depth, in place of 32",
        ]
    );
    let sync = job_of("ioengine=sync\niodepth=16");
    assert_eq!((sync.engine, sync.iodepth), (Engine::Psync, 1));
    let all =
        job_of("ioengine=io_uring\niodepth=16\niodepth_batch=0\niodepth_batch_complete_min=0");
    assert_eq!((all.batch_submit, all.batch_complete_min, all.batch_complete_max), (None, 0, None));
}

#[test]
fn rates_go_by_direction_and_may_be_one_sided() {
    let rates = |options: &str| job_of(options).rate.0.map(|rate| rate.bytes_per_s);
    let (mib, half) = (Some(1 << 20), Some(500 << 10));
    assert_eq!(rates("rate=1m"), [mib, mib, mib]);
    assert_eq!(rates("rate=1m,500k"), [mib, half, half]);
    assert_eq!(rates("rate=,500k"), [None, half, half]);
    assert_eq!(rates("rate=500k,"), [half, None, None]);
    assert_eq!(
        job_of("rate_iops=100,50,25").rate.0.map(|rate| rate.iops),
        [Some(100), Some(50), Some(25)]
    );
    assert_eq!(job_of("ratecycle=250").rate_cycle, Duration::from_millis(250));
}

#[test]
fn distributions_take_their_parameters() {
    let of = |text: &str| job_of(&format!("rw=randread\nrandom_distribution={text}"));
    assert_eq!(of("zipf:1.2").distribution, Distribution::Zipf { theta: 1.2, center: None });
    let centered = Distribution::Zipf { theta: 0.9, center: Some(0.25) };
    assert_eq!(of("zipf:0.9:0.25").distribution, centered);
    assert_eq!(of("pareto:0.2").distribution, Distribution::Pareto { h: 0.2, center: None });
    let normal = Distribution::Normal { deviation: 5.0, center: Some(0.5) };
    assert_eq!(of("normal:5:0.5").distribution, normal);
    assert!(of("zipf:1.2").no_random_map && !of("random").no_random_map);
}

#[test]
fn files_are_named_split_and_escaped() {
    let job = job_of("filename=/dev/sd\\:a:b\ndirectory=x\\:y\nfile_service_type=random:1");
    assert_eq!(job.filenames, [PathBuf::from("/dev/sd:a"), PathBuf::from("b")]);
    assert_eq!(job.directory, Some(PathBuf::from("x:y")));
    assert_eq!(job.file_service, FileService::Random);
    assert_eq!(job_of("filesize=8k-4k").filesize, Some((4096, 8192)));
    assert_eq!(job_of("filesize=8k").filesize, Some((8192, 8192)));
    assert_eq!(job_of("offset=50%").offset, Extent::Percent(50));
    assert_eq!(job_of("io_limit=2m").io_size, Some(Extent::Bytes(2 << 20)));
    assert_eq!(job_of("fallocate=none").preallocate, Preallocate::None);
}

#[test]
fn logs_without_a_name_have_the_jobs() {
    let logs = job_of("write_bw_log\nwrite_lat_log=lat\nlog_avg_msec=100\nper_job_logs=0").logs;
    assert_eq!((logs.bandwidth.as_deref(), logs.latency.as_deref()), (Some("a"), Some("lat")));
    assert_eq!((logs.iops, logs.average_ms, logs.per_job), (None, 100, false));
}

#[test]
fn seeds_repeat_where_one_is_given() {
    assert!(job_of("").rand_repeat);
    assert!(!job_of("randrepeat=0").rand_repeat);
    assert!(job_of("randrepeat=0\nrandseed=5").rand_repeat);
    assert!(job_of("allrandrepeat=1\nrandrepeat=0").rand_repeat);
}

#[test]
fn included_options_stand_where_the_include_stands() {
    let shelf: Shelf<'_> = &[
        ("dir/glob.fio", "thread=1\ngroup_reporting=1\ninclude sub/more.fio\n"),
        ("dir/sub/more.fio", "iodepth=4\ninclude last.fio\n"),
        ("dir/sub/last.fio", "bs=8k\n"),
    ];
    let text = "[global]\nioengine=io_uring\nbs=4k\ninclude glob.fio\n[a]\nsize=1m\n";
    let job = parse(text, shelf).unwrap().jobs.remove(0);
    assert!(job.group_reporting);
    assert_eq!((job.iodepth, &job.block.0[0]), (4, &BlockSize::Fixed(8192)));
}

#[test]
fn lenient_reading_warns_where_strict_reading_refuses() {
    let text = "[a]\nsize=1m\ngtod_reduce=1\ncgroup=x\n";
    let none = CommandLine::default();
    let file = with_world(&[], true, |world| JobFile::parse(text, "t.fio", &none, world)).unwrap();
    let notices: Vec<String> = file.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        [
            "t.fio:3: warning: option 'gtod_reduce' is not supported, and left out: every \
            operation \
         is measured",
            "t.fio:4: warning: option 'cgroup' is not supported, and left out: start the tool \
            inside \
         of the cgroup",
        ]
    );
}

#[test]
fn options_that_ask_for_nothing_are_no_error_though_unsupported() {
    job_of(
        "gtod_reduce=0\nzonemode=none\nrate_process=linear\nlockfile=none\nmem=malloc\n\
            percentage_random=100\ncontinue_on_error=none\nunified_rw_reporting=none",
    );
}

#[test]
fn unset_variables_are_warned_of() {
    let file = parse("[a]\nsize=1m\ndescription=x${NOWHERE}y\n", &[]).unwrap();
    assert_eq!(file.jobs[0].description.as_deref(), Some("xy"));
    let notice = file.notices[0].to_string();
    assert_eq!(notice, "dir/t.fio:3: warning: variable 'NOWHERE' is not set: nothing in its place");
}

fn arguments(list: &[&str]) -> CommandLine {
    let owned: Vec<String> = list.iter().map(|one| (*one).to_owned()).collect();
    parse_overrides(&owned).unwrap()
}

#[test]
fn command_line_overrides_globals_and_not_sections() {
    let line = arguments(&["--bs=16k", "--directory=d", "--name=z", "--rw=write", "--size=2m"]);
    assert!(line.has_jobs());
    let text = "[global]\nbs=8k\nsize=1m\n[a]\n[b]\nbs=4k\n[global]\nbs=32k\n[c]\n";
    let file = with_world(&[], false, |world| JobFile::parse(text, "t.fio", &line, world)).unwrap();
    let sizes: Vec<u64> = file.jobs.iter().map(|job| job.block.0[0].min_bytes()).collect();
    assert_eq!(sizes, [16 << 10, 4 << 10, 16 << 10, 16 << 10]);
    assert!(file.jobs.iter().all(|job| job.directory == Some(PathBuf::from("d"))));
    let last = file.jobs.last().unwrap();
    assert_eq!((last.name.as_str(), last.pattern.mix), ("z", Mix::Write));
    assert_eq!(last.size, Some(Extent::Bytes(2 << 20)));
}

#[test]
fn command_line_errors_are_told_once_and_by_its_name() {
    let owned = ["--bs".to_owned(), "rw".to_owned(), "--".to_owned()];
    let errors = parse_overrides(&owned).unwrap_err();
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "command line: expected --option=value, found 'rw'",
            "command line: expected --option=value, found '--'",
        ]
    );
    let line = arguments(&["--bss=4k"]);
    let text = "[global]\nsize=1m\n[a]\n[global]\nbs=8k\n[b]\n";
    let errors = with_world(&[], false, |world| JobFile::parse(text, "t.fio", &line, world));
    let lines: Vec<String> = errors.unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["command line: option 'bss': expected the name of an option (did you mean \
                        'bs'?), found none such"]
    );
}

#[test]
fn options_are_recorded_by_the_names_of_fio() {
    let job = job("[global]\niodepth=1\n[a]\nblocksize=4k\nstonewall\nsize=1m\n");
    let options: Vec<(&str, &str)> =
        job.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(options, [("bs", "4k"), ("stonewall", ""), ("size", "1m")]);
}

#[test]
fn trim_writes_write_into_what_they_trimmed() {
    let job = job_of("rw=trimwrite\nbs=4k,8k,16k");
    assert_eq!(job.block.of(Direction::Trim), job.block.of(Direction::Write));
}

#[test]
fn every_name_of_an_option_is_there_once() {
    let mut names: Vec<&str> = option_names().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
