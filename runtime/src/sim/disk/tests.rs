use super::*;
use crate::file::{Create, FlushScope, LockKind, OpenHow, WriteMode};

mod faults;

const BLOCK: usize = 4096;
const SEEDS: u64 = 200;

/// One shard of an imagined world, with its own clock.
struct Rig {
    disk: SimDisk,
    epoch: u32,
    now_ns: u64,
    token: u64,
    done: Vec<Finished>,
}

impl Rig {
    fn new(options: SimDiskOptions) -> Rig {
        Rig::on(SimDisk::new(options))
    }

    fn on(disk: SimDisk) -> Rig {
        let (epoch, _) = disk.attach(1);
        Rig { disk, epoch, now_ns: 0, token: 0, done: Vec::new() }
    }

    fn seeded(seed: u64) -> Rig {
        Rig::new(SimDiskOptions::new(seed))
    }

    fn start(&mut self, request: Request) -> u64 {
        self.token += 1;
        self.disk.submit((self.epoch, 0), self.now_ns, self.token, request);
        self.token
    }

    /// Waits for one operation; others complete on the way, as the seed wills.
    fn wait(&mut self, token: u64) -> Result<Answer, i32> {
        loop {
            if let Some(at) = self.done.iter().position(|done| done.token == token) {
                return self.done.remove(at).result;
            }
            self.now_ns = self.disk.next_event_ns().expect("the operation is in flight");
            self.disk.advance(self.now_ns, |_| {});
            self.done.extend(self.disk.take_finished((self.epoch, 0)));
        }
    }

    fn call(&mut self, request: Request) -> Result<Answer, i32> {
        let token = self.start(request);
        self.wait(token)
    }

    fn open(&mut self, path: &str, how: OpenHow) -> u64 {
        match self.call(Request::Open { path: path.to_owned(), how }) {
            Ok(Answer::Handle { handle, .. }) => handle,
            other => panic!("open {path}: {:?}", other.map(|_| ())),
        }
    }

    fn create(&mut self, path: &str) -> u64 {
        self.open(path, OpenHow::create_new_direct())
    }

    fn write(&mut self, handle: u64, offset: u64, bytes: &[u8], dsync: bool) {
        let token = self.start_write(handle, offset, bytes, dsync);
        assert!(self.wait(token).is_ok());
    }

    fn start_write(&mut self, handle: u64, offset: u64, bytes: &[u8], dsync: bool) -> u64 {
        let payload = Payload::Bytes(bytes.into());
        let mode = if dsync { WriteMode::Dsync } else { WriteMode::Plain };
        self.start(Request::Write { handle, offset, payload, how: WriteHow::Mode(mode) })
    }

    fn flush(&mut self, handle: u64) {
        assert!(self.call(Request::Flush { handle, scope: FlushScope::Data }).is_ok());
    }

    fn read(&mut self, handle: u64, offset: u64, len_bytes: usize) -> Vec<u8> {
        match self.call(Request::Read { handle, offset, len_bytes }) {
            Ok(Answer::Read(view)) => {
                let mut bytes = vec![0; view.len_bytes()];
                view.copy_to(&mut bytes);
                bytes
            }
            other => panic!("read: {:?}", other.map(|_| ())),
        }
    }

    /// A file of `blocks` durable zero blocks.
    fn prepared(&mut self, path: &str, blocks: usize) -> u64 {
        let handle = self.create(path);
        self.write(handle, 0, &vec![0; blocks * BLOCK], false);
        self.flush(handle);
        handle
    }

    fn cut(self) -> SimDisk {
        self.disk.end_by_cut(self.now_ns);
        self.disk
    }

    fn kill(self) -> SimDisk {
        self.disk.end_by_kill(self.now_ns);
        self.disk
    }
}

fn errno(result: Result<Answer, i32>) -> i32 {
    result.map(|_| ()).expect_err("the operation should fail")
}

/// What became of a block that was zeroes and was overwritten with `new`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    Old,
    New,
    Sectors,
    Torn,
}

fn outcome(block: &[u8], new: u8) -> Outcome {
    let is = |sector: &[u8], byte| sector.iter().all(|b| *b == byte);
    let sectors: Vec<_> = block.chunks(512).collect();
    if is(block, new) {
        Outcome::New
    } else if is(block, 0) {
        Outcome::Old
    } else if sectors.iter().all(|s| is(s, 0) || is(s, new)) {
        Outcome::Sectors
    } else {
        Outcome::Torn
    }
}

