//! Writes that are committed together and depend on nothing that was read.

use bytes::Bytes;

use crate::keyspace::Keyspace;

/// Writes for [`DbHandle::write`](super::DbHandle::write); a later one of a key takes the place
/// of an earlier one.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    pub(super) writes: Vec<(Keyspace, Bytes, Option<Bytes>)>,
}

impl WriteBatch {
    /// A batch without writes.
    #[must_use]
    pub fn new() -> WriteBatch {
        WriteBatch::default()
    }

    /// Adds a put.
    pub fn put(
        &mut self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
    ) -> &mut WriteBatch {
        self.add(keyspace, key.as_ref(), Some(value.into()))
    }

    /// Adds a delete.
    pub fn delete(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> &mut WriteBatch {
        self.add(keyspace, key.as_ref(), None)
    }

    fn add(&mut self, keyspace: &Keyspace, key: &[u8], value: Option<Bytes>) -> &mut WriteBatch {
        self.writes.push((keyspace.clone(), Bytes::copy_from_slice(key), value));
        self
    }
}
