//! The typed side of a keyspace.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{RowPart, TypedError};
use super::handles::{Reader, View, Writer};
use super::key_types::{EncodesAs, KeyPrefix};
use super::scan::TypedScan;
use super::{key_decode, key_encode};
use crate::keyspace::Keyspace;
use crate::txn::KeyRange;

/// A keyspace whose keys are `K` and whose values are `V`. Cheap to clone, valid as long as the
/// keyspace is.
///
/// Every method takes the handle to work with: the store, a transaction, a snapshot or, for
/// writes, a batch. It does what the handle's own method of that name does and gives what that
/// gives: with a handle for async code reads are awaited, with a blocking one they are not.
///
/// ```
/// use sombra::typed::{TypedError, TypedKeyspace};
/// use sombra::{BlockingDb, Routing};
///
/// fn read_and_write(db: &BlockingDb) -> Result<(), Box<dyn std::error::Error>> {
///     let keyspace = db.create_keyspace("visits", Routing::hash(8))?;
///     let visits: TypedKeyspace<(u64, String), u32> = TypedKeyspace::new(keyspace);
///     db.run(|tx| {
///         let key = (7, "/index".to_owned());
///         let count = visits.get(tx, &key)?.unwrap_or(0);
///         Ok(visits.put(tx, &key, &(count + 1))?)
///     })?;
///     for row in visits.scan_prefix(&db.snapshot()?, &(7,))? {
///         let ((_, page), count) = row?;
///         println!("{page}: {count}");
///     }
///     Ok(())
/// }
/// ```
pub struct TypedKeyspace<K, V> {
    keyspace: Keyspace,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> Clone for TypedKeyspace<K, V> {
    fn clone(&self) -> TypedKeyspace<K, V> {
        TypedKeyspace::new(self.keyspace.clone())
    }
}

impl<K, V> fmt::Debug for TypedKeyspace<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedKeyspace").field(&self.keyspace).finish()
    }
}

impl<K, V> TypedKeyspace<K, V> {
    /// Says of which types the rows of a keyspace are. Nothing checks it: rows of other types are
    /// found out when they are read.
    #[must_use]
    pub fn new(keyspace: Keyspace) -> TypedKeyspace<K, V> {
        TypedKeyspace { keyspace, types: PhantomData }
    }

    /// The keyspace, whose rows are bytes.
    #[must_use]
    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// The bytes that stand for a key, for all that takes keys as bytes: `Routing::range_split`,
    /// `Db::on_shard_of`.
    ///
    /// # Errors
    /// `Encode`.
    pub fn encode_key(key: &(impl EncodesAs<K> + ?Sized)) -> Result<Vec<u8>, TypedError> {
        encode_key_of::<K>(key)
    }

    /// The value of `key`, or `None`.
    ///
    /// # Errors
    /// `Encode`, `Read`; `Decode` when the value is not a `V`.
    pub fn get<R: Reader>(
        &self,
        from: R,
        key: &(impl EncodesAs<K> + ?Sized),
    ) -> R::Answer<impl Future<Output = Result<Option<V>, TypedError>>>
    where
        V: DeserializeOwned,
    {
        let key = Self::encode_key(key);
        from.answer(async move {
            let key = key?;
            let value = from.read(&self.keyspace, &key).await?;
            value.map(|value| self.decode_value(&key, &value)).transpose()
        })
    }

    /// The values of `keys`, in their order, all read at the same time.
    ///
    /// # Errors
    /// As [`TypedKeyspace::get`], the first that a key met.
    pub fn multi_get<'q, S: View, Q: EncodesAs<K> + ?Sized + 'q>(
        &self,
        from: S,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> S::Answer<impl Future<Output = Result<Vec<Option<V>>, TypedError>>>
    where
        V: DeserializeOwned,
    {
        let keys: Result<Vec<_>, _> = keys.into_iter().map(Self::encode_key).collect();
        from.answer(async move {
            let keys = keys?;
            let values = from.read_all(&self.keyspace, &keys).await?;
            let rows = keys.iter().zip(values);
            rows.map(|(key, value)| value.map(|value| self.decode_value(key, &value)).transpose())
                .collect()
        })
    }

    /// Puts a value: into a transaction or a batch at once, into a store durably. With debug
    /// assertions it also decodes what it encoded, and refuses what does not decode.
    ///
    /// # Errors
    /// `Encode`, `Write` (a key or value too long, a transaction too large), `Commit`.
    pub fn put<W: Writer>(
        &self,
        to: W,
        key: &(impl EncodesAs<K> + ?Sized),
        value: &(impl EncodesAs<V> + ?Sized),
    ) -> W::Written
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        let row = encode_row::<K, V>(key, value);
        to.write(&self.keyspace, row.map(|(key, value)| (key, Some(value))))
    }

    /// Deletes a key, there or not: in a transaction or a batch at once, in a store durably.
    ///
    /// # Errors
    /// As [`TypedKeyspace::put`].
    pub fn delete<W: Writer>(&self, to: W, key: &(impl EncodesAs<K> + ?Sized)) -> W::Written {
        to.write(&self.keyspace, Self::encode_key(key).map(|key| (key, None)))
    }

