use super::distribution::{Chooser, Distribution, fnv_hash64, zeta};
use super::record::{Shape, WriteTag};
use super::{Inserts, Mix, Operation, RecordsOfA, distinct, scan_rows};
use crate::random::Random;

const DRAWS: u64 = 400_000;

fn counts(distribution: Distribution, record_count: u64) -> Vec<u64> {
    let chooser = Chooser::new(distribution, record_count);
    let mut random = Random::new(7);
    let mut counts = vec![0; record_count as usize];
    for _ in 0..DRAWS {
        counts[chooser.draw(&mut random, record_count) as usize] += 1;
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
        (0..50).map(|_| chooser.draw(&mut random, 1_000)).collect::<Vec<_>>()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

fn shares(mix: Mix) -> [f64; 5] {
    let mut random = Random::new(11);
    let mut counts = [0u64; 5];
    for _ in 0..DRAWS {
        counts[mix.draw(&mut random) as usize] += 1;
    }
    counts.map(|count| count as f64 / DRAWS as f64)
}

#[test]
fn ycsb_mix_shares_match_the_canonical_definitions() {
    let expected = [
        (Mix::A, [0.50, 0.50, 0.0, 0.0, 0.0]),
        (Mix::B, [0.95, 0.05, 0.0, 0.0, 0.0]),
        (Mix::C, [1.0, 0.0, 0.0, 0.0, 0.0]),
        (Mix::D, [0.95, 0.0, 0.0, 0.05, 0.0]),
        (Mix::E, [0.0, 0.0, 0.0, 0.05, 0.95]),
        (Mix::F, [0.50, 0.0, 0.50, 0.0, 0.0]),
        (Mix::Commit, [0.0, 1.0, 0.0, 0.0, 0.0]),
    ];
    for (mix, wanted) in expected {
        for (found, wanted) in shares(mix).into_iter().zip(wanted) {
            assert!((found - wanted).abs() < 0.005, "{mix}: {found}, expected {wanted}");
        }
    }
    assert_eq!(Operation::Scan as usize, 4);
}

#[test]
fn zeta_equals_ycsb_and_the_plain_sum_for_known_counts() {
    assert!((zeta(10_000_000_000, 0.99) - 26.469_028_201_783_02).abs() < 1e-6);
    let plain: f64 = (1..=200_000).map(|i| f64::from(i).powf(-0.99)).sum();
    assert!((zeta(200_000, 0.99) / plain - 1.0).abs() < 1e-9);
    assert_eq!(zeta(1, 0.99), 1.0);
}

/// The newest record and its predecessors follow Zipf's law over the loaded count, and move with
/// the newest.
#[test]
fn latest_frequencies_follow_the_distance_from_the_newest_record() {
    let (loaded, existing) = (10_000, 10_700);
    let chooser = Chooser::growing(Distribution::Latest, loaded);
    let mut random = Random::new(7);
    let mut counts = vec![0u64; existing as usize];
    for _ in 0..DRAWS {
        counts[chooser.draw(&mut random, existing) as usize] += 1;
    }
    let sum = zeta(loaded, 0.99);
    for distance in [0u64, 1, 2, 4, 9] {
        let expected = DRAWS as f64 / ((distance + 1) as f64).powf(0.99) / sum;
        let found = counts[(existing - 1 - distance) as usize] as f64;
        let tolerance = if distance < 2 { 5.0 * expected.sqrt() } else { 0.25 * expected };
        assert!((found - expected).abs() < tolerance, "{distance}: {found}, expected {expected}");
    }
    assert!(counts[..700].iter().all(|&count| count == 0), "beyond the last rank");
}

#[test]
fn latest_draws_existing_records_for_very_few_of_them() {
    for loaded in 1..=4 {
        let chooser = Chooser::growing(Distribution::Latest, loaded);
        let mut random = Random::new(loaded);
        assert!((0..1_000).all(|_| chooser.draw(&mut random, loaded) < loaded));
    }
}

/// What is popular before records are added is popular afterwards.
#[test]
fn growing_zipfian_keeps_its_popular_records_and_draws_existing_ones_only() {
    let chooser = Chooser::growing(Distribution::Zipfian, 100_000);
    let popular = |existing: u64| {
        let mut random = Random::new(5);
        let mut counts = vec![0u64; 112_500];
        for _ in 0..DRAWS {
            counts[chooser.draw(&mut random, existing) as usize] += 1;
        }
        assert!(counts[existing as usize..].iter().all(|&count| count == 0));
        let mut records: Vec<_> = (0..counts.len()).collect();
        records.sort_by_key(|&record| std::cmp::Reverse(counts[record]));
        let old: Vec<_> = records.into_iter().filter(|&record| record < 100_000).take(5).collect();
        (old, counts[100_000..].iter().sum::<u64>())
    };
    let ((before, none), (after, added)) = (popular(100_000), popular(112_500));
    assert_eq!(before, after);
    assert_eq!(none, 0);
    assert!(added > 0, "added records are never chosen");
}

#[test]
fn scan_lengths_are_uniform_over_1_to_100() {
    let mut random = Random::new(3);
    let mut counts = [0u64; 101];
    for _ in 0..DRAWS {
        counts[scan_rows(&mut random)] += 1;
    }
    assert_eq!(counts[0], 0);
    let expected = DRAWS as f64 / 100.0;
    let chi: f64 = counts[1..].iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
    // 99 degrees of freedom: mean 99, standard deviation 14.1.
    assert!((50.0..160.0).contains(&chi), "chi-square {chi}");
}

#[test]
fn inserts_exist_once_no_earlier_one_is_on_its_way() {
    let inserts = Inserts::after(10);
    assert_eq!([inserts.take(), inserts.take(), inserts.take()], [10, 11, 12]);
    inserts.acknowledge(12);
    inserts.acknowledge(11);
    assert_eq!(inserts.existing(), 10);
    inserts.acknowledge(10);
    assert_eq!((inserts.existing(), inserts.taken()), (13, 13));
}

#[test]
fn boundaries_split_the_records_evenly_for_long_and_short_keys() {
    for key_len_bytes in [8, 24] {
        let shape = Shape { key_len_bytes, value_len_bytes: 16 };
        let boundaries = shape.boundaries(16);
        assert_eq!(boundaries.len(), 15);
        assert!(boundaries.is_sorted());
        let mut counts = [0u64; 16];
        for record in 0..100_000 {
            let key = shape.key(record);
            counts[boundaries.partition_point(|boundary| *boundary <= key)] += 1;
        }
        let even = counts.iter().all(|count| (4_500..8_000).contains(count));
        assert!(even, "{key_len_bytes}: {counts:?}");
    }
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

#[test]
fn transaction_of_a_has_four_different_records_that_follow_the_distribution() {
    let records = 1_000_003;
    let chooser = Chooser::new(Distribution::Zipfian, records);
    let mut random = Random::new(3);
    let hottest = fnv_hash64(0) % records;
    let (mut reads, mut updates) = (0, 0);
    for _ in 0..DRAWS / 4 {
        let RecordsOfA { reads: [a, b], updates: [c, d] } =
            RecordsOfA::draw(&chooser, &mut random, records);
        let all = std::collections::BTreeSet::from([a, b, c, d]);
        assert!(all.len() == 4 && all.iter().all(|record| *record < records));
        reads += u64::from(a == hottest || b == hottest);
        updates += u64::from(c == hottest || d == hottest);
    }
    // Each of two draws has the hottest record with probability 1 / zeta = 0.0378.
    let expected = (DRAWS / 4) as f64 * 2.0 / 26.469_028_201_783_02;
    for found in [reads, updates] {
        assert!((found as f64 / expected - 1.0).abs() < 0.1, "{found}, expected {expected}");
    }
}

#[test]
fn distinct_draws_end_even_when_one_record_is_all_that_is_drawn() {
    assert_eq!(distinct::<4>(4, || 2), [2, 3, 0, 1]);
}
