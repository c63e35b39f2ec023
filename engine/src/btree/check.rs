//! What the offline checker asks of one node: does it hold what its parent says of it?

use thiserror::Error;

use crate::format::node::{ChildRef, Inner, Leaf, LeafValue, NodeError, is_sparse, validate_node};
use crate::format::overflow::OverflowRef;
use crate::format::page::{PageHeader, PageKind};

/// What the way down to a node says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeExpectation<'key> {
    pub(crate) level: u8,
    /// No key of the subtree is below it.
    pub(crate) lower: Option<&'key [u8]>,
    /// Every key of the subtree is below it.
    pub(crate) upper: Option<&'key [u8]>,
    /// Rows of the whole subtree.
    pub(crate) rows: u64,
    /// What the parent says of the node's fill; `None` for a root, of which nothing is said.
    pub(crate) is_sparse: Option<bool>,
}

/// A child and the range that its keys must lie in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CheckedChild {
    pub(crate) child: ChildRef,
    pub(crate) lower: Option<Vec<u8>>,
    pub(crate) upper: Option<Vec<u8>>,
    pub(crate) is_sparse: bool,
}

/// What a sound node leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NodeSummary {
    pub(crate) children: Vec<CheckedChild>,
    /// Values outside, each with the index of its row.
    pub(crate) overflows: Vec<(usize, OverflowRef)>,
    pub(crate) rows: u64,
    pub(crate) used_bytes: usize,
}

/// Why a node is not what its parent says.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum NodeProblem {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("level {found}, expected {expected}")]
    Level { expected: u8, found: u8 },
    #[error("{found} rows, expected {expected}")]
    Rows { expected: u64, found: u64 },
    #[error("key {}: expected at least {}", found.escape_ascii(), expected.escape_ascii())]
    BelowRange { expected: Vec<u8>, found: Vec<u8> },
    #[error("key {}: expected below {}", found.escape_ascii(), expected.escape_ascii())]
    AboveRange { expected: Vec<u8>, found: Vec<u8> },
    #[error("{used_bytes} bytes in use; less than half full: expected {expected}")]
    Fill { expected: bool, used_bytes: usize },
    #[error("byte {offset} behind the bytes in use: expected 0, found {found}")]
    NotZero { offset: usize, found: u8 },
}

/// Checks a node whose checksum holds against what its parent says. Cost: one pass over the page.
pub(crate) fn check_node(
    page: &[u8],
    header: &PageHeader,
    expected: &NodeExpectation<'_>,
) -> Result<NodeSummary, NodeProblem> {
    validate_node(page, header)?;
    if header.level != expected.level {
        return Err(NodeProblem::Level { expected: expected.level, found: header.level });
    }
    let used_bytes = header.used_bytes as usize;
    if let Some(sparse) = expected.is_sparse
        && sparse != is_sparse(used_bytes, page.len())
    {
        return Err(NodeProblem::Fill { expected: sparse, used_bytes });
    }
    if let Some(offset) = page[used_bytes..].iter().position(|&byte| byte != 0) {
        let offset = used_bytes + offset;
        return Err(NodeProblem::NotZero { offset, found: page[offset] });
    }
    let summary = match header.kind {
        PageKind::Leaf => check_leaf(page, used_bytes, expected)?,
        _ => check_inner(page, used_bytes, expected)?,
    };
    if summary.rows != expected.rows {
        return Err(NodeProblem::Rows { expected: expected.rows, found: summary.rows });
    }
    Ok(summary)
}

fn check_leaf(
    page: &[u8],
    used_bytes: usize,
    expected: &NodeExpectation<'_>,
) -> Result<NodeSummary, NodeProblem> {
    let leaf = Leaf::new(page);
    check_range(&leaf.key(0), expected)?;
    check_range(&leaf.key(leaf.len() - 1), expected)?;
    let overflows = (0..leaf.len()).filter_map(|index| match leaf.value(index) {
        LeafValue::Overflow(reference) => Some((index, reference)),
        LeafValue::Inline(_) => None,
    });
    let rows = leaf.len() as u64;
    Ok(NodeSummary { children: Vec::new(), overflows: overflows.collect(), rows, used_bytes })
}

fn check_inner(
    page: &[u8],
    used_bytes: usize,
    expected: &NodeExpectation<'_>,
) -> Result<NodeSummary, NodeProblem> {
    let inner = Inner::new(page);
    let last = inner.len() - 1;
    if last > 0 {
        check_range(&inner.separator(1), expected)?;
        check_range(&inner.separator(last), expected)?;
    }
    let bound = |bound: Option<&[u8]>| bound.map(<[u8]>::to_vec);
    let child = |index| CheckedChild {
        child: inner.child(index),
        lower: if index == 0 { bound(expected.lower) } else { Some(inner.separator(index)) },
        upper: if index == last { bound(expected.upper) } else { Some(inner.separator(index + 1)) },
        is_sparse: inner.is_sparse(index),
    };
    let children = (0..=last).map(child).collect();
    let rows = inner.rows_before(inner.len());
    Ok(NodeSummary { children, overflows: Vec::new(), rows, used_bytes })
}

fn check_range(key: &[u8], expected: &NodeExpectation<'_>) -> Result<(), NodeProblem> {
    if let Some(lower) = expected.lower.filter(|lower| key < *lower) {
        let (expected, found) = (lower.to_vec(), key.to_vec());
        return Err(NodeProblem::BelowRange { expected, found });
    }
    if let Some(upper) = expected.upper.filter(|upper| key >= *upper) {
        let (expected, found) = (upper.to_vec(), key.to_vec());
        return Err(NodeProblem::AboveRange { expected, found });
    }
    Ok(())
}
