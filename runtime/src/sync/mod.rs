//! What shards share: the few lock-free structures that cross a core boundary.
//!
//! Under `--cfg sombra_loom` every atomic and cell comes from loom, a log block holds a few
//! words, and the queues of other crates become a mutex around a deque, so that the models in
//! `loom_tests` examine the wake-up and hand-over protocols of this code and nothing else.

pub mod atomic;

mod epoch;
mod fault;
mod log_ring;
mod mailbox;
mod mesh;
mod padded;
mod queue;
mod signal;
mod wait_list;

pub use epoch::EpochCell;
pub use log_ring::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES, BlockView, Charge, ChargeError, LogRing,
    LogRingConfig, POSITION_ALIGNMENT_BYTES, Reservation, SealedBlocks, Seat,
};
pub use mailbox::{MailboxReceiver, MailboxSender, mailbox};
pub use mesh::{Mesh, MeshPort};
pub use padded::Padded;
pub use signal::Signal;

#[cfg(all(test, sombra_loom))]
mod loom_tests;
#[cfg(all(test, not(sombra_loom)))]
mod tests;
