//! The thread-per-core executor under Sombra: one shard per core, each with its own ring, tasks,
//! timers and buffers. Time, chance, threads and I/O enter a program only through this crate, so
//! that the simulated driver can replay a whole run from one seed (INV-10).

pub mod limits;
#[cfg(feature = "sim")]
pub mod sim;
pub mod sync;

mod buffer;
mod driver;
mod error;
mod executor;
mod fault_point;
mod file;
mod heartbeat;
mod idle;
mod ids;
mod metrics;
mod port;
mod probe;
mod report;
mod ring;
mod runtime;
mod shard;
mod start;
mod sys;
mod task;
mod time;
mod timers;

pub use buffer::{BufferPool, DmaBuf, HugePages, IoBuf};
pub use driver::{IoCompletion, IoTimes, OpKind};
pub use error::{ShutdownReport, StartError};
pub use fault_point::FaultPoint;
pub use file::{Create, DirEntry, DiskInfo, DmaFile, FileLock, OpenHow, WriteCache};
pub use file::{FlushScope, FlushVia, IoClass, WriteMode};
pub use ids::ShardId;
pub use metrics::{ClassMetrics, OpMetrics, ShardIoMetrics, TaskClassMetrics};
pub use report::{DriverReport, PolledState, RingReport, RingSetUp, ShardDriverReport, SlabReport};
pub use runtime::{DriverChoice, DriverKind, Runtime, RuntimeOptions, ShardPlacement};
pub use shard::{IoQueue, NotQueued, Shard, Span};
pub use task::{PanicSink, TaskClass, TaskSpec};
pub use time::Moment;
pub use timers::{Sleep, YieldNow};
