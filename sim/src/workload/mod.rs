//! The load that simulation and kill test share: clients that write, read, scan, hold snapshots
//! and make keyspaces, and report all of it to a [`crate::model::Recorder`].

mod client;
mod commit;
mod keyspaces;
mod mix;
mod observe;
mod reading;
mod session;
mod tally;

pub(crate) use client::yield_once;
pub use client::{Client, ClientOptions, End};
pub use keyspaces::{Leftover, Space, prepare_spaces};
pub use mix::Mix;
pub use observe::{ObserveError, observe};
pub use session::Session;
pub(crate) use session::Tx;
pub use tally::{Tally, TallyReport};
