//! Damage to a store that keeps its checksums true: a changed page gets its checksum, the
//! reference to it gets that one too, and so on up to the root table, whose pages have their own.
//! Without this everything behind the first look at a page would be refused unread.

use super::{DATA_FILE, Page, Pieces, Store};
use crate::fuzz::subject::{blanked_crc, seal_at};
use crate::fuzz::targets::{PAGE_CRC_AT, ROOT_CRC_AT};
use sombra::format::page::PageKind;
use sombra::format::root_table::{ROOT_COPY_BYTES, ROOT_PAGE_BYTES};
use std::collections::BTreeMap;

/// Levels from a run to the root table, and some more: a bound against a chain that is a circle.
const LEVELS_MAX: usize = 12;

/// A place that names a page with its checksum: the page it lies in, and where the checksum is.
#[derive(Clone, Copy)]
struct Reference {
    holder: usize,
    crc_at: usize,
}

/// Every page of the data file by its offset, and who names it.
pub(in crate::fuzz) struct Links {
    lengths: BTreeMap<usize, usize>,
    references: BTreeMap<usize, Vec<Reference>>,
}

impl Links {
    /// Whether the root table leads to the page.
    #[cfg(test)]
    pub(in crate::fuzz) fn is_reached(&self, offset: usize) -> bool {
        let mut above = vec![offset];
        for _ in 0..LEVELS_MAX {
            if above.iter().any(|&holder| holder < 2 * ROOT_COPY_BYTES as usize) {
                return true;
            }
            let named = above.iter().filter_map(|offset| self.references.get(offset)).flatten();
            above = named.map(|reference| reference.holder).collect();
        }
        false
    }

    fn of(store: &'static Store, pieces: &Pieces) -> Links {
        let file = store.file(DATA_FILE);
        let pages = pieces.pages();
        let mut links = Links { lengths: BTreeMap::new(), references: BTreeMap::new() };
        for page in &pages {
            links.lengths.insert(page.offset, page.len);
        }
        let holders = pages.iter().filter(|page| page.header.kind != PageKind::Overflow);
        for page in holders {
            links.add_holder(file, page.offset, page.len, pieces.page_bytes());
        }
        for root in pieces.root_pages() {
            links.add_holder(file, root.offset, ROOT_PAGE_BYTES, pieces.page_bytes());
        }
        links
    }

    /// A reference is an address with the checksum of the page there beside it; of each kind of
    /// holder the distance between the two is fixed, so any of these distances is looked at.
    fn add_holder(&mut self, file: &[u8], holder: usize, len: usize, page_bytes: usize) {
        let bytes = &file[holder..holder + len];
        for at in 0..len.saturating_sub(8) {
            let word = bytes[at..at + 8].try_into().expect("eight bytes");
            let Ok(addr) = usize::try_from(u64::from_le_bytes(word)) else { continue };
            let Some(offset) = addr.checked_mul(page_bytes) else { continue };
            if offset == holder || !self.lengths.contains_key(&offset) {
                continue;
            }
            let crc = &file[offset + PAGE_CRC_AT..offset + PAGE_CRC_AT + 4];
            let places = [at.checked_sub(20), Some(at + 8), Some(at + 12), Some(at + 16)];
            for crc_at in places.into_iter().flatten() {
                if bytes.get(crc_at..crc_at + 4) == Some(crc) {
                    self.references.entry(offset).or_default().push(Reference { holder, crc_at });
                }
            }
        }
    }
}

/// Changed blocks over the files of a store.
pub(in crate::fuzz) struct Damage<'links> {
    store: &'static Store,
    links: &'links Links,
    /// Pages of the data file by their offset.
    changed: BTreeMap<usize, Vec<u8>>,
}

impl<'links> Damage<'links> {
    pub(in crate::fuzz) fn links(store: &'static Store) -> (Links, Vec<Page>) {
        let pieces = Pieces::of(store);
        (Links::of(store, &pieces), pieces.pages())
    }

    pub(in crate::fuzz) fn new(store: &'static Store, links: &'links Links) -> Damage<'links> {
        Damage { store, links, changed: BTreeMap::new() }
    }

    /// The bytes of a page as they are by now, to be changed.
    pub(in crate::fuzz) fn page(&mut self, offset: usize) -> &mut Vec<u8> {
        let len = self.links.lengths.get(&offset).copied().unwrap_or(ROOT_PAGE_BYTES);
        let file = self.store.file(DATA_FILE);
        self.changed.entry(offset).or_insert_with(|| file[offset..offset + len].to_vec())
    }

    /// Makes the page's checksum true, and what names it.
    pub(in crate::fuzz) fn seal(&mut self, offset: usize) {
        let mut stale = vec![offset];
        for _ in 0..LEVELS_MAX {
            let mut above = Vec::new();
            for offset in stale {
                let is_root = offset < 2 * ROOT_COPY_BYTES as usize;
                let page = self.page(offset);
                seal_at(page, if is_root { ROOT_CRC_AT } else { PAGE_CRC_AT });
                let crc = blanked_crc(page, PAGE_CRC_AT).to_le_bytes();
                let links = self.links;
                for reference in links.references.get(&offset).into_iter().flatten() {
                    let holder = self.page(reference.holder);
                    if let Some(field) = holder.get_mut(reference.crc_at..reference.crc_at + 4) {
                        field.copy_from_slice(&crc);
                        above.push(reference.holder);
                    }
                }
            }
            above.sort_unstable();
            above.dedup();
            stale = above;
        }
    }

    /// What has changed in the data file.
    pub(in crate::fuzz) fn finish(self) -> impl Iterator<Item = (usize, Vec<u8>)> {
        self.changed.into_iter()
    }
}
