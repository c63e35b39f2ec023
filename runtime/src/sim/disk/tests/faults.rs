use super::*;

const SECTOR: usize = 512;

/// A file of three durable blocks of ones, twos and threes.
fn numbered(options: SimDiskOptions) -> (Rig, u64) {
    let mut rig = Rig::new(options);
    let handle = rig.create("f");
    for block in 0..3 {
        rig.write(handle, (block * BLOCK) as u64, &[block as u8 + 1; BLOCK], true);
    }
    (rig, handle)
}

/// First bytes of the file's blocks as the next read of each finds them.
fn firsts(rig: &mut Rig, handle: u64) -> Vec<u8> {
    let mut first = |block| {
        let bytes = rig.read(handle, (block * BLOCK) as u64, BLOCK);
        assert!(bytes.len() == BLOCK && bytes.iter().all(|byte| *byte == bytes[0]));
        bytes[0]
    };
    (0..3).map(&mut first).collect()
}

/// What the counters gained, by name, where it is not nothing; the ordinary ones are left out.
fn gained(before: SimDiskCounters, after: SimDiskCounters) -> Vec<(&'static str, u64)> {
    const ORDINARY: [&str; 10] = [
        "reads",
        "writes",
        "dsync_writes",
        "trims",
        "flushes",
        "path_ops",
        "bytes_read",
        "bytes_written",
        "completions",
        "slow_ops",
    ];
    let pairs = after.named().zip(before.named());
    let gains = pairs.map(|((name, after), (_, before))| (name, after - before));
    gains.filter(|(name, gain)| *gain > 0 && !ORDINARY.contains(name)).collect()
}

#[test]
fn misdirected_read_gives_another_block_of_the_file_once() {
    for (block, by_blocks, expected) in [(0, 1, 2), (2, -1, 2), (1, -1, 1), (1, 9, 0), (1, -2, 0)] {
        let (mut rig, handle) = numbered(SimDiskOptions::new(1));
        let before = rig.disk.counters();
        let fault = Fault::MisdirectedRead { by_bytes: by_blocks * BLOCK as i64 };
        rig.disk.plan(DiskOp::Read, None, 1, fault);
        let bytes = rig.read(handle, (block * BLOCK) as u64, BLOCK);
        assert_eq!(bytes, [expected; BLOCK], "block {block} by {by_blocks}");
        assert_eq!(firsts(&mut rig, handle), [1, 2, 3]);
        let gain = gained(before, rig.disk.counters());
        assert_eq!(gain, [("faults", 1), ("misdirected_reads", 1)]);
    }
}

#[test]
fn stale_read_gives_the_durable_block_below_an_unflushed_one() {
    let (mut rig, handle) = numbered(SimDiskOptions::new(1));
    rig.write(handle, BLOCK as u64, &[9; BLOCK], false);
    let before = rig.disk.counters();
    rig.disk.plan(DiskOp::Read, Some("f"), 2, Fault::StaleRead);
    assert_eq!(firsts(&mut rig, handle), [1, 2, 3], "the second read is the stale one");
    assert_eq!(firsts(&mut rig, handle), [1, 9, 3]);
    assert_eq!(gained(before, rig.disk.counters()), [("faults", 1), ("stale_reads", 1)]);
}

#[test]
fn stale_read_gives_the_whole_earlier_block_only_where_the_disk_remembers_it() {
    for remember_older_versions in [true, false] {
        let options = SimDiskOptions { remember_older_versions, ..SimDiskOptions::new(1) };
        let (mut rig, handle) = numbered(options);
        for byte in [8, 9] {
            rig.write(handle, BLOCK as u64, &[byte; BLOCK], false);
            rig.flush(handle);
        }
        // The same bytes once more are no earlier version.
        rig.write(handle, BLOCK as u64, &[9; BLOCK], true);
        let before = rig.disk.counters();
        rig.disk.plan(DiskOp::Read, None, 2, Fault::StaleRead);
        let stale = firsts(&mut rig, handle);
        assert_eq!(stale, if remember_older_versions { [1, 8, 3] } else { [1, 9, 3] });
        assert_eq!(firsts(&mut rig, handle), [1, 9, 3]);
        let gain = rig.disk.counters().stale_reads - before.stale_reads;
        assert_eq!(gain, u64::from(remember_older_versions), "nothing older is no stale read");
    }
}

