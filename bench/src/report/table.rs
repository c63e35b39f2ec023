//! The report for people.

use std::fmt;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

use crate::history::HistoryFigures;
use crate::measure::{Latency, Ratio};
use crate::phase::verify::VerifyFigures;
use crate::place::human_bytes;

use super::figures::{CommitFigures, MixFigures, PairsFigures, ReadFigures, Report};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_stamp(f)?;
        if let Some(pairs) = &self.pairs {
            writeln!(f, "{}", pairs_table(pairs))?;
            write_verdict(f, pairs)?;
        } else if self.is_of_phases() {
            writeln!(f, "{}", self.phases_table())?;
        }
        if let Some(figures) = &self.larger_than_cache {
            self.write_larger(f, figures)?;
        }
        if let Some(figures) = &self.churn {
            self.write_churn(f, figures)?;
        }
        if let Some(figures) = &self.transactions {
            figures.write(f)?;
        }
        if let Some(figures) = &self.long_transactions {
            figures.write(f)?;
        }
        if let Some(figures) = &self.tpcc {
            figures.write(f)?;
        }
        if let Some(figures) = &self.idle {
            figures.write(f)?;
        }
        if let Some(figures) = &self.counter {
            figures.write(f)?;
        }
        self.write_commit_facts(f)?;
        if let Some(history) = &self.history {
            write_history(f, history)?;
        }
        if let Some(verify) = &self.verify {
            write_verification(f, verify)?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

impl Report {
    fn is_of_phases(&self) -> bool {
        self.larger_than_cache.is_none()
            && self.churn.is_none()
            && self.transactions.is_none()
            && self.long_transactions.is_none()
            && self.tpcc.is_none()
            && self.idle.is_none()
            && self.counter.is_none()
    }

    fn write_stamp(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.environment;
        let work = &self.workload;
        writeln!(
            f,
            "{}, {} CPUs ({}), {} of memory, {} build",
            place.kernel,
            place.cpus,
            place.cpu_model,
            human_bytes(place.memory_bytes),
            place.build,
        )?;
        writeln!(
            f,
            "{} on {} ({} cache), driver {}, durable by {}",
            place.filesystem,
            place.device,
            place.device_write_cache,
            place.driver,
            place.durability_method,
        )?;
        writeln!(
            f,
            "{} records, {}-byte keys, {}-byte values{}, {} shards, {} isolation, {} durability, \
             {} s warm-up, {} s measured",
            count(work.records),
            work.key_bytes,
            work.value_bytes,
            if self.tpcc.is_some() { " at most" } else { "" },
            work.shards,
            work.isolation,
            work.durability,
            work.warmup_seconds,
            work.measured_seconds,
        )
    }

    fn phases_table(&self) -> Table {
        let mut table = new_table(&["", "clients", "per second", "p50 µs", "p99 µs", "p99.9 µs"]);
        if let Some(disk) = &self.disk {
            let write = disk.durable_write_per_s;
            row(&mut table, "disk: durable 4 KiB write", "1 stream", write, &disk.durable_write);
            let depth = format!("depth {}", disk.random_read_depth);
            if let Some((iops, latency)) = disk.random_read_iops.zip(disk.random_read.as_ref()) {
                row(&mut table, "disk: random 4 KiB read", &depth, iops, latency);
            }
        }
        if let Some(load) = &self.load {
            let name = format!("load, {} records a commit", load.batch_records);
            table.add_row([name, "tasks".to_owned(), rate(load.per_s)]);
        }
        let commits = [&self.commit, &self.commit_beside, &self.lone_client];
        for commit in commits.into_iter().flatten() {
            commit.add_to(&mut table);
        }
        for read in [&self.read, &self.read_beside].into_iter().flatten() {
            read.add_to(&mut table);
        }
        for mix in &self.ycsb {
            mix.add_to(&mut table);
        }
        table
    }

    fn write_commit_facts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(ratio), Some(commit)) = (&self.ratio, &self.commit) {
            writeln!(
                f,
                "{} clients commit {:.1} times as often as one stream writes durably (one run; \
                 --pairs 11 measures it)",
                commit.clients, ratio.commit_per_durable_write,
            )?;
        }
        for commit in [&self.commit, &self.commit_beside, &self.lone_client].into_iter().flatten() {
            writeln!(
                f,
                "a commit of {} {} costs {:.3} flushes, {:.0} bytes of log ({:.2} blocks), \
                 {:.1} µs of CPU",
                clients(commit.clients),
                commit.clients_on.name(),
                commit.flushes_per_commit,
                commit.log_bytes_per_commit,
                commit.log_blocks_per_commit,
                commit.cpu_us_per_commit,
            )?;
        }
        Ok(())
    }
}

impl CommitFigures {
    fn add_to(&self, table: &mut Table) {
        let place = format!("{} {}", self.clients, self.clients_on.name());
        row(table, "durable put", &place, self.per_s, &self.latency);
        response_row(table, self.response.as_ref());
    }
}

