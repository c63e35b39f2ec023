//! What each byte of a closed store is for, by the format's own decoders: an account of its own,
//! beside that of the engine.

use std::collections::{BTreeMap, BTreeSet};

use sombra::format::node::{Inner, Leaf, LeafValue};
use sombra::format::page::{PageKind, PageOwner, PageRef, peek_page};
use sombra::format::root_table::{
    ROOT_COPY_BYTES, ROOT_PAGE_BYTES, RootCopy, RootPage, RootPlace, RootRow, TabletRow,
};
use sombra::format::segment::{SegmentHeader, parse_segment_file_name, segment_start};
use sombra::format::space_map::peek_map_page;
use sombra::format::superblock::{SUPERBLOCK_COPY_BYTES, Superblock, SuperblockCopy};
use sombra::format::{BLOCK_PAYLOAD_BYTES, BLOCK_SIZE_BYTES};
use sombra::{Lsn, StoreId};
use sombra_runtime::sim::SimDisk;

use super::BytePlace;
use super::judge::LogMarks;
use super::part::Part;
use super::store::STORE_DIR;
use super::unit::{Decoder, PageUnit, Unit};

/// What the bytes of one file are for: where each stretch begins, ascending from 0.
pub(super) struct FileMap {
    pub(super) path: String,
    len_bytes: u64,
    stretches: Vec<(u64, Part)>,
    store_id: StoreId,
    /// Pages and runs by number, in the data file.
    pages: BTreeMap<u64, PageUnit>,
}

