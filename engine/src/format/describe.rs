//! The text of `docs/on-disk-format.md`, made from the byte tables of the structures themselves.

use std::fmt::Write;

use super::log_block::LogBlockHeaderBytes;
use super::log_record::{CommitHead, CreateHead, DropBody, OpHead, RecordHeader};
use super::node::{CellHeadBytes, ChildBytes};
use super::overflow::OverflowRefBytes;
use super::page::PageHeaderBytes;
use super::root_table::{CatalogRowBytes, KeyspaceRowBytes, RootPageBytes, TabletRowBytes};
use super::segment::SegmentHeaderBytes;
use super::space_map::{SpaceMapEntryBytes, SpaceMapHeadBytes};
use super::superblock::{LinkBytes, SuperblockBytes};
use super::{ByteTable, FORMAT_VERSION};

struct Section {
    title: &'static str,
    text: &'static str,
    table: Option<ByteTable>,
}

const INTRODUCTION: &str = "\
This file is generated from the structures in `engine/src/format/`. Do not edit it: change the
structure, then run `SOMBRA_BLESS=1 cargo test -p sombra format_document`.

Integers are little-endian. Offsets and sizes are in bytes. Checksums are CRC-32C (Castagnoli).
A store is a directory:

| name | content |
|------|---------|
| `superblock` | what the store is, in two copies |
| `wal/NNNNNNNNNNNNNNNNNNNN.log` | segments of the log, by number in twenty digits |
| `pages.sombra` | the data file: root table and pages; or a link to a raw block device |
| `metrics` | what `sombra stat` shows, for people; no part of the store |
| `LOCK` | empty; held exclusively while the store is open, before anything is read |
";

