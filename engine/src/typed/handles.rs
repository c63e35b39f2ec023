//! The handles that typed keyspaces work with, seen as what they can do.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use super::error::TypedError;
use crate::db::{
    BlockingDb, BlockingScan, BlockingSnapshot, BlockingTransaction, DbHandle, Local, Port, Remote,
    Scan, Snapshot, Transaction, WriteBatch,
};
use crate::error::ReadError;
use crate::ids::Lsn;
use crate::keyspace::Keyspace;
use crate::txn::KeyRange;

mod sealed {
    pub trait Sealed {}
}
use sealed::Sealed;

/// What can be read from: `&Db`, `&LocalDb`, a [`View`], and `&BlockingDb`.
pub trait Reader: Copy + Sealed {
    /// What a read gives: the future itself, or, of a handle that blocks, its outcome.
    type Answer<F: Future>;

    #[doc(hidden)]
    fn answer<F: Future>(self, future: F) -> Self::Answer<F>;

    #[doc(hidden)]
    fn read(
        self,
        keyspace: &Keyspace,
        key: &[u8],
    ) -> impl Future<Output = Result<Option<Bytes>, ReadError>>;
}

/// What sees one moment: references to `Transaction` and `Snapshot`, and to the same that block.
pub trait View: Reader {
    /// The rows of a scan as bytes.
    type Scan;

    #[doc(hidden)]
    fn read_all(
        self,
        keyspace: &Keyspace,
        keys: &[Vec<u8>],
    ) -> impl Future<Output = Result<Vec<Option<Bytes>>, ReadError>>;

    #[doc(hidden)]
    fn rows(self, keyspace: &Keyspace, range: KeyRange) -> Self::Scan;

    #[doc(hidden)]
    fn rows_reverse(self, keyspace: &Keyspace, range: KeyRange) -> Self::Scan;
}

/// A key, and the value to put, or `None` to delete.
pub(super) type EncodedWrite = (Vec<u8>, Option<Vec<u8>>);

/// What can be written to: `&Db`, `&LocalDb`, `&Transaction`, `&BlockingDb`,
/// `&BlockingTransaction`, `&mut WriteBatch`.
pub trait Writer: Sealed {
    /// What a write gives: of a transaction or batch, which only note it, `()`; of a store the
    /// commit's place, once it is durable.
    type Written;

    #[doc(hidden)]
    fn write(self, keyspace: &Keyspace, write: Result<EncodedWrite, TypedError>) -> Self::Written;
}

macro_rules! awaited_reader {
    ($($handle:ident),+) => {$(
        impl<P: Port> Sealed for &$handle<P> {}

        impl<P: Port> Reader for &$handle<P> {
            type Answer<F: Future> = F;

            fn answer<F: Future>(self, future: F) -> F {
                future
            }

            fn read(
                self,
                keyspace: &Keyspace,
                key: &[u8],
            ) -> impl Future<Output = Result<Option<Bytes>, ReadError>> {
                self.get(keyspace, key)
            }
        }
    )+};
}
awaited_reader!(DbHandle, Transaction, Snapshot);

macro_rules! awaited_view {
    ($($handle:ident),+) => {$(
        impl<P: Port> View for &$handle<P> {
            type Scan = Scan<P>;

            fn read_all(
                self,
                keyspace: &Keyspace,
                keys: &[Vec<u8>],
            ) -> impl Future<Output = Result<Vec<Option<Bytes>>, ReadError>> {
                self.multi_get(keyspace, keys)
            }

            fn rows(self, keyspace: &Keyspace, range: KeyRange) -> Scan<P> {
                self.scan(keyspace, range)
            }

            fn rows_reverse(self, keyspace: &Keyspace, range: KeyRange) -> Scan<P> {
                self.scan_reverse(keyspace, range)
            }
        }
    )+};
}
awaited_view!(Transaction, Snapshot);

