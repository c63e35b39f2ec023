//! `sombra check`: whether a closed store is what it should be.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use sombra::inspect::{self, CheckReport, CheckedTablet};
use sombra_bench::Progress;

use crate::Outcome;
use crate::failure::Failure;
use crate::output::{print_json, stdout, tablets_done};
use crate::problem::Problem;
use crate::store::start_runtime;

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// Directory of the store, which nobody may have open. Nothing in it is changed.
    store: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Check<'r> {
    store: String,
    store_id: String,
    is_sound: bool,
    page_size_bytes: u32,
    data_file_bytes: u64,
    free_extents: u32,
    log_records: u64,
    log_replay_from_lsn: u64,
    log_end_lsn: u64,
    log_stopped_by: &'r str,
    tablets: Vec<Tablet<'r>>,
    /// Damage that another copy makes good.
    notes: &'r [String],
    problems: Vec<Problem>,
}

#[derive(Serialize)]
struct Tablet<'r> {
    keyspace: &'r str,
    keyspace_id: u32,
    tablet: u32,
    height_levels: u32,
    rows: u64,
    leaf_pages: u64,
    inner_pages: u64,
    overflow_pages: u64,
    map_pages: u64,
    pinned_pages: u64,
    free_pages: u64,
    leaf_fill_percent: u64,
    merge_lsn: u64,
}

pub(crate) fn run(args: &CheckArgs) -> Outcome {
    let bar = Arc::new(Progress::new(true));
    let progress = tablets_done(&bar, "checking");
    let runtime = start_runtime()?;
    let report = runtime.block_on(inspect::check(&runtime, &args.store, progress));
    runtime.shutdown();
    bar.end();
    let report = report.map_err(Failure::work)?;
    let store = args.store.display().to_string();
    let check = Check::new(store.clone(), &report);
    if args.json {
        print_json(&check)?
    } else {
        check.write_for_people()?
    }
    Failure::for_problems(report.problems.len(), store)
}

impl<'r> Check<'r> {
    fn new(store: String, report: &'r CheckReport) -> Check<'r> {
        Check {
            store,
            store_id: report.store_id.to_string(),
            is_sound: report.problems.is_empty(),
            page_size_bytes: report.page_size_bytes,
            data_file_bytes: report.data_file_bytes,
            free_extents: report.free_extents,
            log_records: report.log_records,
            log_replay_from_lsn: report.replay_from.as_u64(),
            log_end_lsn: report.log_end.as_u64(),
            log_stopped_by: &report.log_stopped_by,
            tablets: report.tablets.iter().map(Tablet::from).collect(),
            notes: &report.notes,
            problems: report.problems.iter().map(Problem::from).collect(),
        }
    }

    fn write_for_people(&self) -> Outcome {
        let mut out = stdout();
        let Check { store, store_id, page_size_bytes, .. } = self;
        writeln!(out, "{store}: store {store_id}, pages of {page_size_bytes} bytes")?;
        match self.data_file_bytes {
            0 => writeln!(out, "data file: none was read")?,
            bytes => writeln!(out, "data file: {bytes} bytes, {} extents free", self.free_extents)?,
        }
        let Check { log_records, log_replay_from_lsn, log_end_lsn, log_stopped_by, .. } = self;
        writeln!(
            out,
            "log: {log_records} records above LSN {log_replay_from_lsn}, end at LSN \
             {log_end_lsn}: {log_stopped_by}"
        )?;
        if !self.tablets.is_empty() {
            writeln!(out, "{}", self.table().trim_fmt())?;
        }
        for note in self.notes {
            writeln!(out, "note: {note}")?;
        }
        for problem in &self.problems {
            writeln!(out, "problem: {problem}")?;
        }
        if self.is_sound {
            writeln!(out, "sound: no problem found")?;
        }
        Ok(out.flush()?)
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(NOTHING);
        table.set_header([
            "keyspace",
            "tablet",
            "rows",
            "levels",
            "leaves",
            "inner",
            "overflow",
            "map",
            "pinned",
            "free",
            "fill %",
            "merged to",
        ]);
        for tablet in &self.tablets {
            let numbers = [
                tablet.tablet.into(),
                tablet.rows,
                tablet.height_levels.into(),
                tablet.leaf_pages,
                tablet.inner_pages,
                tablet.overflow_pages,
                tablet.map_pages,
                tablet.pinned_pages,
                tablet.free_pages,
                tablet.leaf_fill_percent,
                tablet.merge_lsn,
            ];
            let name = [tablet.keyspace.to_owned()];
            table.add_row(name.into_iter().chain(numbers.map(|number: u64| number.to_string())));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

impl<'r> From<&'r CheckedTablet> for Tablet<'r> {
    fn from(tablet: &'r CheckedTablet) -> Tablet<'r> {
        Tablet {
            keyspace: &tablet.keyspace,
            keyspace_id: tablet.tablet.keyspace.as_u32(),
            tablet: tablet.tablet.index,
            height_levels: tablet.height,
            rows: tablet.rows,
            leaf_pages: tablet.leaf_pages,
            inner_pages: tablet.inner_pages,
            overflow_pages: tablet.overflow_pages,
            map_pages: tablet.map_pages,
            pinned_pages: tablet.pinned_pages,
            free_pages: tablet.free_pages,
            leaf_fill_percent: tablet.leaf_fill_percent,
            merge_lsn: tablet.merge_lsn.as_u64(),
        }
    }
}
