//! TPC-C's consistency conditions 1 to 4 (clauses 3.3.2.1 to 3.3.2.4), from one snapshot.

use std::fmt;

use serde::Serialize;
use sombra::{KeyRange, Port, ReadError, Snapshot, TransactionError};
use zerocopy::FromBytes;

use crate::limits::TPCC_VIOLATIONS_NAMED_MAX;

use super::rows::{District, Order, Row, Warehouse};
use super::{Scale, Stage, Table, districts, key, last_number, row_of};

/// What one look at all warehouses found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Consistency {
    pub warehouses: u32,
    pub districts: u64,
    pub orders: u64,
    pub order_lines: u64,
    /// Orders not yet delivered.
    pub new_orders: u64,
    /// What all warehouses have taken in.
    pub ytd_cents: u64,
    /// How often each of the four conditions did not hold.
    pub violations: [u64; 4],
    /// The first of them.
    pub examples: Vec<Violation>,
}

/// A condition that does not hold at one place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Violation {
    /// 1 to 4.
    pub condition: usize,
    pub warehouse: u32,
    /// 0 where it is the warehouse's.
    pub district: u32,
    pub expected: u64,
    pub found: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { condition, warehouse, district, expected, found } = self;
        let name = match condition {
            1 => "sum of the districts' takings against the warehouse's",
            2 => "the district's last order against the newest order, or new-order",
            3 => "new-orders against the distance of the oldest to the newest",
            _ => "order lines against what the orders say",
        };
        write!(f, "condition {condition}, warehouse {warehouse}, district {district}: {name}: ")?;
        write!(f, "expected {expected}, found {found}")
    }
}

impl Consistency {
    /// Whether all four conditions hold everywhere.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.violations == [0; 4]
    }

    fn expect(
        &mut self,
        condition: usize,
        (warehouse, district): (u32, u32),
        (expected, found): (u64, u64),
    ) {
        if expected == found {
            return;
        }
        self.violations[condition - 1] += 1;
        if self.examples.len() < TPCC_VIOLATIONS_NAMED_MAX {
            self.examples.push(Violation { condition, warehouse, district, expected, found });
        }
    }
}

/// Checks the four conditions of every warehouse on one new snapshot.
///
/// # Errors
/// As the store says, and when the row of a warehouse or a district is not there or not whole.
pub async fn check_consistency<P: Port>(
    stage: &Stage<P>,
    scale: Scale,
) -> Result<Consistency, TransactionError> {
    let view = View { stage, snapshot: stage.db.snapshot()? };
    let mut found = Consistency { warehouses: scale.warehouses, ..Consistency::default() };
    for warehouse in 1..=scale.warehouses {
        let place = key(warehouse, Table::Warehouse, &[]);
        let takings = view.row::<Warehouse>(&place).await?.ytd_cents.get();
        let mut takings_of_districts = 0;
        for district in districts() {
            let place = key(warehouse, Table::District, &[district]);
            let row = view.row::<District>(&place).await?;
            takings_of_districts += row.ytd_cents.get();
            let last_order = row.next_order.get().saturating_sub(1);
            view.check_district((warehouse, district), last_order, &mut found).await?;
        }
        found.expect(1, (warehouse, 0), (takings, takings_of_districts));
        found.ytd_cents += takings;
    }
    Ok(found)
}

struct View<'a, P: Port> {
    stage: &'a Stage<P>,
    snapshot: Snapshot<P>,
}

/// The rows of one table in one district.
#[derive(Default)]
struct Counted {
    rows: u64,
    first: u32,
    last: u32,
    /// Lines that the orders say they have.
    lines: u64,
}

impl<P: Port> View<'_, P> {
    async fn row<R: Row>(&self, place: &[u8]) -> Result<R, TransactionError> {
        let found = self.snapshot.get(&self.stage.keyspace, place).await?;
        row_of(place, found.as_ref())
    }

    async fn check_district(
        &self,
        (warehouse, district): (u32, u32),
        last_order: u32,
        found: &mut Consistency,
    ) -> Result<(), TransactionError> {
        let place = (warehouse, district);
        let orders = self.count(place, Table::Order).await?;
        let new_orders = self.count(place, Table::NewOrder).await?;
        let lines = self.count(place, Table::OrderLine).await?;
        let last_order = u64::from(last_order);
        found.expect(2, place, (last_order, u64::from(orders.last)));
        if new_orders.rows > 0 {
            found.expect(2, place, (last_order, u64::from(new_orders.last)));
            let distance = u64::from(new_orders.last - new_orders.first) + 1;
            found.expect(3, place, (distance, new_orders.rows));
        }
        found.expect(4, place, (orders.lines, lines.rows));
        found.districts += 1;
        found.orders += orders.rows;
        found.new_orders += new_orders.rows;
        found.order_lines += lines.rows;
        Ok(())
    }

    async fn count(
        &self,
        (warehouse, district): (u32, u32),
        table: Table,
    ) -> Result<Counted, ReadError> {
        let range = KeyRange::prefix(&key(warehouse, table, &[district]));
        let mut scan = self.snapshot.scan(&self.stage.keyspace, range);
        let mut counted = Counted::default();
        while let Some((key, value)) = scan.next().await? {
            let number = last_number(&key);
            counted.first = if counted.rows == 0 { number } else { counted.first };
            counted.last = number;
            counted.rows += 1;
            if table == Table::Order {
                let order = Order::read_from_bytes(&value).ok();
                counted.lines += order.map_or(0, |order| u64::from(order.lines.get()));
            }
        }
        Ok(counted)
    }
}
