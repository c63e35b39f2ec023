//! Which blocks a random job has visited, so that it visits each once before any again.

/// One bit for each block.
#[derive(Clone, Debug)]
pub(super) struct RandomMap {
    words: Vec<u64>,
    blocks: u64,
    free: u64,
}

impl RandomMap {
    /// Shape: `blocks` at least 1. Cost: a bit for each block.
    pub(super) fn new(blocks: u64) -> RandomMap {
        assert!(blocks > 0, "a map has at least one block");
        let words = usize::try_from(blocks.div_ceil(64)).expect("an address space of 64 bits");
        RandomMap { words: vec![0; words], blocks, free: blocks }
    }

    pub(super) fn clear(&mut self) {
        self.words.fill(0);
        self.free = self.blocks;
    }

    fn is_taken(&self, block: u64) -> bool {
        self.words[(block / 64) as usize] >> (block % 64) & 1 == 1
    }

    /// The first free block at or after `from`, going round the end; `None` of a full map.
    /// Cost: a word for each 64 taken blocks passed.
    pub(super) fn next_free(&self, from: u64) -> Option<u64> {
        assert!(from < self.blocks, "block {from} of {}", self.blocks);
        if self.free == 0 {
            return None;
        }
        self.free_in(from, self.blocks).or_else(|| self.free_in(0, from))
    }

    fn free_in(&self, from: u64, to: u64) -> Option<u64> {
        let mut at = from;
        while at < to {
            // Ones below the first block that counts, as if they were taken.
            let below = (1u64 << (at % 64)) - 1;
            let taken = self.words[(at / 64) as usize] | below;
            if taken != u64::MAX {
                let found = at / 64 * 64 + u64::from(taken.trailing_ones());
                return (found < to).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    /// Takes `block` and what follows it, up to `count` blocks and the first one that is taken.
    /// Returns how many it took, at least 1.
    pub(super) fn take(&mut self, block: u64, count: u64) -> u64 {
        assert!(!self.is_taken(block), "block {block} was free");
        let end = (block + count.max(1)).min(self.blocks);
        let mut at = block;
        while at < end && !self.is_taken(at) {
            self.words[(at / 64) as usize] |= 1 << (at % 64);
            at += 1;
        }
        self.free -= at - block;
        at - block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_gives_every_block_once_before_it_is_full() {
        for blocks in [1, 63, 64, 65, 1000] {
            let mut map = RandomMap::new(blocks);
            let mut seen = vec![false; blocks as usize];
            let mut from = blocks / 2;
            while let Some(block) = map.next_free(from) {
                assert!(!std::mem::replace(&mut seen[block as usize], true));
                assert_eq!(map.take(block, 1), 1);
                from = (from * 7 + 3) % blocks;
            }
            assert!(seen.iter().all(|seen| *seen), "{blocks}");
            map.clear();
            assert_eq!(map.next_free(blocks - 1), Some(blocks - 1));
        }
    }

    #[test]
    fn map_takes_no_block_twice_when_a_request_reaches_a_taken_one() {
        let mut map = RandomMap::new(100);
        assert_eq!(map.take(10, 1), 1);
        assert_eq!(map.take(6, 8), 4, "blocks 6 to 9");
        assert_eq!(map.next_free(6), Some(11));
        assert_eq!(map.take(98, 8), 2, "the end of the map ends a request");
        assert_eq!(map.next_free(98), Some(0), "the search goes round");
    }
}
