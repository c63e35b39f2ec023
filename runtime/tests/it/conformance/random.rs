//! A script of many steps out of a seed, on few names and few files so that they meet.

use sombra_runtime::{Create, FlushVia, OpenHow, WriteMode};

use super::script::Step;

/// Two directories, a file that is taken for one, and a few files below them.
const NAMES: [&str; 10] = ["a", "b", "c", "d", "d/a", "d/b", "d/e", "d/e/a", "a/x", "missing/y"];
const SLOTS: u64 = 4;
const BLOCK: u64 = 4096;

/// What direct I/O does with a part of a block is the file system's affair.
fn is_direct(slot: u8) -> bool {
    slot.is_multiple_of(2)
}

/// A linear congruential generator; its upper half is random enough.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn name(&mut self) -> String {
        NAMES[self.below(NAMES.len() as u64) as usize].to_owned()
    }

    fn slot(&mut self) -> u8 {
        self.below(SLOTS) as u8
    }

    fn how(&mut self, slot: u8) -> OpenHow {
        let create = [Create::No, Create::Yes, Create::Yes, Create::New][self.below(4) as usize];
        // A directory can be opened for reading on real machines only, so nobody only reads.
        OpenHow { write: true, create, direct: is_direct(slot), ..OpenHow::direct_read() }
    }

    /// Whole blocks, or for a buffered file sometimes any bytes.
    fn place(&mut self, slot: u8) -> u64 {
        match self.below(3) {
            0 if !is_direct(slot) => self.below(6 * BLOCK),
            _ => self.below(6) * BLOCK,
        }
    }

    fn len(&mut self, slot: u8) -> u64 {
        match self.below(3) {
            0 if !is_direct(slot) => 1 + self.below(3 * BLOCK),
            _ => (1 + self.below(3)) * BLOCK,
        }
    }

    fn file_step(&mut self, slot: u8) -> Step {
        let (offset, len) = (self.place(slot), self.len(slot));
        match self.below(16) {
            0..=4 => {
                let modes = [WriteMode::Plain, WriteMode::Plain, WriteMode::Dsync, WriteMode::Sync];
                let mode = modes[self.below(4) as usize];
                Step::Write { slot, offset, len: len as usize, pattern: self.below(1000), mode }
            }
            5..=7 => Step::Read { slot, offset, len: len as usize },
            8 | 9 => Step::ReadAll { slot },
            10 => Step::SetLen { slot, len: offset },
            11 => Step::Zeroes { slot, offset, len },
            12 => Step::Trim { slot, from: offset, to: offset + len },
            13 => Step::Allocate { slot, from: offset, to: offset + len },
            14 => {
                Step::Flush { slot, via: [FlushVia::Ring, FlushVia::Pool][self.below(2) as usize] }
            }
            _ => Step::DropCache { slot },
        }
    }

    fn path_step(&mut self, slot: u8) -> Step {
        let path = self.name();
        match self.below(16) {
            0..=4 => Step::Open { slot, path, how: self.how(slot) },
            5 => Step::Close { slot },
            6 => Step::CreateDir { path },
            7 | 8 => Step::Rename { from: path, to: self.name() },
            9 => Step::Unlink { path },
            10 => Step::Exists { path },
            11 => Step::List { path: if self.below(2) == 0 { String::new() } else { path } },
            12 => Step::Replace { path, len: self.below(3 * BLOCK) as usize, pattern: 1 },
            13 => Step::LockExclusive { slot, path },
            14 => Step::LockShared { slot, path },
            _ => Step::Unlock { slot },
        }
    }
}

pub(super) fn script(seed: u64, steps: usize) -> Vec<Step> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut script = vec![Step::CreateDir { path: "d".into() }];
    for slot in 0..SLOTS as u8 {
        let path = NAMES[usize::from(slot) % 3].to_owned();
        let how = OpenHow { create: Create::Yes, direct: is_direct(slot), ..OpenHow::direct_rw() };
        script.push(Step::Open { slot, path, how });
    }
    for _ in 0..steps {
        let slot = random.slot();
        let about_names = random.below(3) == 0;
        script.push(if about_names { random.path_step(slot) } else { random.file_step(slot) });
    }
    script.push(Step::List { path: String::new() });
    script.extend((0..SLOTS as u8).map(|slot| Step::ReadAll { slot }));
    script
}