#[test]
fn write_takes_effect_between_submission_and_completion() {
    let mut seen_during = 0;
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let handle = rig.prepared("f", 1);
        let token = rig.start_write(handle, 0, &[7; BLOCK], false);
        let shows = |rig: &Rig| rig.disk.read_file("/f").expect("exists")[0] == 7;
        rig.disk.advance(rig.now_ns, |_| {});
        assert!(!shows(&rig) || rig.disk.next_event_ns() == Some(rig.now_ns));
        let mut taken = false;
        while rig.done.iter().all(|done| done.token != token) {
            rig.now_ns = rig.disk.next_event_ns().expect("in flight");
            rig.disk.advance(rig.now_ns, |_| {});
            rig.done.extend(rig.disk.take_finished((rig.epoch, 0)));
            assert!(shows(&rig) || !taken, "an effect does not go away");
            taken = shows(&rig);
            seen_during += u64::from(taken && rig.done.iter().all(|done| done.token != token));
        }
        assert!(taken, "a completed write shows");
    }
    assert!(seen_during > SEEDS / 2, "{seen_during}");
}

#[test]
fn completion_order_is_not_submission_order() {
    let mut swapped = 0;
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let handle = rig.prepared("f", 2);
        let first = rig.start_write(handle, 0, &[1; BLOCK], false);
        let second = rig.start_write(handle, BLOCK as u64, &[2; BLOCK], false);
        assert!(rig.wait(first).is_ok());
        swapped += u64::from(rig.done.iter().any(|done| done.token == second));
    }
    assert!((SEEDS / 5..SEEDS * 4 / 5).contains(&swapped), "{swapped}");
}

#[test]
fn power_cut_keeps_loses_and_tears_what_no_flush_covered() {
    let mut seen = std::collections::BTreeMap::<Outcome, u32>::new();
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let handle = rig.prepared("f", 1);
        rig.write(handle, 0, &[7; BLOCK], false);
        let disk = rig.cut();
        let after = disk.read_file("f").expect("created durably");
        *seen.entry(outcome(&after, 7)).or_default() += 1;
    }
    assert!(seen.len() == 4 && seen.values().all(|&n| n >= 10), "{seen:?}");
}

#[test]
fn flush_makes_completed_writes_survive_every_cut() {
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let handle = rig.create("f");
        rig.write(handle, 0, &[7; 3 * BLOCK], false);
        rig.flush(handle);
        assert_eq!(rig.cut().read_file("f"), Some(vec![7; 3 * BLOCK]));
    }
}

#[test]
fn flush_never_covers_a_write_that_completed_after_its_submission() {
    for write_first in [true, false] {
        let (mut lost, mut races) = (0, 0);
        for seed in 0..SEEDS {
            let mut rig = Rig::seeded(seed);
            let handle = rig.prepared("f", 1);
            let flush_first = (!write_first)
                .then(|| rig.start(Request::Flush { handle, scope: FlushScope::Data }));
            let write = rig.start_write(handle, 0, &[7; BLOCK], false);
            let flush = flush_first
                .unwrap_or_else(|| rig.start(Request::Flush { handle, scope: FlushScope::Data }));
            assert!(rig.wait(flush).is_ok());
            races += u32::from(rig.done.iter().any(|done| done.token == write));
            assert!(rig.done.iter().any(|done| done.token == write) || rig.wait(write).is_ok());
            let after = rig.cut().read_file("f").expect("exists");
            lost += u32::from(outcome(&after, 7) != Outcome::New);
        }
        assert!(races > 20, "the write often completes before the flush does: {races}");
        assert!(lost > SEEDS as u32 / 3, "and may be lost all the same: {lost}");
    }
}

#[test]
fn flush_keeps_the_newest_covered_write_below_an_uncovered_one() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let handle = rig.prepared("f", 1);
        rig.write(handle, 0, &[1; BLOCK], false);
        rig.write(handle, 0, &[2; BLOCK], false);
        let flush = rig.start(Request::Flush { handle, scope: FlushScope::Data });
        let write = rig.start_write(handle, 0, &[3; BLOCK], false);
        assert!(rig.wait(flush).is_ok());
        if rig.done.iter().all(|done| done.token != write) {
            assert!(rig.wait(write).is_ok());
        }
        let after = rig.cut().read_file("f").expect("exists");
        seen.extend(after.chunks(512).map(|sector| sector[0]));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), vec![2, 3]);
}

