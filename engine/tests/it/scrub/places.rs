//! Where the parts of a store lie on the disk, read with the format's own decoders.

use sombra::StoreId;
use sombra::format::log_block::verify_block_of_store;
use sombra::format::node::{Inner, Leaf, LeafValue};
use sombra::format::root_table::{
    ROOT_PAGE_BYTES, RootCopy, RootPage, RootPlace, RootRow, TabletRow,
};
use sombra::format::superblock::Superblock;
use sombra_runtime::sim::SimDisk;

pub(super) const DATA: &str = "/store/pages.sombra";
const SUPERBLOCK: &str = "/store/superblock";
const PAGE_BYTES: u64 = 4096;

pub(super) struct Places {
    data: Vec<u8>,
    store_id: StoreId,
    rows: Vec<(RootPlace, RootRow)>,
}

impl Places {
    pub(super) fn of(disk: &SimDisk) -> Places {
        let data = disk.read_file(DATA).unwrap();
        let superblock = Superblock::decode(&disk.read_file(SUPERBLOCK).unwrap()).unwrap();
        let store_id = superblock.store_id;
        let mut rows = Vec::new();
        for slot in 0..sombra::limits::ROOT_SLOTS {
            let copy = |copy: RootCopy| {
                let place = RootPlace { slot, copy };
                let at = place.offset_bytes() as usize;
                let page = RootPage::decode(&data[at..at + ROOT_PAGE_BYTES], store_id, place);
                Some((place, page.unwrap()?))
            };
            let newest = RootCopy::BOTH.into_iter().filter_map(copy);
            if let Some((place, page)) = newest.max_by_key(|(_, page)| page.generation) {
                rows.extend(page.rows.into_iter().map(|row| (place, row)));
            }
        }
        Places { data, store_id, rows }
    }

    /// The newest row of a keyspace's first tablet.
    pub(super) fn tablet(&self, keyspace: &str) -> TabletRow {
        let id = self.rows.iter().find_map(|(_, row)| match row {
            RootRow::Keyspace(row) if row.name == keyspace => Some(row.id),
            _ => None,
        });
        let tablet = self.rows.iter().find_map(|(_, row)| match row {
            RootRow::Tablet(row) if Some(row.id.keyspace) == id && row.id.index == 0 => Some(row),
            _ => None,
        });
        tablet.unwrap().clone()
    }

    fn page(&self, addr: u64) -> &[u8] {
        let at = (addr * PAGE_BYTES) as usize;
        &self.data[at..at + PAGE_BYTES as usize]
    }

    /// Where the tree's second leaf begins.
    pub(super) fn leaf_offset(&self, row: &TabletRow) -> u64 {
        let mut addr = row.root.unwrap().addr.as_u64();
        for _ in 0..row.root_level {
            addr = Inner::new(self.page(addr)).child(1).page.addr.as_u64();
        }
        addr * PAGE_BYTES
    }

    /// The first value outside its leaf.
    fn overflow_offset(&self, row: &TabletRow) -> u64 {
        let found = self.overflow_below(row.root.unwrap().addr.as_u64(), row.root_level);
        found.expect("a tree with a large value")
    }

    fn overflow_below(&self, addr: u64, level: u8) -> Option<u64> {
        if level > 0 {
            let inner = Inner::new(self.page(addr));
            let mut children = (0..inner.len()).map(|at| inner.child(at).page.addr.as_u64());
            return children.find_map(|child| self.overflow_below(child, level - 1));
        }
        let leaf = Leaf::new(self.page(addr));
        (0..leaf.len()).find_map(|index| match leaf.value(index) {
            LeafValue::Overflow(reference) => Some(reference.addr.as_u64() * PAGE_BYTES),
            LeafValue::Inline(_) => None,
        })
    }

    /// One byte of each part that the scrubber looks at: name, file, offset.
    pub(super) fn parts_of(
        &self,
        disk: &SimDisk,
        keyspace: &str,
    ) -> Vec<(&'static str, String, u64)> {
        let row = self.tablet(keyspace);
        let slot = self.rows.iter().find_map(|(place, found)| {
            matches!(found, RootRow::Tablet(found) if found.id == row.id).then_some(place.slot)
        });
        let slot = slot.unwrap();
        let root = |slot: u32, copy: RootCopy| RootPlace { slot, copy }.offset_bytes();
        let data = |name, offset| (name, DATA.to_owned(), offset);
        let mut parts = vec![
            ("superblock A", SUPERBLOCK.to_owned(), 100),
            ("superblock B, a link", SUPERBLOCK.to_owned(), (1 << 20) + 260),
            data("root copy A", root(slot, RootCopy::A) + 70),
            data("root copy B, the rest", root(slot, RootCopy::B) + 4_090),
            data("blank root page", root(200, RootCopy::B) + 17),
            data("space map", row.space.unwrap().map.addr.as_u64() * PAGE_BYTES + 66),
            data("root of a tree", row.root.unwrap().addr.as_u64() * PAGE_BYTES + 3),
            data("leaf, the rest", self.leaf_offset(&row) + 4_095),
            data("overflow run", self.overflow_offset(&row) + 20_000),
        ];
        parts.extend(self.log_places(disk));
        parts
    }

    /// A header, and a block that the scrubber may look at, of each opening's log that is kept.
    fn log_places(&self, disk: &SimDisk) -> Vec<(&'static str, String, u64)> {
        let mut places = Vec::new();
        let is_segment = |path: &String| path.ends_with(".log");
        for path in disk.files().into_iter().filter(is_segment) {
            let bytes = disk.read_file(&path).unwrap();
            let is_written = verify_block_of_store(&bytes[4096..8192], self.store_id).is_ok();
            if is_written {
                places.push(("segment header", path.clone(), 4_000));
                places.push(("log block", path, 4096 + 300));
            }
        }
        // The oldest may lie below the floor.
        places.split_off(places.len() - 2)
    }
}
