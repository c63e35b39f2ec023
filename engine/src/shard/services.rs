//! What runs beside the commits: segments prepared ahead, the stamp of an idle log, the
//! metrics file.

use std::rc::Rc;
use std::time::Duration;

use sombra_runtime::TaskClass;
use sombra_runtime::sync::MailboxReceiver;

use super::ShardState;
use super::catalog::{self, CatalogRequest};
use crate::limits;

/// Starts the services of shard 0. `metrics_text` makes the content of the metrics file.
pub(crate) fn start_services(
    state: &Rc<ShardState>,
    changes: MailboxReceiver<CatalogRequest>,
    metrics_text: Option<Box<dyn Fn() -> String + Send>>,
) {
    catalog::start(state, changes);
    start_keeper(state);
    start_stamper(state);
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
        store.log.segments().keep(&on_shard.shard, ring, || store.wake_all()).await;
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

fn start_metrics(state: &Rc<ShardState>, metrics_text: Box<dyn Fn() -> String + Send>) {
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
    // No write of this opening may land after the next one has begun.
    while segments.is_preparing() || store.log.is_flying() {
        state.shard.sleep(Duration::from_micros(limits::DRAIN_POLL_US)).await;
    }
}
