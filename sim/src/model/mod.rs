//! What must be true of a store: a history of intents, acknowledgements and reads, and the
//! judges that compare it with what a reopened store shows.

mod event;
mod history;
mod judge;
mod reads;
mod spaces;
mod value;
mod violation;

#[cfg(test)]
mod tests;

pub use event::{Event, Intent, Recorder, Shared, Write};
pub use history::{History, Totals};
pub use judge::Observation;
pub use value::{Found, KeyId, SpaceId, Stamp, TxnId, decode, encode, key_bytes, key_index};
pub use violation::Violation;
