//! Orders and payments in the shape of TPC-C: its new-order and payment transactions, and its
//! consistency conditions 1 to 4, on a schema and with cardinalities of this crate's own.
//!
//! All rows lie in one keyspace with a tablet for each warehouse, so that a warehouse is on one
//! shard whole and shards have equally many: as several keyspaces, its tables would be placed each
//! for itself, and hashed, few warehouses may lie on one shard nearly all. Not as in TPC-C:
//! a tenth of the customers and a hundredth of the items; rows are as long as what they count,
//! with some filler; an item's price follows from its number, so that there is no table that is
//! only read; a customer is always named by number; nothing delivers orders, nobody waits to
//! think. Source: TPC Benchmark C, revision 5.11, clauses 1.2, 2.4, 2.5, 3.3.2 and 4.3.3.

mod consistency;
mod contents;
mod load;
mod new_order;
mod payment;
mod rows;
mod terminal;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use sombra::{DbHandle, Isolation, Keyspace, KeyspaceError, Port, Routing};
use sombra::{Transaction, TransactionError};
use sombra_runtime::ShardId;

use crate::limits::{TPCC_CUSTOMERS, TPCC_DISTRICTS, TPCC_ITEMS, TPCC_WAREHOUSES_MAX};

pub use consistency::{Consistency, Violation, check_consistency};
pub use contents::{Account, Contents, Place, WrongAccount, read_contents};
pub use load::load;
pub use new_order::{NewOrder, OrderLine, Placed, new_order};
pub use payment::{Payment, payment};
pub use rows::ROW_BYTES_MAX;
pub use terminal::{Shares, Terminal};

use rows::Row;

/// The keyspace that holds every row.
pub const KEYSPACE_NAME: &str = "tpcc";
/// Warehouse, table, and at most four numbers.
pub const KEY_BYTES_MAX: usize = 4 + 1 + 4 * 4;

/// How many rows there are; numbers count from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale {
    pub warehouses: u32,
    /// Of each district, and as many orders when it is loaded.
    pub customers: u32,
    pub items: u32,
}

impl Scale {
    /// The bench's own scale of so many warehouses.
    #[must_use]
    pub const fn of(warehouses: u32) -> Scale {
        Scale { warehouses, customers: TPCC_CUSTOMERS, items: TPCC_ITEMS }
    }
}

/// A store, the keyspace in it, and how its transactions run.
#[derive(Clone)]
pub struct Stage<P: Port> {
    pub db: DbHandle<P>,
    pub keyspace: Keyspace,
    pub isolation: Isolation,
}

const _: () = assert!(TPCC_WAREHOUSES_MAX as usize <= sombra::limits::TABLETS_PER_KEYSPACE_MAX);

/// How the keyspace is routed: by warehouse.
#[must_use]
pub fn routing(warehouses: u32) -> Routing {
    Routing::range_split((2..=warehouses).map(u32::to_be_bytes))
}

impl<P: Port> Stage<P> {
    /// Opens the keyspace, or makes it.
    ///
    /// # Errors
    /// As [`KeyspaceError`].
    pub async fn open(
        db: DbHandle<P>,
        scale: Scale,
        isolation: Isolation,
    ) -> Result<Stage<P>, KeyspaceError> {
        let keyspace = match db.keyspace(KEYSPACE_NAME) {
            Some(keyspace) => keyspace,
            None => db.create_keyspace(KEYSPACE_NAME, routing(scale.warehouses)).await?,
        };
        Ok(Stage { db, keyspace, isolation })
    }

    /// The shard that holds a warehouse.
    #[must_use]
    pub fn shard_of(&self, warehouse: u32) -> ShardId {
        self.db.shard_of(&self.keyspace, key(warehouse, Table::Warehouse, &[]))
    }

    fn put<R: Row>(
        &self,
        transaction: &Transaction<P>,
        key: Vec<u8>,
        row: &R,
    ) -> Result<(), TransactionError> {
        Ok(transaction.put(&self.keyspace, key, row.as_bytes().to_vec())?)
    }

    /// A row that must be there.
    async fn row<R: Row>(
        &self,
        transaction: &Transaction<P>,
        key: &[u8],
    ) -> Result<R, TransactionError> {
        let found = transaction.get(&self.keyspace, key).await?;
        row_of(key, found.as_ref())
    }
}

fn row_of<R: Row>(key: &[u8], found: Option<&Bytes>) -> Result<R, TransactionError> {
    let row = found.and_then(|value| R::read_from_bytes(value).ok());
    row.ok_or_else(|| {
        let length = found.map_or_else(|| "none".to_owned(), |row| row.len().to_string());
        let (key, expected) = (key.escape_ascii(), size_of::<R>());
        TransactionError::abort(format!("row {key}: expected {expected} bytes, found {length}"))
    })
}

/// The tables, by the byte that follows the warehouse in a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Table {
    Warehouse = 1,
    District = 2,
    Customer = 3,
    History = 4,
    Order = 5,
    NewOrder = 6,
    OrderLine = 7,
    Stock = 8,
}

impl Table {
    fn of(byte: u8) -> Option<Table> {
        let all = [
            Table::Warehouse,
            Table::District,
            Table::Customer,
            Table::History,
            Table::Order,
            Table::NewOrder,
            Table::OrderLine,
            Table::Stock,
        ];
        all.into_iter().find(|table| *table as u8 == byte)
    }
}

/// The key of a row, or the prefix of several: numbers in big-endian order, so that rows are in
/// the order of their numbers.
fn key(warehouse: u32, table: Table, numbers: &[u32]) -> Vec<u8> {
    let mut key = Vec::with_capacity(KEY_BYTES_MAX);
    key.extend_from_slice(&warehouse.to_be_bytes());
    key.push(table as u8);
    numbers.iter().for_each(|number| key.extend_from_slice(&number.to_be_bytes()));
    key
}

/// The last number of a key.
fn last_number(key: &[u8]) -> u32 {
    key.last_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// What one item costs, in cents: 1.00 to 100.00 (clause 4.3.3.1).
fn price_cents(item: u32) -> u64 {
    100 + super::fnv_hash64(u64::from(item)) % 9_901
}

/// All districts of a warehouse.
fn districts() -> impl Iterator<Item = u32> {
    1..=TPCC_DISTRICTS
}