const SECTIONS: &[Section] = &[
    Section {
        title: "Superblock",
        text: "\
Copy A begins at offset 0 of the file, copy B at 1 MiB. Each has its own 1 MiB, of which only the
4096-byte blocks in use are written and read. A rewrite goes over the copy that does not count
first, makes it durable, then goes over the other. The valid copy of the highest generation
counts. A copy whose checksum holds but whose version or required features are unknown refuses
the store, even when the other copy can be read. The fields up to `used_bytes` keep place and
meaning in every format version.
",
        table: Some(SuperblockBytes::TABLE),
    },
    Section {
        title: "Link between incarnations",
        text: "\
Rows of the superblock, behind its head. Every opening of the store begins an incarnation in a
fresh segment and adds a link. Replay ends an incarnation exactly at the next link's
`previous_end`, whatever lies there, and goes on at its `new_start`; the LSNs between do not exist.
",
        table: Some(LinkBytes::TABLE),
    },
    Section {
        title: "Log positions",
        text: "\
An LSN is a position in the stream of block payloads: headers of blocks and segments do not count.
With `P = (segment_bytes / 4096 - 1) × 4032` payload bytes per segment, the byte at an LSN lies in
segment `LSN / P`, in its block `1 + (LSN mod P) / 4032`, behind the block's header at offset
`(LSN mod P) mod 4032`. A commit's LSN is the end of its record.
",
        table: None,
    },
    Section {
        title: "Segment header",
        text: "Block 0 of each segment. The log's blocks follow.\n",
        table: Some(SegmentHeaderBytes::TABLE),
    },
    Section {
        title: "Log block header",
        text: "\
Each block of 4096 bytes is written once, at its fixed place. 4032 bytes of payload follow the
header. A block is believed only if its checksum, store id, incarnation and position all hold. A
block of zeros was never written.
",
        table: Some(LogBlockHeaderBytes::TABLE),
    },
    Section {
        title: "Record header",
        text: "\
Records follow each other without gaps, may span blocks and segments, and begin at multiples of 8.
A record that makes no sense inside a valid block is corruption, never the end of the log. A pad
fills a sealed block or an abandoned reservation; it is a header, then zeros.
",
        table: Some(RecordHeader::TABLE),
    },
    Section {
        title: "Commit",
        text: "\
The body is this head, then the writes, then zeros up to the next multiple of 8. A record holds
all of a transaction's writes, of every keyspace and tablet.
",
        table: Some(CommitHead::TABLE),
    },
    Section {
        title: "Write of a commit",
        text: "The key follows its head, then the value; the next write follows without a gap.\n",
        table: Some(OpHead::TABLE),
    },
    Section {
        title: "Keyspace creation",
        text: "\
The body is this head; for range routing `tablet_count` - 1 boundaries, each a u16 length and that
many bytes, strictly ascending, 1 to 1024 bytes long; the name; zeros up to the next multiple of 8.
",
        table: Some(CreateHead::TABLE),
    },
    Section { title: "Keyspace drop", text: "The whole body.\n", table: Some(DropBody::TABLE) },
    Section {
        title: "Root page",
        text: "\
`pages.sombra` is counted in extents of 262144 bytes. Its first eight hold the root table: copy A
of 256 root pages of 4096 bytes, then copy B. A slot's writes go to its two copies by turns, each
with the next generation, each durable before the next begins; the valid copy of the higher
generation counts. Generations of two valid copies differ by one: a copy further behind is a write
that the device lost. A page of zeros was never written; nor was one with at most 8 bits set, which
has rotted since. Copy B is first written when copy A is durable, and rows count when both are: a
damaged copy A beside a blank copy B held none. A row lies in any slot that has room and stays in
it for life; the same row in two slots is damage. Page n of the store begins at byte n times the
page size, extent n at byte n times 262144.
",
        table: Some(RootPageBytes::TABLE),
    },
    Section {
        title: "Row of the catalog",
        text: "Rows follow the head of a root page without gaps, ascending by kind and identity.\n",
        table: Some(CatalogRowBytes::TABLE),
    },
    Section {
        title: "Row of a keyspace",
        text: "Its name follows.\n",
        table: Some(KeyspaceRowBytes::TABLE),
    },
    Section {
        title: "Row of a tablet",
        text: "\
Its lower boundary follows. Hash routing needs none: tablet i of n begins with the hash
i * 2^64 / n, rounded up. In a hash keyspace a tree's keys are the hash, 8 bytes big-endian, then
the key.
",
        table: Some(TabletRowBytes::TABLE),
    },
    Section {
        title: "Space map",
        text: "\
The pages that a tablet's root reaches, those of the map itself included: a chain of pages of the
store's page size. Each begins with a page header, then this head, then its entries. What no map
names is free.
",
        table: Some(SpaceMapHeadBytes::TABLE),
    },
    Section {
        title: "Entry of a space map",
        text: "Pages are counted from the start of the extent.\n",
        table: Some(SpaceMapEntryBytes::TABLE),
    },
    Section {
        title: "Page header",
        text: "\
Pages of the data file have 4, 8, 16 or 32 KiB, one size per store. A page is believed only if its
checksum, the checksum in its reference, its own number, store id and tablet all hold.
",
        table: Some(PageHeaderBytes::TABLE),
    },
    Section {
        title: "Leaf",
        text: "\
Behind the header: the prefix that all keys of the page share; for each row the head of its key, a
u32 whose most significant byte is the first byte of the key behind the prefix (zeros where it
ends); for each row the u16 offset of its cell in the page; the cells, in ascending order of keys,
without gaps. A cell is the head below, the key behind the prefix, then the value or its overflow
reference. Keys are 1 to 1032 bytes long. Head, offset, cell head, key and value together take at
most a third of the page without its header; larger values lie in overflow runs.
",
        table: Some(CellHeadBytes::TABLE),
    },
    Section {
        title: "Overflow reference",
        text: "\
The value lies in one contiguous run of pages: a page header, whose checksum covers the whole run,
then the value, then zeros. Values have at most 16 MiB.
",
        table: Some(OverflowRefBytes::TABLE),
    },
    Section {
        title: "Inner node",
        text: "\
Behind the header: the prefix that all separators of the page share; the children in key order, as
below; then for each child but the first, of the separator before it: its head as in a leaf; the
u16 offset of what follows the prefix; these bytes themselves, without gaps, up to `used_bytes`. A
separator is above every key of the child before it and at or below every key of the child behind
it. The separator before the first child stands in the parent.
",
        table: Some(ChildBytes::TABLE),
    },
];

/// The on-disk format as Markdown.
#[must_use]
pub fn describe() -> String {
    let mut text = format!("# On-disk format, version {FORMAT_VERSION}\n\n{INTRODUCTION}");
    for section in SECTIONS {
        push_section(&mut text, section);
    }
    text
}

fn push_section(text: &mut String, section: &Section) {
    let mut line = |args: std::fmt::Arguments<'_>| {
        text.write_fmt(args).expect("writing to a String does not fail");
    };
    line(format_args!("\n## {}\n\n{}", section.title, section.text));
    let Some(table) = section.table else { return };
    line(format_args!("\n{} bytes:\n\n", table.size_bytes));
    line(format_args!("| offset | size | field | rule |\n|-------:|-----:|-------|------|\n"));
    for row in table.rows {
        let (offset, size_bytes, name, rule) = (row.offset, row.size_bytes, row.name, row.rule);
        line(format_args!("| {offset} | {size_bytes} | `{name}` | {rule} |\n"));
    }
}
