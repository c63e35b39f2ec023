//! `sombra disk wal-check`: one answer.

use std::fs;
use std::io::{self, Write, stdout};
use std::path::{Path, PathBuf};
use std::process;

use clap::Args;
use comfy_table::{Table, presets};

use sombra_bench::Stop;
use sombra_bench::disk::progress::Eta;
use sombra_bench::disk::wal_check::{DurableWrites, Verdict, WalCheck, WalCheckError, wal_check};

use crate::failure::Failure;
use crate::output::print_json;
use crate::{Outcome, interrupt};

pub(super) const AFTER_HELP: &str = "\
Takes about ten seconds, on a slow disk a minute, and leaves nothing behind.

Exit codes: 0 PASS or WARN; 1 there is no verdict; 2 the command line is wrong; 3 FAIL; \
130 interrupted.";

#[derive(Args)]
pub(crate) struct WalCheckArgs {
    /// A directory on the disk, which must exist.
    dir: PathBuf,
    /// Print the verdict and its figures as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &WalCheckArgs) -> Outcome {
    if !args.dir.is_dir() {
        let found = args.dir.display();
        return Err(Failure::usage(format!("expected a directory, found {found}")));
    }
    let stop = Stop::new();
    interrupt::watch(&stop)?;
    let own = OwnDirectory::make(&args.dir)?;
    let check = wal_check(&own.0, Eta::Auto, stop).map_err(|error| match error {
        WalCheckError::Stopped => Failure::Interrupted,
        WalCheckError::Run(error) => Failure::work(error.to_line()),
        WalCheckError::Target(refusal) => Failure::work(refusal),
        WalCheckError::Job { text } => Failure::work(text),
    })?;
    drop(own);
    if args.json {
        print_json(&check)?;
    } else {
        print(&check)?;
    }
    match check.verdict {
        Verdict::Pass | Verdict::Warn => Ok(()),
        Verdict::Fail => {
            Err(Failure::Problems(format!("{}: not fit for a log", args.dir.display())))
        }
    }
}

/// A new directory, so that no file of somebody else is written over; removed when dropped.
struct OwnDirectory(PathBuf);

impl OwnDirectory {
    fn make(parent: &Path) -> Outcome<OwnDirectory> {
        let path = parent.join(format!("sombra-wal-check-{}", process::id()));
        let failed = |error| Failure::work(format!("{}: {error}", path.display()));
        fs::create_dir(&path).map_err(failed)?;
        Ok(OwnDirectory(path))
    }
}

impl Drop for OwnDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            // The verdict stands; what is left behind is told.
            let _ = writeln!(io::stderr(), "sombra: {}: {error}", self.0.display());
        }
    }
}

fn print(check: &WalCheck) -> Outcome {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["durable write", "count", "p50 µs", "p99 µs", "p99.9 µs"]);
    let rows = [
        ("2,300 bytes, buffered, then fdatasync (etcd)", Some(check.etcd)),
        ("4 KiB, direct, RWF_DSYNC", check.dsync),
        ("4 KiB, direct, then fdatasync", check.fdatasync),
    ];
    for (name, writes) in rows {
        table.add_row(row(name, writes));
    }
    let mut out = stdout();
    writeln!(out, "{table}")?;
    for device in &check.devices {
        let (name, cache) = (&device.name, &device.write_cache);
        writeln!(
            out,
            "{name}: {} {}, write cache: {cache}",
            device.filesystem, device.mount_options
        )?;
    }
    writeln!(out, "{}: {}", check.verdict.name(), check.reasons.join("; "))?;
    Ok(out.flush()?)
}

fn row(name: &str, writes: Option<DurableWrites>) -> Vec<String> {
    let us = |ns: u64| format!("{:.0}", ns as f64 / 1e3);
    let mut row = vec![name.to_owned()];
    match writes {
        Some(DurableWrites { count, p50_ns, p99_ns, p999_ns }) => {
            row.extend([count.to_string(), us(p50_ns), us(p99_ns), us(p999_ns)]);
        }
        None => row.push("not possible here".to_owned()),
    }
    row
}
