//! Scans that yield keys and values as what they are.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::error::TypedError;
use super::key_types::EncodesAs;
use super::keyspace::TypedKeyspace;
use crate::db::{BlockingScan, Port, Scan};

/// The rows of a range: awaited with [`next`](TypedScan::next), or, from a handle that blocks, an
/// iterator.
///
/// A row that is not of the types is an error, and going on after it yields the row behind it.
pub struct TypedScan<K, V, S> {
    rows: S,
    keyspace: TypedKeyspace<K, V>,
}

impl<K, V, S> TypedScan<K, V, S> {
    pub(super) fn new(rows: S, keyspace: TypedKeyspace<K, V>) -> TypedScan<K, V, S> {
        TypedScan { rows, keyspace }
    }
}

impl<K: DeserializeOwned, V: DeserializeOwned, S> TypedScan<K, V, S> {
    fn decode(&self, (key, value): (Bytes, Bytes)) -> Result<(K, V), TypedError> {
        Ok((self.keyspace.decode_key(&key)?, self.keyspace.decode_value(&key, &value)?))
    }
}

impl<K, V, P: Port> TypedScan<K, V, Scan<P>> {
    /// As [`Scan::after`].
    ///
    /// # Errors
    /// `Encode`.
    pub fn after(self, key: &(impl EncodesAs<K> + ?Sized)) -> Result<Self, TypedError> {
        let key = TypedKeyspace::<K, V>::encode_key(key)?;
        Ok(TypedScan::new(self.rows.after(key), self.keyspace))
    }
}

impl<K: DeserializeOwned, V: DeserializeOwned, P: Port> TypedScan<K, V, Scan<P>> {
    /// The next row, or `None` at the end.
    ///
    /// # Errors
    /// `Read`: calling again tries the same row again. `Decode`: calling again goes on behind it.
    pub async fn next(&mut self) -> Result<Option<(K, V)>, TypedError> {
        let row = self.rows.next().await?;
        row.map(|row| self.decode(row)).transpose()
    }

    /// All remaining rows. Memory: as many as there are.
    ///
    /// # Errors
    /// As [`TypedScan::next`], the first.
    pub async fn collect(mut self) -> Result<Vec<(K, V)>, TypedError> {
        let mut rows = Vec::new();
        while let Some(row) = self.next().await? {
            rows.push(row);
        }
        Ok(rows)
    }
}

impl<K, V> TypedScan<K, V, BlockingScan> {
    /// As [`Scan::after`].
    ///
    /// # Errors
    /// `Encode`.
    pub fn after(self, key: &(impl EncodesAs<K> + ?Sized)) -> Result<Self, TypedError> {
        let key = TypedKeyspace::<K, V>::encode_key(key)?;
        Ok(TypedScan::new(self.rows.after(key), self.keyspace))
    }
}

impl<K: DeserializeOwned, V: DeserializeOwned> Iterator for TypedScan<K, V, BlockingScan> {
    type Item = Result<(K, V), TypedError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        Some(row.map_err(TypedError::from).and_then(|row| self.decode(row)))
    }
}
