//! Every option of fio by name: what it sets, or why it is not supported. The names are those of
//! fio 3.33, its engines, and of newer versions where they are known.

mod files;
mod io;
mod pace;
mod refused;
mod report;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use super::draft::{Draft, Given};
use super::value::Parsed;
use crate::limits::DISK_JOB_NAME_BYTES_MAX;

/// An option: its first name is fio's own, the others are aliases.
pub(super) struct OptionRow {
    names: &'static [&'static str],
    pub(super) support: Support,
}

impl OptionRow {
    pub(super) fn name(&self) -> &'static str {
        self.names[0]
    }
}

#[derive(Clone, Copy)]
pub(super) enum Support {
    Set(fn(&mut Draft, Given<'_>) -> Parsed<()>),
    /// Read and forgotten, with a note that says why it changes nothing; empty: no note.
    Accept(&'static str),
    /// Refused with a reason, unless the value is one of those that ask for nothing.
    Refuse {
        off: &'static [&'static str],
        reason: &'static str,
    },
}

const fn set(
    names: &'static [&'static str],
    setter: fn(&mut Draft, Given<'_>) -> Parsed<()>,
) -> OptionRow {
    OptionRow { names, support: Support::Set(setter) }
}

const fn accept(names: &'static [&'static str], why: &'static str) -> OptionRow {
    OptionRow { names, support: Support::Accept(why) }
}

const fn refuse(
    names: &'static [&'static str],
    off: &'static [&'static str],
    reason: &'static str,
) -> OptionRow {
    OptionRow { names, support: Support::Refuse { off, reason } }
}

fn rows() -> impl Iterator<Item = &'static OptionRow> {
    [io::ROWS, files::ROWS, pace::ROWS, report::ROWS, refused::ROWS].into_iter().flatten()
}

/// The option of that name or alias.
pub(super) fn find(name: &str) -> Option<&'static OptionRow> {
    static INDEX: OnceLock<HashMap<&'static str, &'static OptionRow>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let pairs = rows().flat_map(|row| row.names.iter().map(move |name| (*name, row)));
        pairs.collect()
    });
    index.get(name).copied()
}

/// Every name and alias.
pub fn option_names() -> impl Iterator<Item = &'static str> {
    rows().flat_map(|row| row.names.iter().copied())
}

/// The name nearest to an unknown one, if any is near enough to be meant.
pub(super) fn similar(name: &str) -> Option<&'static str> {
    if name.len() > DISK_JOB_NAME_BYTES_MAX {
        return None;
    }
    // Beyond a third of the name, what comes out is no longer what was meant.
    let distance_max = (name.len() / 3).clamp(1, 3);
    let letters = letters_of(name);
    let may_be_near = |known: &&str| {
        // An edit changes at most two letters of those that occur: most names are out by this.
        let differing = (letters ^ letters_of(known)).count_ones() as usize;
        known.len().abs_diff(name.len()) <= distance_max && differing <= 2 * distance_max
    };
    let candidates = option_names().filter(may_be_near);
    let measured =
        candidates.map(|known| (edit_distance(name.as_bytes(), known.as_bytes()), known));
    measured.filter(|(distance, _)| *distance <= distance_max).min().map(|(_, known)| known)
}

/// A bit for each byte that occurs, by its low six bits.
fn letters_of(name: &str) -> u64 {
    name.bytes().fold(0, |letters, byte| letters | 1 << (byte & 63))
}

/// Insertions, deletions, replacements and swaps of neighbours between the two.
///
/// Source: Damerau, "A technique for computer detection and correction of spelling errors", 1964
/// (each place edited once).
fn edit_distance(left: &[u8], right: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, l) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(right.len() + 1);
        current.push(row + 1);
        for (column, r) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(l != r);
            let mut best = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            let is_swap = row > 0 && column > 0 && *l == right[column - 1] && left[row - 1] == *r;
            if is_swap {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

/// The value as one of `choices`, or what was expected.
fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Parsed<T> {
    let chosen = choices.iter().find(|(name, _)| *name == text);
    chosen.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        Cow::from(format!("one of {}", names.join(", ")))
    })
}
