//! Every order and payment that a store holds, and whether each is there whole.
//!
//! A transaction over two warehouses leaves a stock's row or a customer's on another shard than
//! the rest, where none of the conditions 1 to 4 looks. So each account that orders and payments
//! feed is added up here from what fed it. Source: TPC-C's conditions 8 to 10 and 12 (clause
//! 3.3.2), as far as this schema has their columns.

use std::collections::BTreeMap;
use std::fmt;

use sombra::{KeyRange, Port, TransactionError};

use crate::limits::TPCC_VIOLATIONS_NAMED_MAX;
use crate::workload::fnv_hash64;

use super::new_order::{NewOrder, OrderLine};
use super::payment::Payment;
use super::rows::{Customer, District, History, Line, Order, Stock};
use super::{Scale, Stage, Table, price_cents, row_of};

/// Where an order or a payment is found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    Order { warehouse: u32, district: u32, number: u32 },
    Payment { warehouse: u32, district: u32, terminal: u32, sequence: u32 },
}

/// What a store holds of orders and payments.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Contents {
    /// The digest of each, as its rows give it: that of the order or payment when they are whole.
    pub digests: BTreeMap<Place, u64>,
    /// How many accounts are not what orders and payments make them.
    pub wrong_accounts: u64,
    /// The first of them.
    pub examples: Vec<WrongAccount>,
}

/// Something that orders or payments feed, and what feeds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Account {
    /// What a district took in, in cents, against the payments made in it.
    DistrictTakings {
        warehouse: u32,
        district: u32,
    },
    /// What a customer paid, in cents, and how often, against the payments that name him.
    CustomerPaid {
        warehouse: u32,
        district: u32,
        customer: u32,
    },
    CustomerPayments {
        warehouse: u32,
        district: u32,
        customer: u32,
    },
    /// What was taken from a stock, and how often, against the lines that it supplied.
    StockTaken {
        warehouse: u32,
        item: u32,
    },
    StockOrders {
        warehouse: u32,
        item: u32,
    },
    /// The lines of an order, against what it says.
    OrderLines {
        warehouse: u32,
        district: u32,
        number: u32,
    },
    /// The mark of an undelivered order, against the order.
    OrderMark {
        warehouse: u32,
        district: u32,
        number: u32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrongAccount {
    pub account: Account,
    pub expected: u64,
    pub found: u64,
}

impl fmt::Display for WrongAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WrongAccount { account, expected, found } = self;
        write!(f, "{account:?}: expected {expected}, found {found}")
    }
}

/// Many numbers in one; orders or payments that differ have different ones but for chance.
#[derive(Clone, Copy)]
struct Digest(u64);

impl Digest {
    fn of(numbers: &[u32]) -> Digest {
        numbers.iter().fold(Digest(0), |digest, number| digest.with(u64::from(*number)))
    }

    fn with(self, number: u64) -> Digest {
        Digest(fnv_hash64(self.0.rotate_left(7) ^ number))
    }

    fn with_line(self, place: u32, line: &OrderLine, amount_cents: u64) -> Digest {
        let numbers = [place, line.item, line.supply_warehouse, line.quantity];
        numbers
            .iter()
            .fold(self, |digest, number| digest.with(u64::from(*number)))
            .with(amount_cents)
    }
}

impl NewOrder {
    /// What [`Contents`] shows for this order once it is placed.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let NewOrder { warehouse, district, customer, .. } = *self;
        let head = Digest::of(&[warehouse, district, customer, self.lines.len() as u32]);
        let lines = self.lines.iter().zip(1..);
        let whole = lines.fold(head, |digest, (line, place)| {
            digest.with_line(place, line, u64::from(line.quantity) * price_cents(line.item))
        });
        whole.0
    }
}

impl Payment {
    /// Where this payment is found once it is made.
    #[must_use]
    pub fn place(&self) -> Place {
        let Payment { warehouse, district, name: (terminal, sequence), .. } = *self;
        Place::Payment { warehouse, district, terminal, sequence }
    }

    /// What [`Contents`] shows for this payment once it is made.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let whose = [self.customer_warehouse, self.customer_district, self.customer];
        payment_digest(self.place(), whose, self.amount_cents)
    }
}

fn payment_digest(place: Place, whose: [u32; 3], amount_cents: u64) -> u64 {
    let Place::Payment { warehouse, district, terminal, sequence } = place else { return 0 };
    let [customer_warehouse, customer_district, customer] = whose;
    let of_payment = [warehouse, district, terminal, sequence];
    let of_customer = [customer_warehouse, customer_district, customer];
    Digest::of(&[of_payment.as_slice(), &of_customer].concat()).with(amount_cents).0
}

/// Reads every row of the keyspace on one new snapshot.
///
/// # Errors
/// As the store says, and when a row does not have its table's length.
pub async fn read_contents<P: Port>(
    stage: &Stage<P>,
    scale: Scale,
) -> Result<Contents, TransactionError> {
    let snapshot = stage.db.snapshot()?;
    let mut scan = snapshot.scan(&stage.keyspace, KeyRange::all());
    let mut reader = Reader { scale, digests: BTreeMap::new(), accounts: BTreeMap::new() };
    while let Some((key, value)) = scan.next().await? {
        reader.take(&key, &value)?;
    }
    Ok(reader.conclude())
}

