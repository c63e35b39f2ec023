use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

#[test]
fn resident_page_is_the_same_memory_for_everybody() {
    simulate(1, |shard, disk| async move {
        let cache = cache(&shard, &disk, 4);
        let page = disk.write(5, 0, 9);
        assert!(cache.get(page, &owner(0)).is_none());
        let first = fetch(&cache, page).await.expect("read");
        let second = cache.get(page, &owner(0)).expect("resident");
        let third = fetch(&cache, page).await.expect("resident");
        assert_eq!(version_of(&first), 9);
        assert!(first.as_ptr() == second.as_ptr() && first.as_ptr() == third.as_ptr());
        let expected = CacheCounters { hits: 2, misses: 1, reads: 1, ..Default::default() };
        assert_eq!(cache.counters(), expected);
        assert_eq!(cache.resident_bytes(), FRAME_BYTES);
    });
}

#[test]
fn concurrent_fetches_of_a_page_share_one_read() {
    for seed in 0..20 {
        simulate(seed, |shard, disk| async move {
            let cache = cache(&shard, &disk, 4);
            let page = disk.write(5, 0, 9);
            let fetches = (0..50).map(|_| fetch(&cache, page)).collect();
            for found in join_all(fetches).await {
                assert_eq!(version_of(&found.expect("read")), 9);
            }
            assert_eq!((disk.reads(), cache.counters().misses), (1, 50));
            cache.check();
        });
    }
}

#[test]
fn waiters_in_tasks_of_their_own_are_all_woken() {
    for seed in 0..20 {
        simulate(seed, |shard, disk| async move {
            let cache = cache(&shard, &disk, 4);
            let page = disk.write(5, 0, 9);
            let served = Rc::new(Cell::new(0));
            for _ in 0..10 {
                let (fetch, served) = (fetch(&cache, page), Rc::clone(&served));
                shard.spawn(TaskSpec::new("waiter", TaskClass::Foreground), async move {
                    assert_eq!(version_of(&fetch.await.expect("read")), 9);
                    served.set(served.get() + 1);
                });
                shard.yield_now().await;
            }
            shard.sleep(Duration::from_millis(1)).await;
            assert_eq!((served.get(), disk.reads()), (10, 1));
        });
    }
}

#[test]
fn error_reaches_every_waiter_and_is_not_kept() {
    simulate(2, |shard, disk| async move {
        let cache = cache(&shard, &disk, 4);
        let page = disk.write(5, 0, 9);
        disk.0.failing.set(1);
        let fetches = (0..10).map(|_| fetch(&cache, page)).collect();
        for found in join_all(fetches).await {
            assert_eq!(found.err(), Some(ReadError::Device));
        }
        assert_eq!((disk.reads(), cache.resident_bytes()), (1, 0));
        cache.check();
        assert!(fetch(&cache, page).await.is_ok());
        assert_eq!(disk.reads(), 2);
    });
}

#[test]
fn dropped_waiter_takes_nothing_from_the_others() {
    for seed in 0..20 {
        simulate(seed, |shard, disk| async move {
            let cache = cache(&shard, &disk, 4);
            let page = disk.write(5, 0, 9);
            let dropped = shard.random_u64() as usize % 4;
            let mut fetches: Vec<_> = (0..4).map(|_| fetch(&cache, page)).collect();
            let polled = 1 + shard.random_u64() as usize % 4;
            for fetch in &mut fetches[..polled] {
                assert!(poll_once(fetch).is_pending());
            }
            // The others wait in a task of their own, so only a wake-up gets them on.
            let first = fetches.swap_remove(dropped);
            let served = Rc::new(Cell::new(0));
            let counter = Rc::clone(&served);
            shard.spawn(TaskSpec::new("waiters", TaskClass::Foreground), async move {
                counter.set(join_all(fetches).await.iter().flatten().count());
            });
            shard.yield_now().await;
            drop(first);
            shard.sleep(Duration::from_millis(1)).await;
            assert_eq!((served.get(), disk.reads()), (3, 1), "waiter {dropped}");
            cache.check();
        });
    }
}

