//! Bytes that change at rest: a rotten newest root copy costs a longer replay and nothing else;
//! a rotten data page is an error on the keys below it, never wrong data.

use sombra::StoreId;
use sombra::format::BLOCK_SIZE_BYTES;
use sombra::format::log_block::verify_block_of_store;
use sombra::format::root_table::{ROOT_COPY_BYTES, RootCopy, RootPage, RootPlace};
use sombra_runtime::sim::Corruption;

use super::look::Looking;
use super::opening::STORE_DIR;
use super::run::{Failed, Run};
use super::{faults, marks};
use crate::limits;

/// Tells this drawing from others of the same seed.
const LOG_ROT: u64 = 0x106;

impl Run {
    pub(super) fn data_path() -> String {
        format!("{STORE_DIR}/pages.sombra")
    }

    /// Damages the newest copy of a few root slots whose other copy is whole.
    pub(super) fn rot_roots(&mut self, store_id: StoreId) -> bool {
        let table_bytes = 2 * ROOT_COPY_BYTES as usize;
        let Some(bytes) = self.disk.read_part(Self::data_path(), 0, table_bytes) else {
            return false;
        };
        let mut candidates: Vec<RootPlace> = (0..sombra::limits::ROOT_SLOTS)
            .filter_map(|slot| newest_of_two(&bytes, store_id, slot))
            .collect();
        let count = limits::ROTTEN_ROOTS_MAX.min(candidates.len());
        for _ in 0..count {
            let at = self.random.below(candidates.len() as u64) as usize;
            let place = candidates.swap_remove(at);
            let offset = place.offset_bytes() + self.random.below(200);
            let bit = self.random.below(8) as u8;
            self.disk.corrupt(Self::data_path(), offset, Corruption::FlipBit { bit });
            self.report.trees.rotten_roots += 1;
        }
        self.roots_rotted |= count > 0;
        count > 0
    }

    /// The end of some seeds: pages of the closed store rot, and it is opened again, twice.
    pub(super) fn rot_pages(&mut self) -> Result<(), Failed> {
        let is_off = self.flush_suppressed || self.is_damaged;
        if is_off || !self.random.percent(self.swarm.rot_percent) {
            return Ok(());
        }
        self.damage_pages(u64::from(self.options.page_size_bytes));
        let problems = self.inspect()?.problems;
        let expected = self.expected();
        let mut damaged_reads = 0;
        for number in 0..2 {
            let named = Some(problems.clone());
            let looking = Looking { named, ..Looking::sober(limits::WRITES_AFTER_ROT) };
            let looked = self.look(&expected, looking);
            let looked = looked.map_err(|error| format!("rot, opening {number}: {error}"))?;
            if let Some(refused) = looked.refused {
                return Err(format!("rot, opening {number}: {refused}"));
            }
            damaged_reads += looked.damaged_reads;
        }
        self.report.trees.damaged_reads += damaged_reads;
        if damaged_reads > 0 && problems.is_empty() {
            return Err("reads met damage, and the checker had found none".to_owned());
        }
        Ok(())
    }

    /// The end of some seeds: a block of the log rots in a store that is not closed, and of
    /// which every commit is proved by what came after it. An opening refuses, or nothing is
    /// missing.
    pub(super) fn rot_log(&mut self) -> Result<(), Failed> {
        let is_off = self.flush_suppressed || self.is_damaged;
        if is_off || !self.random.fork(LOG_ROT).percent(self.swarm.faults.log_rot) {
            return Ok(());
        }
        let expected = self.expected();
        let sober = Looking::sober(limits::WRITES_BEFORE_ROT);
        self.look(&expected, Looking { ends_by_cut: true, ..sober.clone() })?;
        let checked = self.inspect()?;
        if !self.rot_block(checked.store_id) {
            return Ok(());
        }
        let problems = self.inspect()?.problems.len();
        let seen = self.look(&expected, Looking { writes: limits::WRITES_AFTER_ROT, ..sober });
        let seen = seen.map_err(|error| format!("after a block of the log rotted: {error}"))?;
        if let Some(refused) = seen.refused {
            self.report.marks.add(marks::DAMAGED_LOG_REFUSED, 1);
            if problems == 0 {
                return Err(format!("damage that the checker had not found: {refused}"));
            }
        }
        self.is_damaged = true;
        Ok(())
    }