#[test]
fn older_versions_are_forgotten_when_the_switch_goes_off() {
    let options = SimDiskOptions { remember_older_versions: true, ..SimDiskOptions::new(1) };
    let (mut rig, handle) = numbered(options);
    rig.write(handle, 0, &[9; BLOCK], true);
    rig.disk.set_options(|options| options.remember_older_versions = false);
    rig.disk.plan(DiskOp::Read, None, 1, Fault::StaleRead);
    assert_eq!(firsts(&mut rig, handle), [9, 2, 3]);
    rig.disk.set_options(|options| options.remember_older_versions = true);
    rig.write(handle, 0, &[7; BLOCK], true);
    rig.disk.plan(DiskOp::Read, None, 1, Fault::StaleRead);
    assert_eq!(firsts(&mut rig, handle), [9, 2, 3]);
}

#[test]
fn stuck_operation_takes_effect_and_completes_late() {
    const STUCK_NS: u64 = 5_000_000_000;
    for on in [DiskOp::Read, DiskOp::Write, DiskOp::Flush, DiskOp::Path] {
        let (mut rig, handle) = numbered(SimDiskOptions::new(1));
        let before = rig.disk.counters();
        rig.disk.plan(on, None, 1, Fault::Stuck { for_ns: STUCK_NS });
        let started_ns = rig.now_ns;
        let stuck = match on {
            DiskOp::Read => rig.start(Request::Read { handle, offset: 0, len_bytes: BLOCK }),
            DiskOp::Write => rig.start_write(handle, 0, &[9; BLOCK], true),
            DiskOp::Flush => rig.start(Request::Flush { handle, scope: FlushScope::Data }),
            DiskOp::Path => rig.start(Request::Unlink { path: "f".into() }),
        };
        let neighbour = rig.start(Request::FileLen { handle });
        assert!(rig.wait(neighbour).is_ok());
        assert!(rig.now_ns - started_ns < STUCK_NS, "others do not wait for it");
        let bytes = rig.read(handle, 0, BLOCK);
        assert_eq!(bytes[0], if on == DiskOp::Write { 9 } else { 1 }, "the effect is there");
        assert!(rig.wait(stuck).is_ok());
        assert!(rig.now_ns - started_ns >= STUCK_NS);
        assert_eq!(gained(before, rig.disk.counters()), [("faults", 1), ("stuck_ops", 1)]);
    }
}

#[test]
fn lost_writes_lose_durable_plain_and_zeroing_ones_and_nothing_else() {
    for how in [WriteMode::Plain, WriteMode::Dsync, WriteMode::Sync] {
        for payload in [Payload::Bytes(vec![9; BLOCK].into()), Payload::Zeroes(BLOCK as u64)] {
            let (mut rig, handle) = numbered(SimDiskOptions::new(1));
            let before = rig.disk.counters();
            rig.disk.plan(DiskOp::Write, None, 1, Fault::LostWrite);
            // A change of length is the file system's and cannot be lost.
            let len_bytes = 4 * BLOCK as u64;
            assert!(rig.call(Request::SetLen { handle, len_bytes }).is_ok());
            let how = WriteHow::Mode(how);
            let request = Request::Write { handle, offset: BLOCK as u64, payload, how };
            assert!(matches!(rig.call(request), Ok(Answer::Bytes(BLOCK))));
            rig.flush(handle);
            assert_eq!(gained(before, rig.disk.counters()), [("faults", 1), ("lost_writes", 1)]);
            let after = rig.cut().read_file("f").expect("exists");
            let firsts: Vec<_> = after.chunks(BLOCK).map(|block| block[0]).collect();
            assert_eq!(firsts, [1, 2, 3, 0]);
        }
    }
}

