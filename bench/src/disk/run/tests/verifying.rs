use sombra_runtime::sim::{Corruption, DiskOp, Fault};

use super::*;
use crate::disk::job::{Direction, Extent, Mix};
use crate::disk::testing::sequential;

fn verified(mix: Mix) -> Job {
    let mut job = sequential(mix);
    job.verify = true;
    job.size = Some(Extent::Bytes(32 * BLOCK));
    job
}

#[test]
fn verify_reads_back_what_was_written_in_order() {
    let mut job = verified(Mix::Write);
    job.pattern.is_random = true;
    let seen = simulate(&job);
    assert_eq!(seen.end().error, None);
    let reads: Vec<u64> = seen.stream[32..].iter().map(|io| io.offset / BLOCK).collect();
    assert_eq!(reads, (0..32).collect::<Vec<_>>());
    assert!(seen.kinds()[32..].iter().all(|kind| *kind == SubmittedKind::Read));
    assert_eq!(seen.end().tally.direction(Direction::Read).operations, 32);
}

#[test]
fn do_verify_off_leaves_the_check_to_a_later_job() {
    let mut job = verified(Mix::Write);
    job.do_verify = false;
    let disk = disk();
    let seen = simulate_on(&disk, &job, &Stop::new());
    assert_eq!(seen.count(SubmittedKind::Read), 0);
    let seen = simulate_on(&disk, &verified(Mix::Read), &Stop::new());
    assert_eq!(seen.end().error, None, "a reading job checks what it reads");
    disk.corrupt("job.0.0", 5 * BLOCK + 100, Corruption::FlipBit { bit: 1 });
    let seen = simulate_on(&disk, &verified(Mix::Read), &Stop::new());
    let error = seen.end().error.clone().unwrap();
    assert!(error.text.contains("at 20480: verify: expected the CRC-32C"), "{error:?}");
}

#[test]
fn verify_finds_lost_and_misdirected_writes() {
    for (fault, told) in [
        (Fault::LostWrite, "expected a header"),
        (Fault::MisdirectedWrite { by_bytes: 2 * BLOCK as i64 }, "expected"),
    ] {
        let disk = disk();
        disk.plan(DiskOp::Write, None, 12, fault);
        let seen = simulate_on(&disk, &verified(Mix::Write), &Stop::new());
        let error = seen.end().error.clone().unwrap();
        assert!(error.text.contains(told), "{error:?}");
        assert_eq!(error.errno, nix::libc::EILSEQ);
        let reads = seen.end().tally.direction(Direction::Read).operations;
        assert_eq!(reads, 32, "the rest is verified too");
    }
}

#[test]
fn verify_of_a_mixed_job_checks_what_it_wrote_and_not_what_was_there() {
    let mut job = verified(Mix::ReadWrite);
    job.pattern.is_random = true;
    let seen = simulate(&job);
    assert_eq!(seen.end().error, None);
    let writes = seen.count(SubmittedKind::Write);
    assert_eq!(seen.stream.len(), 32 + writes, "each written block is read back");
}

#[test]
fn verify_fatal_stops_at_the_first_wrong_block() {
    let disk = disk();
    disk.plan(DiskOp::Write, None, 4, Fault::LostWrite);
    let mut job = verified(Mix::Write);
    job.verify_fatal = true;
    job.overwrite = true;
    let seen = simulate_on(&disk, &job, &Stop::new());
    assert!(seen.end().error.is_some());
    assert!(seen.count(SubmittedKind::Read) < 8, "{}", seen.count(SubmittedKind::Read));
}
