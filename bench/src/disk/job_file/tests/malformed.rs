//! Each bad file with every error that it must give, in full.

use super::*;

/// A file, and its errors in order.
type Case = (&'static str, &'static [&'static str]);

const CASES: &[Case] = &[
    ("", &["dir/t.fio: expected at least one section besides [global], found none"]),
    (
        "[global]\nrw=read\n",
        &["dir/t.fio: expected at least one section besides [global], found none"],
    ),
    (
        "rw=read\n[a]\nsize=1m",
        &["dir/t.fio:1: expected a section, like [global], before options, found 'rw=read'"],
    ),
    (
        "[a\nsize=1m",
        &[
            "dir/t.fio:1: expected ']' at the end of a section's name, found 'a'",
            "dir/t.fio:2: expected a section, like [global], before options, found 'size=1m'",
        ],
    ),
    ("[]\n", &["dir/t.fio:1: expected a section's name between '[' and ']', found none"]),
    (
        "[a] b\nsize=1m\n[c]\n",
        &[
            "dir/t.fio:1: expected nothing behind a section's name, found 'b'",
            "dir/t.fio:2: expected a section, like [global], before options, found 'size=1m'",
        ],
    ),
    ("[a]\n=5\n", &["dir/t.fio:2: expected the name of an option before '=', found '=5'"]),
    (
        "[a]\niodepht=4\nnumjob=2\nruntiem=1\n",
        &[
            "dir/t.fio:2: option 'iodepht': expected the name of an option (did you mean \
         'iodepth'?), found none such",
            "dir/t.fio:3: option 'numjob': expected the name of an option (did you mean \
            'numjobs'?), \
         found none such",
            "dir/t.fio:4: option 'runtiem': expected the name of an option (did you mean \
            'runtime'?), \
         found none such",
        ],
    ),
    (
        "[a]\nzqxwvut=4\n",
        &["dir/t.fio:2: option 'zqxwvut': expected the name of an option, found none such"],
    ),
    (
        "[a]\nsize=4x\n",
        &["dir/t.fio:2: option 'size': expected a number of bytes, like 256m, or a share, like \
            50%, \
         found '4x'"],
    ),
    (
        "[a]\nsize=101%\n",
        &["dir/t.fio:2: option 'size': expected a whole share of 0% to 100%, found '101%'"],
    ),
    (
        "[a]\nsize=99999999999999999999\n",
        &["dir/t.fio:2: option 'size': expected a number of bytes, like 256m, or a share, like \
            50%, \
         found '99999999999999999999'"],
    ),
    ("[a]\nsize\n", &["dir/t.fio:2: option 'size': expected a value behind '=', found none"]),
    (
        "[a]\nsize=1m\nrw=randraed\n",
        &["dir/t.fio:3: option 'rw': expected one of read, write, trim, randread, randwrite, \
         randtrim, rw, readwrite, randrw, trimwrite, randtrimwrite, found 'randraed'"],
    ),
    (
        "[a]\nsize=1m\nrw=randread:0\n",
        &["dir/t.fio:3: option 'rw': expected a count of operations of 1 to 4294967296 behind \
            ':', \
         found 'randread:0'"],
    ),
    (
        "[a]\nsize=1m\nrw=write:x\n",
        &["dir/t.fio:3: option 'rw': expected a number of bytes to skip behind ':', found \
            'write:x'"],
    ),
    (
        "[a]\nsize=1m\nbs=0\n",
        &["dir/t.fio:3: option 'bs': expected a number of 1 to 1073741824, found '0'"],
    ),
    (
        "[a]\nsize=1m\nbs=4k,4k,4k,4k\n",
        &["dir/t.fio:3: option 'bs': expected at most three values with commas between: for \
            reads, \
         writes, trims, found '4k,4k,4k,4k'"],
    ),
    (
        "[a]\nsize=1m\nbsrange=4k\n",
        &["dir/t.fio:3: option 'bsrange': expected two numbers, like 4k-64k, found '4k'"],
    ),
    (
        "[a]\nsize=1m\nbssplit=4k/50:8k/60\n",
        &["dir/t.fio:3: option 'bssplit': expected shares that add up to 100, not to 110, found \
         '4k/50:8k/60'"],
    ),
    (
        "[a]\nsize=1m\nbssplit=4k/50:8k/10\n",
        &["dir/t.fio:3: option 'bssplit': expected shares that add up to 100, not to 60, found \
         '4k/50:8k/10'"],
    ),
    (
        "[a]\nsize=1m\niodepth=0\n",
        &["dir/t.fio:3: option 'iodepth': expected a number of 1 to 4096, found '0'"],
    ),
    (
        "[a]\nsize=1m\nrwmixread=120\n",
        &["dir/t.fio:3: option 'rwmixread': expected a number of 0 to 100, found '120'"],
    ),
    ("[a]\nsize=1m\ndirect=yes\n", &["dir/t.fio:3: option 'direct': expected 0 or 1, found 'yes'"]),
    (
        "[a]\nsize=1m\nioengine=mmap\n",
        &["dir/t.fio:3: option 'ioengine': expected an engine of this tool: io_uring, psync, \
            null, \
         or one that stands for one of them: libaio, posixaio, sync, vsync, pvsync, pvsync2, \
         found 'mmap'"],
    ),
    (
        "[a]\nsize=1m\nverify=md5\n",
        &["dir/t.fio:3: option 'verify': expected crc32c, the one check that is supported, or \
            0 for \
         none, found 'md5'"],
    ),
    (
        "[a]\nsize=1m\nruntime=1.5\nramp_time=4y\n",
        &[
            "dir/t.fio:3: option 'runtime': expected a time of at most 31622400 s with a unit (us, \
         ms, s, m, h, d), like 10s, found '1.5'",
            "dir/t.fio:4: option 'ramp_time': expected a time of at most 31622400 s with a unit \
            (us, \
         ms, s, m, h, d), like 10s, found '4y'",
        ],
    ),
    (
        "[a]\nsize=1m\nloops=0\nnumjobs=0\n",
        &[
            "dir/t.fio:3: option 'loops': expected a number of 1 to 4294967295, found '0'",
            "dir/t.fio:4: option 'numjobs': expected a number of 1 to 4096, found '0'",
        ],
    ),
    (
        "[a]\nsize=1m\nrandom_distribution=zipf:1\n",
        &["dir/t.fio:3: option 'random_distribution': expected a theta above 0 and not 1, like \
         zipf:1.2, found 'zipf:1'"],
    ),
    (
        "[a]\nsize=1m\nrandom_distribution=pareto:1.2\n",
        &["dir/t.fio:3: option 'random_distribution': expected a power above 0 and below 1, like \
         pareto:0.2, found 'pareto:1.2'"],
    ),
    (
        "[a]\nsize=1m\nrandom_distribution=zoned:50/5\n",
        &["dir/t.fio:3: option 'random_distribution': expected random, zipf:THETA[:CENTER], \
         pareto:POWER[:CENTER] or normal:DEVIATION[:CENTER], found 'zoned:50/5'"],
    ),
    (
        "[a]\nsize=1m\npercentile_list=50:nan:99\n",
        &["dir/t.fio:3: option 'percentile_list': expected a number of 0 to 100, found \
            '50:nan:99'"],
    ),
    (
        "[a]\nsize=1m\ncpus_allowed=3-1\n",
        &["dir/t.fio:3: option 'cpus_allowed': expected CPUs of 0 to 4095 with commas between, \
            or \
         ranges, like 0-3,6, found '3-1'"],
    ),
    (
        "[a]\nsize=1m\ncpus_allowed=2-9\n",
        &["dir/t.fio:3: job 'a': option 'cpus_allowed': expected CPUs that exist, 4 of them, \
            found \
         CPU 4 and 5 more"],
    ),
    (
        "[a]\nfilename=x::y\nsize=1m\n",
        &["dir/t.fio:2: option 'filename': expected names of files with ':' between, or '\\:' \
            in a \
         name, found 'x::y'"],
    ),
    (
        "[a]\nsize=1m\ndirectory=a:b\n",
        &["dir/t.fio:3: option 'directory': expected one directory (a colon of its name is \
            written \
         '\\:'), found 'a:b'"],
    ),
    (
        "[a]\nsize=1m\ngtod_reduce=1\nread_iolog=x\n",
        &[
            "dir/t.fio:3: option 'gtod_reduce': known to fio, but not supported here: every \
            operation \
         is measured",
            "dir/t.fio:4: option 'read_iolog': known to fio, but not supported here: recorded \
         patterns cannot be written or replayed",
        ],
    ),
    (
        "[a]\nsize=4k\nbs=1m\n",
        &["dir/t.fio:2: job 'a': option 'size': expected at least a block (1048576 bytes) for \
            each \
         file, found 4096 bytes for 1 files"],
    ),
    (
        "[a]\nsize=1m\ndirect=1\nbs=1000\noffset=7\n",
        &[
            "dir/t.fio:4: job 'a': option 'bs': expected multiples of 512 bytes, as direct=1 needs \
         them, found 1000 bytes",
            "dir/t.fio:5: job 'a': option 'offset': expected multiples of 512 bytes, as direct=1 \
         needs them, found 7 bytes",
        ],
    ),
    (
        "[global]\ntime_based\n[a]\nsize=1m\n[b]\nsize=1m\nruntime=5\n",
        &["dir/t.fio:2: job 'a': option 'time_based': expected a 'runtime' above 0, found none"],
    ),
    (
        "[a]\nsize=1m\nrate=1m\nrate_iops=5\n",
        &["dir/t.fio:4: job 'a': option 'rate_iops': expected either 'rate' or 'rate_iops', \
            found \
         both for reads"],
    ),
    (
        "[a]\nsize=1m\nrate=1m\nrate_min=2m\n",
        &["dir/t.fio:4: job 'a': option 'rate_min': expected at most the rate, 1048576, found \
         2097152"],
    ),
    (
        "[a]\nioengine=null\nrw=trim\n",
        &[
            "dir/t.fio:3: job 'a': option 'rw': expected reads or writes: ioengine=null has \
            nothing \
         to trim, found a pattern that trims",
            "dir/t.fio:1: job 'a': option 'size': expected a size: ioengine=null has no file to \
            ask, \
         found none",
        ],
    ),
    (
        "[a]\nsize=1m\nfixedbufs\n",
        &["dir/t.fio:3: job 'a': option 'fixedbufs': expected ioengine=io_uring, found \
         ioengine=psync"],
    ),
    (
        "[a]\nsize=1m\nioengine=io_uring\nhipri\n",
        &["dir/t.fio:4: job 'a': option 'hipri': expected direct=1: only direct operations can \
            be \
         polled, found direct=0"],
    ),
    (
        "[a]\nsize=1m\nrw=write\nverify=crc32c\nzero_buffers\nbs=256\n",
        &[
            "dir/t.fio:4: job 'a': option 'verify': expected blocks that may carry a header, found \
         zero_buffers=1",
            "dir/t.fio:4: job 'a': option 'verify': expected blocks of at least 512 bytes, to \
            carry \
         the header, found 256 bytes",
        ],
    ),
    (
        "[a]\nsize=1m\nrw=randwrite\nverify=crc32c\nnorandommap\nbsrange=4k-8k\n",
        &["dir/t.fio:4: job 'a': option 'verify': expected one block size, or the random map: \
         blocks must not overlap in part, found blocks of several sizes at places drawn twice"],
    ),
    (
        "[a]\nsize=1m\noffset=4k\noffset_increment=10%\nnumjobs=2\n",
        &["dir/t.fio:4: job 'a': option 'offset_increment': expected the unit of 'offset': both \
         bytes or both percent, found the other"],
    ),
    (
        "[a]\nsize=1m\noffset_increment=4611686018427387904\nnumjobs=9\n",
        &["dir/t.fio:3: job 'a': option 'offset_increment': expected regions that end before \
            2^63, \
         found 4611686018427387904 bytes, 8 times"],
    ),
    (
        "[a]\nsize=1g\nioengine=io_uring\nbs=1g\niodepth=8\n",
        &["dir/t.fio:4: job 'a': option 'bs': expected blocks that take at most 4294967296 \
            bytes at \
         the job's depth, found 8589934592 bytes"],
    ),
    (
        "[a]\nsize=1m\nnumjobs=4000\n[b]\nsize=1m\nnumjobs=4000\n",
        &["dir/t.fio: expected at most 4096 threads (numjobs) over all jobs, found more"],
    ),
    (
        "[a]\nsize=1g\nnrfiles=60000\nnumjobs=2\n",
        &["dir/t.fio: expected at most 65536 files (nrfiles) over all threads, found more"],
    ),
    (
        "[a]\nsize=1m\ninclude gone.fio\n",
        &["dir/t.fio:3: include 'gone.fio': expected a readable file, found no such file"],
    ),
    (
        "[a]\nsize=1m\ninclude loop.fio\n",
        &["dir/loop.fio:2: include 'loop.fio': expected a file that does not include itself, \
            found \
         a cycle"],
    ),
    (
        "[a]\nsize=1m\ninclude section.fio\n",
        &["dir/section.fio:1: expected an included file to have options only, found a section: \
            'b]'"],
    ),
    (
        "[a]\nsize=1m\ninclude bad.fio\nbs=x\n",
        &[
            "dir/bad.fio:3: option 'direct': expected 0 or 1, found '2'",
            "dir/t.fio:4: option 'bs': expected a whole number of 1 to 1073741824, found 'x'",
        ],
    ),
    (
        "[a]\nsize=(4k*)\nbs=(1/0)\n",
        &[
            "dir/t.fio:2: option 'size': expected a number of bytes, like 256m, or a share, like \
            50%, \
         found '(4k*)'",
            "dir/t.fio:3: option 'bs': expected a whole number of 1 to 1073741824, found '(1/0)'",
        ],
    ),
];

const SHELF: Shelf<'_> = &[
    ("dir/loop.fio", "# in a circle\ninclude loop.fio\n"),
    ("dir/section.fio", "[b]\n"),
    ("dir/bad.fio", "rw=write\n\ndirect=2\n"),
];

#[test]
fn malformed_files_give_every_error_with_its_line() {
    assert!(CASES.len() >= 50, "the table shrank");
    for (text, expected) in CASES {
        let errors = parse(text, SHELF).expect_err(text);
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(found, *expected, "{text}");
    }
}

#[test]
fn includes_inside_each_other_are_bounded() {
    let shelf: Vec<(String, String)> = (0..40)
        .map(|depth| (format!("dir/{depth}.fio"), format!("include {}.fio\n", depth + 1)))
        .collect();
    let shelf: Vec<(&str, &str)> =
        shelf.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let errors = parse("[a]\nsize=1m\ninclude 0.fio\n", &shelf).unwrap_err();
    let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["dir/15.fio:1: include '16.fio': expected at most 16 files inside each \
                        other, found more"]
    );
}

#[test]
fn errors_show_no_control_characters_and_no_endless_text() {
    let text = format!("[a]\nsize=1m\nrw=\u{1b}[2J{}\n\u{7}bell=1\n", "y".repeat(5_000));
    let errors = parse(&text, &[]).unwrap_err();
    assert_eq!(errors.len(), 2);
    for error in errors {
        let line = error.to_string();
        assert!(line.chars().count() < 400, "{line}");
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
    }
}

#[test]
fn values_that_variables_blow_up_are_refused() {
    let errors = parse("[a]\nsize=1m\ndescription=${LONG}${LONG}${LONG}\n", &[]).unwrap_err();
    let line = errors[0].to_string();
    assert!(line.contains("expected a value of at most 65536 bytes"), "{line}");
}

#[test]
fn errors_stop_after_a_bounded_number() {
    let text = format!("[a]\nsize=1m\n{}", "=\n".repeat(100_000));
    let errors = parse(&text, &[]).unwrap_err();
    assert_eq!(errors.len(), crate::limits::DISK_JOB_ERRORS_MAX + 1);
}
