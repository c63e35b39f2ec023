use std::io;
use std::sync::Arc;

use crate::buffer::{BufferSlab, DmaBuf, Mapping, Place};
use crate::limits::{BUFFER_ALIGN_BYTES, BUFFER_SLAB_REGISTERED_BYTES_MIN, REGISTERED_BUFFERS_MAX};
use crate::port::ShardPort;
use crate::ring::{Registered, Ring};

/// Which memory has which place in a ring's table of registered buffers. A segment of a slab
/// enters when a buffer of it is first used, and leaves when its slab is gone.
pub(crate) struct BufferTable {
    port: Arc<ShardPort>,
    free: Vec<u16>,
    registered_bytes: usize,
    /// As if no more memory could be locked.
    memlock_bytes: usize,
    /// Why there is no table at all.
    missing: Option<io::Error>,
    refusal: Option<String>,
}

impl BufferTable {
    pub(crate) fn new(port: Arc<ShardPort>, ring: &mut Ring, memlock_bytes: usize) -> BufferTable {
        let made = ring.register_buffer_table(REGISTERED_BUFFERS_MAX);
        let missing = made.err().map(|error| {
            let text = format!("{error}: Linux 5.19 has tables that are filled in later");
            io::Error::new(error.kind(), text)
        });
        let places = if missing.is_none() { REGISTERED_BUFFERS_MAX } else { 0 };
        BufferTable {
            port,
            free: (0..places).rev().collect(),
            registered_bytes: 0,
            memlock_bytes,
            missing,
            refusal: None,
        }
    }

    /// Registers as much of the start of `memory` as the memory lock limit allows. Returns its
    /// place and the bytes.
    pub(crate) fn register_start(
        &mut self,
        memory: &Arc<Mapping>,
        ring: &mut Ring,
    ) -> io::Result<(u16, usize)> {
        let mut len_bytes = memory.len_bytes();
        loop {
            let part = Registered { memory: Arc::clone(memory), from: 0, len_bytes };
            match self.register(part, ring) {
                Ok(place) => return Ok((place, len_bytes)),
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                    len_bytes = len_bytes / 2 / BUFFER_ALIGN_BYTES * BUFFER_ALIGN_BYTES;
                    if len_bytes < BUFFER_SLAB_REGISTERED_BYTES_MIN {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The place of the registered memory that holds all of `buf`, registering it if this is its
    /// first use on its own shard.
    pub(crate) fn place_of(&mut self, buf: &DmaBuf, ring: &mut Ring) -> Option<u16> {
        let (slab, segment) = buf.segment()?;
        match slab.place(segment) {
            // Places are numbers of one ring; a buffer may be used beside another.
            Place::At(place) => {
                let held = ring.registered(place)?;
                Arc::ptr_eq(&held.memory, slab.memory()).then_some(place)
            }
            Place::Untried if slab.is_owned_by(&self.port) => self.enter(slab, segment, ring),
            Place::Untried | Place::Refused => None,
        }
    }

    fn enter(&mut self, slab: &BufferSlab, segment: usize, ring: &mut Ring) -> Option<u16> {
        let (from, len_bytes) = slab.segment_range(segment);
        let part = Registered { memory: Arc::clone(slab.memory()), from, len_bytes };
        match self.register(part, ring) {
            Ok(place) => {
                slab.set_place(segment, Place::At(place));
                Some(place)
            }
            Err(error) => {
                slab.refuse_untried();
                self.refusal = Some(format!(
                    "a buffer pool is not registered with io_uring as a whole, its I/O costs \
                     more CPU: {}",
                    explain(&error)
                ));
                None
            }
        }
    }

    fn register(&mut self, part: Registered, ring: &mut Ring) -> io::Result<u16> {
        if let Some(error) = &self.missing {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        let len_bytes = part.len_bytes;
        if self.registered_bytes + len_bytes > self.memlock_bytes {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        let Some(place) = self.free.pop() else {
            let text = format!("all {REGISTERED_BUFFERS_MAX} places are taken");
            return Err(io::Error::other(text));
        };
        if let Err(error) = ring.update_buffer(place, Some(part)) {
            self.free.push(place);
            return Err(error);
        }
        self.registered_bytes += len_bytes;
        Ok(place)
    }

    pub(crate) fn registered_bytes(&self) -> usize {
        self.registered_bytes
    }

    /// What an operator must know of the last refusal, once.
    pub(crate) fn take_refusal(&mut self) -> Option<String> {
        self.refusal.take()
    }

    /// The slab of these places is gone, so no operation names them: the kernel lets go.
    pub(crate) fn release(&mut self, places: &[u16], ring: &mut Ring) {
        for place in places {
            let len_bytes = ring.registered(*place).map_or(0, |part| part.len_bytes);
            assert!(len_bytes > 0, "INV-8: a registered buffer is released once");
            match ring.update_buffer(*place, None) {
                Ok(()) => {
                    self.registered_bytes -= len_bytes;
                    self.free.push(*place);
                }
                // The place is lost, and the ring keeps its memory.
                Err(error) => {
                    tracing::warn!(target: "sombra_runtime", "unregistering a buffer: {error}");
                }
            }
        }
    }
}

/// The reason for an operator why memory was not registered.
pub(super) fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => format!("{error}; raise RLIMIT_MEMLOCK"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