#[test]
fn misdirected_write_is_durable_where_it_went_and_leaves_the_rest() {
    for (block, by_blocks, expected) in [(0, 1, [1, 9, 3]), (0, -2, [1, 2, 9]), (2, -2, [9, 2, 3])]
    {
        for dsync in [true, false] {
            let (mut rig, handle) = numbered(SimDiskOptions::new(1));
            let before = rig.disk.counters();
            let fault = Fault::MisdirectedWrite { by_bytes: by_blocks * BLOCK as i64 };
            rig.disk.plan(DiskOp::Write, None, 1, fault);
            rig.write(handle, (block * BLOCK) as u64, &[9; BLOCK], dsync);
            if !dsync {
                rig.flush(handle);
            }
            let gain = gained(before, rig.disk.counters());
            assert_eq!(gain, [("faults", 1), ("misdirected_writes", 1)]);
            let after = rig.cut().read_file("f").expect("exists");
            let firsts: Vec<_> = after.chunks(BLOCK).map(|block| block[0]).collect();
            assert_eq!(firsts, expected);
        }
    }
}

#[test]
fn fault_planned_from_the_nth_on_lasts_on_its_file_until_cleared() {
    let mut rig = Rig::seeded(1);
    let (a, b) = (rig.prepared("a", 1), rig.prepared("b", 1));
    let before = rig.disk.counters();
    rig.disk.plan_from(DiskOp::Write, Some("b"), 2, Fault::LostWrite);
    for byte in 1..=4 {
        rig.write(a, 0, &[byte; BLOCK], true);
        rig.write(b, 0, &[byte; BLOCK], true);
    }
    assert_eq!((rig.read(a, 0, BLOCK)[0], rig.read(b, 0, BLOCK)[0]), (4, 1));
    assert_eq!(gained(before, rig.disk.counters()), [("faults", 3), ("lost_writes", 3)]);
    rig.disk.clear_faults();
    rig.write(b, 0, &[5; BLOCK], true);
    assert_eq!(rig.read(b, 0, BLOCK)[0], 5);
}

#[test]
fn planned_errors_are_counted_by_what_they_hit() {
    for (on, name) in [
        (DiskOp::Read, "read_errors"),
        (DiskOp::Write, "write_errors"),
        (DiskOp::Flush, "flush_errors"),
        (DiskOp::Path, "path_errors"),
    ] {
        let (mut rig, handle) = numbered(SimDiskOptions::new(1));
        let before = rig.disk.counters();
        rig.disk.fail_next(on, 1, libc::EIO);
        let request = match on {
            DiskOp::Read => Request::Read { handle, offset: 0, len_bytes: BLOCK },
            DiskOp::Write => Request::SetLen { handle, len_bytes: 4 * BLOCK as u64 },
            DiskOp::Flush => Request::Flush { handle, scope: FlushScope::All },
            DiskOp::Path => Request::FileLen { handle },
        };
        assert_eq!(errno(rig.call(request)), libc::EIO);
        assert_eq!(gained(before, rig.disk.counters()), [("faults", 1), (name, 1)]);
    }
}

#[test]
fn no_space_is_counted_whether_planned_or_real() {
    let (mut rig, handle) = numbered(SimDiskOptions::new(1));
    let before = rig.disk.counters();
    rig.disk.fail_next(DiskOp::Write, 1, libc::ENOSPC);
    let planned = rig.start_write(handle, 0, &[9; BLOCK], false);
    assert_eq!(errno(rig.wait(planned)), libc::ENOSPC);
    let gain = gained(before, rig.disk.counters());
    assert_eq!(gain, [("faults", 1), ("write_errors", 1), ("no_space", 1)]);
    let before = rig.disk.counters();
    rig.disk.set_options(|options| options.capacity_bytes = 3 * BLOCK as u64);
    let real = rig.start_write(handle, 3 * BLOCK as u64, &[9; BLOCK], false);
    assert_eq!(errno(rig.wait(real)), libc::ENOSPC);
    assert_eq!(gained(before, rig.disk.counters()), [("no_space", 1)]);
}

