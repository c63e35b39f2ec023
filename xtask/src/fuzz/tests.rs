use super::Target;
use super::campaign::{Campaign, Found};

const SEED: u64 = 7;

fn campaign(target: Target, inputs: u64, has_planted: bool) -> (Campaign, Option<Found>) {
    let subject = target.subject(SEED).expect("a reader in this process");
    let mut campaign = Campaign::new(subject, SEED);
    let found = campaign.run(inputs, has_planted, None);
    (campaign, found)
}

/// So many inputs find nothing and at least so many distinct outcomes, the first of them do the
/// same again, and in so many the control is found. That lies behind checksums and cross-checks:
/// finding it shows that inputs get there.
fn expect(target: Target, inputs: u64, outcomes: usize, control_inputs: u64) {
    let (first, found) = campaign(target, inputs, false);
    assert!(found.is_none_or(|found| panic!("{target:?}: {}", found.why)));
    let reached = first.outcomes().len();
    assert!(reached >= outcomes, "{target:?}: {reached} outcomes");
    let again = || campaign(target, inputs / 10, false).0;
    assert_eq!(again().outcomes(), again().outcomes(), "{target:?}");
    let (_, found) = campaign(target, control_inputs, true);
    let found = found.unwrap_or_else(|| panic!("{target:?}: the control was not found"));
    assert!(found.is_planted(), "{target:?}: {}", found.why);
}

#[test]
fn fuzz_of_job_files_finds_only_what_is_planted() {
    expect(Target::JobFile, 20_000, 500, 20_000);
}

#[test]
fn fuzz_of_pages_finds_only_what_is_planted() {
    expect(Target::Page, 3_000, 40, 20_000);
}

#[test]
fn fuzz_of_log_blocks_finds_only_what_is_planted() {
    expect(Target::LogBlock, 3_000, 12, 20_000);
}

#[test]
fn fuzz_of_log_records_finds_only_what_is_planted() {
    expect(Target::LogRecord, 3_000, 25, 20_000);
}

#[test]
fn fuzz_of_superblocks_finds_only_what_is_planted() {
    expect(Target::Superblock, 3_000, 60, 60_000);
}

#[test]
fn fuzz_of_segment_headers_finds_only_what_is_planted() {
    expect(Target::SegmentHeader, 3_000, 8, 20_000);
}

#[test]
fn fuzz_of_root_pages_finds_only_what_is_planted() {
    expect(Target::RootTable, 3_000, 25, 20_000);
}

#[test]
fn fuzz_of_space_maps_finds_only_what_is_planted() {
    expect(Target::SpaceMap, 3_000, 12, 20_000);
}

#[test]
fn fuzz_of_damaged_stores_finds_only_what_is_planted() {
    expect(Target::CliDump, 60, 20, 300);
}