#[test]
fn durable_write_survives_from_its_completion_on_and_covers_nothing_else() {
    let mut other_lost = 0;
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let handle = rig.prepared("f", 2);
        rig.write(handle, BLOCK as u64, &[9; BLOCK], false);
        rig.write(handle, 0, &[7; BLOCK], true);
        let after = rig.cut().read_file("f").expect("exists");
        assert_eq!(after[..BLOCK], [7; BLOCK]);
        other_lost += u32::from(outcome(&after[BLOCK..], 9) != Outcome::New);
    }
    assert!(other_lost > 50, "{other_lost}");
}

#[test]
fn durable_write_can_be_lost_before_its_completion() {
    let mut lost = 0;
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let handle = rig.prepared("f", 1);
        rig.start_write(handle, 0, &[7; BLOCK], true);
        lost += u32::from(outcome(&rig.cut().read_file("f").expect("exists"), 7) == Outcome::Old);
    }
    assert!(lost > 30, "{lost}");
}

#[test]
fn durable_write_grows_the_file_durably() {
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let handle = rig.create("f");
        rig.write(handle, 0, &[7; BLOCK], true);
        assert_eq!(rig.cut().read_file("f"), Some(vec![7; BLOCK]));
    }
}

#[test]
fn write_through_device_keeps_completed_direct_writes_but_not_lengths() {
    let mut shorter = 0;
    for seed in 0..SEEDS {
        let write_cache = WriteCache::WriteThrough;
        let mut rig = Rig::new(SimDiskOptions { write_cache, ..SimDiskOptions::new(seed) });
        let handle = rig.prepared("f", 1);
        rig.write(handle, 0, &[7; BLOCK], false);
        rig.write(handle, BLOCK as u64, &[8; BLOCK], false);
        let after = rig.cut().read_file("f").expect("exists");
        assert_eq!(after[..BLOCK], [7; BLOCK]);
        shorter += u32::from(after.len() == BLOCK);
    }
    assert!(shorter > 20, "{shorter}");
}

#[test]
fn flush_suppressed_disk_loses_flushed_data() {
    let mut lost = 0;
    for seed in 0..SEEDS {
        let flush_suppressed = true;
        let mut rig = Rig::new(SimDiskOptions { flush_suppressed, ..SimDiskOptions::new(seed) });
        let handle = rig.create("f");
        rig.write(handle, 0, &[7; BLOCK], true);
        rig.flush(handle);
        lost += u32::from(rig.cut().read_file("f") != Some(vec![7; BLOCK]));
    }
    assert!(lost > SEEDS as u32 / 3, "{lost}");
}

#[test]
fn killed_process_leaves_completed_writes_until_a_power_cut() {
    let mut lost = 0;
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let handle = rig.prepared("f", 1);
        rig.write(handle, 0, &[7; BLOCK], false);
        let disk = rig.kill();
        assert_eq!(disk.read_file("f"), Some(vec![7; BLOCK]));
        // The next process reads it and does not flush.
        let mut rig = Rig::on(disk);
        let handle = rig.open("f", OpenHow::direct_read());
        assert_eq!(rig.read(handle, 0, BLOCK), vec![7; BLOCK]);
        let disk = rig.kill();
        disk.power_cut();
        lost += u32::from(disk.read_file("f") != Some(vec![7; BLOCK]));
    }
    assert!(lost > 50, "{lost}");
}

#[test]
fn killed_process_flushed_by_the_next_one_survives() {
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let handle = rig.prepared("f", 1);
        rig.write(handle, 0, &[7; BLOCK], false);
        let mut rig = Rig::on(rig.kill());
        let handle = rig.open("f", OpenHow::direct_rw());
        rig.flush(handle);
        assert_eq!(rig.cut().read_file("f"), Some(vec![7; BLOCK]));
    }
}

#[test]
fn write_in_flight_at_a_kill_happens_wholly_partly_or_not() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let handle = rig.prepared("f", 4);
        rig.start_write(handle, 0, &[7; 4 * BLOCK], false);
        let after = rig.kill().read_file("f").expect("exists");
        assert!(after.chunks(BLOCK).all(|b| matches!(outcome(b, 7), Outcome::Old | Outcome::New)));
        seen.insert(outcome(&after, 7));
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn path_operations_are_durable_when_complete() {
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        assert!(rig.call(Request::CreateDir { path: "d".into() }).is_ok());
        rig.create("d/a");
        rig.create("d/b");
        assert!(rig.call(Request::Rename { from: "d/a".into(), to: "d/c".into() }).is_ok());
        assert!(rig.call(Request::Unlink { path: "d/b".into() }).is_ok());
        assert_eq!(rig.cut().files(), vec!["/d/c"]);
    }
}

