//! One client: draws actions from its seed until it has done its share or the store stops.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use sombra::{BeginError, Db, ReadError};

use super::keyspaces::Space;
use super::mix::Mix;
use super::reading::Held;
use super::session::Session;
use super::tally::Tally;
use crate::model::{Event, Recorder};
use crate::random::Random;

/// What one client is made of.
pub struct ClientOptions {
    pub db: Db,
    pub recorder: Arc<dyn Recorder>,
    pub tally: Arc<Tally>,
    pub spaces: Vec<Space>,
    pub mix: Mix,
    pub random: Random,
    /// The number of the opening, and of the client in it.
    pub life: u32,
    pub client: u16,
    pub actions: u64,
    /// Reads fail, or did while the store opened: what they needed may count as damaged.
    pub may_be_damaged: bool,
    /// Whether this client makes and drops keyspaces.
    pub keyspaces: bool,
    pub reuse_names: bool,
    /// A keyspace that this client's predecessor left behind.
    pub leftover: Option<Space>,
}

/// Why a client ended before its share was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The store was poisoned or closed; it said so.
    StoreStopped,
    /// Something that must not be; it is in the history.
    Broken,
    /// A snapshot held up too much and was ended; the client goes on with another.
    TooOld,
    /// The device failed a read; the client goes on with another.
    ReadFailed,
}

/// One client at work.
pub struct Client {
    pub(super) options: ClientOptions,
    pub(super) session: Session,
    pub(super) random: Random,
    pub(super) sequence: u32,
    pub(super) held: Vec<Held>,
    pub(super) temporary: Option<Space>,
    pub(super) keyspaces_made: u32,
}

impl Client {
    /// A client that reaches the store through `session`.
    #[must_use]
    pub fn new(mut options: ClientOptions, session: Session) -> Client {
        let random = options.random.clone();
        let temporary = options.leftover.take();
        Client {
            options,
            session,
            random,
            sequence: 0,
            held: Vec::new(),
            temporary,
            keyspaces_made: 0,
        }
    }

    /// Works until its actions are done, the tally says stop, or the store does.
    pub async fn run(mut self) {
        for _ in 0..self.options.actions {
            if self.options.tally.stopped() {
                break;
            }
            match self.action().await {
                Ok(()) => {}
                Err(End::ReadFailed) => {}
                Err(End::TooOld) => Tally::add(&self.options.tally.too_old),
                Err(End::StoreStopped | End::Broken) => break,
            }
            if self.random.percent(10) {
                yield_once().await;
            }
        }
        Tally::add(&self.options.tally.ended);
    }

    async fn action(&mut self) -> Result<(), End> {
        Tally::add(&self.options.tally.operations);
        let mix = &self.options.mix;
        let draw = self.random.below(100);
        let mut bound = mix.read_percent;
        if draw < bound {
            return self.read_only().await;
        }
        bound += mix.scan_percent;
        if draw < bound {
            return self.scan().await;
        }
        bound += mix.hold_percent;
        if draw < bound {
            return self.hold_or_reread().await;
        }
        if self.options.keyspaces && self.random.percent(mix.keyspace_percent) {
            return self.churn().await;
        }
        if self.random.percent(mix.auto_percent) {
            return self.auto_commit().await;
        }
        let spaces = self.options.spaces.clone();
        self.transaction(&spaces).await
    }

    pub(super) fn record(&self, event: Event) {
        self.options.recorder.record(event);
    }

    /// Reports what must not be.
    pub(super) fn broken(&self, what: String) -> End {
        self.record(Event::Broken { what });
        End::Broken
    }

    pub(super) fn begin_end(&self, error: &BeginError) -> Result<(), End> {
        match error {
            BeginError::TooManySnapshots { .. } => Ok(()),
            BeginError::Poisoned { .. } | BeginError::Closed => Err(End::StoreStopped),
            other => Err(self.broken(format!("begin: {other}"))),
        }
    }

    pub(super) fn read_end(&self, error: &ReadError) -> End {
        match error {
            ReadError::Poisoned { .. } | ReadError::Closed => End::StoreStopped,
            ReadError::SnapshotTooOld { .. } => End::TooOld,
            ReadError::Device { .. } | ReadError::Damaged { .. } if self.options.may_be_damaged => {
                End::ReadFailed
            }
            other => self.broken(format!("read: {other}")),
        }
    }
}

/// Lets every other task go first.
pub(crate) async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
