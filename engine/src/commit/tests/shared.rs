//! What shards tell each other of merges, damage and room.

use std::sync::Arc;

use super::world::{SHARD, with_core};
use super::*;
use crate::cache::CacheCounters;
use crate::commit::DataWork;
use sombra_runtime::sync::atomic::Ordering;

const OTHER: ShardId = ShardId::new(1);

#[test]
fn work_on_the_data_file_is_counted_by_kind_while_it_runs() {
    with_core(|core| async move {
        let store = &core.store;
        let running = || [DataWork::Merge, DataWork::Publication].map(|work| store.running(work));
        assert!(!store.is_merging());
        let merge = store.begin_merging(DataWork::Merge);
        assert!(running() == [1, 0] && store.is_merging());
        let publication = store.begin_merging(DataWork::Publication);
        assert!(running() == [1, 1] && store.is_merging());
        drop(merge);
        assert!(running() == [0, 1] && store.is_merging());
        drop(publication);
        assert!(running() == [0, 0] && !store.is_merging());
        assert_eq!(store.merges_total(), 0);
        for shard in [SHARD, OTHER, OTHER] {
            store.counters[shard.index()].merges.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(store.merges_total(), 3);
    });
}

#[test]
fn merges_that_are_stuck_or_met_damage_are_not_waited_for_and_who_waits_is_woken() {
    with_core(|core| async move {
        let (store, most) = (Arc::clone(&core.store), core.store.memory.max_bytes());
        let told = || (store.can_merge(), store.is_merge_stuck(), store.can_free_memory(most));
        assert_eq!(told(), (true, false, true));
        store.set_merge_stuck(OTHER, true);
        assert_eq!(told(), (false, true, false));
        assert!(!store.signal(SHARD).try_consume() && !store.is_room_wanted(), "nobody waits");
        store.set_merge_stuck(OTHER, false);
        assert_eq!(told(), (true, false, true));
        store.set_wants_room(SHARD, true);
        assert!(store.is_room_wanted());
        store.set_merge_stuck(OTHER, true);
        assert!(store.signal(SHARD).try_consume() && !store.signal(OTHER).try_consume());
        store.set_merge_stuck(OTHER, false);
        assert!(!store.signal(SHARD).try_consume(), "nothing to hear");
        store.set_damaged(1);
        assert!(store.signal(SHARD).try_consume());
        assert_eq!(told(), (false, false, false));
        assert!(store.can_free_memory(most - 1), "of what can still be merged");
    });
}

#[test]
fn rise_of_visible_wakes_the_shards_that_wait_for_it_and_no_others() {
    with_core(|core| async move {
        let (store, visible) = (&core.store, core.store.oracle.visible());
        let above = Lsn::new(visible.as_u64() + 64);
        let woken = || [SHARD, OTHER].map(|shard| store.signal(shard).try_consume());
        for (shard, expected) in [(SHARD, [true, false]), (OTHER, [false, true])] {
            store.oracle.set_awaited(shard, Some(above));
            store.announce_visible(visible);
            assert_eq!(woken(), [false, false], "not so far yet");
            store.announce_visible(above);
            assert_eq!(woken(), expected);
            store.oracle.set_awaited(shard, None);
        }
    });
}

#[test]
fn rise_of_durable_wakes_the_shards_whose_commit_it_reaches_into_and_who_waits_for_room() {
    with_core(|core| async move {
        let (store, marks) = (&core.store, core.store.oracle.marks());
        let woken = || [SHARD, OTHER].map(|shard| store.signal(shard).try_consume());
        let start = store.oracle.visible();
        marks.set_pending(OTHER, start.as_u64());
        store.announce_durable(start);
        assert_eq!(woken(), [false, false], "nothing of it is durable");
        store.announce_durable(Lsn::new(start.as_u64() + 8));
        assert_eq!(woken(), [false, true]);
        marks.set_pending(OTHER, NONE_OPEN);
        store.set_wants_room(SHARD, true);
        store.announce_durable(Lsn::new(start.as_u64() + 16));
        assert_eq!(woken(), [true, false]);
    });
}

#[test]
fn cache_counters_are_shown_as_the_shard_has_them() {
    with_core(|core| async move {
        let counted =
            CacheCounters { hits: 1, misses: 2, evictions: 3, ..CacheCounters::default() };
        core.counters().publish_cache(&counted, 4);
        let shown = core.counters();
        let shown = [&shown.cache_hits, &shown.cache_misses, &shown.cache_evictions];
        assert_eq!(shown.map(|shown| shown.load(Ordering::Relaxed)), [1, 2, 3]);
        assert_eq!(core.counters().cache_bytes.load(Ordering::Relaxed), 4);
    });
}
