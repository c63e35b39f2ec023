use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn keyspace(routing: Routing) -> Keyspace {
    routing.validate().expect("a valid routing");
    Keyspace::new(KeyspaceDef {
        id: KeyspaceId::new(3),
        name: "k".to_owned(),
        routing,
        created_lsn: Lsn::ZERO,
    })
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0_u8), Just(b'a'), Just(b'b'), Just(0xFF), any::<u8>()], 1..12)
}

proptest! {
    #[test]
    fn range_tablets_partition_the_keys_at_their_boundaries(
        boundaries in prop::collection::btree_set(key(), 0..12),
        keys in vec(key(), 1..60),
    ) {
        let boundaries: Vec<Vec<u8>> = boundaries.into_iter().collect();
        let keyspace = keyspace(Routing::range_split(boundaries.clone()));
        for key in keys.iter().chain(&boundaries) {
            let place = keyspace.place(key);
            let index = place.tablet.index as usize;
            prop_assert_eq!(place.window_key.as_ref(), key.as_slice());
            prop_assert!(index < keyspace.tablet_count() as usize);
            prop_assert!(index == 0 || boundaries[index - 1] <= *key);
            prop_assert!(index == boundaries.len() || *key < boundaries[index]);
        }
    }

    #[test]
    fn range_tablets_between_cover_every_key_of_the_range(
        boundaries in prop::collection::btree_set(key(), 0..12),
        from in key(),
        to in key(),
        keys in vec(key(), 1..40),
    ) {
        let keyspace = keyspace(Routing::range_split(boundaries));
        let (first, last) = keyspace.tablets_between(Some(&from), Some(&to));
        for key in keys.iter().filter(|key| (&from..=&to).contains(key)) {
            let index = keyspace.place(key).tablet.index;
            prop_assert!((first..=last).contains(&index), "{:?} in {}", key, index);
        }
        prop_assert_eq!(keyspace.tablets_between(None, None), (0, keyspace.tablet_count() - 1));
    }

    #[test]
    fn hash_tablets_order_windows_by_hash_then_key_and_share_no_hash(
        tablets in 1..40_u32,
        prefix_len in 1..6_u16,
        keys in vec(key(), 2..60),
    ) {
        let keyspace = keyspace(Routing::hash_tablets(prefix_len, tablets));
        let mut places: Vec<Place> = keys.iter().map(|key| keyspace.place(key)).collect();
        for (place, key) in places.iter().zip(&keys) {
            prop_assert!(place.tablet.index < tablets);
            prop_assert_eq!(&place.window_key[HASH_BYTES..], key.as_slice());
        }
        places.sort_by(|a, b| a.window_key.cmp(&b.window_key));
        let rising = places.windows(2).all(|pair| pair[0].tablet.index <= pair[1].tablet.index);
        prop_assert!(rising, "tablets are ranges of rising hashes");
    }

    #[test]
    fn hash_prefix_keeps_all_its_keys_on_one_tablet_and_under_one_hash(
        prefix in vec(any::<u8>(), 4),
        tails in vec(vec(any::<u8>(), 0..9), 1..20),
    ) {
        let keyspace = keyspace(Routing::hash_tablets(4, 64));
        let under = keyspace.prefix_place(&prefix).expect("the whole prefix is there");
        for tail in tails {
            let place = keyspace.place(&[prefix.as_slice(), &tail].concat());
            prop_assert_eq!(place.tablet, under.tablet);
            prop_assert!(place.window_key.starts_with(&under.window_key));
        }
        prop_assert_eq!(keyspace.prefix_place(&prefix[..3]), None, "shorter than it routes by");
    }
}

/// Stores on disk route by these numbers: they never change.
#[test]
fn hash_routing_of_known_keys_never_changes() {
    let known: [(&[u8], u64); 3] = [
        (b"", 0x2d06_8005_38d3_94c2),
        (b"a", 0xe6c6_32b6_1e96_4e1f),
        (b"abc", 0x78af_5f94_892f_3950),
    ];
    for (key, expected) in known {
        let found = routing_hash(key, u16::MAX);
        assert_eq!(found, expected, "{key:?}: found {found:#018x}");
    }
    assert_eq!(routing_hash(b"abcdef", 3), routing_hash(b"abc", 3), "only the prefix counts");
    assert_eq!(routing_hash(b"ab", 3), routing_hash(b"ab", 2), "a shorter key hashes whole");
    let keyspace = keyspace(Routing::hash_tablets(8, 16));
    assert_eq!(keyspace.place(b"abc").tablet.index, 7, "the first four bits of its hash");
    assert_eq!(keyspace.place(b"a").tablet.index, 14);
    let mut window_key = 0x78af_5f94_892f_3950_u64.to_be_bytes().to_vec();
    window_key.extend_from_slice(b"abc");
    assert_eq!(keyspace.place(b"abc").window_key.as_ref(), window_key);
}

