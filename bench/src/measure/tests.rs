use std::time::Duration;

use super::{Curve, Ledger, Pace, Recorder, Spread, Verdict, evenly, median, ratio_of_pairs};
use crate::random::Random;
use crate::workload::WriteTag;

#[test]
fn recorder_percentiles_match_exact_ones_for_known_values() {
    let mut recorder = Recorder::new();
    for microseconds in 1..=10_000u64 {
        recorder.record(microseconds * 1_000, microseconds * 2_000);
    }
    assert_eq!(recorder.count(), 10_000);
    let within = |found: f64, wanted: f64| (found / wanted - 1.0).abs() < 0.002;
    let service = recorder.service();
    assert!(within(service.p50_us, 5_000.0), "{service:?}");
    assert!(within(service.p99_us, 9_900.0), "{service:?}");
    assert!(within(service.p999_us, 9_990.0), "{service:?}");
    assert!(within(service.max_us, 10_000.0), "{service:?}");
    assert!(within(service.mean_us, 5_000.5), "{service:?}");
    assert!(within(recorder.response().p50_us, 10_000.0));
}

#[test]
fn recorder_merge_equals_one_recorder_for_the_same_values() {
    let (mut whole, mut left, mut right) = (Recorder::new(), Recorder::new(), Recorder::new());
    let mut random = Random::new(3);
    for index in 0..10_000 {
        let ns = random.below(50_000_000);
        whole.record(ns, ns);
        let half = if index % 3 == 0 { &mut left } else { &mut right };
        half.record(ns, ns);
    }
    left.merge(&right);
    assert_eq!(left.count(), whole.count());
    assert_eq!(left.service(), whole.service());
}

#[test]
fn recorder_keeps_a_latency_beyond_its_maximum() {
    let mut recorder = Recorder::new();
    recorder.record(u64::MAX, u64::MAX);
    assert_eq!(recorder.count(), 1);
    assert!(recorder.service().max_us >= 599_000_000.0);
}

#[test]
fn pace_starts_of_all_clients_interleave_evenly_at_the_rate() {
    let mut starts: Vec<_> = (0..4)
        .flat_map(|index| {
            let pace = Pace::open(1_000, 4, index);
            (0..3).filter_map(move |number| pace.intended_start(number))
        })
        .collect();
    starts.sort();
    let expected: Vec<_> = (0..12).map(Duration::from_millis).collect();
    assert_eq!(starts, expected);
    assert_eq!(Pace::Closed.intended_start(5), None);
}

#[test]
fn median_is_the_middle_for_odd_and_even_counts() {
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
}

#[test]
fn bootstrap_interval_is_a_point_for_equal_pairs() {
    let ratio = ratio_of_pairs(&[2.0; 11]).unwrap();
    assert_eq!((ratio.interval_90.low, ratio.interval_90.high), (2.0, 2.0));
    assert!(ratio_of_pairs(&[]).is_none());
}

/// Of 300 experiments of 11 pairs, the interval holds the true median in about nine of ten.
#[test]
fn bootstrap_interval_covers_the_true_median_in_nine_of_ten_experiments() {
    let mut random = Random::new(99);
    let mut covered = 0;
    for _ in 0..300 {
        let pairs: Vec<_> = (0..11).map(|_| 10.0 * (0.5 + random.unit())).collect();
        let ratio = ratio_of_pairs(&pairs).unwrap();
        assert!(ratio.interval_90.low <= ratio.median && ratio.median <= ratio.interval_90.high);
        covered += u32::from(ratio.interval_90.low <= 10.0 && 10.0 <= ratio.interval_90.high);
    }
    assert!((250..=295).contains(&covered), "{covered} of 300");
}