#[derive(Default)]
struct Balance {
    expected: u64,
    found: u64,
}

struct Reader {
    scale: Scale,
    digests: BTreeMap<Place, u64>,
    accounts: BTreeMap<Account, Balance>,
}

impl Reader {
    fn expect(&mut self, account: Account, amount: u64) {
        self.accounts.entry(account).or_default().expected += amount;
    }

    fn find(&mut self, account: Account, amount: u64) {
        self.accounts.entry(account).or_default().found += amount;
    }

    /// Loaded orders took nothing from a stock.
    fn is_loaded(&self, number: u32) -> bool {
        number <= self.scale.customers
    }

    fn take(&mut self, key: &[u8], value: &bytes::Bytes) -> Result<(), TransactionError> {
        let Some((warehouse, table, numbers)) = parts(key) else {
            return Err(TransactionError::abort(format!("key {}", key.escape_ascii())));
        };
        match (table, numbers.as_slice()) {
            (Table::District, &[district]) => {
                let row: District = row_of(key, Some(value))?;
                self.find(Account::DistrictTakings { warehouse, district }, row.ytd_cents.get());
            }
            (Table::Customer, &[district, customer]) => {
                let row: Customer = row_of(key, Some(value))?;
                let paid = Account::CustomerPaid { warehouse, district, customer };
                self.find(paid, row.paid_cents.get());
                let payments = Account::CustomerPayments { warehouse, district, customer };
                self.find(payments, u64::from(row.payments.get()));
            }
            (Table::History, &[district, terminal, sequence]) => {
                let place = Place::Payment { warehouse, district, terminal, sequence };
                self.payment((warehouse, district), place, &row_of(key, Some(value))?);
            }
            (Table::Order, &[district, number]) => {
                self.order((warehouse, district, number), &row_of(key, Some(value))?);
            }
            (Table::NewOrder, &[district, number]) if !self.is_loaded(number) => {
                self.find(Account::OrderMark { warehouse, district, number }, 1);
            }
            (Table::OrderLine, &[district, number, place]) => {
                self.line((warehouse, district, number), place, &row_of(key, Some(value))?);
            }
            (Table::Stock, &[item]) => {
                let row: Stock = row_of(key, Some(value))?;
                self.find(Account::StockTaken { warehouse, item }, row.ytd.get());
                self.find(Account::StockOrders { warehouse, item }, u64::from(row.orders.get()));
            }
            _ => {}
        }
        Ok(())
    }

    fn payment(&mut self, (warehouse, district): (u32, u32), place: Place, row: &History) {
        let amount_cents = row.amount_cents.get();
        self.expect(Account::DistrictTakings { warehouse, district }, amount_cents);
        let whose = [row.warehouse.get(), row.district.get(), row.customer.get()];
        self.digests.insert(place, payment_digest(place, whose, amount_cents));
        let [warehouse, district, customer] = whose;
        self.expect(Account::CustomerPaid { warehouse, district, customer }, amount_cents);
        self.expect(Account::CustomerPayments { warehouse, district, customer }, 1);
    }

    fn order(&mut self, (warehouse, district, number): (u32, u32, u32), row: &Order) {
        let lines = row.lines.get();
        let head = Digest::of(&[warehouse, district, row.customer.get(), lines]);
        self.digests.insert(Place::Order { warehouse, district, number }, head.0);
        self.expect(Account::OrderLines { warehouse, district, number }, u64::from(lines));
        if !self.is_loaded(number) {
            self.expect(Account::OrderMark { warehouse, district, number }, 1);
        }
    }

    /// Lines come after all orders of their warehouse, in the order of their places.
    fn line(&mut self, (warehouse, district, number): (u32, u32, u32), place: u32, row: &Line) {
        self.find(Account::OrderLines { warehouse, district, number }, 1);
        let (item, supply_warehouse) = (row.item.get(), row.supply_warehouse.get());
        let line = OrderLine { item, supply_warehouse, quantity: row.quantity.get() };
        let order = Place::Order { warehouse, district, number };
        if let Some(digest) = self.digests.get_mut(&order) {
            *digest = Digest(*digest).with_line(place, &line, row.amount_cents.get()).0;
        }
        if !self.is_loaded(number) {
            let warehouse = supply_warehouse;
            let quantity = u64::from(line.quantity);
            self.expect(Account::StockTaken { warehouse, item }, quantity);
            self.expect(Account::StockOrders { warehouse, item }, 1);
        }
    }

    fn conclude(self) -> Contents {
        let mut contents = Contents { digests: self.digests, ..Contents::default() };
        for (account, Balance { expected, found }) in self.accounts {
            if expected == found {
                continue;
            }
            contents.wrong_accounts += 1;
            if contents.examples.len() < TPCC_VIOLATIONS_NAMED_MAX {
                contents.examples.push(WrongAccount { account, expected, found });
            }
        }
        contents
    }
}

/// Warehouse, table and numbers of a key.
fn parts(key: &[u8]) -> Option<(u32, Table, Vec<u32>)> {
    let (warehouse, rest) = key.split_first_chunk()?;
    let (table, rest) = rest.split_first()?;
    let (numbers, []) = rest.as_chunks() else { return None };
    let numbers = numbers.iter().map(|bytes| u32::from_be_bytes(*bytes)).collect();
    Some((u32::from_be_bytes(*warehouse), Table::of(*table)?, numbers))
}
