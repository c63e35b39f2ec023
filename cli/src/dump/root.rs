use std::io::Write;

use sombra::format::root_table::{RootCopy, RootRow, RowRouting, TabletRow};
use sombra::inspect::{self, RootCopyState, RootReport, RootSlot};

use crate::Outcome;
use crate::failure::Failure;
use crate::output::stdout;
use crate::store::start_runtime;
use crate::text::Notation;

use super::RootArgs;

pub(super) fn run(args: &RootArgs) -> Outcome {
    let runtime = start_runtime()?;
    let report = runtime.block_on(inspect::root(&runtime, &args.store));
    runtime.shutdown();
    let report = report.map_err(Failure::work)?;
    let mut out = stdout();
    write_report(&mut out, &report, Notation::new(args.hex))?;
    out.flush()?;
    Failure::for_problems(report.problems.len(), args.store.display())
}

fn write_report(out: &mut impl Write, report: &RootReport, notation: Notation) -> Outcome {
    let RootReport { store_id, slots_max, slots, .. } = report;
    writeln!(out, "root table of store {store_id}: {} of {slots_max} slots in use", slots.len())?;
    for slot in slots {
        let in_force = slot.in_force();
        let RootSlot { slot, copy_a, copy_b } = slot;
        for (copy, state) in [(RootCopy::A, copy_a), (RootCopy::B, copy_b)] {
            let mark = if in_force == Some(copy) { ", in force" } else { "" };
            match state {
                RootCopyState::Blank => writeln!(out, "slot {slot} copy {copy:?}: never written")?,
                RootCopyState::Damaged { reason } => {
                    writeln!(out, "slot {slot} copy {copy:?}: damaged: {reason}")?;
                }
                RootCopyState::Unread { reason } => {
                    writeln!(out, "slot {slot} copy {copy:?}: not delivered: {reason}")?;
                }
                RootCopyState::Valid(page) => {
                    let generation = page.generation;
                    writeln!(out, "slot {slot} copy {copy:?}: generation {generation}{mark}")?;
                    page.rows.iter().try_for_each(|row| write_row(out, row, notation))?;
                }
            }
        }
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    for problem in &report.problems {
        writeln!(out, "problem: {problem}")?;
    }
    Ok(())
}

fn write_row(out: &mut impl Write, row: &RootRow, notation: Notation) -> Outcome {
    match row {
        RootRow::Catalog(row) => Ok(writeln!(
            out,
            "  catalog: keyspace changes up to LSN {}, last keyspace id {}",
            row.catalog_lsn,
            row.last_keyspace.as_u32()
        )?),
        RootRow::Keyspace(row) => {
            let routing = match row.routing {
                RowRouting::Range => "by range".to_owned(),
                RowRouting::Hash { prefix_len_bytes } => {
                    format!("by the hash of the first {prefix_len_bytes} bytes")
                }
            };
            let (id, tablets) = (row.id.as_u32(), row.tablet_count);
            let (name, created) = (&row.name, row.created_lsn);
            Ok(writeln!(
                out,
                "  keyspace {id} {name:?}: {tablets} tablets {routing}, made at LSN {created}"
            )?)
        }
        RootRow::Tablet(row) => write_tablet(out, row, notation),
    }
}

fn write_tablet(out: &mut impl Write, row: &TabletRow, notation: Notation) -> Outcome {
    let (keyspace, index) = (row.id.keyspace.as_u32(), row.id.index);
    write!(out, "  tablet {keyspace}/{index}")?;
    if !row.lower_boundary.is_empty() {
        write!(out, " from {}", notation.show(&row.lower_boundary))?;
    }
    match row.root {
        None => write!(out, ": empty")?,
        Some(root) => write!(
            out,
            ": {} rows, root page {} (level {}, checksum {:#010x})",
            row.row_count, root.addr, row.root_level, root.crc
        )?,
    }
    if let Some(space) = &row.space {
        write!(
            out,
            ", map of {} pages from page {} (checksum {:#010x}), {} pages live",
            space.map_pages, space.map.addr, space.map.crc, space.live_pages
        )?;
    }
    Ok(writeln!(out, ", merged to LSN {}, holds up to LSN {}", row.merge_lsn, row.tree_lsn)?)
}