    /// Damages a valid block of a log file; false where there is none.
    fn rot_block(&mut self, store_id: StoreId) -> bool {
        let names = self.disk.files().into_iter().filter(|name| name.ends_with(".log"));
        let names: Vec<String> = names.collect();
        if names.is_empty() {
            return false;
        }
        let name = self.random.pick(&names).clone();
        let Some(bytes) = self.disk.read_file(&name) else { return false };
        let blocks: Vec<&[u8]> = bytes.chunks_exact(BLOCK_SIZE_BYTES).collect();
        let is_valid = |at: &usize| verify_block_of_store(blocks[*at], store_id).is_ok();
        let valid: Vec<usize> = (0..blocks.len()).filter(is_valid).collect();
        if valid.is_empty() {
            return false;
        }
        let block = *self.random.pick(&valid);
        let within = self.random.below(BLOCK_SIZE_BYTES as u64 - 64);
        let (offset, damage) = match self.random.below(4) {
            0 => (within, Corruption::FlipBit { bit: self.random.below(8) as u8 }),
            1 => (within, Corruption::Garbage { len_bytes: self.random.between(8, 64) }),
            2 => (0, Corruption::Zeroes { len_bytes: BLOCK_SIZE_BYTES as u64 }),
            _ => {
                let other = blocks[*self.random.pick(&valid)];
                if other == blocks[block] {
                    return false;
                }
                (0, Corruption::Bytes(other.to_vec()))
            }
        };
        let at = (block * BLOCK_SIZE_BYTES) as u64 + offset;
        self.disk.corrupt(&name, at, damage);
        self.report.injected.add(faults::LOG_DAMAGE, 1);
        true
    }

    fn damage_pages(&mut self, page_bytes: u64) {
        let Some(blocks) = self.disk.written_blocks(Self::data_path()) else { return };
        let first = 2 * ROOT_COPY_BYTES / page_bytes;
        let mut used: Vec<u64> = blocks.iter().map(|offset| offset / page_bytes).collect();
        used.dedup();
        used.retain(|page| *page >= first);
        let count = self.random.scale(1, limits::ROTTEN_PAGES_MAX).min(used.len() as u64);
        for _ in 0..count {
            let page = used.swap_remove(self.random.below(used.len() as u64) as usize);
            let offset = page * page_bytes + self.random.below(page_bytes - 64);
            let damage = match self.random.below(3) {
                0 => Corruption::FlipBit { bit: self.random.below(8) as u8 },
                1 => Corruption::Garbage { len_bytes: self.random.between(1, 64) },
                _ => Corruption::Zeroes { len_bytes: self.random.between(1, 64) },
            };
            if let Corruption::Zeroes { len_bytes } = damage {
                let before = self.disk.read_part(Self::data_path(), offset, len_bytes as usize);
                if before.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0)) {
                    continue;
                }
            }
            self.disk.corrupt(Self::data_path(), offset, damage);
            self.report.trees.rotten_pages += 1;
        }
    }
}

/// The place of the newest copy, if both copies are whole and follow each other.
fn newest_of_two(bytes: &[u8], store_id: StoreId, slot: u32) -> Option<RootPlace> {
    let generation = |copy: RootCopy| {
        let place = RootPlace { slot, copy };
        let at = place.offset_bytes() as usize;
        let page = RootPage::decode(bytes.get(at..at + 4096)?, store_id, place).ok()??;
        Some(page.generation)
    };
    let (a, b) = (generation(RootCopy::A)?, generation(RootCopy::B)?);
    let copy = if a > b { RootCopy::A } else { RootCopy::B };
    (a.abs_diff(b) == 1).then_some(RootPlace { slot, copy })
}
