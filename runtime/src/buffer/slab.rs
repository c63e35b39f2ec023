//! Slabs: many buffers in one stretch of memory, which a ring can know as registered buffers.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::buffer::chunk_map::ChunkMap;
use crate::buffer::memory::{HugePages, Mapping};
use crate::buffer::{DmaBuf, capacity_bytes};
use crate::limits::{
    BUFFER_ALIGN_BYTES, BUFFER_POOL_BYTES_MAX, POOL_SEGMENT_BYTES_MIN, POOL_SEGMENTS_MAX,
};
use crate::port::{Control, ShardPort};

/// What a ring knows of one segment of a slab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// The owner's ring registers it when a buffer of it is first used for I/O.
    Untried,
    /// Never registered: I/O with it costs more CPU and nothing else.
    Refused,
    /// Its index in the ring's table.
    At(u16),
}

impl Place {
    fn to_number(self) -> u32 {
        match self {
            Place::Untried => 0,
            Place::Refused => 1,
            Place::At(index) => u32::from(index) + 2,
        }
    }

    fn from_number(number: u32) -> Place {
        match number {
            0 => Place::Untried,
            1 => Place::Refused,
            place => Place::At((place - 2) as u16),
        }
    }
}

/// Buffer memory that is registered by segments, each one entry of the ring's table.
///
/// Registering makes memory resident and counts against the memory lock limit, so a segment is
/// registered only once it is used. The shard that a slab belongs to does that; buffers may be
/// used and dropped anywhere.
pub(crate) struct BufferSlab {
    memory: Arc<Mapping>,
    segment_bytes: usize,
    /// Written by the owning shard only. Segments beyond the end are never registered.
    places: Box<[AtomicU32]>,
    /// The shard whose ring registers segments and gives their places away afterwards.
    owner: Option<Arc<ShardPort>>,
    map: Mutex<ChunkMap>,
}

impl BufferSlab {
    /// A slab that no ring knows.
    pub(crate) fn unregistered(len_bytes: usize) -> io::Result<BufferSlab> {
        Ok(BufferSlab::with_registered_start(Arc::new(Mapping::new(len_bytes)?), None))
    }

    /// A slab whose first bytes a ring knows for good, with their place in its table.
    pub(crate) fn with_registered_start(
        memory: Arc<Mapping>,
        registered: Option<(u16, usize)>,
    ) -> BufferSlab {
        let segment_bytes = registered.map_or(memory.len_bytes(), |(_, bytes)| bytes);
        let place = registered.map(|(index, _)| AtomicU32::new(Place::At(index).to_number()));
        BufferSlab {
            map: Mutex::new(ChunkMap::new(memory.len_bytes() / BUFFER_ALIGN_BYTES)),
            memory,
            segment_bytes,
            places: place.into_iter().collect(),
            owner: None,
        }
    }

    /// A slab that the ring behind `owner` registers as it is used.
    pub(crate) fn registered_on_use(
        len_bytes: usize,
        owner: Arc<ShardPort>,
    ) -> io::Result<BufferSlab> {
        let memory = Arc::new(Mapping::new(len_bytes)?);
        let least = memory.len_bytes().div_ceil(POOL_SEGMENTS_MAX);
        let segment_bytes = least.next_multiple_of(POOL_SEGMENT_BYTES_MIN);
        let segments = memory.len_bytes().div_ceil(segment_bytes);
        let untried = || AtomicU32::new(Place::Untried.to_number());
        Ok(BufferSlab {
            map: Mutex::new(ChunkMap::new(memory.len_bytes() / BUFFER_ALIGN_BYTES)),
            memory,
            segment_bytes,
            places: (0..segments).map(|_| untried()).collect(),
            owner: Some(owner),
        })
    }

    pub(crate) fn memory(&self) -> &Arc<Mapping> {
        &self.memory
    }

    pub(crate) fn is_owned_by(&self, port: &Arc<ShardPort>) -> bool {
        self.owner.as_ref().is_some_and(|owner| Arc::ptr_eq(owner, port))
    }

    /// Start in the memory and length of a segment.
    pub(crate) fn segment_range(&self, segment: usize) -> (usize, usize) {
        let from = segment * self.segment_bytes;
        (from, self.segment_bytes.min(self.memory.len_bytes() - from))
    }

    /// The segment that `from..from + len` lies in, unless it reaches into the next.
    pub(super) fn segment_of(&self, from: usize, len: usize) -> Option<usize> {
        let segment = from / self.segment_bytes;
        (from + len <= (segment + 1) * self.segment_bytes).then_some(segment)
    }

