//! Locks on whole files, real and simulated.

use std::any::Any;
use std::fmt;
use std::fs::File;

use nix::fcntl::Flock;

enum LockGuard {
    Real {
        _flock: Flock<File>,
    },
    #[cfg_attr(not(feature = "sim"), allow(dead_code))]
    Simulated {
        _guard: Box<dyn Any + Send>,
    },
}

/// Who else may hold a file's lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LockKind {
    Exclusive,
    Shared,
}

/// A lock on a file, released when dropped.
pub struct FileLock {
    _guard: LockGuard,
}

impl FileLock {
    pub(crate) fn real(flock: Flock<File>) -> FileLock {
        FileLock { _guard: LockGuard::Real { _flock: flock } }
    }

    /// The simulated disk releases its lock when `guard` is dropped.
    #[cfg_attr(not(feature = "sim"), allow(dead_code))]
    pub(crate) fn simulated(guard: Box<dyn Any + Send>) -> FileLock {
        FileLock { _guard: LockGuard::Simulated { _guard: guard } }
    }
}

impl fmt::Debug for FileLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileLock")
    }
}