macro_rules! blocking_reader {
    ($($handle:ident $inner:ident),+) => {$(
        impl Sealed for &$handle {}

        impl Reader for &$handle {
            type Answer<F: Future> = F::Output;

            fn answer<F: Future>(self, future: F) -> F::Output {
                self.runtime.block_on(future)
            }

            fn read(
                self,
                keyspace: &Keyspace,
                key: &[u8],
            ) -> impl Future<Output = Result<Option<Bytes>, ReadError>> {
                self.$inner.get(keyspace, key)
            }
        }
    )+};
}
blocking_reader!(BlockingDb db, BlockingTransaction inner, BlockingSnapshot inner);

macro_rules! blocking_view {
    ($($handle:ident),+) => {$(
        impl View for &$handle {
            type Scan = BlockingScan;

            fn read_all(
                self,
                keyspace: &Keyspace,
                keys: &[Vec<u8>],
            ) -> impl Future<Output = Result<Vec<Option<Bytes>>, ReadError>> {
                self.inner.multi_get(keyspace, keys)
            }

            fn rows(self, keyspace: &Keyspace, range: KeyRange) -> BlockingScan {
                self.scan(keyspace, range)
            }

            fn rows_reverse(self, keyspace: &Keyspace, range: KeyRange) -> BlockingScan {
                self.scan_reverse(keyspace, range)
            }
        }
    )+};
}
blocking_view!(BlockingTransaction, BlockingSnapshot);

/// Writes one key as a commit of its own.
async fn commit<P: Port>(
    db: &DbHandle<P>,
    keyspace: Keyspace,
    write: Result<EncodedWrite, TypedError>,
) -> Result<Lsn, TypedError> {
    let lsn = match write? {
        (key, Some(value)) => db.put(&keyspace, key, value).await?,
        (key, None) => db.delete(&keyspace, key).await?,
    };
    Ok(lsn)
}

impl<'h> Writer for &'h DbHandle<Remote> {
    type Written = Pin<Box<dyn Future<Output = Result<Lsn, TypedError>> + Send + 'h>>;

    fn write(self, keyspace: &Keyspace, write: Result<EncodedWrite, TypedError>) -> Self::Written {
        Box::pin(commit(self, keyspace.clone(), write))
    }
}

impl<'h> Writer for &'h DbHandle<Local> {
    type Written = Pin<Box<dyn Future<Output = Result<Lsn, TypedError>> + 'h>>;

    fn write(self, keyspace: &Keyspace, write: Result<EncodedWrite, TypedError>) -> Self::Written {
        Box::pin(commit(self, keyspace.clone(), write))
    }
}

impl Writer for &BlockingDb {
    type Written = Result<Lsn, TypedError>;

    fn write(self, keyspace: &Keyspace, write: Result<EncodedWrite, TypedError>) -> Self::Written {
        self.runtime.block_on(commit(&self.db, keyspace.clone(), write))
    }
}

impl<P: Port> Writer for &Transaction<P> {
    type Written = Result<(), TypedError>;

    fn write(self, keyspace: &Keyspace, write: Result<EncodedWrite, TypedError>) -> Self::Written {
        match write? {
            (key, Some(value)) => self.put(keyspace, key, value)?,
            (key, None) => self.delete(keyspace, key)?,
        }
        Ok(())
    }
}

impl Writer for &BlockingTransaction {
    type Written = Result<(), TypedError>;

    fn write(self, keyspace: &Keyspace, write: Result<EncodedWrite, TypedError>) -> Self::Written {
        (&self.inner).write(keyspace, write)
    }
}

impl Sealed for &mut WriteBatch {}

impl Writer for &mut WriteBatch {
    type Written = Result<(), TypedError>;

    fn write(self, keyspace: &Keyspace, write: Result<EncodedWrite, TypedError>) -> Self::Written {
        match write? {
            (key, Some(value)) => self.put(keyspace, key, value),
            (key, None) => self.delete(keyspace, key),
        };
        Ok(())
    }
}
