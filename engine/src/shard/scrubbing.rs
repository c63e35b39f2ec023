//! Passes of the scrubber: shard 0 reads what belongs to the whole store, then every shard its own
//! tablets. In the background one after the other, so that the rate is the store's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use sombra_runtime::{ShardId, TaskClass};

use super::{Job, Request, ShardState};
use crate::keyspace::Keyspace;
use crate::limits;
use crate::scrub::{
    ScrubPart, ScrubPass, ScrubReport, Stopped, scrub_log, scrub_roots, scrub_superblock,
    scrub_tablet,
};

/// How an open store is scrubbed in the background.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScrubPlan {
    /// 0: not at all.
    pub(crate) bytes_per_second: u64,
    pub(crate) interval: Duration,
}

/// Scrubs for the life of the store, from shard 0.
pub(super) fn start(state: &Rc<ShardState>, plan: ScrubPlan) {
    if plan.bytes_per_second == 0 {
        return;
    }
    let on_shard = Rc::clone(state);
    state.spawn_service("scrub", TaskClass::Maintenance, async move {
        let first = Duration::from_millis(limits::SCRUB_FIRST_DELAY_MS).min(plan.interval);
        on_shard.shard.sleep(first).await;
        loop {
            let begun = on_shard.shard.now();
            if scrub(&on_shard, Some(plan.bytes_per_second)).await.is_err() {
                return;
            }
            let took = on_shard.shard.now().saturating_since(begun);
            let rest = plan.interval.saturating_sub(took);
            on_shard.shard.sleep(rest.max(Duration::from_millis(limits::SCRUB_REST_MS_MIN))).await;
        }
    });
}

/// Who waits for a pass that somebody asked for (shard 0 only).
#[derive(Default)]
pub(crate) struct ScrubCallers {
    /// They asked while a pass ran, which may have passed by what they ask about.
    waiting: RefCell<Vec<oneshot::Sender<ScrubReport>>>,
    is_running: Cell<bool>,
}

/// The one task that runs passes for callers; those who still wait when it ends get no answer.
struct Serving(Rc<ShardState>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.scrub_callers.waiting.borrow_mut().clear();
        self.0.scrub_callers.is_running.set(false);
    }
}

/// Runs a pass from shard 0, as fast as the share of maintenance allows. One at a time: who asks
/// meanwhile shares the next with all others who do. No answer when the store closes or stops.
pub(crate) fn scrub_now(state: &Rc<ShardState>, reply: oneshot::Sender<ScrubReport>) {
    let callers = &state.scrub_callers;
    {
        let mut waiting = callers.waiting.borrow_mut();
        // One that went away must not be kept until a long pass is over.
        waiting.retain(|caller| !caller.is_canceled());
        waiting.push(reply);
    }
    if callers.is_running.replace(true) {
        return;
    }
    let serving = Serving(Rc::clone(state));
    state.spawn_service("scrub now", TaskClass::Maintenance, async move {
        let on_shard = &serving.0;
        loop {
            let mut served = std::mem::take(&mut *on_shard.scrub_callers.waiting.borrow_mut());
            served.retain(|caller| !caller.is_canceled());
            if served.is_empty() {
                return;
            }
            let Ok(report) = scrub(on_shard, None).await else { return };
            for caller in served {
                // A caller that went away does not want the answer.
                let _ = caller.send(report.clone());
            }
        }
    });
}

async fn scrub(
    state: &Rc<ShardState>,
    bytes_per_second: Option<u64>,
) -> Result<ScrubReport, Stopped> {
    let begun = state.shard.now();
    let mut whole = scrub_store(state, bytes_per_second).await?;
    let mut waiting = Vec::new();
    for index in 0..state.shared.shard_count() {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |state| scrub_shard(state, bytes_per_second, reply));
        let to = ShardId::new(index as u16);
        if to == state.id() {
            job(state);
        } else {
            state.send(to, Request::Run(job)).await.map_err(|()| Stopped)?;
        }
        match bytes_per_second {
            Some(_) => whole.add(answer.await.map_err(|_| Stopped)?),
            None => waiting.push(answer),
        }
    }
    for answer in waiting {
        whole.add(answer.await.map_err(|_| Stopped)?);
    }
    let took = state.shard.now().saturating_since(begun);
    state.shared.scrubbed.note_pass(took);
    Ok(whole.into_report(took))
}

/// What belongs to no shard.
async fn scrub_store(
    state: &ShardState,
    bytes_per_second: Option<u64>,
) -> Result<ScrubPart, Stopped> {
    let (store, shared) = (&*state.core.store, &*state.shared);
    let mut pass = ScrubPass::new(&state.shard, (store, &shared.scrubbed), bytes_per_second);
    let is_written = !shared.report.read_only;
    let superblock = scrub_superblock(&mut pass, &shared.dir, is_written).await?;
    scrub_roots(&mut pass).await?;
    if let Some(superblock) = superblock {
        let newest_end = (!is_written).then_some(shared.report.replayed_to);
        scrub_log(&mut pass, &superblock, newest_end).await?;
    }
    Ok(pass.into_part())
}

/// Reads the tablets of one shard.
fn scrub_shard(
    state: &Rc<ShardState>,
    bytes_per_second: Option<u64>,
    reply: oneshot::Sender<ScrubPart>,
) {
    let on_shard = Rc::clone(state);
    state.spawn_service("scrub tablets", TaskClass::Maintenance, async move {
        let (store, scrubbed) = (&*on_shard.core.store, &on_shard.shared.scrubbed);
        let mut pass = ScrubPass::new(&on_shard.shard, (store, scrubbed), bytes_per_second);
        let keyspaces: Vec<Keyspace> = on_shard.shared.router().iter().cloned().collect();
        for keyspace in &keyspaces {
            for tablet in keyspace.tablets() {
                let is_here = on_shard.core.with_tablet(tablet, |_| ()).is_some();
                if is_here {
                    let place = (keyspace, tablet);
                    if scrub_tablet(&mut pass, &on_shard.core, place).await.is_err() {
                        return;
                    }
                }
            }
        }
        // Whoever asked may be gone.
        let _ = reply.send(pass.into_part());
    });
}
