//! An array that grows by segments: an item keeps its place, and growth never copies more than
//! one segment.
//!
//! Knows numbers of items. Must never know what an item means.

/// Items numbered from 0; a full segment holds `1 << SHIFT` of them.
pub(super) struct Slab<T, const SHIFT: u32> {
    segments: Vec<Vec<T>>,
    len: usize,
}

impl<T, const SHIFT: u32> Default for Slab<T, SHIFT> {
    fn default() -> Self {
        Slab { segments: Vec::new(), len: 0 }
    }
}

impl<T, const SHIFT: u32> Slab<T, SHIFT> {
    const SEGMENT_LEN: usize = 1 << SHIFT;

    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an item and returns its number.
    ///
    /// Cost: at most one allocation of one segment. The first segment grows by doubling, so
    /// that a small window stays small.
    pub(super) fn push(&mut self, item: T) -> u32 {
        let number = u32::try_from(self.len).expect("INV-9: a window is frozen long before");
        if self.len.is_multiple_of(Self::SEGMENT_LEN) {
            let room = if self.len == 0 { 1 } else { Self::SEGMENT_LEN };
            self.segments.push(Vec::with_capacity(room));
        }
        let segment = self.segments.last_mut().expect("INV-9: one segment was just made");
        if segment.len() == segment.capacity() {
            segment.reserve_exact(segment.len());
        }
        segment.push(item);
        self.len += 1;
        number
    }

    #[inline]
    #[must_use]
    pub(super) fn get(&self, number: u32) -> &T {
        let number = number as usize;
        &self.segments[number >> SHIFT][number & (Self::SEGMENT_LEN - 1)]
    }

    #[inline]
    #[must_use]
    pub(super) fn get_mut(&mut self, number: u32) -> &mut T {
        let number = number as usize;
        &mut self.segments[number >> SHIFT][number & (Self::SEGMENT_LEN - 1)]
    }

    /// Bytes taken from the allocator.
    #[must_use]
    #[cfg(test)]
    pub(super) fn allocated_bytes(&self) -> usize {
        let items: usize = self.segments.iter().map(Vec::capacity).sum();
        items * size_of::<T>() + self.segments.capacity() * size_of::<Vec<T>>()
    }
}
