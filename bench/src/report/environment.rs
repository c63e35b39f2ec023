//! Where a run took place: without this a figure says nothing.

use std::fs;
use std::path::Path;

use serde::Serialize;
use sombra_runtime::Runtime;

use crate::machine::{self, Mount};

/// Stamp of the machine, the disk, and how the store uses them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Environment {
    pub kernel: String,
    pub cpu_model: String,
    /// CPUs that the process may use.
    pub cpus: usize,
    pub memory_bytes: u64,
    pub directory: String,
    pub filesystem: String,
    pub mount_options: String,
    pub device: String,
    /// What the kernel says of the device's cache: `write back` or `write through`.
    pub device_write_cache: String,
    pub device_scheduler: String,
    pub driver: String,
    /// Why another driver than io_uring is in use, if so.
    pub driver_note: Option<String>,
    pub durability_method: String,
    pub build: &'static str,
    pub wall_clock_ms: u64,
}

impl Environment {
    /// Looks around. What cannot be found out is left empty, never guessed.
    pub(crate) fn of(runtime: &Runtime, dir: &Path, durability_method: &str) -> Environment {
        let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
        let mount = Mount::of(&dir).unwrap_or_default();
        Environment {
            kernel: machine::kernel(),
            cpu_model: machine::cpu_model(),
            cpus: machine::cpus(),
            memory_bytes: machine::memory_bytes(),
            directory: dir.display().to_string(),
            device_write_cache: mount.queue("write_cache"),
            device_scheduler: mount.queue("scheduler"),
            filesystem: mount.filesystem,
            mount_options: mount.options,
            device: mount.source,
            driver: format!("{:?}", runtime.driver_kind()).to_lowercase(),
            driver_note: runtime.driver_note(),
            durability_method: durability_method.to_owned(),
            build: machine::build(),
            wall_clock_ms: runtime.wall_clock_ms(),
        }
    }
}
