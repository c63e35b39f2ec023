//! Keys of a walk a few at a time, so that their records are fetched together.
//!
//! A row costs two cache misses, one after the other; those of several rows overlap when nothing
//! else lies between them. Knows references. Must never know bounds or snapshots.

use std::hint::black_box;

use super::Window;
use super::arena::{NONE, Ref};
use super::keys::KeyWalk;

/// Keys of the first block. Each is twice the one before: who has read much wants more.
const FIRST_KEYS: usize = 2;
const KEYS_MAX: usize = 16;

/// The next keys of a walk.
#[derive(Debug)]
pub(super) struct KeyBlock {
    refs: [Ref; KEYS_MAX],
    len: usize,
    at: usize,
}

impl KeyBlock {
    pub(super) const EMPTY: KeyBlock = KeyBlock { refs: [NONE; KEYS_MAX], len: 0, at: 0 };

    #[inline]
    #[must_use]
    pub(super) fn current(&self) -> Option<Ref> {
        (self.at < self.len).then(|| self.refs[self.at])
    }

    /// Goes past the current key; `false` when the block is used up.
    #[inline]
    pub(super) fn step(&mut self) -> bool {
        self.at += 1;
        self.at < self.len
    }

    /// Takes the next keys of a walk over `window`.
    pub(super) fn refill(&mut self, window: &Window, walk: &mut KeyWalk<'_>) {
        let wanted = (2 * self.len).clamp(FIRST_KEYS, KEYS_MAX);
        (self.len, self.at) = (0, 0);
        for (slot, key) in self.refs.iter_mut().zip(walk.take(wanted)) {
            *slot = key;
            self.len += 1;
        }
        window.fetch(&self.refs[..self.len]);
    }
}

/// The keys of a walk, fetched by blocks.
pub(super) struct Fetched<'a> {
    window: &'a Window,
    walk: KeyWalk<'a>,
    block: KeyBlock,
}

impl Iterator for Fetched<'_> {
    type Item = Ref;

    #[inline]
    fn next(&mut self) -> Option<Ref> {
        if self.block.current().is_none() {
            self.block.refill(self.window, &mut self.walk);
        }
        let key = self.block.current()?;
        self.block.step();
        Some(key)
    }
}

impl Window {
    /// The keys of `walk`, each about to be read with its newest version.
    pub(super) fn fetched<'a>(&'a self, walk: KeyWalk<'a>) -> Fetched<'a> {
        Fetched { window: self, walk, block: KeyBlock::EMPTY }
    }

    /// Reads the records of keys and of their newest versions into the cache.
    fn fetch(&self, keys: &[Ref]) {
        let mut chains = [NONE; KEYS_MAX];
        for (chain, &key) in chains.iter_mut().zip(keys) {
            *chain = self.keys.records.chain(key);
        }
        let chains = &chains[..keys.len()];
        black_box(chains.iter().fold(0, |bytes, &chain| bytes ^ self.versions.last_byte(chain)));
    }
}
