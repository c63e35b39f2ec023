//! The structures of a store's files, one by one.

use super::{DATA_FILE, Store};
use sombra::StoreId;
use sombra::format::log_block::verify_block_of_store;
use sombra::format::log_record::peek;
use sombra::format::page::{PageHeader, PageKind, PageRef, peek_page, sealed_crc, verify_page};
use sombra::format::root_table::{ROOT_COPY_BYTES, ROOT_PAGE_BYTES};
use sombra::format::superblock::{Superblock, SuperblockCopy};
use sombra::format::{BLOCK_HEADER_BYTES, BLOCK_SIZE_BYTES};

/// A page of a tree, a run or a map: where it lies, and what it says of itself.
pub(in crate::fuzz) struct Page {
    /// Offset in the data file.
    pub(in crate::fuzz) offset: usize,
    /// Of a run: all of it.
    pub(in crate::fuzz) len: usize,
    pub(in crate::fuzz) header: PageHeader,
}

/// A block of a file.
pub(in crate::fuzz) struct Block<'store> {
    pub(in crate::fuzz) path: &'store str,
    pub(in crate::fuzz) offset: usize,
    pub(in crate::fuzz) bytes: &'store [u8],
}

pub(in crate::fuzz) struct Pieces {
    store: &'static Store,
    store_id: StoreId,
    page_bytes: usize,
}

impl Pieces {
    pub(in crate::fuzz) fn of(store: &'static Store) -> Pieces {
        let superblock = Superblock::decode(store.superblock(SuperblockCopy::A));
        let superblock = superblock.expect("the store is sound");
        let page_bytes = superblock.page_size_bytes as usize;
        Pieces { store, store_id: superblock.store_id, page_bytes }
    }

    /// Every page of the data file that is whole, runs whole.
    pub(in crate::fuzz) fn pages(&self) -> Vec<Page> {
        let file = self.store.file(DATA_FILE);
        let first = 2 * ROOT_COPY_BYTES as usize;
        let mut pages = Vec::new();
        let mut offset = first;
        while offset + self.page_bytes <= file.len() {
            let page = self.page_at(file, offset);
            offset += page.as_ref().map_or(self.page_bytes, |page| page.len);
            pages.extend(page);
        }
        pages
    }

    fn page_at(&self, file: &[u8], offset: usize) -> Option<Page> {
        let header = peek_page(&file[offset..offset + self.page_bytes])?;
        let len = match header.kind {
            PageKind::Overflow => (header.used_bytes as usize).next_multiple_of(self.page_bytes),
            _ => self.page_bytes,
        };
        let bytes = file.get(offset..offset + len)?;
        let reference = PageRef { addr: header.addr, crc: sealed_crc(bytes) };
        verify_page(bytes, reference, None, &header.owner).ok()?;
        Some(Page { offset, len, header })
    }

    pub(in crate::fuzz) fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Every page of the root table that was written.
    pub(in crate::fuzz) fn root_pages(&self) -> Vec<Block<'static>> {
        let table = &self.store.file(DATA_FILE)[..2 * ROOT_COPY_BYTES as usize];
        let pages = table.chunks_exact(ROOT_PAGE_BYTES).enumerate();
        let written = pages.filter(|(_, bytes)| bytes.iter().any(|&byte| byte != 0));
        let place =
            |(index, bytes)| Block { path: DATA_FILE, offset: index * ROOT_PAGE_BYTES, bytes };
        written.map(place).collect()
    }

    pub(in crate::fuzz) fn segment_headers(&self) -> Vec<Block<'static>> {
        let segments = self.store.segments();
        let first = |(path, bytes): &'static (String, Vec<u8>)| Block {
            path,
            offset: 0,
            bytes: &bytes[..BLOCK_SIZE_BYTES],
        };
        segments.map(first).collect()
    }

    /// Every valid block of the log.
    pub(in crate::fuzz) fn log_blocks(&self) -> Vec<Block<'static>> {
        let mut blocks = Vec::new();
        for (path, bytes) in self.store.segments() {
            for (index, block) in bytes.chunks_exact(BLOCK_SIZE_BYTES).enumerate().skip(1) {
                if verify_block_of_store(block, self.store_id).is_ok() {
                    blocks.push(Block { path, offset: index * BLOCK_SIZE_BYTES, bytes: block });
                }
            }
        }
        blocks
    }

    /// Records that lie in one block.
    pub(in crate::fuzz) fn log_records(&self) -> Vec<&'static [u8]> {
        let mut records = Vec::new();
        for block in self.log_blocks() {
            let valid = verify_block_of_store(block.bytes, self.store_id);
            let first = valid.ok().and_then(|valid| valid.header.first_record);
            let mut rest = &block.bytes[BLOCK_HEADER_BYTES..];
            rest = first.map_or(&[], |first| &rest[usize::from(first)..]);
            while let Ok((_, length)) = peek(rest) {
                let Some((record, after)) = rest.split_at_checked(length as usize) else { break };
                records.push(record);
                rest = after;
            }
        }
        records
    }
}
