//! Pages of the data file: header, then what their kind says.

use super::{inner, leaf};
use crate::fuzz::store::{DATA_FILE, Page, Pieces, Store};
use crate::fuzz::subject::{Decoder, accepted, blanked_crc, plant, scale, seal_at, shape};
use sombra::format::node::{
    CellValue, ChildRef, InnerEntry, LeafCell, NodeStamp, encode_inner, encode_leaf, validate_node,
};
use sombra::format::overflow::{OverflowRef, encode_overflow, overflow_pages, read_overflow};
use sombra::format::page::{
    PAGE_HEADER_BYTES, PageHeader, PageKind, PageOwner, PageRef, peek_page, sealed_crc, verify_page,
};
use sombra::format::space_map::{page_of, peek_map_page};
use sombra::{Lsn, StoreId, TabletId};

pub(in crate::fuzz) const PAGE_CRC_AT: usize = 0;
/// Pages of each kind to begin from.
const PAGES_OF_KIND_MAX: usize = 24;
/// Pages of runs to begin from are few, so that inputs stay short.
const RUN_PAGES_MAX: usize = 4;
const RUN_PAGE_BYTES: usize = 4096;

pub(in crate::fuzz) struct Pages;

impl Decoder for Pages {
    fn corpus(&self) -> Vec<Vec<u8>> {
        let store = Store::get();
        let pieces = Pieces::of(store);
        let pages = pieces.pages();
        let kinds = [PageKind::Leaf, PageKind::Inner, PageKind::Overflow, PageKind::SpaceMap];
        let of_kind = |kind| {
            let is_one = move |page: &&_| is_short(page) && kind_of(page) == kind;
            let pages = pages.iter().filter(is_one).take(PAGES_OF_KIND_MAX);
            pages.map(|page| store.file(DATA_FILE)[page.offset..page.offset + page.len].to_vec())
        };
        let found = kinds.into_iter().flat_map(of_kind);
        found.chain(large_pages(&pages[0].header)).collect()
    }

    fn seal(&self, input: &mut Vec<u8>) {
        seal_at(input, PAGE_CRC_AT);
    }

    fn check(&self, page: &[u8], has_planted: bool) -> u64 {
        let Some(said) = peek_page(page) else {
            return shape(&(page.len() < PAGE_HEADER_BYTES, page.get(4)));
        };
        let reference = PageRef { addr: said.addr, crc: sealed_crc(page) };
        let verified = verify_page(page, reference, None, &said.owner);
        let is_whole = blanked_crc(page, PAGE_CRC_AT) == reference.crc;
        let fits = said.used_bytes as usize <= page.len();
        assert_eq!(verified.is_ok(), is_whole && fits, "{verified:?}");
        let header = match verified {
            Ok(header) => header,
            Err(error) => return shape(&error),
        };
        assert_eq!(header, said, "two readings of one header");
        refuse_others(page, reference, &header);
        plant(has_planted, header.page_lsn > Lsn::new(1 << 60) && header.level == 0);
        match header.kind {
            PageKind::Overflow => check_run(page, reference, &header),
            PageKind::SpaceMap => check_map_page(page, &header),
            PageKind::Leaf | PageKind::Inner => check_node(page, &header),
        }
    }
}

fn is_short(page: &Page) -> bool {
    page.len <= RUN_PAGES_MAX * RUN_PAGE_BYTES
}

fn kind_of(page: &Page) -> PageKind {
    page.header.kind
}

/// Nodes in pages of the other sizes, which the store does not have.
fn large_pages(like: &PageHeader) -> Vec<Vec<u8>> {
    let stamp = stamp_of(like);
    let keys: Vec<Vec<u8>> = (0..40_u32).map(|key| format!("k{key:05}").into_bytes()).collect();
    let mut pages = Vec::new();
    for size in [8 << 10, 16 << 10, 32 << 10] {
        let mut page = vec![0; size];
        let cell = |key| LeafCell { key, value: CellValue::Inline(key) };
        encode_leaf(&mut page, &stamp, keys.iter().map(|key| cell(key.as_slice())));
        pages.push(page);
        let mut page = vec![0; size];
        let child = ChildRef { page: PageRef { addr: like.addr, crc: 7 }, rows: 9 };
        let entry = |separator| InnerEntry { separator, child, is_sparse: false };
        encode_inner(&mut page, &stamp, 2, keys.iter().map(|key| entry(key.as_slice())));
        pages.push(page);
    }
    pages
}

pub(super) fn stamp_of(header: &PageHeader) -> NodeStamp {
    NodeStamp { addr: header.addr, owner: header.owner, page_lsn: header.page_lsn }
}

/// The page is refused by whoever looks for another checksum, place, store, tablet or kind.
fn refuse_others(page: &[u8], reference: PageRef, header: &PageHeader) {
    let refuses = |reference, kind, owner: &PageOwner| {
        assert!(verify_page(page, reference, kind, owner).is_err(), "{reference:?} {owner:?}");
    };
    let elsewhere = page_of(u32::from(reference.addr.as_u64() == 0), 0, RUN_PAGE_BYTES as u32);
    refuses(PageRef { addr: elsewhere, ..reference }, None, &header.owner);
    refuses(PageRef { crc: !reference.crc, ..reference }, None, &header.owner);
    let mut id = *header.owner.store_id.as_bytes();
    id[0] ^= 1;
    let other_store = PageOwner { store_id: StoreId::from_bytes(id), ..header.owner };
    refuses(reference, None, &other_store);
    let tablet = header.owner.tablet;
    let tablet = TabletId { index: !tablet.index, ..tablet };
    refuses(reference, None, &PageOwner { tablet, ..header.owner });
    let other_kind = match header.kind {
        PageKind::Leaf => PageKind::Inner,
        _ => PageKind::Leaf,
    };
    refuses(reference, Some(other_kind), &header.owner);
}

fn check_node(page: &[u8], header: &PageHeader) -> u64 {
    if let Err(error) = validate_node(page, header) {
        return shape(&(header.kind, error));
    }
    match header.kind {
        PageKind::Leaf => leaf::check(page, header),
        _ => inner::check(page, header),
    }
}

fn check_run(run: &[u8], page: PageRef, header: &PageHeader) -> u64 {
    let used = header.used_bytes as usize;
    let value_len = used.saturating_sub(PAGE_HEADER_BYTES) as u32;
    let pages = overflow_pages(value_len as usize, RUN_PAGE_BYTES);
    let reference = OverflowRef { addr: page.addr, pages, crc: page.crc, value_len };
    let longer = OverflowRef { value_len: value_len + 1, ..reference };
    assert!(read_overflow(run, &longer, &header.owner).is_err(), "a value that is too short");
    let value = match read_overflow(run, &reference, &header.owner) {
        Ok(value) => value,
        Err(error) => return shape(&error),
    };
    assert_eq!(value, &run[PAGE_HEADER_BYTES..used]);
    if run.len() == pages as usize * RUN_PAGE_BYTES {
        let mut again = vec![0; run.len()];
        let written = encode_overflow(&mut again, RUN_PAGE_BYTES, &stamp_of(header), value);
        assert_eq!(read_overflow(&again, &written, &header.owner), Ok(value));
    }
    accepted(("run", pages, scale(u64::from(value_len))))
}

fn check_map_page(page: &[u8], header: &PageHeader) -> u64 {
    let Some(map) = peek_map_page(page, header) else { return shape(&"a map too short") };
    assert_eq!(map.entries.len(), usize::from(header.count));
    accepted(("map", scale(map.entries.len() as u64), map.next.is_some()))
}