impl FileMap {
    pub(super) fn part_of(&self, offset: u64) -> Part {
        self.stretches[self.stretches.partition_point(|&(start, _)| start <= offset) - 1].1
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = Part> {
        self.stretches.iter().map(|&(_, part)| part)
    }

    /// Stretches with their ends.
    fn ranges(&self) -> impl Iterator<Item = (std::ops::Range<u64>, Part)> {
        let ends = self.stretches.iter().skip(1).map(|&(start, _)| start);
        let ends = ends.chain([self.len_bytes]);
        self.stretches.iter().zip(ends).map(|(&(start, part), end)| (start..end, part))
    }

    pub(super) fn add_bytes(&self, bytes: &mut BTreeMap<Part, u64>) {
        for (range, part) in self.ranges() {
            *bytes.entry(part).or_default() += range.end - range.start;
        }
    }

    /// What is believed by a checksum of its own, as far as anything depends on it.
    pub(super) fn units(&self, file: usize, units: &mut Vec<Unit>) {
        for (range, part) in self.ranges().filter(|(_, part)| part.is_needed()) {
            // A copy of the superblock is one; all else is made of blocks.
            let step = match part {
                Part::Superblock => range.end - range.start,
                _ => BLOCK_SIZE_BYTES as u64,
            };
            for offset in range.clone().step_by(step.max(1) as usize) {
                let Some((decoder, len_bytes)) = self.decoder(offset, part, step) else { continue };
                let place = BytePlace { file, offset };
                units.push(Unit { place, len_bytes, part, decoder });
            }
        }
    }

    /// `None` inside a run, which is believed as a whole.
    fn decoder(&self, offset: u64, part: Part, len_bytes: u64) -> Option<(Decoder, u64)> {
        let root = |offset: u64| {
            let copy = if offset < ROOT_COPY_BYTES { RootCopy::A } else { RootCopy::B };
            let slot = (offset % ROOT_COPY_BYTES) / ROOT_PAGE_BYTES as u64;
            RootPlace { slot: slot as u32, copy }
        };
        let decoder = match part {
            Part::Superblock => Decoder::Superblock,
            Part::RootBlank => Decoder::Blank(self.store_id, root(offset)),
            Part::RootInForce | Part::RootTwin => Decoder::Root(self.store_id, root(offset)),
            Part::SegmentHeader => Decoder::SegmentHeader,
            Part::LogReplayed | Part::LogMerged => Decoder::LogBlock(self.store_id),
            _ => {
                let page = *self.pages.get(&(offset / PAGE_BYTES as u64))?;
                return Some((Decoder::Page(page), u64::from(page.pages) * PAGE_BYTES as u64));
            }
        };
        Some((decoder, len_bytes))
    }

    /// The first bytes of the blocks on which nothing depends.
    pub(super) fn idle_blocks(&self, mut visit: impl FnMut(std::ops::Range<u64>)) {
        for (range, _) in self.ranges().filter(|(_, part)| !part.is_needed()) {
            let mut start = range.start;
            while start < range.end {
                let end = (start + 1).next_multiple_of(BLOCK_SIZE_BYTES as u64).min(range.end);
                visit(start..end);
                start = end;
            }
        }
    }

    /// Names all bytes of the first block of each part that is not in `seen` yet and not vast, and
    /// of stretches shorter than a block; one in `every` of the others.
    pub(super) fn sample(
        &self,
        (every, every_vast): (u64, u64),
        seen: &mut BTreeSet<Part>,
        mut visit: impl FnMut(u64),
    ) {
        for (range, part) in self.ranges() {
            let is_short = range.end - range.start < BLOCK_SIZE_BYTES as u64;
            let is_whole = !part.is_vast() && (seen.insert(part) || is_short);
            let block = if is_whole { BLOCK_SIZE_BYTES as u64 } else { 0 };
            let whole = range.start..(range.start + block).min(range.end);
            whole.clone().for_each(&mut visit);
            let step = if part.is_vast() { every_vast } else { every };
            // Counted over the whole file: stretches begin at round numbers.
            let first = whole.end.next_multiple_of(step.max(1));
            (first..range.end).step_by(step.max(1) as usize).for_each(&mut visit);
        }
    }
}

fn file(
    (path, store_id): (String, StoreId),
    bytes: &[u8],
    stretches: Vec<(u64, Part)>,
    pages: BTreeMap<u64, PageUnit>,
) -> FileMap {
    FileMap { path, len_bytes: bytes.len() as u64, stretches, store_id, pages }
}

/// The parts of the store on the disk; `log` is what an opening said of it.
pub(super) fn map(disk: &SimDisk, log: &LogMarks) -> Result<Vec<FileMap>, String> {
    let path = format!("{STORE_DIR}/superblock");
    let bytes = disk.read_file(&path).ok_or("no superblock")?;
    let superblock = Superblock::decode(&bytes).map_err(|error| error.to_string())?;
    let store_id = superblock.store_id;
    let parts = superblock_parts(&bytes);
    let mut files = vec![file((path, store_id), &bytes, parts, BTreeMap::new())];
    let path = data_path();
    let bytes = disk.read_file(&path).ok_or("no data file")?;
    let data = Data::new(&bytes, store_id);
    let floor = data.floor();
    let (parts, pages) = data.parts();
    files.push(file((path, store_id), &bytes, parts, pages));
    let wal = format!("{STORE_DIR}/wal/");
    for path in disk.files().into_iter().filter(|path| path.starts_with(&wal)) {
        let bytes = disk.read_file(&path).ok_or("a segment is gone")?;
        let segment = Log { superblock: &superblock, log, floor };
        let parts = segment.parts(&path[wal.len()..], &bytes);
        files.push(file((path, store_id), &bytes, parts, BTreeMap::new()));
    }
    Ok(files)
}

/// Whether the copies of some root page name different trees of a tablet.
pub(super) fn has_differing_roots(disk: &SimDisk) -> bool {
    let superblock = disk.read_file(format!("{STORE_DIR}/superblock"));
    let superblock = superblock.and_then(|bytes| Superblock::decode(&bytes).ok());
    let (Some(superblock), Some(bytes)) = (superblock, disk.read_file(data_path())) else {
        return false;
    };
    let trees = |page: &RootPage| -> BTreeMap<_, _> {
        tablet_rows(page).filter_map(|row| Some((row.id, row.root?.addr.as_u64()))).collect()
    };
    Data::new(&bytes, superblock.store_id).slots.iter().flat_map(|[a, b]| a.iter().zip(b)).any(
        |(a, b)| {
            let (a, b) = (trees(a), trees(b));
            a.iter().any(|(id, root)| b.get(id).is_some_and(|other| other != root))
        },
    )
}

fn data_path() -> String {
    format!("{STORE_DIR}/pages.sombra")
}

fn superblock_parts(bytes: &[u8]) -> Vec<(u64, Part)> {
    let mut parts = Vec::new();
    for copy in [SuperblockCopy::A, SuperblockCopy::B] {
        let at = copy.offset();
        let used = bytes.get(at as usize + 16..at as usize + 20);
        let used = used.map_or(0, |used| u32::from_le_bytes(used.try_into().unwrap_or([0; 4])));
        let used = u64::from(used).min(SUPERBLOCK_COPY_BYTES as u64);
        parts.extend([(at, Part::Superblock), (at + used, Part::SuperblockRest)]);
    }
    parts
}

/// The data file.
struct Data<'b> {
    bytes: &'b [u8],
    store_id: StoreId,
    /// Both copies of each root page, as far as they were written.
    slots: Vec<[Option<RootPage>; 2]>,
}

