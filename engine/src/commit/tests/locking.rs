//! Locks on one shard beside commits that are on their way.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::world::{add_tablet, commit, part, serve, with_core};
use super::*;
use crate::commit::{Core, HeldLocks, LockAnswer, LockRefused, LockRequest, LockWait};
use crate::lock::LockMode;

type Locked = oneshot::Receiver<LockAnswer>;

fn lock(core: &Rc<Core>, held: &Arc<HeldLocks>, key: &str, wait: LockWait) -> Locked {
    let write = writes(&[key]).remove(0);
    let (reply, locked) = oneshot::channel();
    held.note_asked(core.shard.id());
    core.take_lock_request(LockRequest {
        held: Arc::clone(held),
        tablet: write.tablet,
        window_key: write.window_key,
        mode: LockMode::Exclusive,
        wait,
        snapshot: None,
        reply,
    });
    locked
}

const LONG: LockWait = LockWait::AtMost(Duration::from_secs(3_600));

async fn settle(core: &Core) {
    core.shard.sleep(Duration::from_millis(50)).await;
}

#[test]
fn lock_of_a_key_that_is_about_to_be_written_waits_until_that_is_settled() {
    with_core(|core| async move {
        add_tablet(&core, &writes(&["a"]));
        let held = HeldLocks::new(Arc::clone(&core.store), None);
        let unseen = commit(&core, None, part(writes(&["b"])));
        let mut waiting = lock(&core, &held, "b", LONG);
        settle(&core).await;
        assert!(waiting.try_recv().unwrap().is_none(), "the version is not visible yet");
        core.start_flights();
        let lsn = unseen.await.unwrap().unwrap();
        let granted = waiting.await.unwrap().unwrap_or_else(|refused| panic!("{refused:?}"));
        assert_eq!(granted.newest, Some(lsn));
        serve(&core);
        let id = PrepareId { coordinator: ShardId::new(1), sequence: 1 };
        core.prepared.borrow_mut().enter(id, writes(&["a"]), ReadSet::default());
        let mut waiting = lock(&core, &held, "a", LONG);
        settle(&core).await;
        assert!(waiting.try_recv().unwrap().is_none(), "it is prepared");
        core.prepared.borrow_mut().leave(id);
        core.after_reservation();
        assert!(waiting.await.unwrap().is_ok());
    });
}

#[test]
fn request_that_waited_too_long_makes_no_circle_with_later_ones() {
    with_core(|core| async move {
        add_tablet(&core, &writes(&["a"]));
        let spec = core.spec("locks", sombra_runtime::TaskClass::Foreground);
        core.shard.spawn(spec, Rc::clone(&core).keep_locks());
        let [older, younger] = [(); 2].map(|()| HeldLocks::new(Arc::clone(&core.store), None));
        assert!(lock(&core, &younger, "a", LONG).await.unwrap().is_ok());
        assert!(lock(&core, &older, "b", LONG).await.unwrap().is_ok());
        let short = LockWait::AtMost(Duration::from_millis(1));
        let late = lock(&core, &older, "a", short).await.unwrap();
        assert_eq!(late.map(drop), Err(LockRefused::TimedOut));
        let mut waiting = lock(&core, &younger, "b", LONG);
        settle(&core).await;
        assert!(waiting.try_recv().unwrap().is_none(), "nobody waits for it");
        let circle = lock(&core, &older, "a", LONG);
        let refused = waiting.await.unwrap().map(drop);
        assert!(matches!(refused, Err(LockRefused::Deadlock(_))), "{refused:?}");
        drop(younger);
        assert!(circle.await.unwrap().is_ok());
    });
}
