//! One terminal: draws the input of transactions for its home warehouse.

use crate::limits::TPCC_DISTRICTS;
use crate::random::Random;

use super::Scale;
use super::new_order::{NewOrder, OrderLine};
use super::payment::Payment;

/// Draws the orders and payments of one warehouse (clauses 2.4.1 and 2.5.1).
#[derive(Clone, Debug)]
pub struct Terminal {
    scale: Scale,
    home: u32,
    /// No other terminal of the store may have it: it names the rows that payments leave behind.
    number: u32,
    payments: u32,
    shares: Shares,
    random: Random,
}

/// How often of a hundred times something special is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shares {
    /// Lines that another warehouse supplies.
    pub remote_lines: u64,
    /// Payments by a customer of another warehouse.
    pub remote_payments: u64,
    /// Orders that name an unused item and are rolled back.
    pub mistaken_orders: u64,
}

impl Shares {
    /// TPC-C's own.
    pub const TPCC: Shares = Shares { remote_lines: 1, remote_payments: 15, mistaken_orders: 1 };
}

impl Terminal {
    /// A terminal at home in one warehouse of `1..=scale.warehouses`.
    #[must_use]
    pub fn new(scale: Scale, (home, number): (u32, u32), random: Random) -> Terminal {
        assert!((1..=scale.warehouses).contains(&home), "warehouse {home} of {scale:?}");
        Terminal { scale, home, number, payments: 0, shares: Shares::TPCC, random }
    }

    /// The same terminal with other shares than TPC-C's.
    #[must_use]
    pub fn with_shares(self, shares: Shares) -> Terminal {
        Terminal { shares, ..self }
    }

    /// The next order.
    pub fn new_order(&mut self) -> NewOrder {
        let is_mistaken = self.happens(self.shares.mistaken_orders);
        let count = self.between(5, 15);
        let mut lines: Vec<_> = (0..count).map(|_| self.line()).collect();
        if let Some(last) = lines.last_mut().filter(|_| is_mistaken) {
            last.item = self.scale.items + 1;
        }
        NewOrder {
            warehouse: self.home,
            district: self.between(1, TPCC_DISTRICTS),
            customer: self.skewed(self.scale.customers, CUSTOMER_CONSTANT, 3),
            items: self.scale.items,
            lines,
        }
    }

    /// The next payment.
    pub fn payment(&mut self) -> Payment {
        let is_remote = self.happens(self.shares.remote_payments);
        let district = self.between(1, TPCC_DISTRICTS);
        self.payments += 1;
        Payment {
            warehouse: self.home,
            district,
            customer_warehouse: if is_remote { self.other_warehouse() } else { self.home },
            customer_district: if is_remote { self.between(1, TPCC_DISTRICTS) } else { district },
            customer: self.skewed(self.scale.customers, CUSTOMER_CONSTANT, 3),
            amount_cents: u64::from(self.between(100, 500_000)),
            name: (self.number, self.payments),
        }
    }

    /// Whether the next transaction is an order: 45 orders to 43 payments, TPC-C's least shares.
    pub fn is_order_next(&mut self) -> bool {
        self.random.below(88) < 45
    }

    fn line(&mut self) -> OrderLine {
        let is_remote = self.happens(self.shares.remote_lines);
        OrderLine {
            item: self.skewed(self.scale.items, ITEM_CONSTANT, 13),
            supply_warehouse: if is_remote { self.other_warehouse() } else { self.home },
            quantity: self.between(1, 10),
        }
    }

    /// Another warehouse, unless there is none.
    fn other_warehouse(&mut self) -> u32 {
        if self.scale.warehouses == 1 {
            return self.home;
        }
        let drawn = self.between(1, self.scale.warehouses - 1);
        drawn + u32::from(drawn >= self.home)
    }

    fn happens(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.random.below(u64::from(high - low) + 1) as u32
    }

    /// TPC-C's NURand over `1..=count` (clause 2.1.6), with `A` in the original's relation to the
    /// count: the next power of two above the named part of it, less 1.
    fn skewed(&mut self, count: u32, constant: u32, part: u32) -> u32 {
        let a = (count / part).next_power_of_two() - 1;
        let drawn = self.between(0, a) | self.between(1, count);
        (drawn + constant % (a + 1)) % count + 1
    }
}

/// The run-time constants `C` of NURand: any will do, the same for loading and running.
const CUSTOMER_CONSTANT: u32 = 259;
const ITEM_CONSTANT: u32 = 7_911;
