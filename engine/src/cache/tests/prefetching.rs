use super::*;
use crate::limits::CACHE_PREFETCHES_MAX;

#[test]
fn prefetched_pages_are_read_together_and_fetched_without_a_further_read() {
    for seed in 0..10 {
        simulate(seed, |shard, disk| async move {
            let cache = cache(&shard, &disk, 400);
            let pages = disk.leaves(1..31);
            cache.prefetch(&pages, owner(0), IoClass::Merge);
            assert_eq!(disk.reads(), 30);
            cache.prefetch(&pages, owner(0), IoClass::Merge);
            // One while it is on its way, the others when they are there.
            assert!(fetch(&cache, pages[20]).await.is_ok());
            shard.sleep(Duration::from_millis(1)).await;
            for page in &pages {
                assert!(cache.get(*page, &owner(0)).is_some());
            }
            assert_eq!((disk.reads(), cache.counters().prefetches), (30, 30));
            cache.check();
        });
    }
}

#[test]
fn prefetch_leaves_out_what_is_beyond_its_limits() {
    simulate(1, |shard, disk| async move {
        let large = cache(&shard, &disk, 100 * CACHE_PREFETCHES_MAX as u64);
        let pages = disk.leaves(1..10 + CACHE_PREFETCHES_MAX as u64);
        large.prefetch(&pages, owner(0), IoClass::Read);
        assert_eq!(disk.reads(), CACHE_PREFETCHES_MAX as u64);
        shard.sleep(Duration::from_millis(1)).await;
        large.prefetch(&pages, owner(0), IoClass::Read);
        assert_eq!(disk.reads(), pages.len() as u64, "the rest fits now");

        let small = cache(&shard, &disk, 50);
        let before = disk.reads();
        small.prefetch(&pages, owner(0), IoClass::Read);
        assert!((4..=5).contains(&(disk.reads() - before)), "a tenth of the cache");
    });
}

#[test]
fn prefetch_without_room_does_nothing() {
    simulate(2, |shard, disk| async move {
        let cache = cache(&shard, &disk, 3);
        let pages = disk.leaves(1..7);
        let mut held = Vec::new();
        for page in &pages[..3] {
            held.push(fetch(&cache, *page).await.expect("read"));
        }
        cache.prefetch(&pages[3..], owner(0), IoClass::Read);
        assert_eq!((disk.reads(), cache.counters().prefetches), (3, 0));
        cache.check();
    });
}

#[test]
fn failed_prefetch_is_forgotten_and_the_fetch_reads_again() {
    simulate(3, |shard, disk| async move {
        let cache = cache(&shard, &disk, 100);
        let pages = disk.leaves(1..4);
        disk.0.failing.set(3);
        cache.prefetch(&pages, owner(0), IoClass::Read);
        shard.sleep(Duration::from_millis(1)).await;
        assert_eq!((disk.reads(), cache.resident_bytes()), (3, 0));
        for page in &pages {
            assert!(fetch(&cache, *page).await.is_ok());
        }
        cache.check();
    });
}

/// What is left of a read-ahead when the shard stops must not outlive it.
#[test]
fn prefetch_on_its_way_ends_with_its_world() {
    simulate(4, |shard, disk| async move {
        let cache = cache(&shard, &disk, 100);
        disk.0.latency_us_max.set(1_000_000_000);
        cache.prefetch(&disk.leaves(1..9), owner(0), IoClass::Merge);
        shard.sleep(Duration::from_micros(10)).await;
    });
}
