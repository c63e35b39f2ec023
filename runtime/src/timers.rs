use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::shard::Shard;
use crate::time::Moment;

/// Name of a waiting timer; the number makes equal deadlines distinct and keeps their order.
pub(crate) type TimerKey = (Moment, u64);

pub(crate) struct Timers {
    waiting: BTreeMap<TimerKey, Waker>,
    next_number: u64,
}

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers { waiting: BTreeMap::new(), next_number: 0 }
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.waiting.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    fn insert(&mut self, deadline: Moment, waker: Waker) -> TimerKey {
        let key = (deadline, self.next_number);
        self.next_number += 1;
        self.waiting.insert(key, waker);
        key
    }

    /// Moves the wakers of all timers due at `now` to `woken`.
    pub(crate) fn expire(&mut self, now: Moment, woken: &mut Vec<Waker>) {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                return;
            }
            woken.push(entry.remove());
        }
    }
}

/// Completes at its deadline, never before.
pub struct Sleep {
    shard: Shard,
    deadline: Moment,
    registered: Option<TimerKey>,
}

impl Sleep {
    pub(crate) fn new(shard: Shard, deadline: Moment) -> Sleep {
        Sleep { shard, deadline, registered: None }
    }

    pub fn deadline(&self) -> Moment {
        self.deadline
    }

    fn unregister(&mut self) {
        if let Some(key) = self.registered.take() {
            let waker = self.shard.timers().borrow_mut().waiting.remove(&key);
            // A waker's destructor is foreign code: it runs after the borrow has ended.
            drop(waker);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.shard.now() >= this.deadline {
            this.unregister();
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let timers = this.shard.timers();
        let replaced = match this.registered {
            Some(key) if timers.borrow().waiting.contains_key(&key) => {
                timers.borrow_mut().waiting.insert(key, waker)
            }
            _ => {
                this.registered = Some(timers.borrow_mut().insert(this.deadline, waker));
                None
            }
        };
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// Lets the other ready tasks of the shard run once.
#[must_use = "yielding happens when the future is awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl YieldNow {
    pub(crate) fn new() -> YieldNow {
        YieldNow { yielded: false }
    }

    pub(crate) fn already() -> YieldNow {
        YieldNow { yielded: true }
    }
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
