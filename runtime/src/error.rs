use std::io;

/// Why a runtime did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("option {option}: {found} is outside {range}")]
    Option { option: &'static str, found: u64, range: String },
    #[error("shard {shard}: io_uring was demanded and cannot be set up: {reason}")]
    Ring { shard: usize, reason: String },
    #[error("starting thread {name}")]
    Thread { name: String, source: io::Error },
    #[error("the CPUs that this process may use cannot be read")]
    Affinity { source: io::Error },
    #[error("option cpus: CPU {cpu} does not exist, is offline or is forbidden to this process")]
    Cpu { cpu: usize, source: io::Error },
    #[error("the wake-up descriptor of shard {shard} cannot be made")]
    Wake { shard: usize, source: io::Error },
    #[error("the operating system gave no random seed")]
    Random { source: io::Error },
}

/// What shutting down found. Leaked buffers stay allocated until the process ends, because the
/// kernel may still write into them (INV-8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    pub tasks_dropped: usize,
    /// Operations that were in flight when the intake stopped and completed afterwards.
    pub operations_reaped: usize,
    /// Operations that did not complete within the wait; what they own was leaked.
    pub operations_leaked: usize,
    /// Shards whose thread had ended by a panic of the executor itself.
    pub shards_crashed: usize,
}

impl ShutdownReport {
    pub fn is_clean(&self) -> bool {
        self.operations_leaked == 0 && self.shards_crashed == 0
    }

    pub(crate) fn add(&mut self, other: &ShutdownReport) {
        self.tasks_dropped += other.tasks_dropped;
        self.operations_reaped += other.operations_reaped;
        self.operations_leaked += other.operations_leaked;
        self.shards_crashed += other.shards_crashed;
    }
}