#[test]
fn path_operation_in_flight_at_a_cut_happens_or_not_and_nothing_between() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        for (name, byte) in [("old", 1), ("new", 2), ("gone", 3)] {
            let handle = rig.create(name);
            rig.write(handle, 0, &[byte; BLOCK], true);
        }
        rig.start(Request::Rename { from: "new".into(), to: "old".into() });
        rig.start(Request::Unlink { path: "gone".into() });
        rig.start(Request::Open { path: "born".into(), how: OpenHow::create_new_direct() });
        let disk = rig.cut();
        let renamed = match (disk.read_file("old"), disk.read_file("new")) {
            (Some(old), Some(new)) if old[0] == 1 && new[0] == 2 => false,
            (Some(old), None) if old[0] == 2 => true,
            other => panic!("a rename has no halves: {:?}", other.0.map(|b| b[0])),
        };
        seen.insert((renamed, disk.read_file("gone").is_some(), disk.read_file("born").is_some()));
    }
    assert_eq!(seen.len(), 8, "each decides for itself: {seen:?}");
}

#[test]
fn path_errors_are_those_of_a_file_system() {
    let mut rig = Rig::seeded(1);
    rig.create("f");
    let open = |path: &str, create| Request::Open {
        path: path.into(),
        how: OpenHow { create, ..OpenHow::direct_rw() },
    };
    assert_eq!(errno(rig.call(open("f", Create::New))), libc::EEXIST);
    assert_eq!(errno(rig.call(open("g", Create::No))), libc::ENOENT);
    assert_eq!(errno(rig.call(open("d/g", Create::Yes))), libc::ENOENT);
    assert_eq!(errno(rig.call(open("f/g", Create::Yes))), libc::ENOTDIR);
    assert_eq!(errno(rig.call(Request::CreateDir { path: "f".into() })), libc::EEXIST);
    assert_eq!(errno(rig.call(Request::Unlink { path: "g".into() })), libc::ENOENT);
    assert_eq!(errno(rig.call(Request::List { path: "d".into() })), libc::ENOENT);
    let handle = rig.open("f", OpenHow::direct_read());
    let payload = Payload::Zeroes(4096);
    let write =
        Request::Write { handle, offset: 0, payload, how: WriteHow::Mode(WriteMode::Plain) };
    assert_eq!(errno(rig.call(write)), libc::EBADF);
    let misaligned = Request::Read { handle, offset: 1, len_bytes: BLOCK };
    assert_eq!(errno(rig.call(misaligned)), libc::EINVAL);
}

#[test]
fn rename_of_a_directory_takes_its_files_along() {
    let mut rig = Rig::seeded(1);
    for dir in ["a", "a/b", "ab"] {
        assert!(rig.call(Request::CreateDir { path: dir.into() }).is_ok());
    }
    rig.create("a/b/f");
    rig.create("ab/g");
    assert!(rig.call(Request::Rename { from: "a".into(), to: "z".into() }).is_ok());
    assert_eq!(rig.disk.files(), vec!["/ab/g", "/z/b/f"]);
    let disk = rig.cut();
    assert_eq!(disk.files(), vec!["/ab/g", "/z/b/f"]);
    let mut rig = Rig::on(disk);
    let Ok(Answer::Dir(entries)) = rig.call(Request::List { path: String::new() }) else {
        panic!("the root can be listed");
    };
    let names: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.is_dir)).collect();
    assert_eq!(names, vec![("ab", true), ("z", true)]);
}

#[test]
fn replaced_file_is_whole_for_readers_and_not_durable() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let replace =
            |content: &[u8]| Request::Replace { path: "m".into(), content: content.into() };
        assert!(rig.call(replace(b"one")).is_ok());
        assert!(rig.call(replace(b"twice")).is_ok());
        assert_eq!(rig.disk.read_file("m").as_deref(), Some(&b"twice"[..]));
        outcomes.insert(rig.cut().read_file("m").map(|content| content.len()));
    }
    assert!(outcomes.contains(&None) && outcomes.contains(&Some(5)), "{outcomes:?}");
}