const PAGE_BYTES: usize = 4096;

/// Pages that roots reach, and what they are: the first root that reaches one says.
#[derive(Default)]
struct Reached {
    parts: BTreeMap<u64, Part>,
    units: BTreeMap<u64, PageUnit>,
}

impl Reached {
    fn note(&mut self, unit: PageUnit, part: Part) {
        let first = unit.reference.addr.as_u64();
        self.units.entry(first).or_insert(unit);
        for page in first..first + u64::from(unit.pages) {
            self.parts.entry(page).or_insert(part);
        }
    }
}

impl<'b> Data<'b> {
    fn new(bytes: &'b [u8], store_id: StoreId) -> Data<'b> {
        let read = |slot: u32, copy: RootCopy| {
            let place = RootPlace { slot, copy };
            let at = place.offset_bytes() as usize;
            RootPage::decode(bytes.get(at..at + ROOT_PAGE_BYTES)?, store_id, place).ok()?
        };
        let slots = 0..sombra::limits::ROOT_SLOTS;
        let slots = slots.map(|slot| RootCopy::BOTH.map(|copy| read(slot, copy)));
        Data { bytes, store_id, slots: slots.collect() }
    }

    fn newest([a, b]: &[Option<RootPage>; 2]) -> Option<RootCopy> {
        let generation = |page: &Option<RootPage>| page.as_ref().map(|page| page.generation);
        let copy = if generation(a) > generation(b) { RootCopy::A } else { RootCopy::B };
        (a.is_some() || b.is_some()).then_some(copy)
    }

    fn pages_of(&self, is_newest: bool) -> impl Iterator<Item = &RootPage> {
        self.slots.iter().filter_map(move |slot| {
            let newest = Data::newest(slot)?;
            slot[if is_newest { newest } else { newest.other() }.index()].as_ref()
        })
    }

    /// No replay begins below it, whichever copy of a root is lost.
    fn floor(&self) -> Lsn {
        let pages = || self.slots.iter().flatten().flatten();
        let tablets = pages().flat_map(tablet_rows).map(|row| row.merge_lsn);
        let catalogs = pages().flat_map(|page| &page.rows).filter_map(|row| match row {
            RootRow::Catalog(row) => Some(row.catalog_lsn),
            RootRow::Keyspace(_) | RootRow::Tablet(_) => None,
        });
        tablets.chain(catalogs).min().unwrap_or(Lsn::ZERO)
    }

    /// Where each part begins, and which pages and runs there are.
    fn parts(&self) -> (Vec<(u64, Part)>, BTreeMap<u64, PageUnit>) {
        let mut reached = Reached::default();
        for page in self.pages_of(true) {
            tablet_rows(page).for_each(|row| self.walk(row, None, &mut reached));
        }
        for page in self.pages_of(false) {
            tablet_rows(page).for_each(|row| self.walk(row, Some(Part::OlderOnly), &mut reached));
        }
        let mut parts = Vec::new();
        for copy in RootCopy::BOTH {
            for (slot, state) in (0..).zip(&self.slots) {
                let part = match (&state[copy.index()], Data::newest(state)) {
                    (None, _) => Part::RootBlank,
                    (Some(_), newest) if newest == Some(copy) => Part::RootInForce,
                    (Some(_), _) => Part::RootTwin,
                };
                parts.push((RootPlace { slot, copy }.offset_bytes(), part));
            }
        }
        let first = 2 * ROOT_COPY_BYTES / PAGE_BYTES as u64;
        for page in first..(self.bytes.len() / PAGE_BYTES) as u64 {
            let part = reached.parts.get(&page).copied().unwrap_or(Part::Free);
            parts.push((page * PAGE_BYTES as u64, part));
        }
        (parts, reached.units)
    }

    /// Notes all pages that a tablet's row reaches and nobody has noted yet.
    fn walk(&self, row: &TabletRow, part: Option<Part>, reached: &mut Reached) {
        let owner = PageOwner { store_id: self.store_id, tablet: row.id };
        let mut note = |reference: PageRef, pages: u32, kind: Part| {
            reached.note(PageUnit { reference, pages, owner }, part.unwrap_or(kind));
        };
        let mut map = row.space.map(|space| space.map);
        while let Some(page) = map {
            note(page, 1, Part::SpaceMap);
            let bytes = self.page(page);
            let found = peek_page(bytes).and_then(|header| peek_map_page(bytes, &header));
            map = found.and_then(|found| found.next);
        }
        let mut waiting: Vec<PageRef> = row.root.iter().copied().collect();
        while let Some(page) = waiting.pop() {
            let bytes = self.page(page);
            let Some(header) = peek_page(bytes) else { continue };
            if header.kind == PageKind::Inner {
                note(page, 1, Part::Inner);
                let inner = Inner::new(bytes);
                waiting.extend((0..inner.len()).map(|at| inner.child(at).page));
                continue;
            }
            note(page, 1, Part::Leaf);
            let leaf = Leaf::new(bytes);
            for at in 0..leaf.len() {
                if let LeafValue::Overflow(run) = leaf.value(at) {
                    let reference = PageRef { addr: run.addr, crc: run.crc };
                    note(reference, run.pages, Part::Overflow);
                }
            }
        }
    }

    fn page(&self, page: PageRef) -> &'b [u8] {
        let at = page.addr.as_u64() as usize * PAGE_BYTES;
        &self.bytes[at..at + PAGE_BYTES]
    }
}

