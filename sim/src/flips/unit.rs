//! What one checksum covers, by the format's own decoders: every byte of it must be of
//! consequence to them.

use sombra::StoreId;
use sombra::format::log_block::verify_block_of_store;
use sombra::format::page::{PageOwner, PageRef, verify_page};
use sombra::format::root_table::{RootPage, RootPlace};
use sombra::format::segment::SegmentHeader;
use sombra::format::superblock::Superblock;

use super::BytePlace;
use super::part::Part;
use crate::random::mix;

/// A page or run as its parent names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageUnit {
    pub(super) reference: PageRef,
    pub(super) pages: u32,
    pub(super) owner: PageOwner,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Decoder {
    Superblock,
    Root(StoreId, RootPlace),
    /// A root page that was never written.
    Blank(StoreId, RootPlace),
    Page(PageUnit),
    SegmentHeader,
    LogBlock(StoreId),
}

impl Decoder {
    /// Whether the bytes are what was written.
    fn accepts(self, bytes: &[u8]) -> bool {
        match self {
            Decoder::Superblock => Superblock::decode(bytes).is_ok(),
            Decoder::Root(store, place) => {
                matches!(RootPage::decode(bytes, store, place), Ok(Some(_)))
            }
            Decoder::Blank(store, place) => {
                matches!(RootPage::decode(bytes, store, place), Ok(None))
            }
            Decoder::Page(page) => verify_page(bytes, page.reference, None, &page.owner).is_ok(),
            Decoder::SegmentHeader => SegmentHeader::decode(bytes).is_ok(),
            Decoder::LogBlock(store) => verify_block_of_store(bytes, store).is_ok(),
        }
    }
}

/// Bytes that are read together, and believed together.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    pub place: BytePlace,
    pub len_bytes: u64,
    pub part: Part,
    pub(super) decoder: Decoder,
}

impl Unit {
    /// Flips one bit of each byte in turn; the offsets, in the file, of those after which the
    /// decoder still believes the bytes.
    ///
    /// # Errors
    /// The decoder does not believe them as they are.
    pub(super) fn unnoticed(&self, bytes: &mut [u8], seed: u64) -> Result<Vec<u64>, String> {
        if !self.decoder.accepts(bytes) {
            return Err(format!("{self:?} is not whole without a flip"));
        }
        let mut unnoticed = Vec::new();
        for at in 0..bytes.len() {
            let offset = self.place.offset + at as u64;
            let bit = 1 << (mix(seed ^ (self.place.file as u64) << 40 ^ offset) % 8);
            bytes[at] ^= bit;
            if self.decoder.accepts(bytes) {
                unnoticed.push(offset);
            }
            bytes[at] ^= bit;
        }
        Ok(unnoticed)
    }
}