#[test]
fn set_len_truncates_and_regrown_space_reads_zero() {
    let mut rig = Rig::seeded(3);
    let handle = rig.create("f");
    rig.write(handle, 0, &[7; 3 * BLOCK], false);
    for len_bytes in [100, 2 * BLOCK as u64] {
        assert!(rig.call(Request::SetLen { handle, len_bytes }).is_ok());
    }
    rig.flush(handle);
    let mut expected = vec![0; 2 * BLOCK];
    expected[..100].fill(7);
    assert_eq!(rig.disk.read_file("f"), Some(expected.clone()));
    assert_eq!(rig.cut().read_file("f"), Some(expected));
}

#[test]
fn truncation_without_flush_happens_whole_or_not_at_a_cut() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let handle = rig.create("f");
        rig.write(handle, 0, &[7; 3 * BLOCK], true);
        assert!(rig.call(Request::SetLen { handle, len_bytes: 0 }).is_ok());
        let after = rig.cut().read_file("f").expect("exists");
        assert!(after.iter().all(|b| *b == 7), "what a lost truncation leaves is the old content");
        seen.insert(after.len());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), vec![0, 3 * BLOCK]);
}

#[test]
fn zeroing_keeps_a_fresh_file_sparse_and_clears_a_used_one() {
    let mut rig = Rig::seeded(3);
    let handle = rig.open("f", OpenHow::create_new_buffered());
    let len = 64 << 20;
    let zeroes = |offset, len| Request::Write {
        handle,
        offset,
        payload: Payload::Zeroes(len),
        how: WriteHow::Mode(WriteMode::Plain),
    };
    assert!(rig.call(zeroes(0, len)).is_ok());
    rig.flush(handle);
    rig.write(handle, 10 * BLOCK as u64, &[7; 2 * BLOCK], true);
    assert!(rig.call(zeroes(11 * BLOCK as u64 - 1, BLOCK as u64)).is_ok());
    let chunk = rig.read(handle, 10 * BLOCK as u64, 2 * BLOCK);
    assert!(chunk[..BLOCK - 1].iter().all(|b| *b == 7));
    assert!(chunk[BLOCK - 1..2 * BLOCK - 1].iter().all(|b| *b == 0) && chunk[2 * BLOCK - 1] == 7);
    assert!(
        rig.call(Request::FileLen { handle })
            .is_ok_and(|a| matches!(a, Answer::Len(l) if l == len))
    );
    let device = rig.disk.device();
    assert_eq!(device.bodies.values().map(|body| body.chunk_count()).max(), Some(2));
}

#[test]
fn locks_exclude_until_dropped_or_the_process_dies() {
    let mut rig = Rig::seeded(1);
    let lock = || Request::Lock { path: "lock".into(), kind: LockKind::Exclusive };
    let Ok(Answer::Lock { number }) = rig.call(lock()) else { panic!("free lock") };
    assert_eq!(errno(rig.call(lock())), libc::EWOULDBLOCK);
    rig.disk.unlock(number);
    let Ok(Answer::Lock { number: second, .. }) = rig.call(lock()) else { panic!("freed lock") };
    rig.disk.unlock(number);
    assert_eq!(errno(rig.call(lock())), libc::EWOULDBLOCK, "an old guard releases nothing");
    let mut rig = Rig::on(rig.kill());
    assert!(rig.call(lock()).is_ok());
    rig.disk.unlock(second);
    assert_eq!(errno(rig.call(lock())), libc::EWOULDBLOCK);
}

#[test]
fn shared_locks_are_held_together_and_keep_an_exclusive_one_away() {
    let mut rig = Rig::seeded(1);
    let lock = |kind| Request::Lock { path: "lock".into(), kind };
    let held = |answer| match answer {
        Ok(Answer::Lock { number }) => number,
        _ => panic!("free lock"),
    };
    let number = held(rig.call(lock(LockKind::Exclusive)));
    assert_eq!(errno(rig.call(lock(LockKind::Shared))), libc::EWOULDBLOCK);
    rig.disk.unlock(number);
    let first = held(rig.call(lock(LockKind::Shared)));
    let second = held(rig.call(lock(LockKind::Shared)));
    rig.disk.unlock(first);
    assert_eq!(errno(rig.call(lock(LockKind::Exclusive))), libc::EWOULDBLOCK);
    rig.disk.unlock(second);
    held(rig.call(lock(LockKind::Exclusive)));
}

