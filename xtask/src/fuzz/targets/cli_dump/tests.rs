use super::*;
use sombra::format::node::{Leaf, LeafValue};
use sombra::format::overflow::OverflowRef;
use sombra::format::page::PageKind;

/// A leaf that keeps a value outside, that value's reference, and where it lies in the leaf.
fn outside_value(dump: &CliDump) -> (usize, OverflowRef, usize) {
    let file = dump.store.file(DATA_FILE);
    let leaves = dump.pages.iter().filter(|page| page.header.kind == PageKind::Leaf);
    let of_leaf = |page: &Page| {
        let bytes = &file[page.offset..page.offset + page.len];
        let leaf = Leaf::new(bytes);
        let outside = |index| match leaf.value(index) {
            LeafValue::Overflow(reference) if reference.pages > 1 => Some(reference),
            _ => None,
        };
        let reference = (0..leaf.len()).find_map(outside)?;
        let addr = reference.addr.as_u64().to_le_bytes();
        let pages_and_crc = [reference.pages, reference.crc].map(u32::to_le_bytes).concat();
        let wanted = [&addr[..], &pages_and_crc].concat();
        let at = bytes.windows(wanted.len()).position(|found| found == wanted)?;
        Some((page.offset, reference, at))
    };
    // In the tree of a root in force, or nobody would look at it.
    leaves.filter(|page| dump.links.is_reached(page.offset)).find_map(of_leaf).expect("some")
}

/// `check` counted on from the last page number there is, and its task panicked.
#[test]
fn look_at_a_value_that_begins_at_the_last_page_number_is_an_error() {
    let dump = CliDump::new(1);
    let (leaf, reference, at) = outside_value(&dump);
    for addr in [u64::MAX, u64::MAX - u64::from(reference.pages) + 1, u64::MAX / 4096] {
        let mut damage = Damage::new(dump.store, &dump.links);
        damage.page(leaf)[at..at + 8].copy_from_slice(&addr.to_le_bytes());
        damage.seal(leaf);
        let changed = damage.finish();
        let patches: Vec<Patch> =
            changed.map(|(offset, bytes)| Patch::write(DATA_FILE, offset, bytes)).collect();
        dump.check(&patches::encode(&patches), false);
    }
}