    pub(crate) fn place(&self, segment: usize) -> Place {
        let place = self.places.get(segment);
        place.map_or(Place::Refused, |place| Place::from_number(place.load(Ordering::Relaxed)))
    }

    pub(crate) fn set_place(&self, segment: usize, place: Place) {
        self.places[segment].store(place.to_number(), Ordering::Relaxed);
    }

    /// The ring cannot take more of this slab: it is not asked again.
    pub(crate) fn refuse_untried(&self) {
        for segment in 0..self.places.len() {
            if self.place(segment) == Place::Untried {
                self.set_place(segment, Place::Refused);
            }
        }
    }

    fn registered_bytes(&self) -> usize {
        let segments = 0..self.places.len();
        let registered = segments.filter(|segment| matches!(self.place(*segment), Place::At(_)));
        registered.map(|segment| self.segment_range(segment).1).sum()
    }

    /// A zeroed buffer out of the slab, or `None` if it has no run of free chunks long enough.
    pub(crate) fn alloc(self: &Arc<Self>, len_bytes: usize) -> Option<DmaBuf> {
        let mut buf = self.alloc_for_read(len_bytes)?;
        buf.fill(0);
        Some(buf)
    }

    /// As `alloc`, but the bytes are those that an earlier buffer of the slab left, or zero.
    pub(crate) fn alloc_for_read(self: &Arc<Self>, len_bytes: usize) -> Option<DmaBuf> {
        let chunks = capacity_bytes(len_bytes) / BUFFER_ALIGN_BYTES;
        let first = self.lock_map().take(chunks)?;
        Some(DmaBuf::in_slab(Arc::clone(self), first, len_bytes))
    }

    pub(super) fn give_back(&self, first: usize, len_bytes: usize) {
        self.lock_map().give_back(first, capacity_bytes(len_bytes) / BUFFER_ALIGN_BYTES);
    }

    fn lock_map(&self) -> MutexGuard<'_, ChunkMap> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BufferSlab {
    /// The last handle and buffer are gone, so no operation names the registered segments; the
    /// ring holds their memory until it has given their places away.
    fn drop(&mut self) {
        let Some(owner) = &self.owner else { return };
        let segments = 0..self.places.len();
        let places = segments.filter_map(|segment| match self.place(segment) {
            Place::At(index) => Some(index),
            Place::Untried | Place::Refused => None,
        });
        let places: Vec<u16> = places.collect();
        if !places.is_empty() {
            owner.push_control(Control::ReleaseBuffers { places });
        }
    }
}

/// Buffers out of memory of their own: made by `Shard::add_buffer_pool`, freed when the last
/// handle and the last buffer are gone.
///
/// Memory becomes resident as buffers are used, unless it is of huge pages that the operator has
/// set aside for all of it: those are taken at once. On a ring it is registered then, as far as the
/// memory lock limit allows; the runtime's `driver_note` tells when it does not.
#[derive(Clone)]
pub struct BufferPool(Arc<BufferSlab>);

impl BufferPool {
    pub(crate) fn new(len_bytes: usize, ring: Option<&Arc<ShardPort>>) -> io::Result<BufferPool> {
        if len_bytes > BUFFER_POOL_BYTES_MAX {
            let text = format!("a buffer pool of {len_bytes} bytes, max {BUFFER_POOL_BYTES_MAX}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let slab = match ring {
            Some(port) => BufferSlab::registered_on_use(len_bytes, Arc::clone(port)),
            None => BufferSlab::unregistered(len_bytes),
        };
        Ok(BufferPool(Arc::new(slab?)))
    }

    /// A zeroed buffer, or `None` when the pool has no free run of that length.
    #[must_use]
    pub fn alloc(&self, len_bytes: usize) -> Option<DmaBuf> {
        self.0.alloc(len_bytes)
    }

    /// As `alloc`, without the cost of zeroing: the bytes are whatever an earlier buffer of the
    /// pool left there. For reads, which overwrite them.
    #[must_use]
    pub fn alloc_for_read(&self, len_bytes: usize) -> Option<DmaBuf> {
        self.0.alloc_for_read(len_bytes)
    }

    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.0.memory.len_bytes()
    }

    #[must_use]
    pub fn huge_pages(&self) -> HugePages {
        self.0.memory.pages()
    }

    /// Bytes that the shard's ring knows by now.
    #[must_use]
    pub fn registered_bytes(&self) -> usize {
        self.0.registered_bytes()
    }

    #[cfg(test)]
    pub(crate) fn slab(&self) -> &Arc<BufferSlab> {
        &self.0
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool").field("len_bytes", &self.len_bytes()).finish_non_exhaustive()
    }
}
