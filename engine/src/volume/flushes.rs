//! Flushes of the data file, each of which must hear of the others.
//!
//! The kernel reports a lost write to one of several flushes of a file and may forget it with that
//! (fsync(2), Rebello et al., ATC 2020): a flush that ended well says nothing while another one,
//! which may have failed before it, has not been heard of.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sombra_runtime::{DmaFile, FlushVia, Shard};

use crate::limits;

#[derive(Debug, Default)]
struct State {
    next: u64,
    running: BTreeSet<u64>,
    failed: Option<String>,
}

/// What is known of all flushes of one file.
#[derive(Debug, Default)]
pub(super) struct Flushes(Mutex<State>);

/// A flush that has not been heard of.
struct Running<'f> {
    flushes: &'f Flushes,
    number: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.flushes.lock().running.remove(&self.number);
    }
}

impl Flushes {
    /// A panic while the lock was held left the state as it was: its holders only move values.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Running<'_> {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.running.insert(number);
        Running { flushes: self, number }
    }

    /// Flushes, and waits for the flushes that were under way at its end.
    ///
    /// # Errors
    /// This one failed, or one before it did.
    pub(super) async fn flush(
        &self,
        shard: &Shard,
        file: &DmaFile,
        via: FlushVia,
    ) -> io::Result<()> {
        let running = self.begin();
        let outcome = shard.flush(file, via).await;
        if let Err(error) = &outcome {
            self.lock().failed.get_or_insert_with(|| error.to_string());
        }
        drop(running);
        outcome?;
        let unheard = self.lock().running.clone();
        loop {
            {
                let state = self.lock();
                if let Some(reason) = &state.failed {
                    let text = format!("another flush of the file failed: {reason}");
                    return Err(io::Error::other(text));
                }
                if unheard.is_disjoint(&state.running) {
                    return Ok(());
                }
            }
            shard.sleep(Duration::from_micros(limits::FLUSH_POLL_US)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;

    use sombra_runtime::OpenHow;

    use super::*;
    use crate::volume::tests::world::{PATH, disk, run};

    #[test]
    fn flush_ends_only_when_those_under_way_have_been_heard_of() {
        let disk = disk(1);
        disk.write_file(PATH, &[0; 4096]);
        run(1, &disk, |shard| async move {
            let file = shard.open(std::path::Path::new(PATH), OpenHow::direct_rw()).await.unwrap();
            let flushes = Flushes::default();
            let other = flushes.begin();
            let mut flush = pin!(flushes.flush(&shard, &file, FlushVia::Ring));
            let mut sleep = pin!(shard.sleep(Duration::from_millis(20)));
            poll_fn(|context| {
                assert!(flush.as_mut().poll(context).is_pending(), "the other may have failed");
                sleep.as_mut().poll(context)
            })
            .await;
            drop(other);
            flush.await.unwrap();
            let other = flushes.begin();
            flushes.lock().failed = Some("a reason".to_owned());
            drop(other);
            let error = flushes.flush(&shard, &file, FlushVia::Ring).await.unwrap_err();
            assert!(error.to_string().contains("a reason"), "{error}");
        });
    }
}
