use super::distribution::{Chooser, Distribution, fnv_hash64};
use super::record::{Shape, WriteTag};
use super::{Mix, Operation};
use crate::random::Random;

const DRAWS: u64 = 400_000;

fn counts(distribution: Distribution, record_count: u64) -> Vec<u64> {
    let chooser = Chooser::new(distribution, record_count);
    let mut random = Random::new(7);
    let mut counts = vec![0; record_count as usize];
    for _ in 0..DRAWS {
        counts[chooser.draw(&mut random) as usize] += 1;
    }
    counts
}

#[test]
fn fnv_hash_equals_ycsb_for_known_numbers() {
    assert_eq!(fnv_hash64(0), 6_284_781_860_667_377_211);
    assert_eq!(fnv_hash64(1), 8_517_097_267_634_966_620);
    assert_eq!(fnv_hash64(123_456_789), 2_350_796_791_908_741_607);
}

/// The first ranks follow 1 / (rank^0.99 × zeta) to within five standard deviations.
#[test]
fn zipfian_frequencies_follow_theory_for_the_first_ranks() {
    // So many records that two of the first ten ranks, or a tail worth seeing, share none.
    let records = 1_000_003;
    let counts = counts(Distribution::Zipfian, records);
    for rank in [0u64, 1, 2, 3, 4, 9] {
        let share = 1.0 / ((rank + 1) as f64).powf(0.99) / 26.469_028_201_783_02;
        let expected = share * DRAWS as f64;
        let found = counts[(fnv_hash64(rank) % records) as usize] as f64;
        // The generator is exact for ranks 0 and 1 and a continuous approximation above.
        let tolerance = if rank < 2 { 5.0 * expected.sqrt() } else { 0.25 * expected };
        assert!((found - expected).abs() < tolerance, "rank {rank}: {found}, expected {expected}");
    }
}

#[test]
fn zipfian_popular_records_lie_scattered_over_the_key_space() {
    let records = 10_000;
    let counts = counts(Distribution::Zipfian, records);
    let lower: u64 = counts[..5_000].iter().sum();
    let share = lower as f64 / DRAWS as f64;
    assert!((0.35..0.65).contains(&share), "the lower half of the records gets {share}");
}

#[test]
fn uniform_frequencies_pass_a_chi_square_test_over_1000_records() {
    let counts = counts(Distribution::Uniform, 1_000);
    let expected = DRAWS as f64 / 1_000.0;
    let chi: f64 = counts.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
    // 999 degrees of freedom: mean 999, standard deviation 44.7.
    assert!((800.0..1_200.0).contains(&chi), "chi-square {chi}");
}

#[test]
fn chooser_repeats_its_draws_for_the_same_seed() {
    let chooser = Chooser::new(Distribution::Zipfian, 1_000);
    let draw = |seed| {
        let mut random = Random::for_client(seed, 3);
        (0..50).map(|_| chooser.draw(&mut random)).collect::<Vec<_>>()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

fn shares(mix: Mix) -> [f64; 3] {
    let mut random = Random::new(11);
    let mut counts = [0u64; 3];
    for _ in 0..DRAWS {
        counts[mix.draw(&mut random) as usize] += 1;
    }
    counts.map(|count| count as f64 / DRAWS as f64)
}

#[test]
fn ycsb_mix_shares_match_the_canonical_definitions() {
    let expected = [
        (Mix::A, [0.50, 0.50, 0.0]),
        (Mix::B, [0.95, 0.05, 0.0]),
        (Mix::C, [1.0, 0.0, 0.0]),
        (Mix::F, [0.50, 0.0, 0.50]),
        (Mix::Commit, [0.0, 1.0, 0.0]),
    ];
    for (mix, wanted) in expected {
        for (found, wanted) in shares(mix).into_iter().zip(wanted) {
            assert!((found - wanted).abs() < 0.005, "{mix}: {found}, expected {wanted}");
        }
    }
    assert_eq!(Operation::ReadModifyWrite as usize, 2);
}

#[test]
fn key_is_user_and_20_digits_for_24_bytes() {
    let shape = Shape { key_len_bytes: 24, value_len_bytes: 100 };
    assert_eq!(shape.key(0), b"user06284781860667377211");
}

#[test]
fn key_has_its_length_and_is_unique_for_short_and_long_keys() {
    for key_len_bytes in [8, 16, 22, 23, 24, 40, 1_000] {
        let shape = Shape { key_len_bytes, value_len_bytes: 16 };
        let keys: std::collections::BTreeSet<_> = (0..1_000).map(|n| shape.key(n)).collect();
        assert_eq!(keys.len(), 1_000, "{key_len_bytes}");
        assert!(keys.iter().all(|key| key.len() == key_len_bytes), "{key_len_bytes}");
    }
}

#[test]
fn value_names_its_write_unless_one_byte_differs() {
    let shape = Shape { key_len_bytes: 24, value_len_bytes: 37 };
    let tag = WriteTag::new(5, 77);
    let mut value = shape.value(9, tag);
    assert_eq!(shape.tag_of(&value, 9), Some(tag));
    assert_eq!(shape.tag_of(&value, 8), None);
    assert_eq!(shape.tag_of(&value[..36], 9), None);
    for at in 0..value.len() {
        value[at] ^= 1;
        assert_ne!(shape.tag_of(&value, 9), Some(tag), "byte {at}");
        value[at] ^= 1;
    }
}
