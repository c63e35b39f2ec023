//! Which CPUs the threads of a runtime run on.

use std::io;
use std::path::Path;

use crate::error::StartError;
use crate::ids::ShardId;
use crate::limits::CPUS_MAX;
use crate::probe::topology::{SYSFS_SYSTEM, Topology};
use crate::runtime::{RuntimeOptions, ShardPlacement};
use crate::sys;

/// The CPUs of a runtime, known to be usable, and what is known of them.
#[derive(Clone)]
pub(super) struct Cpus {
    allowed: Vec<usize>,
    /// Chosen by the user: threads do not simply inherit them.
    is_chosen: bool,
    topology: Topology,
    /// The CPU of each shard, once shards are pinned.
    by_shard: Option<Vec<usize>>,
}

impl Cpus {
    /// Those of the options, which must all be usable, or those of the calling thread.
    pub(super) fn find(options: &RuntimeOptions) -> Result<Cpus, StartError> {
        let allowed = match &options.cpus {
            Some(cpus) => {
                let mut cpus = cpus.clone();
                cpus.sort_unstable();
                cpus.dedup();
                super::check("cpus (how many)", cpus.len() as u64, 1, CPUS_MAX as u64)?;
                prove_usable(&cpus)?;
                cpus
            }
            None => sys::allowed_cpus().map_err(|source| StartError::Affinity { source })?,
        };
        let topology = Topology::read(Path::new(SYSFS_SYSTEM), &allowed);
        let is_chosen = options.cpus.is_some();
        Ok(Cpus { allowed, is_chosen, topology, by_shard: None })
    }

    /// Gives each of `shards` a CPU of its own; where shards outnumber CPUs, the kernel places
    /// them better.
    pub(super) fn pin(&mut self, shards: usize) {
        self.by_shard = (shards <= self.allowed.len()).then(|| self.topology.cpus_for(shards));
    }

    pub(super) fn allowed(&self) -> &[usize] {
        &self.allowed
    }

    /// Restricts the calling thread to the CPUs of this shard.
    pub(super) fn place(&self, shard: ShardId) -> io::Result<()> {
        match &self.by_shard {
            Some(cpus) => sys::pin_thread(&[cpus[shard.index()]]),
            None if self.is_chosen => sys::pin_thread(&self.allowed),
            None => Ok(()),
        }
    }

    /// What `place` did for this shard, if it succeeded.
    pub(super) fn placement(&self, shard: ShardId, is_placed: bool) -> ShardPlacement {
        let pinned = self.by_shard.as_ref().filter(|_| is_placed);
        let cpu = pinned.map(|cpus| cpus[shard.index()]);
        let node = match cpu {
            Some(cpu) => self.topology.node_of(cpu),
            None if is_placed => self.topology.only_node(),
            None => None,
        };
        ShardPlacement { shard, cpu, node }
    }
}

/// Tries each CPU on a thread of its own: no list of the kernel's says what a container allows.
fn prove_usable(cpus: &[usize]) -> Result<(), StartError> {
    let tried = std::thread::scope(|scope| {
        let name = "sombra-probe".to_owned();
        let builder = std::thread::Builder::new().name(name.clone());
        let probe = builder
            .spawn_scoped(scope, || {
                cpus.iter().find_map(|&cpu| Some((cpu, sys::pin_thread(&[cpu]).err()?)))
            })
            .map_err(|source| StartError::Thread { name, source })?;
        Ok(probe.join().expect("pinning a thread returns its errors"))
    })?;
    match tried {
        None => Ok(()),
        Some((cpu, source)) => Err(StartError::Cpu { cpu, source }),
    }
}

#[cfg(test)]
mod tests;
