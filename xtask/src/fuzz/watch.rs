//! Notices an input that never comes to an end: nobody else can, since it is being read.

use crate::limits::FUZZ_STALL_SECONDS_MAX;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// The input that is being read.
#[derive(Default)]
struct Current {
    number: u64,
    input: Vec<u8>,
}

/// Ends the process when one input takes too much CPU time, with the input written down. Goes
/// when it is dropped.
pub(super) struct Watch(Arc<Mutex<Current>>);

impl Watch {
    pub(super) fn begin(place: PathBuf) -> Watch {
        let current = Arc::new(Mutex::new(Current::default()));
        let watched = Arc::downgrade(&current);
        std::thread::spawn(move || look(&watched, &place));
        Watch(current)
    }

    pub(super) fn begin_input(&self, input: &[u8]) {
        let mut current = lock(&self.0);
        current.number += 1;
        current.input.clear();
        current.input.extend_from_slice(input);
    }
}

fn look(watched: &Weak<Mutex<Current>>, place: &Path) {
    let (mut number, mut since) = (0, cpu_time(UsageWho::RUSAGE_SELF));
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let Some(current) = watched.upgrade() else { return };
        let current = lock(&current);
        let now = cpu_time(UsageWho::RUSAGE_SELF);
        if current.number != number {
            (number, since) = (current.number, now);
        }
        if now.saturating_sub(since) > Duration::from_secs(FUZZ_STALL_SECONDS_MAX) {
            let written = write_down(place, &current.input);
            eprintln!("fuzz: input {number} does not end; {}: {written:?}", place.display());
            std::process::exit(1);
        }
    }
}

fn lock(current: &Mutex<Current>) -> MutexGuard<'_, Current> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write_down(place: &Path, input: &[u8]) -> io::Result<()> {
    place.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(place, input)
}

/// CPU time, not wall time: a machine that is busy, or a stopped process, makes no input slow.
pub(super) fn cpu_time(who: UsageWho) -> Duration {
    let usage = getrusage(who).expect("the kernel counts every thread");
    let of = |time: TimeVal| {
        let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
        Duration::from_micros(micros.unsigned_abs())
    };
    of(usage.user_time()) + of(usage.system_time())
}
