//! Asking an open store to read itself.

use std::rc::Rc;

use futures_channel::oneshot;
use sombra_runtime::ShardId;

use super::handle::{Db, DbHandle};
use super::port::Port;
use crate::error::ReadError;
use crate::scrub::ScrubReport;
use crate::shard::{Request, ShardState, scrub_now};

impl<P: Port> DbHandle<P> {
    /// What the scrubber has read and found since the store was opened.
    #[must_use]
    pub fn scrub_report(&self) -> ScrubReport {
        self.port.shared().scrubbed.report()
    }
}

impl Db {
    /// Reads the whole store once from disk, past the cache, while it serves: superblock, root
    /// table, the log as far as it is durable and kept, every space map and tree. Returns when
    /// that is done, with what this pass found; damage stops nothing. Takes as much of the disk
    /// and of the cores as maintenance may.
    ///
    /// One such pass runs at a time. Calls that come while it runs share the next one, so that
    /// each gets what was read after it was made.
    ///
    /// # Errors
    /// The store closed or stopped before the pass was over.
    pub async fn scrub(&self) -> Result<ScrubReport, ReadError> {
        let shared = self.port.0.shared();
        if shared.core.poison.reason().is_some() || shared.core.is_closing() {
            return Err(shared.read_refused());
        }
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move |state: &Rc<ShardState>| scrub_now(state, reply));
        let sent = shared.send(ShardId::new(0), Request::Run(job)).await;
        sent.map_err(|()| shared.read_refused())?;
        answer.await.map_err(|_| shared.read_refused())
    }
}
