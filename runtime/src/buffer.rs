//! Memory that the kernel reads and writes: aligned, initialised, owned by value. An operation
//! in flight owns its buffer, so a reference to a `DmaBuf` proves that the kernel holds no part
//! of it (INV-8).

mod chunk_map;
mod memory;
mod slab;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::limits::BUFFER_ALIGN_BYTES;
use crate::sync::SealedBlocks;

pub use memory::HugePages;
pub(crate) use memory::Mapping;
pub use slab::BufferPool;
pub(crate) use slab::{BufferSlab, Place};

/// Bytes of buffer memory reserved for a buffer of `len_bytes`.
const fn capacity_bytes(len_bytes: usize) -> usize {
    let len_bytes = if len_bytes == 0 { 1 } else { len_bytes };
    len_bytes.next_multiple_of(BUFFER_ALIGN_BYTES)
}

enum Home {
    Heap,
    Slab { slab: Arc<BufferSlab>, first: usize },
}

/// An owned, 4096-aligned, initialised buffer for direct I/O.
pub struct DmaBuf {
    ptr: NonNull<u8>,
    len_bytes: usize,
    home: Home,
}

// SAFETY: a `DmaBuf` owns its bytes alone; returning them to a slab goes through a mutex.
unsafe impl Send for DmaBuf {}
// SAFETY: `&DmaBuf` only gives `&[u8]`.
unsafe impl Sync for DmaBuf {}

impl DmaBuf {
    pub fn zeroed(len_bytes: usize) -> DmaBuf {
        let ptr = memory::alloc_pages(capacity_bytes(len_bytes));
        DmaBuf { ptr, len_bytes, home: Home::Heap }
    }

    /// The buffer over a run of chunks that the caller has taken for it.
    fn in_slab(slab: Arc<BufferSlab>, first: usize, len_bytes: usize) -> DmaBuf {
        let from = first * BUFFER_ALIGN_BYTES;
        let memory_bytes = slab.memory().len_bytes();
        assert!(from + capacity_bytes(len_bytes) <= memory_bytes, "a run lies inside its slab");
        // SAFETY: asserted in the line before; `home` keeps the memory as long as the buffer.
        let ptr = unsafe { slab.memory().start().add(from) };
        DmaBuf { ptr, len_bytes, home: Home::Slab { slab, first } }
    }

    /// The slab that the buffer lives in, and the segment there that holds all of it. None: it
    /// cannot be part of a registered buffer.
    pub(crate) fn segment(&self) -> Option<(&Arc<BufferSlab>, usize)> {
        let Home::Slab { slab, first } = &self.home else { return None };
        let segment =
            slab.segment_of(first * BUFFER_ALIGN_BYTES, capacity_bytes(self.len_bytes))?;
        Some((slab, segment))
    }
}

impl Deref for DmaBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `ptr..ptr+len_bytes` lies in one allocation or mapping, zeroed when it was
        // made; chunks of a slab belong to one buffer at a time; an operation in flight owns its
        // `DmaBuf` by value, so the kernel holds no part of it.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len_bytes) }
    }
}

impl DerefMut for DmaBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; the chunks belong to this buffer alone and `self` is unique.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len_bytes) }
    }
}

impl Drop for DmaBuf {
    fn drop(&mut self) {
        match &self.home {
            Home::Slab { slab, first } => slab.give_back(*first, self.len_bytes),
            // SAFETY: `zeroed`, the only maker of heap buffers, allocated as many bytes; the
            // buffer owns them alone and ends here.
            Home::Heap => unsafe { memory::free_pages(self.ptr, capacity_bytes(self.len_bytes)) },
        }
    }
}

impl fmt::Debug for DmaBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DmaBuf").field("len_bytes", &self.len_bytes).finish_non_exhaustive()
    }
}

/// What a write sends: a buffer, or sealed blocks of the shared log where they lie.
#[derive(Debug)]
pub enum IoBuf {
    Owned(DmaBuf),
    Log(SealedBlocks),
}

impl IoBuf {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            IoBuf::Owned(buf) => buf,
            IoBuf::Log(blocks) => blocks.as_bytes(),
        }
    }

    pub fn into_owned(self) -> Option<DmaBuf> {
        match self {
            IoBuf::Owned(buf) => Some(buf),
            IoBuf::Log(_) => None,
        }
    }
}

impl From<DmaBuf> for IoBuf {
    fn from(buf: DmaBuf) -> IoBuf {
        IoBuf::Owned(buf)
    }
}

#[cfg(test)]
mod tests;