#[test]
fn full_disk_refuses_growth_and_allows_overwriting() {
    let capacity_bytes = 4 * BLOCK as u64;
    let mut rig = Rig::new(SimDiskOptions { capacity_bytes, ..SimDiskOptions::new(1) });
    let handle = rig.prepared("f", 3);
    let payload = Payload::Bytes(vec![1; 2 * BLOCK].into());
    let beyond = Request::Write {
        handle,
        offset: 3 * BLOCK as u64,
        payload,
        how: WriteHow::Mode(WriteMode::Plain),
    };
    assert_eq!(errno(rig.call(beyond)), libc::ENOSPC);
    rig.write(handle, 0, &[2; 3 * BLOCK], false);
    rig.write(handle, 3 * BLOCK as u64, &[2; BLOCK], false);
    assert!(rig.call(Request::Unlink { path: "f".into() }).is_ok());
    rig.prepared("g", 4);
}

#[test]
fn planned_fault_hits_the_nth_operation_on_the_named_file() {
    let mut rig = Rig::seeded(1);
    let (a, b) = (rig.prepared("a", 1), rig.prepared("b", 1));
    rig.disk.fail_next_at("b", DiskOp::Write, 2, libc::EIO);
    rig.write(a, 0, &[1; BLOCK], false);
    rig.write(a, 0, &[1; BLOCK], false);
    rig.write(b, 0, &[1; BLOCK], false);
    let second = rig.start_write(b, 0, &[2; BLOCK], false);
    assert_eq!(errno(rig.wait(second)), libc::EIO);
    rig.write(b, 0, &[3; BLOCK], false);
    assert_eq!(rig.disk.counters().faults, 1);
}

#[test]
fn persistent_fault_lasts_until_cleared() {
    let mut rig = Rig::seeded(1);
    let handle = rig.prepared("a", 1);
    rig.disk.fail_from(DiskOp::Flush, 2, libc::EIO);
    rig.flush(handle);
    for _ in 0..3 {
        assert_eq!(errno(rig.call(Request::Flush { handle, scope: FlushScope::Data })), libc::EIO);
    }
    rig.disk.clear_faults();
    rig.flush(handle);
}

#[test]
fn flush_in_flight_beside_one_that_fails_answers_for_itself() {
    let mut failed_first = 0;
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let handle = rig.prepared("f", 1);
        rig.write(handle, 0, &[7; BLOCK], false);
        rig.disk.fail_next(DiskOp::Flush, 1, libc::EIO);
        let fails = rig.start(Request::Flush { handle, scope: FlushScope::Data });
        let succeeds = rig.start(Request::Flush { handle, scope: FlushScope::Data });
        assert!(rig.wait(succeeds).is_ok());
        failed_first += u32::from(rig.done.iter().any(|done| done.token == fails));
        assert_eq!(rig.cut().read_file("f"), Some(vec![7; BLOCK]), "seed {seed}");
    }
    assert!(failed_first > SEEDS as u32 / 4, "{failed_first}");
}

#[test]
fn flush_repeated_after_an_error_does_not_save_the_data() {
    let mut lost = 0;
    for seed in 0..SEEDS {
        let mut rig = Rig::seeded(seed);
        let handle = rig.prepared("f", 1);
        rig.write(handle, 0, &[7; BLOCK], false);
        rig.disk.fail_next(DiskOp::Flush, 1, libc::EIO);
        assert_eq!(errno(rig.call(Request::Flush { handle, scope: FlushScope::Data })), libc::EIO);
        rig.flush(handle);
        lost += u32::from(outcome(&rig.cut().read_file("f").expect("exists"), 7) != Outcome::New);
    }
    assert!(lost > 50, "{lost}");
}

#[test]
fn lost_and_misdirected_writes_report_success() {
    let mut rig = Rig::seeded(1);
    let handle = rig.prepared("f", 3);
    rig.disk.plan(DiskOp::Write, None, 1, Fault::LostWrite);
    rig.write(handle, 0, &[7; BLOCK], true);
    rig.disk.plan(DiskOp::Write, None, 1, Fault::MisdirectedWrite { by_bytes: BLOCK as i64 });
    rig.write(handle, BLOCK as u64, &[8; BLOCK], true);
    let after = rig.cut().read_file("f").expect("exists");
    let firsts: Vec<_> = after.chunks(BLOCK).map(|block| block[0]).collect();
    assert_eq!(firsts, vec![0, 0, 8]);
}

