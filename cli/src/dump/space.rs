use std::io::Write;

use serde::Serialize;
use sombra::format::space_map::full_extent;
use sombra::inspect::{self, SpaceReport, TabletSpaceReport};

use crate::Outcome;
use crate::failure::Failure;
use crate::output::{print_json, stdout};
use crate::store::start_runtime;

use super::StoreArgs;

#[derive(Serialize)]
struct Tablet<'r> {
    keyspace: &'r str,
    keyspace_id: u32,
    tablet: u32,
    live_pages: u64,
    pinned_pages: u64,
    free_pages: u64,
    map_page_addrs: &'r [u64],
    extents: Vec<Extent>,
}

#[derive(Serialize)]
struct Extent {
    extent: u32,
    /// A letter for each page: `#` live, `o` pinned, `.` free.
    pages: String,
}

pub(super) fn run(args: &StoreArgs) -> Outcome {
    let runtime = start_runtime()?;
    let report = runtime.block_on(inspect::space(&runtime, &args.store));
    runtime.shutdown();
    let report = report.map_err(Failure::work)?;
    let full = full_extent(report.page_size_bytes);
    let reports = report.data.iter().flat_map(|data| &data.tablets);
    let tablets: Vec<Tablet<'_>> = reports.map(|tablet| Tablet::new(tablet, full)).collect();
    if args.json {
        print_json(&tablets)?
    } else {
        write_for_people(&report, &tablets)?
    }
    Failure::for_problems(report.problems.len(), args.store.display())
}

impl<'r> Tablet<'r> {
    fn new(report: &'r TabletSpaceReport, full: u64) -> Tablet<'r> {
        let extents = report.extents.iter().map(|extent| Extent {
            extent: extent.extent,
            pages: letters(extent.live, extent.held, full),
        });
        Tablet {
            keyspace: &report.keyspace,
            keyspace_id: report.tablet.keyspace.as_u32(),
            tablet: report.tablet.index,
            live_pages: report.live_pages,
            pinned_pages: report.pinned_pages,
            free_pages: report.free_pages,
            map_page_addrs: &report.map_pages,
            extents: extents.collect(),
        }
    }
}

/// A letter for each page of an extent, the first page first.
pub(super) fn letters(live: u64, held: u64, full: u64) -> String {
    let letter = |bit: u32| match (live >> bit & 1, held >> bit & 1) {
        (1, _) => '#',
        (_, 1) => 'o',
        _ => '.',
    };
    (0..full.count_ones()).map(letter).collect()
}

fn write_for_people(report: &SpaceReport, tablets: &[Tablet<'_>]) -> Outcome {
    let mut out = stdout();
    let pages = full_extent(report.page_size_bytes).count_ones();
    let bytes = report.page_size_bytes;
    writeln!(out, "extents of {pages} pages of {bytes} bytes: # live, o pinned, . free")?;
    for tablet in tablets {
        let Tablet { keyspace, tablet, live_pages, pinned_pages, free_pages, .. } = tablet;
        writeln!(
            out,
            "keyspace {keyspace:?} tablet {tablet}: {live_pages} pages live, {pinned_pages} \
             pinned, {free_pages} free"
        )?;
    }
    for tablet in tablets.iter().filter(|tablet| !tablet.extents.is_empty()) {
        writeln!(out, "keyspace {:?} tablet {}:", tablet.keyspace, tablet.tablet)?;
        writeln!(out, "  map pages {:?}", tablet.map_page_addrs)?;
        for Extent { extent, pages } in &tablet.extents {
            writeln!(out, "  extent {extent:>6} {pages}")?;
        }
    }
    for problem in &report.problems {
        writeln!(out, "problem: {problem}")?;
    }
    Ok(out.flush()?)
}