#[test]
fn bootstrap_interval_tells_a_noisy_reference_from_a_quiet_one() {
    let quiet: Vec<_> = (0..11).map(|n| 1.0 + f64::from(n - 5) * 0.002).collect();
    let noisy: Vec<_> = (0..11).map(|n| 1.0 + f64::from(n - 5) * 0.15).collect();
    let half_width = |pairs: &[f64]| {
        let ratio = ratio_of_pairs(pairs).unwrap();
        ratio.interval_90.half_width(ratio.median)
    };
    assert!(half_width(&quiet) < 0.10);
    assert!(half_width(&noisy) > 0.10);
}

fn tag(sequence: u64) -> WriteTag {
    WriteTag::new(1, sequence)
}

#[test]
fn ledger_expects_the_write_with_the_highest_position_whatever_order_they_come_in() {
    let ledger = Ledger::default();
    ledger.acknowledge(0, tag(2), 200);
    ledger.acknowledge(0, tag(1), 100);
    assert_eq!(ledger.acknowledged(), 2);
    assert_eq!(ledger.judge(0, Some(Some(tag(2)))), Verdict::Present);
    assert_eq!(ledger.judge(0, Some(Some(tag(1)))), Verdict::Missing);
    assert_eq!(ledger.judge(0, None), Verdict::Missing);
    assert_eq!(ledger.judge(0, Some(None)), Verdict::Foreign);
}

#[test]
fn ledger_accepts_both_outcomes_of_a_write_in_doubt() {
    let ledger = Ledger::default();
    ledger.acknowledge(0, tag(1), 100);
    ledger.doubt(0, tag(2));
    assert_eq!(ledger.judge(0, Some(Some(tag(1)))), Verdict::Present);
    assert_eq!(ledger.judge(0, Some(Some(tag(2)))), Verdict::Present);
    assert_eq!(ledger.judge(0, Some(Some(tag(3)))), Verdict::Missing);
}

#[test]
fn ledger_finds_a_value_that_nobody_wrote() {
    let ledger = Ledger::default();
    assert_eq!(ledger.judge(0, None), Verdict::Untouched);
    assert_eq!(ledger.judge(0, Some(Some(tag(1)))), Verdict::Foreign);
}

#[test]
fn ledger_that_follows_every_third_record_counts_all_and_judges_those() {
    let ledger = Ledger::following(3);
    for record in 0..50_000 {
        ledger.acknowledge(record, tag(record), record + 1);
    }
    ledger.doubt(1, tag(1));
    assert_eq!(ledger.acknowledged(), 50_000);
    for record in (0..50_000).step_by(3) {
        assert_eq!(ledger.judge(record, Some(Some(tag(record)))), Verdict::Present);
    }
    assert_eq!(ledger.judge(49_998, Some(Some(tag(1)))), Verdict::Missing);
    assert_eq!(ledger.judge(60_000, None), Verdict::Untouched);
}

#[test]
fn curve_stays_bounded_and_evenly_spaced_however_much_it_is_offered() {
    let mut curve = Curve::new(10);
    for sample in 0..1_000u64 {
        curve.push(sample);
    }
    let points = curve.into_points();
    assert!((5..=10).contains(&points.len()), "{points:?}");
    let step = points[1] - points[0];
    assert!(points.windows(2).all(|pair| pair[1] - pair[0] == step), "{points:?}");
    assert_eq!(points[0], 0);
}

#[test]
fn evenly_shows_both_ends_and_never_more_than_wanted() {
    let points: Vec<_> = (0..100).collect();
    assert_eq!(evenly(&points, 4), [&0, &33, &66, &99]);
    assert_eq!(evenly(&points[..3], 20), [&0, &1, &2]);
    assert!(evenly::<u8>(&[], 20).is_empty());
}

#[test]
fn spread_is_the_ends_and_the_middle() {
    let spread = Spread::of([3.0, 1.0, 8.0]).unwrap();
    assert_eq!((spread.min, spread.median, spread.max), (1.0, 3.0, 8.0));
    assert_eq!(Spread::of([]), None);
}