#[test]
fn hash_index_covers_the_hash_space_evenly_from_end_to_end() {
    for tablets in [1, 2, 3, 16, 1000, 1024] {
        assert_eq!(hash_index(0, tablets), 0);
        assert_eq!(hash_index(u64::MAX, tablets), tablets - 1);
        let ends = (1..u64::from(tablets)).map(|index| {
            // The first hash of a tablet, and the last of the one before it.
            let first = ((u128::from(index) << 64).div_ceil(u128::from(tablets))) as u64;
            (index as u32, first)
        });
        for (index, first) in ends {
            assert_eq!(hash_index(first, tablets), index);
            assert_eq!(hash_index(first - 1, tablets), index - 1);
        }
    }
}

#[test]
fn hash_spreads_rising_keys_over_all_tablets_and_shards() {
    let keyspace = keyspace(Routing::hash_tablets(8, 16));
    let mut per_tablet = [0_u32; 16];
    let mut per_shard = [0_u32; 4];
    for number in 0..16_000_u64 {
        let tablet = keyspace.place(&number.to_be_bytes()).tablet;
        per_tablet[tablet.index as usize] += 1;
        per_shard[keyspace.owner(tablet, 4).index()] += 1;
    }
    // 1,000 expected, standard deviation 31.
    assert!(per_tablet.iter().all(|count| (800..1200).contains(count)), "{per_tablet:?}");
    assert!(per_shard.iter().all(|count| (3600..4400).contains(count)), "{per_shard:?}");
    // Negative control: by one constant prefix everything lies on one tablet.
    let by_prefix = self::keyspace(Routing::hash_tablets(4, 16));
    let tablets: BTreeSet<u32> =
        (0..1000_u64).map(|n| by_prefix.place(&n.to_be_bytes()).tablet.index).collect();
    assert_eq!(tablets.len(), 1);
}

#[test]
fn tablets_go_round_the_shards_so_that_every_shard_owns_its_part() {
    let keyspace = keyspace(Routing::hash_tablets(8, 16));
    for shards in 1..9 {
        let mut owned = vec![0; shards];
        keyspace.tablets().for_each(|tablet| owned[keyspace.owner(tablet, shards).index()] += 1);
        let most = 16_usize.div_ceil(shards);
        assert!(owned.iter().all(|&count| (most - 1..=most).contains(&count)), "{owned:?}");
    }
}

#[test]
fn router_never_gives_an_id_again_after_a_drop() {
    let mut router = Router::default();
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        let id = router.next_id();
        assert!(seen.insert(id));
        let (name, routing) = (format!("k{}", id.as_u32()), Routing::range());
        router.insert(Keyspace::new(KeyspaceDef {
            id,
            name: name.clone(),
            routing,
            created_lsn: Lsn::ZERO,
        }));
        assert_eq!(router.by_name(&name).map(Keyspace::id), Some(id));
        router.remove(id);
        assert!(router.get(id).is_none() && router.by_name(&name).is_none());
    }
    assert_eq!(router.len(), 0);
}

#[test]
fn router_tells_older_keyspaces_of_a_name_that_a_newer_one_has() {
    let mut router = Router::default();
    for (id, name) in [(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, "a")] {
        let (id, name, routing) = (KeyspaceId::new(id), name.to_owned(), Routing::range());
        router.insert(Keyspace::new(KeyspaceDef { id, name, routing, created_lsn: Lsn::ZERO }));
    }
    let older: Vec<u32> = router.older_namesakes().iter().map(|k| k.id().as_u32()).collect();
    assert_eq!(older, [1, 3]);
    older.into_iter().for_each(|id| router.remove(KeyspaceId::new(id)));
    assert_eq!(router.by_name("a").map(|k| k.id().as_u32()), Some(5));
    assert!(router.older_namesakes().is_empty());
}

#[test]
fn sampled_boundaries_split_keys_like_the_sample_evenly_whatever_its_order() {
    // Dense at the low end: even steps of the key space would be far off.
    let key = |number: u64| (number * number).to_be_bytes();
    let sample = (0..10_000).map(|number| key((number * 7_919) % 10_000).to_vec());
    let keyspace = keyspace(Routing::range_sampled(sample, 8));
    assert_eq!(keyspace.tablet_count(), 8);
    assert_eq!(keyspace.routing().validate(), Ok(()));
    let mut held = [0_u32; 8];
    (0..10_000).for_each(|n| held[keyspace.place(&key(n)).tablet.index as usize] += 1);
    assert!(held.iter().all(|&keys| (1_200..1_300).contains(&keys)), "{held:?}");
    let of_few = Routing::range_sampled(["b", "a", "b", "", "b"], 8);
    assert_eq!(of_few, Routing::range_split(["a", "b"]));
    assert_eq!(Routing::range_sampled(Vec::<Vec<u8>>::new(), 8), Routing::range());
}