/// One that is dropped drives the read at that moment; the others have been polled before it.
#[test]
fn read_goes_on_when_its_driver_is_dropped() {
    simulate(3, |shard, disk| async move {
        let cache = cache(&shard, &disk, 4);
        let page = disk.write(5, 0, 9);
        let other = fetch(&cache, page);
        let served = Rc::new(Cell::new(false));
        let flag = Rc::clone(&served);
        shard.spawn(TaskSpec::new("waiter", TaskClass::Foreground), async move {
            flag.set(other.await.is_ok());
        });
        shard.yield_now().await;
        shard.yield_now().await;
        let mut driver = fetch(&cache, page);
        assert!(poll_once(&mut driver).is_pending());
        drop(driver);
        shard.sleep(Duration::from_millis(1)).await;
        assert!(served.get() && disk.reads() == 1);
    });
}

/// The one that finds the read ended has never waited for it; nobody else is told by the disk.
#[test]
fn waiters_are_woken_by_whoever_finds_the_read_ended() {
    simulate(10, |shard, disk| async move {
        let cache = cache(&shard, &disk, 4);
        let page = disk.write(5, 0, 9);
        disk.0.latency_us_max.set(500);
        let (waits, served) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let (waiter, flags) = (fetch(&cache, page), (Rc::clone(&waits), Rc::clone(&served)));
        shard.spawn(TaskSpec::new("waiter", TaskClass::Foreground), async move {
            flags.0.set(true);
            flags.1.set(waiter.await.is_ok());
        });
        while !waits.get() {
            shard.yield_now().await;
        }
        // Each takes the read over without listening, and passes one of its two pauses.
        let mut silent = [fetch(&cache, page), fetch(&cache, page)];
        for fetch in &mut silent {
            assert!(poll_once(fetch).is_pending());
            shard.sleep(Duration::from_millis(1)).await;
        }
        assert!(!served.get());
        assert!(poll_once(&mut fetch(&cache, page)).is_ready());
        shard.sleep(Duration::from_millis(1)).await;
        assert!(served.get() && disk.reads() == 1);
        drop(silent);
    });
}

/// A reference to what an address does not hold must not spoil the read of what it holds.
#[test]
fn reads_of_one_address_under_two_checksums_do_not_mix() {
    simulate(11, |shard, disk| async move {
        let cache = cache(&shard, &disk, 4);
        let page = disk.write(5, 0, 9);
        let wrong = PageRef { crc: page.crc ^ 1, ..page };
        let mut fetches: Vec<_> =
            [page, wrong, page, wrong].into_iter().map(|page| fetch(&cache, page)).collect();
        fetches.iter_mut().for_each(|fetch| assert!(poll_once(fetch).is_pending()));
        let found = join_all(fetches).await;
        let served: Vec<_> = found.iter().map(Result::is_ok).collect();
        assert_eq!(served, [true, false, true, false]);
        cache.check();
        cache.set_budget(0);
        assert_eq!(cache.resident_bytes(), 0);
    });
}

#[test]
fn read_that_nobody_waits_for_is_given_up() {
    simulate(4, |shard, disk| async move {
        let cache = cache(&shard, &disk, 4);
        let page = disk.write(5, 0, 9);
        let mut fetches = [fetch(&cache, page), fetch(&cache, page)];
        assert!(fetches.iter_mut().all(|fetch| poll_once(fetch).is_pending()));
        assert_eq!(cache.resident_bytes(), FRAME_BYTES);
        drop(fetches);
        assert_eq!(cache.resident_bytes(), 0);
        drop(fetch(&cache, page));
        cache.check();
        assert!(fetch(&cache, page).await.is_ok());
        assert_eq!(disk.reads(), 3);
    });
}