    /// The rows of a range of keys, in the order that [`Transaction::scan`] says. In a hash
    /// keyspace a range is one tablet only if both bounds share the first n bytes, those that
    /// `Routing::hash(n)` names; otherwise all tablets are read through.
    ///
    /// # Errors
    /// `Encode`.
    ///
    /// [`Transaction::scan`]: crate::Transaction::scan
    pub fn scan<S: View>(
        &self,
        of: S,
        range: impl RangeBounds<K>,
    ) -> Result<TypedScan<K, V, S::Scan>, TypedError>
    where
        K: Serialize,
    {
        let range = encode_range(&range)?;
        Ok(TypedScan::new(of.rows(&self.keyspace, range), self.clone()))
    }

    /// As [`TypedKeyspace::scan`], from the end of the range to its beginning.
    ///
    /// # Errors
    /// `Encode`.
    pub fn scan_reverse<S: View>(
        &self,
        of: S,
        range: impl RangeBounds<K>,
    ) -> Result<TypedScan<K, V, S::Scan>, TypedError>
    where
        K: Serialize,
    {
        let range = encode_range(&range)?;
        Ok(TypedScan::new(of.rows_reverse(&self.keyspace, range), self.clone()))
    }

    /// The rows whose keys have these leading fields: of the key `(u64, String)`, those of the
    /// number `(7,)`. Whole fields only; for the beginning of a string scan a range, as in
    /// `"ab".to_owned().."ac".to_owned()`.
    ///
    /// # Errors
    /// `Encode`.
    pub fn scan_prefix<S: View>(
        &self,
        of: S,
        prefix: &impl KeyPrefix<K>,
    ) -> Result<TypedScan<K, V, S::Scan>, TypedError> {
        let range = encode_prefix(prefix)?;
        Ok(TypedScan::new(of.rows(&self.keyspace, range), self.clone()))
    }

    /// As [`TypedKeyspace::scan_prefix`], from the last row to the first.
    ///
    /// # Errors
    /// `Encode`.
    pub fn scan_prefix_reverse<S: View>(
        &self,
        of: S,
        prefix: &impl KeyPrefix<K>,
    ) -> Result<TypedScan<K, V, S::Scan>, TypedError> {
        let range = encode_prefix(prefix)?;
        Ok(TypedScan::new(of.rows_reverse(&self.keyspace, range), self.clone()))
    }

    pub(super) fn decode_key(&self, key: &[u8]) -> Result<K, TypedError>
    where
        K: DeserializeOwned,
    {
        let decoded = key_decode::from_bytes(key);
        decoded.map_err(|error| TypedError::decode::<K>(&self.keyspace, key, RowPart::Key, &error))
    }

    pub(super) fn decode_value(&self, key: &[u8], value: &[u8]) -> Result<V, TypedError>
    where
        V: DeserializeOwned,
    {
        let refuse = |reason: &dyn fmt::Display| {
            TypedError::decode::<V>(&self.keyspace, key, RowPart::Value, &reason)
        };
        value_from_bytes(value).map_err(|reason| refuse(&reason))
    }
}

fn value_from_bytes<V: DeserializeOwned>(value: &[u8]) -> Result<V, String> {
    match postcard::take_from_bytes(value) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes are left behind it", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// The row's bytes. With debug assertions also looks whether the types read what they wrote.
fn encode_row<K: DeserializeOwned, V: DeserializeOwned>(
    key: &(impl EncodesAs<K> + ?Sized),
    value: &(impl EncodesAs<V> + ?Sized),
) -> Result<(Vec<u8>, Vec<u8>), TypedError> {
    let (key, value) = (encode_key_of::<K>(key)?, encode_value::<V>(value)?);
    if cfg!(debug_assertions) {
        let unread = |reason: &dyn fmt::Display| format!("it writes what it cannot read: {reason}");
        key_decode::from_bytes::<K>(&key)
            .map_err(|error| TypedError::encode::<K>(RowPart::Key, &unread(&error)))?;
        value_from_bytes::<V>(&value)
            .map_err(|error| TypedError::encode::<V>(RowPart::Value, &unread(&error)))?;
    }
    Ok((key, value))
}

fn encode_key_of<K>(key: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, TypedError> {
    key_encode::to_bytes(key).map_err(|error| TypedError::encode::<K>(RowPart::Key, &error))
}

fn encode_value<V>(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, TypedError> {
    postcard::to_allocvec(value).map_err(|error| TypedError::encode::<V>(RowPart::Value, &error))
}

/// No key's bytes begin another's, so bounds of keys are bounds of bytes.
fn encode_range<K: Serialize>(range: &impl RangeBounds<K>) -> Result<KeyRange, TypedError> {
    use std::ops::Bound;
    let encode = |bound: Bound<&K>| match bound {
        Bound::Included(key) => encode_key_of::<K>(key).map(Bound::Included),
        Bound::Excluded(key) => encode_key_of::<K>(key).map(Bound::Excluded),
        Bound::Unbounded => Ok(Bound::Unbounded),
    };
    Ok(KeyRange::new(encode(range.start_bound())?, encode(range.end_bound())?))
}

fn encode_prefix<P: Serialize>(prefix: &P) -> Result<KeyRange, TypedError> {
    encode_key_of::<P>(prefix).map(|bytes| KeyRange::prefix(&bytes))
}
