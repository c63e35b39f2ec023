//! What must hold of an accepted leaf.

use super::page::stamp_of;
use crate::fuzz::subject::{accepted, scale};
use sombra::format::node::{CellValue, Leaf, LeafCell, LeafValue, encode_leaf, validate_node};
use sombra::format::page::{PageHeader, PageRef, verify_page};

/// Keys of one leaf that are looked for.
const SEARCHES_MAX: usize = 12;

pub(super) fn check(page: &[u8], header: &PageHeader) -> u64 {
    let leaf = Leaf::new(page);
    let rows = rows(page, &leaf);
    assert_eq!(leaf.len(), usize::from(header.count));
    assert!(rows.is_sorted_by(|(left, _), (right, _)| left < right), "rows out of order");
    assert!(rows.iter().all(|(key, _)| key.starts_with(leaf.prefix())));
    search(&leaf, &rows);
    write_again(page, header, &rows);
    let outside = rows.iter().filter(|(_, value)| matches!(value, CellValue::Overflow(_))).count();
    accepted(("leaf", scale(rows.len() as u64), scale(outside as u64), leaf.prefix().len().min(9)))
}

fn rows<'page>(page: &'page [u8], leaf: &Leaf<'page>) -> Vec<(Vec<u8>, CellValue<'page>)> {
    let value = |index| match leaf.value(index) {
        LeafValue::Inline(range) => CellValue::Inline(&page[range]),
        LeafValue::Overflow(reference) => CellValue::Overflow(reference),
    };
    (0..leaf.len()).map(|index| (leaf.key(index), value(index))).collect()
}

/// A search finds what looking at every row finds, for keys that are there and their neighbours.
fn search(leaf: &Leaf<'_>, rows: &[(Vec<u8>, CellValue<'_>)]) {
    let step = rows.len().div_ceil(SEARCHES_MAX);
    for (key, _) in rows.iter().step_by(step) {
        let mut above = key.clone();
        above.push(0);
        let below = &key[..key.len() - 1];
        let mut beside = key.clone();
        *beside.last_mut().expect("keys are not empty") ^= 0x80;
        for probe in [key, &above, below, &beside] {
            let expected = match rows.iter().position(|(found, _)| found.as_slice() >= probe) {
                Some(index) if rows[index].0 == probe => Ok(index),
                Some(index) => Err(index),
                None => Err(rows.len()),
            };
            assert_eq!(leaf.search(probe), expected, "{probe:02x?}");
        }
    }
}

/// The rows, written by the encoder, are a page that says the same.
fn write_again(page: &[u8], header: &PageHeader, rows: &[(Vec<u8>, CellValue<'_>)]) {
    let mut again = vec![0; page.len()];
    let cells = rows.iter().map(|(key, value)| LeafCell { key, value: *value });
    let crc = encode_leaf(&mut again, &stamp_of(header), cells);
    let reference = PageRef { addr: header.addr, crc };
    let found = verify_page(&again, reference, Some(header.kind), &header.owner);
    let found = found.expect("what was written is whole");
    validate_node(&again, &found).expect("what was written is a node");
    assert!(found.used_bytes <= header.used_bytes, "a longer page for the same rows");
    let leaf = Leaf::new(&again);
    let read = self::rows(&again, &leaf);
    assert_eq!(format!("{read:?}"), format!("{rows:?}"), "other rows after writing them again");
}
