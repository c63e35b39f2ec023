//! What a running thread shows to others.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::disk::job::{ByDirection, Direction};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum JobState {
    NotStarted,
    Ramp,
    Running,
    Verifying,
    Finished,
}

#[derive(Default, Debug)]
pub struct JobGauge {
    operations: ByDirection<AtomicU64>,
    bytes: ByDirection<AtomicU64>,
    state: AtomicU8,
}

impl JobGauge {
    pub fn completed(&self, direction: Direction, bytes: u64) {
        self.operations.of(direction).fetch_add(1, Ordering::Relaxed);
        self.bytes.of(direction).fetch_add(bytes, Ordering::Relaxed);
    }
    pub fn set_state(&self, state: JobState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
}
