//! Whole stores with damaged files, read as `sombra dump` and `sombra check` read them, on a
//! simulated disk: a panic of a task, a wait without end and a write are noticed there.

mod patches;

use super::{BLOCK_CRC_AT, SEGMENT_CRC_AT, seal_superblock_copy};
use crate::fuzz::bytes::ByteMutator;
use crate::fuzz::store::{
    DATA_FILE, Damage, Links, Page, Pieces, STORE_DIR, SUPERBLOCK_FILE, Store, visit,
};
use crate::fuzz::subject::{Subject, plant, seal_at, shape};
use crate::limits::FUZZ_STORE_MEMORY_MIB_MAX;
use patches::Patch;
use sombra::Runtime;
use sombra::format::superblock::SuperblockCopy;
use sombra::inspect::{self, CheckProblem};
use sombra_bench::random::Random;
use sombra_runtime::sim::{SimOptions, SimWorld};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

const WORLD_SEED: u64 = 11;
/// Damaged places of one input.
const PLACES_MAX: usize = 3;
/// Pages that are dumped: each of them reads most of the store.
const PAGES_MAX: usize = 2;
/// Problems of one kind of look that tell outcomes apart.
const PROBLEMS_MAX: usize = 3;

/// What the checker expects of a page whose checksum, place and owner are right.
const SEALED_DAMAGE: &str = "a sound node";

pub(in crate::fuzz) struct CliDump {
    store: &'static Store,
    mutator: ByteMutator,
    links: Links,
    pages: Vec<Page>,
    /// Blocks of the other structures: path, offset, and where the checksum is.
    blocks: Vec<(String, usize, usize)>,
    roots: Vec<usize>,
}

impl CliDump {
    pub(in crate::fuzz) fn new(seed: u64) -> CliDump {
        let store = Store::get();
        let pieces = Pieces::of(store);
        let (links, pages) = Damage::links(store);
        let headers = pieces.segment_headers().into_iter().map(|block| (block, SEGMENT_CRC_AT));
        let blocks = pieces.log_blocks().into_iter().map(|block| (block, BLOCK_CRC_AT));
        let blocks = headers.chain(blocks);
        CliDump {
            store,
            mutator: ByteMutator::new(Random::new(seed)),
            links,
            pages,
            blocks: blocks.map(|(block, crc)| (block.path.to_owned(), block.offset, crc)).collect(),
            roots: pieces.root_pages().iter().map(|block| block.offset).collect(),
        }
    }

    /// Changes one page of a tree or of the root table; mostly all checksums hold afterwards.
    fn damage_data(&mut self, patches: &mut Vec<Patch>) {
        let mut damage = Damage::new(self.store, &self.links);
        for _ in 0..=self.mutator.below(PLACES_MAX) {
            let offset = match self.mutator.one_in(3) {
                true => self.roots[self.mutator.below(self.roots.len())],
                false => self.pages[self.mutator.below(self.pages.len())].offset,
            };
            let page = damage.page(offset);
            let like = page.clone();
            for _ in 0..=self.mutator.below(PLACES_MAX) {
                self.mutator.change(page, &like);
            }
            if !self.mutator.one_in(5) {
                damage.seal(offset);
            }
        }
        let changed = damage.finish();
        patches.extend(changed.map(|(offset, bytes)| Patch::write(DATA_FILE, offset, bytes)));
    }

    /// Changes one copy of the superblock, half of the time both.
    fn damage_superblock(&mut self, patches: &mut Vec<Patch>) {
        let copies = [SuperblockCopy::A, SuperblockCopy::B];
        let copy = copies[self.mutator.below(2)];
        let mut bytes = self.store.superblock(copy).to_vec();
        let like = self.store.superblock(copy.twin());
        for _ in 0..=self.mutator.below(PLACES_MAX) {
            self.mutator.change(&mut bytes[..512], like);
        }
        if !self.mutator.one_in(5) {
            seal_superblock_copy(&mut bytes);
        }
        let twin = self.mutator.one_in(2).then(|| copy.twin());
        for copy in [Some(copy), twin].into_iter().flatten() {
            let at = copy.offset() as usize;
            patches.push(Patch::write(SUPERBLOCK_FILE, at, bytes.clone()));
        }
    }

    /// Changes blocks of the log.
    fn damage_log(&mut self, patches: &mut Vec<Patch>) {
        for _ in 0..=self.mutator.below(PLACES_MAX) {
            let (path, offset, crc_at) = &self.blocks[self.mutator.below(self.blocks.len())];
            let (other, other_at, _) = &self.blocks[self.mutator.below(self.blocks.len())];
            let block = |path, at: usize| &self.store.file(path)[at..at + 4096];
            let (mut bytes, other) = (block(path, *offset).to_vec(), block(other, *other_at));
            for _ in 0..=self.mutator.below(PLACES_MAX) {
                self.mutator.change(&mut bytes, other);
            }
            if !self.mutator.one_in(5) {
                seal_at(&mut bytes, *crc_at);
            }
            patches.push(Patch::write(path, *offset, bytes));
        }
    }