#[test]
fn corruption_reaches_durable_and_volatile_bytes() {
    let mut rig = Rig::seeded(1);
    let handle = rig.prepared("f", 2);
    rig.write(handle, 0, &[7; BLOCK], false);
    rig.disk.corrupt("f", 5, Corruption::FlipBit { bit: 0 });
    rig.disk.corrupt("f", 4090, Corruption::Bytes(vec![9; 10]));
    rig.disk.corrupt("f", 4200, Corruption::Garbage { len_bytes: 64 });
    let bytes = rig.disk.read_file("f").expect("exists");
    assert_eq!((bytes[4], bytes[5], bytes[6]), (7, 6, 7));
    assert!(bytes[4090..4100].iter().all(|b| *b == 9) && bytes[4100] == 0);
    assert!(bytes[4200..4264].iter().any(|b| *b != 0));
    rig.flush(handle);
    assert_eq!(rig.cut().read_file("f"), Some(bytes));
}

#[test]
fn short_io_does_a_whole_number_of_aligned_units() {
    let mut rig = Rig::new(SimDiskOptions { short_io_one_in: 2, ..SimDiskOptions::new(1) });
    let handle = rig.create("f");
    let mut lengths = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let token = rig.start_write(handle, 0, &[7; 4 * BLOCK], false);
        let Ok(Answer::Bytes(count)) = rig.wait(token) else { panic!("no fault is planned") };
        lengths.insert(count / BLOCK);
        assert!(count > 0 && count.is_multiple_of(BLOCK));
    }
    assert_eq!(lengths.len(), 4);
}

#[test]
fn fork_shares_the_past_and_has_its_own_future() {
    let mut rig = Rig::seeded(1);
    let handle = rig.prepared("f", 1);
    rig.write(handle, 0, &[7; BLOCK], false);
    let disk = rig.kill();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let fork = disk.fork(seed);
        fork.power_cut();
        seen.insert(outcome(&fork.read_file("f").expect("exists"), 7));
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert_eq!(disk.read_file("f"), Some(vec![7; BLOCK]));
}

#[test]
fn ended_world_leaves_no_open_operation_handle_or_nameless_file() {
    let mut rig = Rig::seeded(1);
    let handle = rig.prepared("f", 1);
    assert!(rig.call(Request::Unlink { path: "f".into() }).is_ok());
    rig.write(handle, 0, &[7; BLOCK], false);
    rig.start(Request::Flush { handle, scope: FlushScope::Data });
    let old = (rig.epoch, 0);
    let disk = rig.kill();
    disk.submit(old, 0, 1, Request::FileLen { handle });
    let device = disk.device();
    assert!(device.ops.is_empty() && device.agenda.is_empty() && device.bodies.is_empty());
}

/// Against a model: whatever was covered when the power failed is there, everywhere else each
/// sector holds some value that was once written to it.
#[test]
fn random_programs_keep_what_was_covered_and_invent_nothing() {
    const BLOCKS: u64 = 4;
    for seed in 0..400 {
        let mut dice = crate::sim::dice::Dice::new(seed, 99);
        let mut rig = Rig::seeded(seed);
        let handle = rig.prepared("f", BLOCKS as usize);
        // Per block: all values since the last one known durable, which comes first.
        let mut values: Vec<Vec<u8>> = vec![vec![0]; BLOCKS as usize];
        for step in 1..=dice.within(1, 30) as u8 {
            let block = dice.below(BLOCKS);
            if dice.chance(5) {
                rig.flush(handle);
                values.iter_mut().for_each(|v| drop(v.drain(..v.len() - 1)));
            } else {
                let dsync = dice.chance(3);
                rig.write(handle, block * BLOCK as u64, &[step; BLOCK], dsync);
                let values = &mut values[block as usize];
                if dsync {
                    values.clear();
                }
                values.push(step);
            }
        }
        let after = rig.cut().read_file("f").expect("exists");
        for (block, values) in after.chunks(BLOCK).zip(&values) {
            if values.len() == 1 {
                assert_eq!(block, [values[0]; BLOCK], "seed {seed}");
            }
            // The first byte of a sector is never part of a tear's garbage.
            assert!(block.chunks(512).all(|s| values.contains(&s[0])), "seed {seed}");
        }
    }
}
