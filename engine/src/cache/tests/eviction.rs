use super::*;
use crate::limits::CACHE_PINNED_SKIPS_MAX;

async fn touch(cache: &TestCache, page: PageRef) {
    assert_eq!(version_of(&fetch(cache, page).await.expect("read")), 1);
}

#[test]
fn budget_holds_and_full_cache_evicts() {
    simulate(1, |shard, disk| async move {
        let cache = cache(&shard, &disk, 10);
        for page in disk.leaves(1..101) {
            touch(&cache, page).await;
            assert!(cache.resident_bytes() <= 10 * FRAME_BYTES);
            cache.check();
        }
        assert_eq!(cache.counters().evictions, 90);
        assert_eq!(cache.counters().unframed, 0);
    });
}

/// A hot set of half the cache is used at random while a scan reads ten times the cache, each
/// page fetched once after it was read ahead.
#[test]
fn scan_of_ten_times_the_cache_leaves_the_hot_set_alone() {
    const FRAMES: u64 = 400;
    const HOT: u64 = FRAMES / 2;
    simulate(2, |shard, disk| async move {
        let cache = cache(&shard, &disk, FRAMES);
        disk.0.latency_us_max.set(1);
        let hot = disk.leaves(1..HOT + 1);
        let mut accesses = 0;
        for _ in 0..6 * HOT {
            touch(&cache, hot[(shard.random_u64() % HOT) as usize]).await;
        }
        let scanned = disk.leaves(10_000..10_000 + 10 * FRAMES);
        let (mut hot_accesses, mut hot_hits) = (0u64, 0u64);
        for (index, page) in scanned.iter().enumerate() {
            if index % 8 == 0 {
                let ahead = (index + 16).min(scanned.len());
                cache.prefetch(&scanned[index..ahead], owner(0), IoClass::Read);
            }
            touch(&cache, *page).await;
            accesses += 1;
            if accesses % 2 == 0 {
                let page = hot[(shard.random_u64() % HOT) as usize];
                hot_hits += u64::from(cache.get(page, &owner(0)).is_some());
                hot_accesses += 1;
                touch(&cache, page).await;
            }
        }
        cache.check();
        let permille = hot_hits * 1000 / hot_accesses;
        assert!(permille >= 990, "{permille} ‰ of {hot_accesses} accesses to the hot set hit");
    });
}

#[test]
fn inner_nodes_stay_while_leaves_pass() {
    simulate(3, |shard, disk| async move {
        let cache = cache(&shard, &disk, 40);
        disk.0.latency_us_max.set(1);
        let inner: Vec<_> = (1..11).map(|number| disk.write(number, 1, 1)).collect();
        let leaves = disk.leaves(100..1100);
        for (index, leaf) in leaves.iter().enumerate() {
            // Each inner node is used once in a hundred leaves, less often than a cache is full.
            touch(&cache, inner[index / 10 % 10]).await;
            touch(&cache, *leaf).await;
            touch(&cache, *leaf).await;
            touch(&cache, *leaf).await;
        }
        let counters = cache.counters();
        assert_eq!(counters.misses, 10 + 1000, "every inner node was read once");
    });
}

#[test]
fn page_that_comes_back_soon_gets_into_the_main_queue() {
    simulate(4, |shard, disk| async move {
        let cache = cache(&shard, &disk, 20);
        let pages = disk.leaves(1..200);
        for page in &pages[..21] {
            touch(&cache, *page).await;
        }
        assert!(cache.get(pages[0], &owner(0)).is_none(), "it was the first to go");
        touch(&cache, pages[0]).await;
        for page in &pages[21..] {
            touch(&cache, *page).await;
        }
        assert!(cache.get(pages[0], &owner(0)).is_some());
    });
}

#[test]
fn pages_that_readers_hold_are_never_evicted_and_fetches_go_on_without_frames() {
    simulate(5, |shard, disk| async move {
        let cache = cache(&shard, &disk, 8);
        let pages = disk.leaves(1..21);
        let mut held = Vec::new();
        for page in &pages {
            held.push(fetch(&cache, *page).await.expect("read"));
            assert!(cache.resident_bytes() <= 8 * FRAME_BYTES);
        }
        assert_eq!(cache.counters().unframed, 12);
        assert_eq!(cache.counters().evictions, 0);
        assert!(held.iter().zip(&pages).all(|(page, reference)| page.is(*reference, &owner(0))));
        held.iter().for_each(|page| assert_eq!(version_of(page), 1));
        assert!(cache.get(pages[7], &owner(0)).is_some());
        assert!(cache.get(pages[8], &owner(0)).is_none());
        held.clear();
        touch(&cache, pages[8]).await;
        assert!(cache.get(pages[8], &owner(0)).is_some());
        cache.check();
    });
}

#[test]
fn eviction_looks_past_pages_that_readers_hold() {
    simulate(6, |shard, disk| async move {
        let frames = CACHE_PINNED_SKIPS_MAX as u64;
        let cache = cache(&shard, &disk, frames);
        let pages = disk.leaves(1..frames + 2);
        let mut held = Vec::new();
        for page in &pages[..frames as usize] {
            held.push(fetch(&cache, *page).await.expect("read"));
        }
        let free = held.swap_remove(frames as usize - 2).reference();
        touch(&cache, pages[frames as usize]).await;
        assert!(cache.get(free, &owner(0)).is_none());
        assert_eq!((cache.counters().evictions, cache.counters().unframed), (1, 0));
    });
}

#[test]
fn smaller_budget_holds_at_once_and_a_larger_one_is_used() {
    simulate(7, |shard, disk| async move {
        let cache = cache(&shard, &disk, 20);
        let pages = disk.leaves(1..41);
        for page in &pages {
            touch(&cache, *page).await;
        }
        assert_eq!(cache.resident_bytes(), 20 * FRAME_BYTES);
        cache.set_budget(5 * FRAME_BYTES + 1);
        assert_eq!(cache.resident_bytes(), 5 * FRAME_BYTES);
        cache.check();
        cache.set_budget(30 * FRAME_BYTES);
        for page in &pages {
            touch(&cache, *page).await;
        }
        // Beyond the pool, too, where buffers come from the heap or from other pages.
        assert!(cache.resident_bytes() >= 20 * FRAME_BYTES);
        cache.check();
        cache.set_budget(0);
        assert_eq!(cache.resident_bytes(), 0);
        touch(&cache, pages[0]).await;
        assert_eq!(cache.resident_bytes(), 0);
    });
}

#[test]
fn inserted_page_is_resident_and_counts() {
    simulate(8, |shard, disk| async move {
        let cache = cache(&shard, &disk, 4);
        for number in 1..20 {
            let mut buf = cache.page_buffer();
            assert!(buf.iter().all(|byte| *byte == 0));
            let page = seal(&mut buf, addr(number), 0, 3);
            assert_eq!(version_of(&cache.insert(page, buf)), 3);
            assert!(cache.get(page, &owner(0)).is_some());
            assert!(cache.resident_bytes() <= 4 * FRAME_BYTES);
            cache.check();
        }
        assert_eq!(disk.reads(), 0);
    });
}
