//! The simulated twin: a world of shards, clients, time and a forgetful disk, out of one seed.
//!
//! ```no_run
//! use sombra_runtime::sim::{SimDisk, SimDiskOptions, SimOptions, SimWorld};
//!
//! let disk = SimDisk::new(SimDiskOptions::new(7));
//! let mut world = SimWorld::new(SimOptions::new(7, 2, disk.clone()));
//! let runtime = world.runtime();
//! world.spawn_client("client", async move { drop(runtime) });
//! world.run(10_000, || false);
//! world.power_cut();
//! let files = disk.files();
//! ```

mod clients;
mod dice;
mod disk;
mod driver;
mod fault_points;
mod world;

pub use clients::{ClientSleep, SimClients};
pub use disk::{Corruption, DiskOp, Fault};
pub use disk::{SimDisk, SimDiskCounters, SimDiskOptions, SimLatency};
pub use disk::{SubmittedIo, SubmittedKind};
pub(crate) use driver::SimDriver;
pub use fault_points::FaultPoints;
pub use world::{RunEnd, SimOptions, SimWorld};

#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
