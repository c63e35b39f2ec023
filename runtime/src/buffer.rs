//! Memory that the kernel reads and writes: aligned, initialised, owned by value. An operation
//! in flight owns its buffer, so a reference to a `DmaBuf` proves that the kernel holds no part
//! of it (INV-8).

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::BUFFER_ALIGN_BYTES;
use crate::sync::SealedBlocks;
use crate::sys;

/// Slab memory is aligned for huge pages.
const SLAB_ALIGN_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of buffer memory reserved for a buffer of `len_bytes`.
const fn capacity_bytes(len_bytes: usize) -> usize {
    let len_bytes = if len_bytes == 0 { 1 } else { len_bytes };
    len_bytes.next_multiple_of(BUFFER_ALIGN_BYTES)
}

/// A zeroed allocation that is freed with its owner.
struct Region {
    start: NonNull<u8>,
    layout: Layout,
}

impl Region {
    fn zeroed(len_bytes: usize, align_bytes: usize) -> Region {
        let layout = Layout::from_size_align(len_bytes, align_bytes)
            .expect("INV-9: a buffer's size is far below isize::MAX");
        assert!(layout.size() > 0);
        // SAFETY: the size was asserted to be above zero in the line before.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Region { start, layout }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc_zeroed` with this very layout, in `zeroed`, which is
        // the only constructor, and `Region` is not `Clone`.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

// SAFETY: a `Region` is plain memory without thread affinity; it gives out no references itself.
unsafe impl Send for Region {}
// SAFETY: all its methods take `&mut self` or only copy the address.
unsafe impl Sync for Region {}

/// Buffer memory of one shard, registered with its ring when the memory lock limit allows.
/// Only the owning shard allocates; buffers may be dropped anywhere.
pub(crate) struct BufferSlab {
    region: Region,
    /// The first bytes of the region that the ring knows.
    registered_bytes: AtomicUsize,
    map: Mutex<ChunkMap>,
}

impl BufferSlab {
    pub(crate) fn new(len_bytes: usize) -> BufferSlab {
        let len_bytes = len_bytes.next_multiple_of(BUFFER_ALIGN_BYTES);
        let region = Region::zeroed(len_bytes, SLAB_ALIGN_BYTES);
        sys::advise_huge_pages(region.start, len_bytes);
        BufferSlab {
            region,
            registered_bytes: AtomicUsize::new(0),
            map: Mutex::new(ChunkMap::new(len_bytes / BUFFER_ALIGN_BYTES)),
        }
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.region.layout.size()
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.region.start
    }

    pub(crate) fn set_registered_bytes(&self, bytes: usize) {
        self.registered_bytes.store(bytes, Ordering::Relaxed);
    }

    /// A zeroed buffer out of the slab, or `None` if it has no run of free chunks long enough.
    pub(crate) fn alloc(self: &Arc<Self>, len_bytes: usize) -> Option<DmaBuf> {
        let capacity = capacity_bytes(len_bytes);
        let chunks = capacity / BUFFER_ALIGN_BYTES;
        let first = self.map.lock().unwrap_or_else(PoisonError::into_inner).take(chunks)?;
        // SAFETY: `take` returned a run inside the map, whose chunks all lie in the region.
        let ptr = unsafe { self.region.start.add(first * BUFFER_ALIGN_BYTES) };
        // SAFETY: the run belongs to this buffer alone until `give_back`, and has this capacity.
        unsafe { ptr.write_bytes(0, capacity) };
        let home = Home::Slab { slab: Arc::clone(self), first };
        Some(DmaBuf { ptr, len_bytes, home })
    }

    fn give_back(&self, first: usize, len_bytes: usize) {
        let chunks = capacity_bytes(len_bytes) / BUFFER_ALIGN_BYTES;
        self.map.lock().unwrap_or_else(PoisonError::into_inner).give_back(first, chunks);
    }
}

/// Which chunks of a slab are taken: one bit each, searched next-fit.
struct ChunkMap {
    taken: Vec<u64>,
    chunk_count: usize,
    next: usize,
}

impl ChunkMap {
    fn new(chunk_count: usize) -> ChunkMap {
        ChunkMap { taken: vec![0; chunk_count.div_ceil(64)], chunk_count, next: 0 }
    }

    fn is_taken(&self, chunk: usize) -> bool {
        self.taken[chunk / 64] >> (chunk % 64) & 1 == 1
    }

    fn set(&mut self, chunk: usize, taken: bool) {
        let bit = 1u64 << (chunk % 64);
        assert_eq!(self.is_taken(chunk), !taken, "a buffer chunk changes hands once");
        self.taken[chunk / 64] ^= bit;
    }

    fn take(&mut self, chunks: usize) -> Option<usize> {
        if chunks > self.chunk_count {
            return None;
        }
        let first = self
            .find(self.next, self.chunk_count, chunks)
            .or_else(|| self.find(0, self.chunk_count, chunks))?;
        (first..first + chunks).for_each(|chunk| self.set(chunk, true));
        self.next = first + chunks;
        Some(first)
    }

    /// First run of `chunks` free chunks that lies in `from..to`.
    fn find(&self, from: usize, to: usize, chunks: usize) -> Option<usize> {
        let mut run = 0;
        let mut chunk = from;
        while chunk < to {
            if chunk.is_multiple_of(64) && self.taken[chunk / 64] == u64::MAX {
                run = 0;
                chunk += 64;
                continue;
            }
            run = if self.is_taken(chunk) { 0 } else { run + 1 };
            chunk += 1;
            if run == chunks {
                return Some(chunk - chunks);
            }
        }
        None
    }

    fn give_back(&mut self, first: usize, chunks: usize) {
        (first..first + chunks).for_each(|chunk| self.set(chunk, false));
    }
}

enum Home {
    Heap { _region: Region },
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
        let region = Region::zeroed(capacity_bytes(len_bytes), BUFFER_ALIGN_BYTES);
        DmaBuf { ptr: region.start, len_bytes, home: Home::Heap { _region: region } }
    }

    /// True if `slab` is where the buffer lives and its ring knows the memory.
    pub(crate) fn is_registered_in(&self, slab: &Arc<BufferSlab>) -> bool {
        match &self.home {
            Home::Heap { .. } => false,
            Home::Slab { slab: home, first } => {
                let end = first * BUFFER_ALIGN_BYTES + capacity_bytes(self.len_bytes);
                Arc::ptr_eq(home, slab) && end <= slab.registered_bytes.load(Ordering::Relaxed)
            }
        }
    }
}

impl Deref for DmaBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `ptr..ptr+len_bytes` lies in one allocation, zeroed when it was made; an
        // operation in flight owns its `DmaBuf` by value, so the kernel holds no part of it.
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
        if let Home::Slab { slab, first } = &self.home {
            slab.give_back(*first, self.len_bytes);
        }
    }
}

impl fmt::Debug for DmaBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DmaBuf").field("len_bytes", &self.len_bytes).finish_non_exhaustive()
    }
}

/// What a write sends: a buffer, or sealed blocks of the shared log where they lie.
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
