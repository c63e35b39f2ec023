use std::io::Write;

use sombra::format::page::PageHeader;
use sombra::format::space_map::{SpaceMapPage, full_extent};
use sombra::inspect::{self, InnerChild, LeafRow, PageContent, PageReport, PageUsage, RowValue};

use crate::Outcome;
use crate::failure::Failure;
use crate::output::stdout;
use crate::store::start_runtime;
use crate::text::Notation;

use super::{PageArgs, cut, space};

/// Bytes of one line of `--raw`.
const RAW_LINE_BYTES: usize = 16;

pub(super) fn run(args: &PageArgs) -> Outcome {
    let runtime = start_runtime()?;
    let report = runtime.block_on(inspect::page(&runtime, &args.store, args.page));
    runtime.shutdown();
    let report = report.map_err(Failure::work)?;
    let mut out = stdout();
    write_report(&mut out, &report, Notation::new(args.hex))?;
    if args.raw {
        write_raw(&mut out, &report.bytes)?;
    }
    out.flush()?;
    let place = format!("{}, page {}", args.store.display(), args.page);
    Failure::for_problems(report.problems.len(), place)
}

fn write_report(out: &mut impl Write, report: &PageReport, notation: Notation) -> Outcome {
    let PageReport { page, offset_bytes, page_size_bytes, .. } = report;
    writeln!(out, "page {page}, at byte {offset_bytes}, {page_size_bytes} bytes")?;
    writeln!(out, "use: {}", usage(&report.usage))?;
    if let Some(header) = &report.header {
        write_header(out, header)?;
    }
    match report.problems.as_slice() {
        [] => writeln!(out, "verdict: sound as far as the page itself can tell")?,
        problems => {
            for problem in problems {
                writeln!(out, "problem: {problem}")?;
            }
        }
    }
    match &report.content {
        PageContent::Blank => writeln!(out, "nothing but zeros")?,
        PageContent::Unreadable => writeln!(out, "content: cannot be read; --raw prints it")?,
        PageContent::Leaf(rows) => {
            writeln!(out, "{} rows:", rows.len())?;
            rows.iter().try_for_each(|row| write_row(out, row, notation))?;
        }
        PageContent::Inner(children) => {
            writeln!(out, "{} children:", children.len())?;
            children.iter().try_for_each(|child| write_child(out, child, notation))?;
        }
        PageContent::Overflow { first, place, pages, value_len_bytes } => writeln!(
            out,
            "page {place} of the {pages} that hold one value of {value_len_bytes} bytes, from \
             page {first} on"
        )?,
        PageContent::SpaceMap(map) => write_map(out, map, *page_size_bytes)?,
    }
    Ok(())
}

fn usage(usage: &PageUsage) -> String {
    match usage {
        PageUsage::Unknown { reason } => format!("not known: {reason}"),
        PageUsage::Free { tablet: None } => "free, in an extent of nobody".to_owned(),
        PageUsage::Free { tablet: Some(tablet) } => {
            format!("free, in an extent of tablet {}/{}", tablet.keyspace.as_u32(), tablet.index)
        }
        PageUsage::Live { tablet, keyspace } => {
            format!("live, of tablet {} of keyspace {keyspace:?}", tablet.index)
        }
        PageUsage::Pinned { tablet, keyspace } => {
            let index = tablet.index;
            format!("pinned by the older root copy of tablet {index} of keyspace {keyspace:?}")
        }
    }
}

fn write_header(out: &mut impl Write, header: &PageHeader) -> Outcome {
    let tablet = header.owner.tablet;
    writeln!(out, "header:")?;
    writeln!(out, "  kind          {:?}", header.kind)?;
    writeln!(out, "  level         {}", header.level)?;
    writeln!(out, "  entries       {}", header.count)?;
    writeln!(out, "  page          {}", header.addr)?;
    writeln!(out, "  store_id      {}", header.owner.store_id)?;
    writeln!(out, "  keyspace      {}", tablet.keyspace.as_u32())?;
    writeln!(out, "  tablet        {}", tablet.index)?;
    writeln!(out, "  page_lsn      {}", header.page_lsn)?;
    writeln!(out, "  used_bytes    {}", header.used_bytes)?;
    Ok(writeln!(out, "  prefix_bytes  {}", header.prefix_len_bytes)?)
}

fn write_row(out: &mut impl Write, row: &LeafRow, notation: Notation) -> Outcome {
    let hash = match row.hash.as_slice() {
        [] => String::new(),
        hash => format!("{} ", Notation::Hex.show(hash)),
    };
    let value = match &row.value {
        RowValue::Inline(value) => cut(&notation.show(value)),
        RowValue::Overflow(run) => format!(
            "({} bytes in {} pages from page {}, checksum {:#010x})",
            run.value_len, run.pages, run.addr, run.crc
        ),
    };
    Ok(writeln!(out, "  {hash}{} = {value}", notation.show(&row.key))?)
}

fn write_child(out: &mut impl Write, child: &InnerChild, notation: Notation) -> Outcome {
    let from = match &child.separator {
        Some(separator) => format!("from {}", notation.show(separator)),
        None => "first".to_owned(),
    };
    let (page, rows) = (child.child.page, child.child.rows);
    let sparse = if child.is_sparse { ", sparse" } else { "" };
    Ok(writeln!(
        out,
        "  {from}: page {}, checksum {:#010x}, {rows} rows{sparse}",
        page.addr, page.crc
    )?)
}

fn write_map(out: &mut impl Write, map: &SpaceMapPage, page_size_bytes: u32) -> Outcome {
    let next = map.next.map_or_else(
        || "it is the last".to_owned(),
        |next| format!("next is page {}, checksum {:#010x}", next.addr, next.crc),
    );
    writeln!(out, "page {} of its map; {next}; {} extents:", map.index, map.entries.len())?;
    for entry in &map.entries {
        let letters = space::letters(entry.live, entry.live, full_extent(page_size_bytes));
        writeln!(out, "  extent {:>6} {letters}", entry.extent)?;
    }
    Ok(())
}

fn write_raw(out: &mut impl Write, bytes: &[u8]) -> Outcome {
    for (line, chunk) in bytes.chunks(RAW_LINE_BYTES).enumerate() {
        let letter = |&byte: &u8| {
            if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '.' }
        };
        let letters: String = chunk.iter().map(letter).collect();
        writeln!(out, "{:06x}  {}  {letters}", line * RAW_LINE_BYTES, Notation::Hex.show(chunk))?;
    }
    Ok(())
}
