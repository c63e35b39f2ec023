//! Which blocks a pass wrote: where a read must find what was written.

use std::collections::BTreeMap;

use crate::disk::job::Direction;
use crate::disk::stream::{Action, Step};

/// Blocks by place. What a later write covers, even in part, an earlier one no longer holds.
#[derive(Default, Debug)]
pub(super) struct Written {
    blocks: BTreeMap<(usize, u64), u64>,
    /// The first block that was wrong, in words, and how many there were.
    damage: Option<(String, u64)>,
}

impl Written {
    pub(super) fn note(&mut self, file: usize, offset: u64, len: u64) {
        let end = offset + len;
        let below = self.blocks.range(..(file, offset)).next_back();
        if let Some((&place, &below_len)) = below
            && place.0 == file
            && place.1 + below_len > offset
        {
            self.blocks.remove(&place);
        }
        while let Some((&place, _)) = self.blocks.range((file, offset)..(file, end)).next() {
            self.blocks.remove(&place);
        }
        self.blocks.insert((file, offset), len);
    }

    /// Everything so far; what is noted from here on is another pass's.
    pub(super) fn take(&mut self) -> Written {
        Written { blocks: std::mem::take(&mut self.blocks), damage: None }
    }

    /// The next block to read back, in order.
    pub(super) fn next_step(&mut self) -> Option<Step> {
        let ((file, offset), len) = self.blocks.pop_first()?;
        Some(Step { file, action: Action::Io { direction: Direction::Read, offset, len } })
    }

    pub(super) fn damaged(&mut self, text: String) {
        self.damage.get_or_insert((text, 0)).1 += 1;
    }

    pub(super) fn take_damage(&mut self) -> Option<String> {
        let (first, count) = self.damage.take()?;
        Some(match count {
            1 => first,
            _ => format!("{first} (and {} more)", count - 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(mut written: Written) -> Vec<(usize, u64, u64)> {
        std::iter::from_fn(|| written.next_step())
            .map(|step| match step.action {
                Action::Io { offset, len, .. } => (step.file, offset, len),
                _ => panic!("only reads"),
            })
            .collect()
    }

    #[test]
    fn written_blocks_come_in_order_and_the_last_write_of_a_place_counts() {
        let mut written = Written::default();
        for (file, offset, len) in [(1, 0, 4), (0, 8, 4), (0, 0, 4), (0, 8, 8)] {
            written.note(file, offset, len);
        }
        assert_eq!(blocks(written), [(0, 0, 4), (0, 8, 8), (1, 0, 4)]);
    }

    #[test]
    fn written_block_that_is_partly_covered_is_forgotten() {
        let mut written = Written::default();
        for (offset, len) in [(0, 8), (16, 4), (20, 4), (4, 14)] {
            written.note(0, offset, len);
        }
        assert_eq!(blocks(written), [(0, 4, 14), (0, 20, 4)]);
    }

    #[test]
    fn damage_is_told_with_its_first_block_and_their_number() {
        let mut written = Written::default();
        assert_eq!(written.take_damage(), None);
        written.damaged("a".to_owned());
        written.damaged("b".to_owned());
        assert_eq!(written.take_damage().unwrap(), "a (and 1 more)");
    }
}