fn tablet_rows(page: &RootPage) -> impl Iterator<Item = &TabletRow> {
    page.rows.iter().filter_map(|row| match row {
        RootRow::Tablet(row) => Some(row),
        RootRow::Catalog(_) | RootRow::Keyspace(_) => None,
    })
}

/// The log.
struct Log<'s> {
    superblock: &'s Superblock,
    log: &'s LogMarks,
    floor: Lsn,
}

impl Log<'_> {
    fn parts(&self, name: &str, bytes: &[u8]) -> Vec<(u64, Part)> {
        let links = &self.superblock.links;
        let header = SegmentHeader::decode(&bytes[..BLOCK_SIZE_BYTES.min(bytes.len())]);
        let number = parse_segment_file_name(name);
        let own = match (&header, number) {
            (Ok(header), Some(number)) if header.segment_number == number => {
                links.iter().position(|link| link.incarnation == header.incarnation)
            }
            _ => None,
        };
        let (Some(number), Some(own)) = (number, own) else {
            return vec![(0, Part::LogBehindEnd)];
        };
        let next = links.get(own + 1);
        let end = next.map_or(self.log.replayed_to, |next| next.previous_end);
        let segment_bytes = self.superblock.segment_bytes;
        let start = segment_start(number, segment_bytes);
        let is_first = next.is_none() && links[own].new_start == start;
        let is_kept = segment_start(number + 1, segment_bytes) > self.floor;
        let header = match (is_kept, start < end || is_first) {
            (true, true) => Part::SegmentHeader,
            (true, false) => Part::LogBehindEnd,
            (false, _) => Part::LogBelowFloor,
        };
        let mut parts = vec![(0, header)];
        for block in 1..(bytes.len() / BLOCK_SIZE_BYTES) as u64 {
            let from = Lsn::new(start.as_u64() + (block - 1) * BLOCK_PAYLOAD_BYTES as u64);
            let to = Lsn::new(from.as_u64() + BLOCK_PAYLOAD_BYTES as u64);
            let is_vouched_for = next.is_some() || self.log.newest_stamp > from;
            let part = match () {
                () if from >= end => Part::LogBehindEnd,
                () if to <= self.floor => Part::LogBelowFloor,
                () if to <= self.log.replayed_from => Part::LogMerged,
                () if !is_vouched_for => Part::LogTail,
                () => Part::LogReplayed,
            };
            parts.push((block * BLOCK_SIZE_BYTES as u64, part));
        }
        parts
    }
}
