//! What must hold of an accepted inner node.

use super::page::stamp_of;
use crate::fuzz::subject::{accepted, scale};
use sombra::format::node::{ChildRef, Inner, InnerEntry, encode_inner, validate_node};
use sombra::format::page::{PageHeader, PageRef, verify_page};

/// Separators of one node that are looked for.
const SEARCHES_MAX: usize = 12;

/// A child, its separator (empty for the first) and its flag.
type Child = (Vec<u8>, ChildRef, bool);

pub(super) fn check(page: &[u8], header: &PageHeader) -> u64 {
    let inner = Inner::new(page);
    let children = children(&inner);
    assert_eq!(inner.len(), usize::from(header.count));
    let separators = &children[1..];
    assert!(separators.is_sorted_by(|left, right| left.0 < right.0), "separators out of order");
    let rows: u64 = children.iter().map(|(_, child, _)| child.rows).sum();
    assert_eq!(inner.rows_before(inner.len()), rows);
    search(&inner, &children);
    write_again(page, header, &children);
    let sparse = children.iter().filter(|(_, _, is_sparse)| *is_sparse).count();
    let facts = (header.level.min(9), scale(children.len() as u64), sparse.min(3));
    accepted(("inner", facts, inner.prefix().len().min(9)))
}

fn children(inner: &Inner<'_>) -> Vec<Child> {
    let separator = |index| if index == 0 { Vec::new() } else { inner.separator(index) };
    let child = |index| (separator(index), inner.child(index), inner.is_sparse(index));
    (0..inner.len()).map(child).collect()
}

/// A search finds what looking at every separator finds, for separators and their neighbours.
fn search(inner: &Inner<'_>, children: &[Child]) {
    let step = children.len().div_ceil(SEARCHES_MAX);
    for (separator, _, _) in children[1..].iter().step_by(step) {
        let mut above = separator.clone();
        above.push(0);
        let below = &separator[..separator.len() - 1];
        let mut beside = separator.clone();
        *beside.last_mut().expect("separators are not empty") ^= 0x80;
        for probe in [separator, &above, below, &beside] {
            let at_or_below = |child: &&Child| child.0.as_slice() <= probe;
            let expected = children[1..].iter().take_while(at_or_below).count();
            assert_eq!(inner.find(probe), expected, "{probe:02x?}");
            let is_below = |child: &&Child| child.0.as_slice() < probe;
            let expected = children[1..].iter().take_while(is_below).count();
            assert_eq!(inner.find_below(probe), expected, "{probe:02x?}");
        }
    }
}

/// The children, written by the encoder, are a page that says the same.
fn write_again(page: &[u8], header: &PageHeader, children: &[Child]) {
    let mut again = vec![0; page.len()];
    let entries = children.iter().map(|(separator, child, is_sparse)| InnerEntry {
        separator,
        child: *child,
        is_sparse: *is_sparse,
    });
    let crc = encode_inner(&mut again, &stamp_of(header), header.level, entries);
    let reference = PageRef { addr: header.addr, crc };
    let found = verify_page(&again, reference, Some(header.kind), &header.owner);
    let found = found.expect("what was written is whole");
    validate_node(&again, &found).expect("what was written is a node");
    assert!(found.used_bytes <= header.used_bytes, "a longer page for the same children");
    assert_eq!(self::children(&Inner::new(&again)), children, "other children after writing");
}
