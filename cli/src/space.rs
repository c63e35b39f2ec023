//! `sombra space`: where a closed store's bytes are, and what holds them.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use sombra::inspect::{self, LogHolder, SpaceReport, TabletSpaceReport};

use crate::Outcome;
use crate::failure::Failure;
use crate::output::{print_json, stdout};
use crate::store::start_runtime;

#[derive(Args)]
pub(crate) struct SpaceArgs {
    /// Directory of the store, which nobody may have open. Nothing in it is changed.
    store: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Space {
    store: String,
    store_id: String,
    page_size_bytes: u32,
    /// Absent for a store that has only a log, or whose data file cannot be read.
    data_file: Option<DataFile>,
    log: Log,
    notes: Vec<String>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct DataFile {
    file_bytes: u64,
    root_table_bytes: u64,
    live_bytes: u64,
    /// Only older copies of roots need these.
    pinned_bytes: u64,
    /// In the tablets' own extents.
    free_in_tablets_bytes: u64,
    free_extents_bytes: u64,
    /// What commits leave for merges and deletes, at the default of `data_bytes_max`.
    reserve_bytes: u64,
    tablets: Vec<Tablet>,
}

#[derive(Serialize)]
struct Tablet {
    keyspace: String,
    keyspace_id: u32,
    tablet: u32,
    live_bytes: u64,
    pinned_bytes: u64,
    pinned_by: Option<String>,
    free_bytes: u64,
    extents: usize,
    merge_lsn: u64,
}

#[derive(Serialize)]
struct Log {
    files: u64,
    file_bytes: u64,
    segment_bytes: u64,
    files_below_floor: u64,
    floor_lsn: u64,
    floor_held_by: String,
}

pub(crate) fn run(args: &SpaceArgs) -> Outcome {
    let runtime = start_runtime()?;
    let report = runtime.block_on(inspect::space(&runtime, &args.store));
    runtime.shutdown();
    let report = report.map_err(Failure::work)?;
    let problems = report.problems.len();
    let space = Space::new(args.store.display().to_string(), report);
    if args.json {
        print_json(&space)?
    } else {
        space.write_for_people()?
    }
    Failure::for_problems(problems, &space.store)
}

impl Space {
    fn new(store: String, report: SpaceReport) -> Space {
        let page_bytes = u64::from(report.page_size_bytes);
        let data_file = report.data.map(|data| {
            let tablet = |tablet| Tablet::new(tablet, page_bytes);
            let tablets: Vec<Tablet> = data.tablets.iter().map(tablet).collect();
            let sum = |bytes: fn(&Tablet) -> u64| tablets.iter().map(bytes).sum();
            DataFile {
                file_bytes: data.file_bytes,
                root_table_bytes: data.root_table_bytes,
                live_bytes: sum(|tablet| tablet.live_bytes),
                pinned_bytes: sum(|tablet| tablet.pinned_bytes),
                free_in_tablets_bytes: sum(|tablet| tablet.free_bytes),
                free_extents_bytes: data.free_extents_bytes,
                reserve_bytes: data.reserve_bytes,
                tablets,
            }
        });
        let log = Log {
            files: report.log.files,
            file_bytes: report.log.file_bytes,
            segment_bytes: report.log.segment_bytes,
            files_below_floor: report.log.files_below_floor,
            floor_lsn: report.log.floor.as_u64(),
            floor_held_by: held_by(&report.log.held_by),
        };
        Space {
            store,
            store_id: report.store_id.to_string(),
            page_size_bytes: report.page_size_bytes,
            data_file,
            log,
            notes: report.notes,
            problems: report.problems.iter().map(ToString::to_string).collect(),
        }
    }

    fn write_for_people(&self) -> Outcome {
        let mut out = stdout();
        let Space { store, store_id, page_size_bytes, .. } = self;
        writeln!(out, "{store}: store {store_id}, pages of {page_size_bytes} bytes")?;
        match &self.data_file {
            Some(data) => data.write_to(&mut out)?,
            None => writeln!(out, "data file: none was read")?,
        }
        let Log { files, file_bytes, files_below_floor, floor_lsn, floor_held_by, .. } = &self.log;
        writeln!(
            out,
            "log: {file_bytes} bytes in {files} files, {files_below_floor} to be reused"
        )?;
        writeln!(out, "log floor: LSN {floor_lsn}, held by {floor_held_by}")?;
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        for problem in &self.problems {
            writeln!(out, "problem: {problem}")?;
        }
        Ok(out.flush()?)
    }
}

impl Tablet {
    fn new(report: &TabletSpaceReport, page_bytes: u64) -> Tablet {
        let (keyspace, index) = (&report.keyspace, report.tablet.index);
        let pinned_by = report.pinned_by.filter(|_| report.pinned_pages > 0).map(|older| {
            format!(
                "the older root copy of tablet {index} of keyspace {keyspace:?} (root slot {}, \
                 until generation {} is in both copies)",
                older.slot, older.until_generation
            )
        });
        Tablet {
            keyspace: keyspace.clone(),
            keyspace_id: report.tablet.keyspace.as_u32(),
            tablet: index,
            live_bytes: report.live_pages * page_bytes,
            pinned_bytes: report.pinned_pages * page_bytes,
            pinned_by,
            free_bytes: report.free_pages * page_bytes,
            extents: report.extents.len(),
            merge_lsn: report.merge_lsn.as_u64(),
        }
    }
}

impl DataFile {
    fn write_to(&self, out: &mut impl Write) -> Outcome {
        writeln!(out, "data file: {} bytes", self.file_bytes)?;
        for (bytes, what) in [
            (self.root_table_bytes, "root table"),
            (self.live_bytes, "live"),
            (self.pinned_bytes, "pinned by older root copies"),
            (self.free_in_tablets_bytes, "free in the tablets' extents"),
            (self.free_extents_bytes, "free extents"),
        ] {
            writeln!(out, "  {bytes:>16}  {what}")?;
        }
        let reserve = self.reserve_bytes;
        writeln!(out, "reserve: {reserve} bytes of free extents, once the file cannot grow")?;
        let mut table = Table::new();
        table.load_preset(NOTHING);
        table.set_header(["keyspace", "tablet", "live", "pinned", "free", "extents", "merged to"]);
        for tablet in &self.tablets {
            table.add_row([
                tablet.keyspace.clone(),
                tablet.tablet.to_string(),
                tablet.live_bytes.to_string(),
                tablet.pinned_bytes.to_string(),
                tablet.free_bytes.to_string(),
                tablet.extents.to_string(),
                tablet.merge_lsn.to_string(),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if !self.tablets.is_empty() {
            writeln!(out, "{}", table.trim_fmt())?;
        }
        for tablet in &self.tablets {
            if let Some(holder) = &tablet.pinned_by {
                writeln!(out, "{} bytes are pinned by {holder}", tablet.pinned_bytes)?;
            }
        }
        Ok(())
    }
}

fn held_by(holder: &LogHolder) -> String {
    match holder {
        LogHolder::NoDataFile => "the store itself, which has no data file".to_owned(),
        LogHolder::Nothing => "nothing: there is no tablet".to_owned(),
        LogHolder::Tablet { tablet, keyspace } => {
            let index = tablet.index;
            format!("the lowest merge LSN, of tablet {index} of keyspace {keyspace:?}")
        }
        LogHolder::Catalog => "keyspace changes that are not in both catalog copies".to_owned(),
        LogHolder::UnevenSlot { slot } => {
            format!("root slot {slot}, whose copies a crash left with different rows")
        }
        LogHolder::Unknown => "not known: the data file cannot be read".to_owned(),
    }
}
