//! The payment transaction (clause 2.5), with the customer named by number.

use sombra::{Lsn, Port, TransactionError};
use zerocopy::little_endian::{U32, U64};

use super::rows::{Customer, District, History, Warehouse};
use super::{Stage, Table, key};

/// A payment to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payment {
    pub warehouse: u32,
    pub district: u32,
    pub customer_warehouse: u32,
    pub customer_district: u32,
    pub customer: u32,
    pub amount_cents: u64,
    /// Terminal and sequence: no other payment has them.
    pub name: (u32, u32),
}

/// Makes a payment in one attempt.
///
/// # Errors
/// As the store says; a conflict is the caller's to try again.
pub async fn payment<P: Port>(
    stage: &Stage<P>,
    payment: &Payment,
) -> Result<Lsn, TransactionError> {
    let Payment { warehouse, district, customer_warehouse, .. } = *payment;
    let Payment { customer_district, customer, amount_cents, .. } = *payment;
    let transaction = stage.db.begin_with(stage.isolation)?;

    let place = key(warehouse, Table::Warehouse, &[]);
    let mut row: Warehouse = stage.row(&transaction, &place).await?;
    row.ytd_cents += amount_cents;
    stage.put(&transaction, place, &row)?;

    let place = key(warehouse, Table::District, &[district]);
    let mut row: District = stage.row(&transaction, &place).await?;
    row.ytd_cents += amount_cents;
    stage.put(&transaction, place, &row)?;

    let place = key(customer_warehouse, Table::Customer, &[customer_district, customer]);
    let mut row: Customer = stage.row(&transaction, &place).await?;
    row.balance_cents -= amount_cents.cast_signed();
    row.paid_cents += amount_cents;
    row.payments += 1;
    stage.put(&transaction, place, &row)?;

    let (terminal, sequence) = payment.name;
    let place = key(warehouse, Table::History, &[district, terminal, sequence]);
    let row = History {
        warehouse: U32::new(customer_warehouse),
        district: U32::new(customer_district),
        customer: U32::new(customer),
        reserved: U32::ZERO,
        amount_cents: U64::new(amount_cents),
    };
    stage.put(&transaction, place, &row)?;
    Ok(transaction.commit().await?.lsn())
}
