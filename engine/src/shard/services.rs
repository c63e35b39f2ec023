//! What runs beside the commits: segments prepared ahead, the stamp of an idle log, the
//! metrics file, the scrubber.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sombra_runtime::TaskClass;
use sombra_runtime::sync::MailboxReceiver;
use sombra_runtime::sync::atomic::Ordering;

use super::ShardState;
use super::catalog::{self, CatalogRequest, ShardCatalog};
use super::scrubbing::{self, ScrubPlan};
use crate::limits;
use crate::merge::{PublishRequest, Publisher};
use crate::volume::VolumeState;

/// Makes the content of the metrics file.
pub(crate) type MetricsText = Box<dyn Fn() -> String + Send>;

/// Starts the services of shard 0.
pub(crate) fn start_services(
    state: &Rc<ShardState>,
    changes: MailboxReceiver<CatalogRequest>,
    publications: MailboxReceiver<PublishRequest>,
    (metrics_text, scrub): (Option<MetricsText>, ScrubPlan),
) {
    if state.shared.report.read_only {
        // Every one of them writes, or makes room for who does.
        return;
    }
    catalog::start(state, changes);
    start_keeper(state);
    start_volume_keeper(state);
    start_publisher(state, publications);
    start_merge_tick(state);
    start_view_keeper(state);
    start_stamper(state);
    scrubbing::start(state, scrub);
    if let Some(metrics_text) = metrics_text {
        start_metrics(state, metrics_text);
    }
}

fn start_keeper(state: &Rc<ShardState>) {
    let on_shard = Rc::clone(state);
    state.core.store.log.segments().want();
    state.spawn_service("segment keeper", TaskClass::Maintenance, async move {
        let store = &on_shard.core.store;
        let ring = store.log.ring();
        // Every shard may have commits that wait for the room.
        let kept = store.log.segments().keep(&on_shard.shard, ring, || store.wake_all()).await;
        let Err(broken) = kept;
        store.stop(&broken.to_string());
    });
}

/// Grows the data file ahead of need.
fn start_volume_keeper(state: &Rc<ShardState>) {
    let on_shard = Rc::clone(state);
    state.core.store.volume.want();
    state.spawn_service("data file keeper", TaskClass::Maintenance, async move {
        let store = &on_shard.core.store;
        let changed = || {
            if let VolumeState::Broken { reason } = store.volume.state() {
                store.stop(&reason);
            }
            store.want_merges();
            store.announce_room();
        };
        store.volume.keep(&on_shard.shard, changed).await;
    });
}

fn start_publisher(state: &Rc<ShardState>, publications: MailboxReceiver<PublishRequest>) {
    let publisher = Publisher {
        shard: state.shard.clone(),
        store: Arc::clone(&state.core.store),
        catalog: ShardCatalog(Rc::clone(state)),
    };
    // What was dropped or made by the replayed log is not in the root table yet.
    state.shared.want_catalog();
    state.spawn_service("publisher", TaskClass::Merge, publisher.run(publications));
}

/// After commits, and while snapshots are open, lets the shards look for laggards and for
/// snapshots that are too old; between merges gives the free tail of the data file back. An idle
/// store has no timer running.
fn start_merge_tick(state: &Rc<ShardState>) {
    let on_shard = Rc::clone(state);
    state.spawn_service("merge tick", TaskClass::Maintenance, async move {
        let store = &on_shard.core.store;
        let mut merges_seen = 0;
        loop {
            store.tick_wanted.wait().await;
            on_shard.shard.sleep(Duration::from_millis(limits::MERGE_TICK_MS)).await;
            store.want_merges();
            // A reader may have let go of a window without a word.
            store.announce_room();
            if store.catalog_late.swap(false, Ordering::SeqCst) {
                on_shard.shared.want_catalog();
            }
            let merges = store.merges_total();
            let is_between = merges == merges_seen && !store.is_merging();
            merges_seen = merges;
            // A failure leaves the tail where it is; whoever needs the device hears of it.
            let is_shorter = is_between
                && store.volume.truncate_tail(&on_shard.shard).await.is_ok_and(|cut| cut > 0);
            let is_awaited = store.registry.census().0 > 0 || store.is_room_wanted();
            if !is_between || is_shorter || is_awaited {
                store.tick_wanted.raise();
            }
        }
    });
}

/// Lets the shards drop what only snapshots needed that are gone.
fn start_view_keeper(state: &Rc<ShardState>) {
    let on_shard = Rc::clone(state);
    state.spawn_service("view keeper", TaskClass::Maintenance, async move {
        let store = &on_shard.core.store;
        loop {
            store.registry.freed.wait().await;
            store.want_merges();
        }
    });
}

/// When the log goes idle, one block carries the newest `durable`, so that damage below it can
/// be told from a torn write.
fn start_stamper(state: &Rc<ShardState>) {
    let on_shard = Rc::clone(state);
    state.spawn_service("log stamper", TaskClass::Maintenance, async move {
        let store = &on_shard.core.store;
        loop {
            store.stamp_wanted.wait().await;
            on_shard.shard.sleep(Duration::from_millis(limits::LOG_IDLE_STAMP_MS)).await;
            if !store.log.is_unstamped() {
                continue;
            }
            if store.log.is_idle() {
                store.log.reserve_stamp();
                on_shard.core.start_flights();
            } else {
                store.stamp_wanted.raise();
            }
        }
    });
}

fn start_metrics(state: &Rc<ShardState>, metrics_text: MetricsText) {
    let on_shard = Rc::clone(state);
    let path = state.shared.dir.join(crate::recovery::METRICS_FILE);
    state.spawn_service("metrics file", TaskClass::Maintenance, async move {
        loop {
            let content = metrics_text().into_bytes();
            // The file is a convenience: a failure to write it changes nothing.
            let _ = on_shard.shard.replace_file(&path, content).await;
            on_shard.shard.sleep(Duration::from_millis(limits::METRICS_REFRESH_MS)).await;
        }
    });
}

/// Writes the last stamp and waits until the log is quiet and no segment is under preparation;
/// the store takes no more commits.
pub(crate) async fn settle_log(state: &Rc<ShardState>) {
    let store = &state.core.store;
    if store.log.is_unstamped() {
        store.log.reserve_stamp();
    }
    while store.poison.reason().is_none() && !store.log.is_idle() {
        state.core.start_flights();
        state.shard.sleep(Duration::from_micros(limits::DRAIN_POLL_US)).await;
    }
    let segments = store.log.segments();
    segments.close();
    store.volume.close();
    // No write of this opening may land after the next one has begun.
    while segments.is_preparing()
        || store.log.is_flying()
        || store.volume.is_growing()
        || store.is_merging()
    {
        state.shard.sleep(Duration::from_micros(limits::DRAIN_POLL_US)).await;
    }
}