impl ReadFigures {
    fn add_to(&self, table: &mut Table) {
        let place = format!("{} {}", self.clients, self.clients_on.name());
        row(table, "point read", &place, self.per_s, &self.latency);
        response_row(table, self.response.as_ref());
    }
}

impl MixFigures {
    fn add_to(&self, table: &mut Table) {
        let place = format!("{} {}", self.clients, self.clients_on.name());
        let name = format!("{}, {}", self.mix, self.distribution.name());
        table.add_row([name, place, rate(self.per_s)]);
        let share = |operations: u64| operations as f64 / self.seconds.max(f64::MIN_POSITIVE);
        if self.read_operations > 0 {
            let name = if self.mix.needs_order() { "  scans" } else { "  reads" };
            row(table, name, "", share(self.read_operations), &self.reads);
            response_row(table, self.reads_response.as_ref());
        }
        if self.write_operations > 0 {
            row(table, "  writes", "", share(self.write_operations), &self.writes);
            response_row(table, self.writes_response.as_ref());
        }
    }
}

fn pairs_table(pairs: &PairsFigures) -> Table {
    ratios_table([
        ("A/A durable writes, against themselves", &pairs.reference_against_itself),
        ("commits against durable writes", &pairs.commit_against_reference),
    ])
}

pub(super) fn ratios_table<'a>(rows: impl IntoIterator<Item = (&'a str, &'a Ratio)>) -> Table {
    let mut table = new_table(&["", "median ratio", "90 % interval", "pairs"]);
    for (name, ratio) in rows {
        let interval = format!("{:.3} to {:.3}", ratio.interval_90.low, ratio.interval_90.high);
        let median = format!("{:.3}", ratio.median);
        table.add_row([name.to_owned(), median, interval, ratio.pairs.len().to_string()]);
    }
    table
}

/// Said where the A/A row is too wide for wall-clock ratios.
pub(super) const UNDECIDED: &str = "undecided: the A/A row is wider than ±10 %, so the wall-clock \
                                    ratio does not count; what an operation costs does";

fn write_verdict(f: &mut fmt::Formatter<'_>, pairs: &PairsFigures) -> fmt::Result {
    let median = |of: fn(&super::figures::PairRow) -> f64| {
        let values: Vec<_> = pairs.rows.iter().map(of).collect();
        crate::measure::median(&values).unwrap_or(f64::NAN)
    };
    if pairs.undecided {
        writeln!(f, "{UNDECIDED}")?;
    }
    writeln!(
        f,
        "medians: {} durable writes/s at {:.1} µs of CPU each; {} commits/s at {:.1} µs of CPU, \
         {:.3} flushes and {:.0} bytes of log each",
        rate(median(|row| row.reference_per_s[0])),
        median(|row| row.reference_cpu_us),
        rate(median(|row| row.commit.per_s)),
        median(|row| row.commit.cpu_us_per_commit),
        median(|row| row.commit.flushes_per_commit),
        median(|row| row.commit.log_bytes_per_commit),
    )
}

fn write_history(f: &mut fmt::Formatter<'_>, history: &HistoryFigures) -> fmt::Result {
    let path = history.path.display();
    writeln!(
        f,
        "history of {} transactions ({}): `cargo xtask history {path}` judges it",
        count(history.transactions),
        human_bytes(history.bytes),
    )
}

fn write_verification(f: &mut fmt::Formatter<'_>, verify: &VerifyFigures) -> fmt::Result {
    let VerifyFigures { acknowledged, missing, foreign, records_read, .. } = verify;
    writeln!(
        f,
        "verified after closing and reopening ({:.2} s): {} writes acknowledged, {} records read \
         back, {missing} missing, {foreign} foreign{}",
        verify.reopen_seconds,
        count(*acknowledged),
        count(*records_read),
        if verify.complete { "" } else { " (stopped before the end)" },
    )?;
    verify.examples.iter().try_for_each(|key| writeln!(f, "  not as acknowledged: {key}"))
}

pub(super) fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_header(header);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(super) fn row(table: &mut Table, name: &str, clients: &str, per_s: f64, latency: &Latency) {
    let cells = [latency.p50_us, latency.p99_us, latency.p999_us].map(microseconds);
    let [p50, p99, p999] = cells;
    table.add_row([name.to_owned(), clients.to_owned(), rate(per_s), p50, p99, p999]);
}

fn response_row(table: &mut Table, response: Option<&Latency>) {
    let Some(response) = response else { return };
    let [p50, p99, p999] = [response.p50_us, response.p99_us, response.p999_us].map(microseconds);
    let name = "    from the intended start".to_owned();
    table.add_row([name, String::new(), String::new(), p50, p99, p999]);
}

fn clients(number: usize) -> String {
    if number == 1 { "1 client".to_owned() } else { format!("{number} clients") }
}

pub(super) fn microseconds(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { count(value as u64) }
}

pub(super) fn rate(per_s: f64) -> String {
    count(per_s.round() as u64)
}

/// A number with its thousands apart: `1 234 567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut spaced = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            spaced.push(' ');
        }
        spaced.push(digit);
    }
    spaced
}