#[test]
fn panic_in_a_read_leaves_no_waiter_behind() {
    simulate(5, |shard, disk| async move {
        let cache = cache(&shard, &disk, 4);
        let page = disk.write(5, 0, 9);
        disk.0.panicking.set(1);
        disk.0.latency_us_max.set(0);
        let other = fetch(&cache, page);
        let served = Rc::new(Cell::new(false));
        let flag = Rc::clone(&served);
        let mut victim = fetch(&cache, page);
        while catch_unwind(AssertUnwindSafe(|| poll_once(&mut victim))).is_ok() {
            shard.yield_now().await;
        }
        shard.spawn(TaskSpec::new("waiter", TaskClass::Foreground), async move {
            flag.set(other.await.is_ok());
        });
        shard.sleep(Duration::from_millis(1)).await;
        assert!(served.get() && disk.reads() == 2);
        drop(victim);
        cache.check();
    });
}

#[test]
fn page_under_another_checksum_is_never_found() {
    simulate(6, |shard, disk| async move {
        let cache = cache(&shard, &disk, 4);
        let old = disk.write(5, 0, 1);
        let held = fetch(&cache, old).await.expect("read");
        let new = disk.write(5, 0, 2);
        assert!(cache.get(new, &owner(0)).is_none(), "not even without being told");
        cache.forget(addr(5));
        assert!(cache.get(old, &owner(0)).is_none());
        assert_eq!(cache.resident_bytes(), 0);
        assert_eq!(version_of(&fetch(&cache, new).await.expect("read")), 2);
        assert_eq!(version_of(&held), 1, "a reader keeps what it holds");
        let error = fetch(&cache, old).await.err();
        assert!(matches!(error, Some(ReadError::Damaged(PageError::Reference { .. }))));
        assert!(cache.get(new, &owner(0)).is_some(), "a failed read of the old one costs nothing");
    });
}

#[test]
fn page_is_found_for_its_owner_only() {
    simulate(7, |shard, disk| async move {
        let cache = cache(&shard, &disk, 4);
        let page = disk.write(5, 0, 1);
        fetch(&cache, page).await.expect("read");
        assert!(cache.get(page, &owner(1)).is_none());
        let error = cache.fetch(page, owner(1), IoClass::Read).await.err();
        assert!(matches!(error, Some(ReadError::Damaged(PageError::Tablet { .. }))));
        assert!(cache.get(page, &owner(0)).is_some());
    });
}

/// The read has the old bytes, the address is given away and written, then the read ends.
#[test]
fn read_that_began_before_its_address_was_released_is_not_taken_in() {
    simulate(8, |shard, disk| async move {
        let cache = cache(&shard, &disk, 4);
        let old = disk.write(5, 0, 1);
        let mut reading = fetch(&cache, old);
        assert!(poll_once(&mut reading).is_pending());
        cache.forget(addr(5));
        assert_eq!(version_of(&reading.await.expect("still there")), 1);
        assert!(cache.get(old, &owner(0)).is_none());

        let mut reading = fetch(&cache, old);
        assert!(poll_once(&mut reading).is_pending());
        let mut buf = cache.page_buffer();
        let new = seal(&mut buf, addr(5), 0, 2);
        assert_eq!(version_of(&cache.insert(new, buf)), 2);
        assert!(reading.await.is_ok());
        assert!(cache.get(new, &owner(0)).is_some() && cache.get(old, &owner(0)).is_none());
        cache.check();
    });
}

#[test]
fn page_that_contradicts_its_reference_is_not_inserted() {
    simulate(9, |shard, disk| async move {
        let cache = cache(&shard, &disk, 4);
        let mut buf = cache.page_buffer();
        let page = seal(&mut buf, addr(5), 0, 2);
        let wrong = PageRef { crc: page.crc ^ 1, ..page };
        let inserted = catch_unwind(AssertUnwindSafe(|| cache.insert(wrong, buf)));
        let panic = inserted.expect_err("INV-6");
        let text = panic.downcast_ref::<String>().expect("a message");
        assert!(text.contains("INV-6"), "{text}");
        cache.check();
    });
}
