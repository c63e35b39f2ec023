//! fio itself, where it is installed, as the judge of which files are good.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use super::*;

/// fio's answer, or nothing, with the reason printed, where there is none.
fn fio(arguments: &[&str]) -> Option<Output> {
    match Command::new("fio").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("skipped: fio: {error}");
            None
        }
    }
}

#[test]
fn every_option_of_the_installed_fio_is_known() {
    let Some(help) = fio(&["--cmdhelp=all"]) else { return };
    let mut names: BTreeSet<String> = first_words(&help);
    for engine in ["io_uring", "libaio", "pvsync2", "sg", "mmap", "net", "cpuio", "e4defrag"] {
        let Some(help) = fio(&[&format!("--enghelp={engine}")]) else { return };
        names.extend(first_words(&help));
    }
    assert!(names.len() > 200, "{names:?}");
    let known: BTreeSet<&str> = option_names().collect();
    let unknown: Vec<&String> =
        names.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The names in a list of `name   : what it does`.
fn first_words(output: &Output) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    names.filter(|name| !name.is_empty() && !name.contains(' ')).map(str::to_owned).collect()
}

/// Both accept. Arithmetic is not among them: fio knows it only where it is built with it.
const GOOD: &[&str] = &[
    "[a]\nsize=4k\n",
    "; comment\n[global]\nrw=randread\nsize=128m\n[job1]\n[job2]\n",
    "[random-writers]\nioengine=libaio\niodepth=4\nrw=randwrite\nbs=32k\ndirect=0\nsize=64m\n\
     numjobs=4\n",
    "[a]\nsize=64k\nbs=4k,8k\n",
    "[a]\nsize=64k\nbs=,8k\n",
    "[a]\nsize=1m\nbssplit=4k/50:8k/\n",
    "[a]\nsize=1m\nbsrange=8k-4k\n",
    "[a]\nsize=1m\nrw=randread:8\nrw_sequencer=identical\n",
    "[a]\nsize=1m\nrw=write:4k\n",
    "[a]\nsize=1m\nrw=rw\nrwmixread=70\n",
    "[a]\nsize=1m\ntime_based\nruntime=10s\nramp_time=500ms\n",
    "[a]\nsize=1m\nrandom_distribution=zipf:1.2:0.5\nrw=randread\n",
    "[a]\nsize=1m\nrate=1m,,2m\nrate_cycle=100\n",
    "[a]\nsize=1m\npercentile_list=50:99:99.9\nlat_percentiles=1\n",
    "[a]\nsize=1m\nthinktime=10\nthinktime_spin=5\nthinktime_blocks=2\n",
    "[a]\nsize=1m\nioengine=io_uring\nfixedbufs\nregisterfiles\ndirect=1\nhipri\niodepth=8\n",
    "[a]\nsize=1m\nsync=dsync\nfallocate=none\nrw=write\nend_fsync=1\n",
    "[a]\nsize=0x100k\n",
    "[a]\nsize=1m\ncpus_allowed=0\ncpus_allowed_policy=split\n",
    "[a]\nsize=1m\nwrite_bw_log\nwrite_lat_log=x\nlog_avg_msec=10\n",
    "[a]\nsize=1m\nverify=crc32c\nrw=write\ndo_verify=0\n",
    "[a]\nfilename=x:y\nsize=1m\nnrfiles=2\nfile_service_type=random\n",
];

/// Both refuse.
const BAD: &[&str] = &[
    "size=4k\n[a]\n",
    "[a]\nsize=4k\nfoo=1\n",
    "[a]\nsize=\n",
    "[a]\nsize\n",
    "[a]\nsize=4k\niodepth=0\n",
    "[a]\nsize=4k\ndirect=2\n",
    "[a]\nsize=4k\nrwmixread=120\n",
    "[a]\nsize=4k\nrw=sideways\n",
    "[a]\nsize=4k\nrandom_distribution=zipf:1\n",
    "[a]\nsize=4k\nrandom_distribution=pareto:1.2\n",
    "[a]\nsize=4k\ngroup_reporting=yes\n",
    "[a]\nsize=4k\nfallocate=foo\n",
    "[a]\nsize=4k\nhipri\n",
    "[a]\nsize=4k\nsync=maybe\n",
    "[a]\nsize=4k\nbs=0\n",
    "[a]\nsize=4k\nverify=rot13\n",
];

/// fio takes them while it only parses, or reads something else than what stands there: we refuse.
const REFUSED_BY_US_ALONE: &[&str] = &[
    "[a]\nsize=4k\ncpus_allowed=9\n",
    "[a]\nsize=4x\n",
    "[a]\nsize=1.5m\n",
    "[a] trailing\nsize=4k\n",
    "[a]\nsize=-4k\n",
    "[a]\nsize=4k\nruntime=10x\n",
    "[a]\nsize=4k\nrandom_distribution=zipf\n",
    "[a]\nsize=4k\npercentile_list=99:101\n",
    "[a]\nsize=4k\nloops=0\n",
    "[global]\nsize=4k\n",
    "[a]\nsize=4k\nbssplit=4k/50:8k/60\n",
];

#[test]
fn fio_accepts_and_refuses_the_same_files() {
    let file = std::env::temp_dir().join(format!("sombra-parse-only-{}.fio", std::process::id()));
    let path = file.to_str().unwrap();
    let judged = [(GOOD, true, true), (BAD, false, false), (REFUSED_BY_US_ALONE, false, true)];
    let mut disagreements = Vec::new();
    'files: for (texts, is_good, is_good_to_fio) in judged {
        for text in texts {
            let ours = parse(text, &[]).map(|_| ());
            assert_eq!(ours.is_ok(), is_good, "{text}: {ours:?}");
            std::fs::write(&file, text).unwrap();
            let Some(output) = fio(&["--parse-only", path]) else { break 'files };
            if output.status.success() != is_good_to_fio {
                disagreements.push((text, output));
            }
        }
    }
    // Where fio is missing nothing may have been written.
    let _missing = std::fs::remove_file(&file);
    assert!(disagreements.is_empty(), "{disagreements:#?}");
}
