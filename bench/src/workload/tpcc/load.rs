//! Fills the keyspace (clause 4.3.3): every district with as many orders as customers, the last
//! three in ten of them undelivered.

use sombra::{Isolation, Port, TransactionError};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{I64, U32, U64};

use crate::limits::{TPCC_DISTRICTS, TPCC_LOAD_BATCH_ROWS};
use crate::random::Random;

use super::new_order::{OrderLine, line_row};
use super::rows::{Customer, District, History, Order, Stock, Undelivered, Warehouse};
use super::{Scale, Stage, Table, districts, key, price_cents};

/// What every customer has paid at the beginning.
const FIRST_PAYMENT_CENTS: u64 = 1_000;

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Loads the warehouses of `which`, and gives back how many rows they have.
///
/// # Errors
/// As the store says.
pub async fn load<P: Port>(
    stage: &Stage<P>,
    (scale, which): (Scale, impl IntoIterator<Item = u32>),
    seed: u64,
) -> Result<u64, TransactionError> {
    let mut count = 0;
    for warehouse in which {
        let mut random = Random::for_client(seed, u64::from(warehouse));
        count += write(stage, &warehouse_rows(scale, warehouse, &mut random)).await?;
        for district in districts() {
            let rows = district_rows(scale, (warehouse, district), &mut random);
            count += write(stage, &rows).await?;
        }
    }
    Ok(count)
}

async fn write<P: Port>(stage: &Stage<P>, rows: &Rows) -> Result<u64, TransactionError> {
    for batch in rows.chunks(TPCC_LOAD_BATCH_ROWS) {
        // Every row is written once and none is read: there is nothing to conflict with.
        let transaction = stage.db.begin_with(Isolation::Snapshot)?;
        for (key, row) in batch {
            transaction.put(&stage.keyspace, key, row.clone())?;
        }
        transaction.commit().await?;
    }
    Ok(rows.len() as u64)
}

fn warehouse_rows(scale: Scale, warehouse: u32, random: &mut Random) -> Rows {
    let ytd_cents = FIRST_PAYMENT_CENTS * u64::from(TPCC_DISTRICTS * scale.customers);
    let row = Warehouse { ytd_cents: U64::new(ytd_cents), tax: tax(random), filler: [b'w'; 52] };
    let mut rows = vec![(key(warehouse, Table::Warehouse, &[]), row.as_bytes().to_vec())];
    rows.extend((1..=scale.items).map(|item| {
        let row = Stock {
            quantity: U32::new(10 + random.below(91) as u32),
            orders: U32::ZERO,
            remote_orders: U32::ZERO,
            reserved: U32::ZERO,
            ytd: U64::ZERO,
            filler: [b's'; 72],
        };
        (key(warehouse, Table::Stock, &[item]), row.as_bytes().to_vec())
    }));
    rows
}

/// 0 to 20 per cent.
fn tax(random: &mut Random) -> U32 {
    U32::new(random.below(2_001) as u32)
}

fn district_rows(scale: Scale, (warehouse, district): (u32, u32), random: &mut Random) -> Rows {
    let row = District {
        ytd_cents: U64::new(FIRST_PAYMENT_CENTS * u64::from(scale.customers)),
        tax: tax(random),
        next_order: U32::new(scale.customers + 1),
        filler: [b'd'; 48],
    };
    let mut rows = vec![(key(warehouse, Table::District, &[district]), row.as_bytes().to_vec())];
    for customer in 1..=scale.customers {
        add_customer(&mut rows, (warehouse, district, customer), random);
    }
    let undelivered_from = scale.customers - scale.customers * 3 / 10 + 1;
    for order in 1..=scale.customers {
        add_order(&mut rows, scale, (warehouse, district, order), random);
        if order >= undelivered_from {
            let row = Undelivered { reserved: U32::ZERO };
            let place = key(warehouse, Table::NewOrder, &[district, order]);
            rows.push((place, row.as_bytes().to_vec()));
        }
    }
    rows
}

fn add_customer(
    rows: &mut Rows,
    (warehouse, district, customer): (u32, u32, u32),
    random: &mut Random,
) {
    let row = Customer {
        balance_cents: I64::new(-FIRST_PAYMENT_CENTS.cast_signed()),
        paid_cents: U64::new(FIRST_PAYMENT_CENTS),
        payments: U32::new(1),
        discount: U32::new(random.below(5_001) as u32),
        filler: [b'c'; 104],
    };
    let place = key(warehouse, Table::Customer, &[district, customer]);
    rows.push((place, row.as_bytes().to_vec()));
    let row = History {
        warehouse: U32::new(warehouse),
        district: U32::new(district),
        customer: U32::new(customer),
        reserved: U32::ZERO,
        amount_cents: U64::new(FIRST_PAYMENT_CENTS),
    };
    // Terminals count from 1: the first payments are nobody's.
    let place = key(warehouse, Table::History, &[district, 0, customer]);
    rows.push((place, row.as_bytes().to_vec()));
}

fn add_order(
    rows: &mut Rows,
    scale: Scale,
    (warehouse, district, order): (u32, u32, u32),
    random: &mut Random,
) {
    let lines = 5 + random.below(11) as u32;
    let row = Order {
        customer: U32::new(order),
        lines: U32::new(lines),
        is_all_local: U32::new(1),
        carrier: U32::ZERO,
    };
    rows.push((key(warehouse, Table::Order, &[district, order]), row.as_bytes().to_vec()));
    for place in 1..=lines {
        let item = 1 + random.below(u64::from(scale.items)) as u32;
        let line = OrderLine { item, supply_warehouse: warehouse, quantity: 5 };
        let row = line_row(&line, 5 * price_cents(item));
        let place = key(warehouse, Table::OrderLine, &[district, order, place]);
        rows.push((place, row.as_bytes().to_vec()));
    }
}
