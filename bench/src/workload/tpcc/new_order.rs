//! The new-order transaction (clause 2.4).

use sombra::{Lsn, Port, TransactionError};
use zerocopy::little_endian::{U32, U64};

use super::rows::{Customer, District, Line, Order, Stock, Undelivered, Warehouse};
use super::{Stage, Table, key, price_cents};

/// An order to be placed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewOrder {
    pub warehouse: u32,
    pub district: u32,
    pub customer: u32,
    /// Items beyond this number do not exist: an order that names one is rolled back.
    pub items: u32,
    pub lines: Vec<OrderLine>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrderLine {
    pub item: u32,
    pub supply_warehouse: u32,
    pub quantity: u32,
}

/// An order that was placed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Its number in its district.
    pub order: u32,
    pub total_cents: u64,
    pub lsn: Lsn,
}

/// Stock is never short: below this it is filled up.
const STOCK_LEAST: u32 = 10;
const STOCK_REFILL: u32 = 91;
/// A whole, in hundredths of a per cent.
const WHOLE: u64 = 10_000;

/// Places an order in one attempt; `None` when it names an item that does not exist, and was
/// rolled back.
///
/// # Errors
/// As the store says; a conflict is the caller's to try again.
pub async fn new_order<P: Port>(
    stage: &Stage<P>,
    order: &NewOrder,
) -> Result<Option<Placed>, TransactionError> {
    let NewOrder { warehouse, district, customer, .. } = *order;
    let transaction = stage.db.begin_with(stage.isolation)?;
    let own = key(warehouse, Table::Warehouse, &[]);
    let tax = stage.row::<Warehouse>(&transaction, &own).await?.tax.get();
    let buyer = key(warehouse, Table::Customer, &[district, customer]);
    let discount = stage.row::<Customer>(&transaction, &buyer).await?.discount.get();
    let place = key(warehouse, Table::District, &[district]);
    let mut district_row: District = stage.row(&transaction, &place).await?;
    let number = district_row.next_order.get();
    district_row.next_order = U32::new(number + 1);
    stage.put(&transaction, place, &district_row)?;

    let is_all_local = order.lines.iter().all(|line| line.supply_warehouse == warehouse);
    let head = Order {
        customer: U32::new(customer),
        lines: U32::new(order.lines.len() as u32),
        is_all_local: U32::new(u32::from(is_all_local)),
        carrier: U32::ZERO,
    };
    stage.put(&transaction, key(warehouse, Table::Order, &[district, number]), &head)?;
    let undelivered = key(warehouse, Table::NewOrder, &[district, number]);
    stage.put(&transaction, undelivered, &Undelivered { reserved: U32::ZERO })?;

    let mut total_cents = 0;
    for (line, place) in order.lines.iter().zip(1..) {
        if line.item > order.items {
            transaction.rollback();
            return Ok(None);
        }
        take_from_stock(stage, (&transaction, warehouse), line).await?;
        let amount_cents = u64::from(line.quantity) * price_cents(line.item);
        total_cents += amount_cents;
        let row = line_row(line, amount_cents);
        let place = key(warehouse, Table::OrderLine, &[district, number, place]);
        stage.put(&transaction, place, &row)?;
    }
    let taxes = u64::from(tax) + u64::from(district_row.tax.get());
    let total_cents = total_cents * (WHOLE - u64::from(discount)) / WHOLE;
    let total_cents = total_cents * (WHOLE + taxes) / WHOLE;
    let lsn = transaction.commit().await?.lsn();
    Ok(Some(Placed { order: number, total_cents, lsn }))
}

pub(super) fn line_row(line: &OrderLine, amount_cents: u64) -> Line {
    Line {
        item: U32::new(line.item),
        supply_warehouse: U32::new(line.supply_warehouse),
        quantity: U32::new(line.quantity),
        reserved: U32::ZERO,
        amount_cents: U64::new(amount_cents),
        filler: [b'd'; 24],
    }
}

async fn take_from_stock<P: Port>(
    stage: &Stage<P>,
    (transaction, warehouse): (&sombra::Transaction<P>, u32),
    line: &OrderLine,
) -> Result<(), TransactionError> {
    let place = key(line.supply_warehouse, Table::Stock, &[line.item]);
    let mut stock: Stock = stage.row(transaction, &place).await?;
    let on_hand = stock.quantity.get();
    let refill = if on_hand >= line.quantity + STOCK_LEAST { 0 } else { STOCK_REFILL };
    stock.quantity = U32::new(on_hand + refill - line.quantity);
    stock.ytd += u64::from(line.quantity);
    stock.orders += 1;
    stock.remote_orders += u32::from(line.supply_warehouse != warehouse);
    stage.put(transaction, place, &stock)
}
