//! Cache-line isolation.

use std::ops::{Deref, DerefMut};

/// A value on cache lines of its own, so that a neighbour's writes do not slow it down.
#[derive(Default, Debug)]
pub struct Padded<T>(Inner<T>);

#[cfg(not(sombra_loom))]
type Inner<T> = crossbeam_utils::CachePadded<T>;

/// Loom has no caches; only the type stays.
#[cfg(sombra_loom)]
type Inner<T> = Box<T>;

impl<T> Padded<T> {
    pub fn new(value: T) -> Self {
        Self(Inner::new(value))
    }
}

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Padded<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
