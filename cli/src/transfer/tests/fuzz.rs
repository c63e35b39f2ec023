//! Made-up exports: bytes of true ones changed, checksums made true again half of the time.
//! `cargo xtask fuzz --target export-file` runs more of them, by the environment.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use sombra_bench::random::Random;

use super::super::format::{
    FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameHeader, HEADER_BYTES, u32_at,
};
use super::{Definition, ExportError, ExportReader, Header, Rows, Totals, read, sample, written};

const INPUTS_DEFAULT: u64 = 3_000;
const CORPUS_MAX: usize = 1_024;
const CHANGES_MAX: u64 = 4;
const INPUT_BYTES_MAX: usize = 64 << 10;
const PLANTED: &str = "planted for the negative control";
/// By how much one input may raise the peak of memory: its frame, read and kept, and a multiple
/// of its length.
const MEMORY_FACTOR: usize = 32;
const _: () = assert!(FRAME_BYTES_MAX < 32 << 20);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

struct Campaign {
    random: Random,
    corpus: Vec<Vec<u8>>,
    outcomes: HashSet<String>,
}

impl Campaign {
    fn new(seed: u64) -> Campaign {
        let rows = |count: u32| (0..count).map(|row| (row.to_be_bytes().to_vec(), vec![7; 20]));
        let mut long = sample();
        long[0].1 = rows(300).collect();
        let corpus = [written(&[]), written(&sample()), written(&long)].to_vec();
        Campaign { random: Random::new(seed), corpus, outcomes: HashSet::new() }
    }

    fn run(&mut self, inputs: u64, has_planted: bool) {
        let is_alone = number("SOMBRA_FUZZ_INPUTS").is_some();
        for _ in 0..inputs {
            let input = self.input();
            let before = peak_kib();
            let outcome = judge(&input, has_planted);
            let most = (FRAME_BYTES_MAX + MEMORY_FACTOR * input.len()) >> 10;
            let grown = peak_kib() - before;
            assert!(!is_alone || grown <= most as i64, "{grown} KiB for {} bytes", input.len());
            if self.outcomes.insert(outcome) && self.corpus.len() < CORPUS_MAX {
                self.corpus.push(input);
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn input(&mut self) -> Vec<u8> {
        let parent = self.below(self.corpus.len());
        let mut bytes = self.corpus[parent].clone();
        for _ in 0..=self.random.below(CHANGES_MAX) {
            self.change(&mut bytes);
        }
        bytes.truncate(INPUT_BYTES_MAX);
        if self.below(2) == 0 {
            seal(&mut bytes);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let reach = if self.below(2) == 0 { bytes.len().min(160) } else { bytes.len() };
        let at = self.below(reach);
        match self.below(7) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes.truncate(at),
            2 => {
                let end = (at + 1 + self.below(80)).min(bytes.len());
                let doubled = bytes[at..end].to_vec();
                bytes.splice(at..at, doubled);
            }
            3 => drop(bytes.drain(at..(at + 1 + self.below(40)).min(reach))),
            _ => {
                let width = [1, 2, 4, 8][self.below(4)];
                let numbers = [0, 1, u64::MAX, self.random.below(64), bytes.len() as u64 - 1];
                let number = numbers[self.below(numbers.len())].to_le_bytes();
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
        }
    }
}

/// Makes the header's checksum true, and those of the frames behind it as far as they are whole.
fn seal(bytes: &mut [u8]) {
    let Some((head, mut rest)) = bytes.split_first_chunk_mut::<HEADER_BYTES>() else { return };
    let mut before = sombra::format::checksum::crc32c_with_field_zeroed(head, 12);
    head[12..16].copy_from_slice(&before.to_le_bytes());
    while let Some((head, after)) = rest.split_first_chunk_mut::<FRAME_HEADER_BYTES>() {
        let Ok(frame) = FrameHeader::decode(head) else { return };
        let Some((payload, after)) = after.split_at_mut_checked(u32_at(head, 8) as usize) else {
            return;
        };
        before = frame.chained_crc(before, payload);
        head[12..].copy_from_slice(&before.to_le_bytes());
        rest = after;
    }
}

/// Reads an input; what is accepted is the same once it is written again. Sums up what came out.
fn judge(bytes: &[u8], has_planted: bool) -> String {
    let (keyspaces, totals) = match read(bytes) {
        Ok(accepted) => accepted,
        Err(error) => return shape(&error),
    };
    let is_reached = read_header(bytes).created_ms > 1 << 60 && totals.rows > 0;
    assert!(!(has_planted && is_reached), "{PLANTED}");
    let counted = count(&keyspaces);
    assert_eq!(counted, totals, "other totals than the rows have");
    let again = written(&keyspaces);
    let (read_again, totals_again) = read(&again).expect("what was written is an export");
    assert_eq!((read_again, totals_again), (keyspaces, totals), "another export after writing it");
    format!("accepted {} {}", totals.keyspaces.min(4), totals.rows.checked_ilog2().unwrap_or(0))
}

fn read_header(bytes: &[u8]) -> Header {
    ExportReader::new(bytes).expect("it was read before").header()
}

fn count(keyspaces: &[(Definition, Rows)]) -> Totals {
    let mut totals = Totals { keyspaces: keyspaces.len() as u64, ..Totals::default() };
    for (key, value) in keyspaces.iter().flat_map(|(_, rows)| rows) {
        totals.add_row(key, value);
    }
    totals
}

/// Which rule refused, without what was found.
fn shape(error: &ExportError) -> String {
    match error {
        ExportError::Io { .. } => panic!("bytes in memory can be read: {error}"),
        ExportError::Truncated { .. } => "truncated".to_owned(),
        ExportError::Damaged { field, .. } => (*field).to_owned(),
    }
}

fn peak_kib() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss())
}

#[test]
fn made_up_exports_are_refused_or_whole() {
    let inputs = number("SOMBRA_FUZZ_INPUTS").unwrap_or(INPUTS_DEFAULT);
    let begun = Instant::now();
    let mut campaign = Campaign::new(number("SOMBRA_FUZZ_SEED").unwrap_or(1));
    campaign.run(inputs, false);
    let rate = inputs as f64 / begun.elapsed().as_secs_f64().max(0.001);
    let (outcomes, peak) = (campaign.outcomes.len(), peak_kib() >> 10);
    println!(
        "fuzz export-file: {inputs} inputs, {rate:.0} inputs/s, {outcomes} distinct outcomes, \
         peak memory {peak} MiB"
    );
    assert!(inputs < INPUTS_DEFAULT || outcomes >= 12, "{:?}", campaign.outcomes);
}

/// It lies behind every checksum, so finding it shows that inputs get there.
#[test]
fn planted_reader_is_found_out() {
    let mut campaign = Campaign::new(number("SOMBRA_FUZZ_SEED").unwrap_or(1));
    let caught = catch_unwind(AssertUnwindSafe(|| campaign.run(30 * INPUTS_DEFAULT, true)));
    let panic = caught.expect_err("the planted panic was not found");
    let text = panic.downcast_ref::<String>().map(String::as_str);
    assert_eq!(text.or_else(|| panic.downcast_ref::<&str>().copied()), Some(PLANTED));
    println!("fuzz export-file: the control was found");
}