    /// Cuts a file, or makes it longer.
    fn damage_length(&mut self, patches: &mut Vec<Patch>) {
        let (path, bytes) = &self.store.files[self.mutator.below(self.store.files.len())];
        let len = match self.mutator.below(3) {
            0 => self.mutator.below(bytes.len() + 1),
            1 => self.mutator.below(bytes.len() / 4096 + 1) * 4096,
            _ => bytes.len() + self.mutator.below(1 << 20),
        };
        patches.push(Patch::resize(path, len));
    }
}

impl Subject for CliDump {
    fn corpus(&self) -> Vec<Vec<u8>> {
        vec![patches::encode(&[])]
    }

    fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut patches = Vec::new();
        if self.mutator.one_in(3) {
            patches = patches::decode(&corpus[self.mutator.below(corpus.len())]);
            patches.truncate(2 * PLACES_MAX);
        }
        match self.mutator.below(16) {
            0 => self.damage_length(&mut patches),
            1..=3 => self.damage_superblock(&mut patches),
            4..=7 => self.damage_log(&mut patches),
            _ => self.damage_data(&mut patches),
        }
        patches::encode(&patches)
    }

    fn memory_mib_max(&self) -> u64 {
        FUZZ_STORE_MEMORY_MIB_MAX
    }

    fn check(&self, input: &[u8], has_planted: bool) -> u64 {
        let patches = patches::decode(input);
        let disk = self.store.disk.fork(WORLD_SEED);
        patches::apply(&patches, self.store, &disk);
        let written = disk.counters().writes;
        let world = SimWorld::new(SimOptions::new(WORLD_SEED, 1, disk.clone()));
        let (runtime, pages) = (world.runtime(), self.pages_to_dump(&patches));
        let seen = visit(world, async move { look(&runtime, &pages).await });
        let seen = seen.unwrap_or_else(|hung| panic!("does not end: {hung}"));
        assert_eq!(disk.counters().writes, written, "looking at a store wrote to it");
        plant(has_planted, seen.is_sealed_damage);
        seen.outcome
    }
}

impl CliDump {
    /// Pages that were changed, or one beside them, and a number that no page has.
    fn pages_to_dump(&self, patches: &[Patch]) -> Vec<u64> {
        let page_bytes = Pieces::of(self.store).page_bytes();
        let changed = patches.iter().filter_map(|patch| patch.page(DATA_FILE, page_bytes));
        let impossible = [u64::MAX, u64::MAX / page_bytes as u64, 1 << 40][patches.len() % 3];
        let beside = changed.enumerate().map(|(index, page)| page + index as u64 % 2);
        beside.take(PAGES_MAX).chain([impossible]).collect()
    }
}

/// What the commands told.
struct Seen {
    outcome: u64,
    /// The checker met a whole page that makes no sense.
    is_sealed_damage: bool,
}

async fn look(runtime: &Runtime, pages: &[u64]) -> Seen {
    let dir = Path::new(STORE_DIR);
    let mut hasher = DefaultHasher::new();
    let mut is_sealed_damage = false;
    let superblock = inspect::superblock(runtime, dir).await;
    shape(&superblock.as_ref().map(|report| [report.copy_a.is_ok(), report.copy_b.is_ok()]))
        .hash(&mut hasher);
    match inspect::check(runtime, dir, |_, _| ()).await {
        Ok(report) => {
            let problems = report.problems.iter().take(PROBLEMS_MAX);
            problems
                .for_each(|problem| shape(&(&problem.expected, &problem.found)).hash(&mut hasher));
            let is_node = |problem: &CheckProblem| problem.expected.starts_with(SEALED_DAMAGE);
            is_sealed_damage = report.problems.iter().any(is_node);
            (report.notes.len().min(3), shape(&report.log_stopped_by)).hash(&mut hasher);
        }
        Err(error) => shape(&error).hash(&mut hasher),
    }
    let root = inspect::root(runtime, dir).await;
    shape(&root.map(|report| (report.notes.len().min(3), report.problems.len().min(3))))
        .hash(&mut hasher);
    let space = inspect::space(runtime, dir).await;
    shape(&space.map(|report| (report.log.held_by, report.problems.len().min(3))))
        .hash(&mut hasher);
    let log = inspect::log(runtime, dir, None, |entry| drop(format!("{entry:?}"))).await;
    shape(&log.map(|summary| summary.stopped_by)).hash(&mut hasher);
    for &page in pages {
        let page = inspect::page(runtime, dir, page).await;
        let page = page.map(|report| (report.header.map(|header| header.kind), report.problems));
        shape(&page).hash(&mut hasher);
    }
    Seen { outcome: hasher.finish(), is_sealed_damage }
}

#[cfg(test)]
mod tests;