#[test]
fn short_and_slow_operations_are_counted() {
    let options = SimDiskOptions { short_io_one_in: 2, slow_one_in: 2, ..SimDiskOptions::new(1) };
    let mut rig = Rig::new(options);
    let handle = rig.create("f");
    rig.disk.set_options(|options| options.short_io_one_in = 0);
    rig.write(handle, 0, &[7; 4 * BLOCK], true);
    rig.disk.set_options(|options| options.short_io_one_in = 2);
    let (mut reads, mut writes) = (0, 0);
    for _ in 0..50 {
        let token = rig.start_write(handle, 0, &[7; 4 * BLOCK], false);
        let Ok(Answer::Bytes(count)) = rig.wait(token) else { panic!("no fault is planned") };
        writes += u64::from(count < 4 * BLOCK);
        reads += u64::from(rig.read(handle, 0, 4 * BLOCK).len() < 4 * BLOCK);
        // What ends at the file's end is not short.
        assert_eq!(rig.read(handle, 3 * BLOCK as u64, BLOCK).len(), BLOCK);
    }
    let counters = rig.disk.counters();
    assert!(reads > 5 && writes > 5);
    assert_eq!((counters.short_reads, counters.short_writes), (reads, writes));
    let all = counters.completions;
    assert!((all / 4..all * 3 / 4).contains(&counters.slow_ops), "{counters:?}");
}

#[test]
fn cut_leaves_whole_garbage_sectors_only_with_the_switch() {
    let is_noise = |sector: &[u8]| ![0, 7].contains(&sector[0]);
    for (garbage_sector_one_in, expected) in [(0, false), (4, true)] {
        let mut noisy = 0;
        for seed in 0..SEEDS {
            let options = SimDiskOptions { garbage_sector_one_in, ..SimDiskOptions::new(seed) };
            let mut rig = Rig::new(options);
            let handle = rig.prepared("f", 3);
            rig.write(handle, BLOCK as u64, &[7; BLOCK], false);
            let after = rig.cut().read_file("f").expect("exists");
            assert!(after[..BLOCK].iter().chain(&after[2 * BLOCK..]).all(|byte| *byte == 0));
            noisy += after.chunks(SECTOR).filter(|sector| is_noise(sector)).count();
        }
        assert_eq!(noisy > 20, expected, "{noisy} sectors begin with noise");
        assert!(expected || noisy == 0, "{noisy} sectors begin with noise");
    }
}

#[test]
fn cut_counts_each_undecided_sector_as_what_it_became() {
    let options = SimDiskOptions { garbage_sector_one_in: 8, ..SimDiskOptions::new(1) };
    let mut total = SimDiskCounters::default();
    for seed in 0..SEEDS {
        let mut rig = Rig::new(SimDiskOptions { seed, ..options.clone() });
        let handle = rig.prepared("f", 1);
        rig.write(handle, 0, &[7; BLOCK], false);
        let disk = rig.cut();
        let counters = disk.counters();
        let after = disk.read_file("f").expect("exists");
        let whole = |byte: u8| {
            let sectors = after.chunks(SECTOR);
            sectors.filter(|sector| sector.iter().all(|b| *b == byte)).count() as u64
        };
        assert_eq!((counters.sectors_kept, counters.sectors_lost), (whole(7), whole(0)));
        let spoilt = 8 - whole(7) - whole(0);
        assert_eq!(counters.sectors_torn + counters.sectors_garbage, spoilt);
        total += counters;
    }
    assert!(total.sectors_torn > 20 && total.sectors_garbage > 20, "{total:?}");
    assert_eq!((total.cuts, total.cuts_in_flight, total.kills), (SEEDS, 0, 0));
}

