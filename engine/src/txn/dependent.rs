//! A write whose value follows from what its key holds when it is committed.
//!
//! Knows how one value follows from another. Must never know where values lie.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::WriteError;
use crate::ids::{Lsn, TabletId};
use crate::limits;
use crate::tablet::Present;

/// Makes a key's next value of the present one and an operand: a counter's sum, a list's next
/// entry. Called on the key's shard, in the order of the log, so it must be quick and must give
/// the same for the same; what it gives is what the log holds, so opening the store does not call
/// it again.
pub trait MergeOperator: Send + Sync {
    /// The next value; `None` deletes the key. `value` is `None` where the key is not there.
    ///
    /// # Errors
    /// Why there is no next value: the commit is refused with it, and nothing happens.
    fn merge(&self, value: Option<&[u8]>, operand: &[u8]) -> Result<Option<Bytes>, String>;
}

/// What must be true of a key for a conditional write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key is not there.
    Absent,
    /// The key is there.
    Present,
    /// The key has this value.
    Value(Bytes),
    /// Nothing was written to the key above this LSN: a snapshot's at which it was read, or that
    /// of a commit that wrote it.
    UnchangedSince(Lsn),
}

/// How a value follows from the one before.
#[derive(Clone)]
pub(crate) enum Change {
    Merge { operator: Arc<dyn MergeOperator>, operand: Bytes },
    If { condition: Condition, value: Option<Bytes> },
}

/// One such write.
#[derive(Clone)]
pub(crate) struct Dependent {
    pub(crate) tablet: TabletId,
    pub(crate) window_key: Bytes,
    /// Where the caller's key begins in `window_key`.
    pub(crate) key_offset: usize,
    pub(crate) change: Change,
}

/// Why there is no next value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The condition does not hold.
    Condition,
    /// Whether the key was written since is not known any more.
    TooOld,
    Operator(String),
    Write(WriteError),
}

impl Change {
    /// Whether only the version decides.
    pub(crate) fn needs_value(&self) -> bool {
        !matches!(self, Change::If { condition: Condition::UnchangedSince(_), .. })
    }

    /// The key's next value.
    pub(crate) fn next(&self, present: &Present) -> Result<Option<Bytes>, Refusal> {
        match self {
            Change::If { condition, value } => {
                condition.check(present)?;
                Ok(value.clone())
            }
            Change::Merge { operator, operand } => {
                let merge = || operator.merge(present.value.as_deref(), operand);
                // The caller's code: its panic is its refusal.
                let merged = catch_unwind(AssertUnwindSafe(merge));
                let merged = merged.unwrap_or_else(|_| Err("the operator panicked".to_owned()));
                let next = merged.map_err(Refusal::Operator)?;
                check_value(next.as_ref()).map_err(Refusal::Write)?;
                Ok(next)
            }
        }
    }
}

impl Condition {
    fn check(&self, present: &Present) -> Result<(), Refusal> {
        let holds = match self {
            Condition::Absent => present.value.is_none(),
            Condition::Present => present.value.is_some(),
            Condition::Value(expected) => present.value.as_ref() == Some(expected),
            Condition::UnchangedSince(since) => match present.lsn {
                Some(newest) => newest <= *since,
                None if present.floor <= *since => true,
                None => return Err(Refusal::TooOld),
            },
        };
        if holds { Ok(()) } else { Err(Refusal::Condition) }
    }
}

/// Checks a value's length.
pub(crate) fn check_value(value: Option<&Bytes>) -> Result<(), WriteError> {
    let (expected, found) = (limits::VALUE_BYTES_MAX, value.map_or(0, Bytes::len));
    if found <= expected { Ok(()) } else { Err(WriteError::ValueLength { expected, found }) }
}

/// Adds whole numbers: value and operand are an `i64` in little-endian order, a key that is not
/// there counts as 0. Refuses other values, and a sum that does not fit.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddI64;

impl MergeOperator for AddI64 {
    fn merge(&self, value: Option<&[u8]>, operand: &[u8]) -> Result<Option<Bytes>, String> {
        let number = |bytes: &[u8]| {
            let bytes = <[u8; 8]>::try_from(bytes);
            let bytes = bytes.map_err(|_| "expected 8 bytes, a number".to_owned());
            bytes.map(i64::from_le_bytes)
        };
        let present = value.map_or(Ok(0), number)?;
        let sum = present.checked_add(number(operand)?);
        let sum = sum.ok_or_else(|| format!("the sum of {present} and more does not fit"))?;
        Ok(Some(Bytes::copy_from_slice(&sum.to_le_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::{AddI64, Change, Condition, MergeOperator, Refusal};
    use crate::ids::Lsn;
    use crate::tablet::Present;

    fn present(value: Option<&'static [u8]>, lsn: Option<u64>) -> Present {
        let value = value.map(Bytes::from_static);
        Present { value, lsn: lsn.map(Lsn::new), floor: Lsn::new(80) }
    }

    fn outcome(condition: Condition, present: &Present) -> Result<(), Refusal> {
        let change = Change::If { condition, value: Some(Bytes::from_static(b"next")) };
        change.next(present).map(|next| assert_eq!(next.as_deref(), Some(&b"next"[..])))
    }

    #[test]
    fn conditions_hold_for_what_the_key_has() {
        let (there, gone) = (present(Some(b"a"), Some(96)), present(None, Some(96)));
        let value = |text: &'static [u8]| Condition::Value(Bytes::from_static(text));
        for (condition, if_there, if_gone) in [
            (Condition::Absent, false, true),
            (Condition::Present, true, false),
            (value(b"a"), true, false),
            (value(b"b"), false, false),
            (Condition::UnchangedSince(Lsn::new(96)), true, true),
            (Condition::UnchangedSince(Lsn::new(88)), false, false),
        ] {
            for (present, holds) in [(&there, if_there), (&gone, if_gone)] {
                let expected = if holds { Ok(()) } else { Err(Refusal::Condition) };
                assert_eq!(outcome(condition.clone(), present), expected, "{condition:?}");
            }
        }
    }

    #[test]
    fn version_below_what_the_tree_knows_is_too_old() {
        let in_tree = present(Some(b"a"), None);
        assert_eq!(outcome(Condition::UnchangedSince(Lsn::new(80)), &in_tree), Ok(()));
        let too_old = outcome(Condition::UnchangedSince(Lsn::new(72)), &in_tree);
        assert_eq!(too_old, Err(Refusal::TooOld));
    }

    #[test]
    fn sums_begin_at_zero_and_what_is_no_number_is_refused() {
        let five = 5_i64.to_le_bytes();
        assert_eq!(AddI64.merge(None, &five).unwrap().as_deref(), Some(&five[..]));
        let sum = AddI64.merge(Some(&(-7_i64).to_le_bytes()), &five).unwrap();
        assert_eq!(sum.as_deref(), Some(&(-2_i64).to_le_bytes()[..]));
        assert!(AddI64.merge(Some(b"seven"), &five).is_err());
        assert!(AddI64.merge(Some(&i64::MAX.to_le_bytes()), &five).is_err());
    }

    #[test]
    fn operator_that_panics_refuses() {
        struct Panics;
        impl MergeOperator for Panics {
            fn merge(&self, _: Option<&[u8]>, _: &[u8]) -> Result<Option<Bytes>, String> {
                panic!("of the caller's")
            }
        }
        let change = Change::Merge { operator: Arc::new(Panics), operand: Bytes::new() };
        let refused = change.next(&present(None, None));
        assert!(matches!(refused, Err(Refusal::Operator(_))), "{refused:?}");
    }
}
