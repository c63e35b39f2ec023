//! Judges a snapshot that was opened before anything was overwritten: it must still read the
//! loaded values, or say that it is too old.

use serde::Serialize;
use sombra::{Keyspace, ReadError, Snapshot};
use sombra_runtime::Runtime;

use crate::crowd::Crowd;
use crate::error::BenchError;
use crate::limits::{JUDGE_DEPTH, MISSING_NAMED_MAX};
use crate::measure::Stop;
use crate::workload::{Shape, WriteTag};

/// What a held snapshot read at the end.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct SnapshotFigures {
    pub held_seconds: f64,
    /// Keys read through it.
    pub sampled: u64,
    /// Of these, with the value that was loaded.
    pub first_state: u64,
    /// With another value, or none.
    pub wrong: u64,
    /// Refused with `SnapshotTooOld`.
    pub too_old: u64,
    /// Data written, as a multiple of the live data, when a read was first refused.
    pub ended_at_factor: Option<f64>,
    /// The first wrong keys.
    pub examples: Vec<String>,
}

/// What one read through the snapshot says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FirstState {
    Right,
    Wrong,
    TooOld,
}

impl FirstState {
    /// Judges one read.
    ///
    /// # Errors
    /// A read that failed for another reason than the snapshot's age.
    pub(crate) fn of<B: AsRef<[u8]>>(
        (shape, record): (Shape, u64),
        found: Result<Option<B>, ReadError>,
    ) -> Result<FirstState, ReadError> {
        match found {
            Ok(Some(value)) if shape.tag_of(value.as_ref(), record) == Some(WriteTag::LOAD) => {
                Ok(FirstState::Right)
            }
            Ok(_) => Ok(FirstState::Wrong),
            Err(ReadError::SnapshotTooOld { .. }) => Ok(FirstState::TooOld),
            Err(error) => Err(error),
        }
    }
}

impl SnapshotFigures {
    fn count(&mut self, state: FirstState, key: &[u8]) {
        self.sampled += 1;
        match state {
            FirstState::Right => self.first_state += 1,
            FirstState::TooOld => self.too_old += 1,
            FirstState::Wrong => {
                self.wrong += 1;
                if self.examples.len() < MISSING_NAMED_MAX {
                    self.examples.push(key.escape_ascii().to_string());
                }
            }
        }
    }
}

/// Reads records through the snapshot, some of them at once, and judges each.
pub(crate) fn judge(
    (runtime, stop): (&Runtime, &Stop),
    (snapshot, keyspace): (&Snapshot, &Keyspace),
    shape: Shape,
    records: impl Iterator<Item = u64>,
) -> Result<SnapshotFigures, BenchError> {
    let mut figures = SnapshotFigures::default();
    let records: Vec<_> = records.collect();
    for some in records.chunks(JUDGE_DEPTH) {
        if stop.is_requested() {
            break;
        }
        let reads = some.iter().map(|&record| async move {
            let key = shape.key(record);
            let found = snapshot.get(keyspace, &key).await;
            FirstState::of((shape, record), found).map(|state| (key, state))
        });
        for judged in runtime.block_on(Crowd::new(reads)) {
            let (key, state) = judged.map_err(|error| BenchError::phase("snapshot", error))?;
            figures.count(state, &key);
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use sombra::Lsn;

    use super::*;

    const SHAPE: Shape = Shape { key_len_bytes: 24, value_len_bytes: 40 };

    fn state(found: Result<Option<Vec<u8>>, ReadError>) -> Result<FirstState, ReadError> {
        FirstState::of((SHAPE, 7), found)
    }

    #[test]
    fn first_state_is_the_loaded_value_of_the_same_record_only() {
        assert_eq!(state(Ok(Some(SHAPE.value(7, WriteTag::LOAD)))), Ok(FirstState::Right));
        let others = [
            None,
            Some(SHAPE.value(8, WriteTag::LOAD)),
            Some(SHAPE.value(7, WriteTag::new(1, 0))),
            Some(SHAPE.value(7, WriteTag::LOAD)[..39].to_vec()),
        ];
        for other in others {
            assert_eq!(state(Ok(other)), Ok(FirstState::Wrong));
        }
    }

    #[test]
    fn snapshot_that_is_too_old_is_counted_and_other_errors_are_not_swallowed() {
        let too_old = ReadError::SnapshotTooOld { snapshot: Lsn::ZERO };
        assert_eq!(state(Err(too_old)), Ok(FirstState::TooOld));
        assert_eq!(state(Err(ReadError::Closed)), Err(ReadError::Closed));
        let mut figures = SnapshotFigures::default();
        for state in [FirstState::Right, FirstState::TooOld, FirstState::Wrong, FirstState::Wrong] {
            figures.count(state, b"k\xff");
        }
        assert_eq!((figures.sampled, figures.first_state), (4, 1));
        assert_eq!((figures.too_old, figures.wrong), (1, 2));
        assert_eq!(figures.examples, ["k\\xff", "k\\xff"]);
    }
}