#[test]
fn cuts_and_kills_are_counted_and_those_that_interrupt_something() {
    let mut rig = Rig::seeded(1);
    let handle = rig.prepared("f", 1);
    rig.start_write(handle, 0, &[7; BLOCK], false);
    let rig = Rig::on(rig.cut());
    let disk = Rig::on(rig.cut()).kill();
    disk.power_cut();
    let counters = disk.counters();
    assert_eq!((counters.cuts, counters.cuts_in_flight, counters.kills), (3, 1, 1));
}

#[test]
fn damage_at_rest_is_counted_by_kind() {
    let (mut rig, handle) = numbered(SimDiskOptions::new(1));
    let before = rig.disk.counters();
    rig.disk.corrupt("f", 4096, Corruption::FlipBit { bit: 1 });
    rig.disk.corrupt("f", 4097, Corruption::Zeroes { len_bytes: 3 });
    rig.disk.corrupt("f", 4100, Corruption::Garbage { len_bytes: 5 });
    rig.disk.corrupt("f", 4105, Corruption::Bytes(vec![9; 7]));
    let gain = gained(before, rig.disk.counters());
    let expected =
        [("flipped_bits", 1), ("zeroed_bytes", 3), ("garbage_bytes", 5), ("replaced_bytes", 7)];
    assert_eq!(gain, expected);
    let block = rig.read(handle, BLOCK as u64, BLOCK);
    assert!(block[..4] == [0, 0, 0, 0] && block[9..16] == [9; 7]);
    assert!(block[16..].iter().all(|byte| *byte == 2));
    assert_eq!(rig.read(handle, 0, BLOCK), [1; BLOCK]);
}

#[test]
fn counters_are_named_once_each_and_add_up() {
    let mut rig = Rig::seeded(1);
    rig.prepared("f", 1);
    let one = rig.disk.counters();
    let mut sum = one;
    sum += one;
    let names: std::collections::BTreeSet<_> = one.named().map(|(name, _)| name).collect();
    assert_eq!(names.len(), one.named().count());
    assert!(one.named().zip(sum.named()).all(|((_, one), (_, two))| two == 2 * one));
    assert_eq!(one.named().find(|(name, _)| *name == "flushes"), Some(("flushes", 1)));
    assert_eq!(one.completions, 3, "create, write, flush");
}

#[test]
fn fault_of_reads_cannot_be_planned_for_writes() {
    for (on, fault) in [
        (DiskOp::Write, Fault::StaleRead),
        (DiskOp::Flush, Fault::LostWrite),
        (DiskOp::Path, Fault::MisdirectedRead { by_bytes: 1 }),
    ] {
        let disk = SimDisk::new(SimDiskOptions::new(1));
        let planned = std::panic::catch_unwind(|| disk.plan(on, None, 1, fault));
        assert!(planned.is_err(), "{fault:?}");
    }
}

#[test]
fn broken_sectors_fail_reads_that_touch_them_until_they_are_written_over() {
    let (mut rig, handle) = numbered(SimDiskOptions::new(11));
    rig.disk.break_sectors("f", (BLOCK + 3 * SECTOR) as u64 + 5, 10);
    let read = |rig: &mut Rig, offset: usize, len_bytes: usize| {
        let offset = offset as u64;
        rig.call(Request::Read { handle, offset, len_bytes }).map(drop)
    };
    let before = rig.disk.counters().read_errors;
    assert_eq!(read(&mut rig, 0, 3 * BLOCK), Err(libc::EIO));
    assert_eq!(read(&mut rig, BLOCK, BLOCK), Err(libc::EIO));
    assert_eq!((read(&mut rig, 0, BLOCK), read(&mut rig, 2 * BLOCK, BLOCK)), (Ok(()), Ok(())));
    assert_eq!(rig.disk.counters().read_errors, before + 2);
    rig.write(handle, BLOCK as u64, &[9; BLOCK], false);
    assert_eq!(firsts(&mut rig, handle), [1, 9, 3]);
}
