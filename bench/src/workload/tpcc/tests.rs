use std::path::PathBuf;

use sombra::{Db, Isolation, Options, Remote};
use sombra_runtime::{Runtime, RuntimeOptions};

use super::rows::{Customer, District, Order, Stock};
use super::*;
use crate::random::Random;

const SCALE: Scale = Scale { warehouses: 3, customers: 10, items: 20 };
const DRAWS: u64 = 20_000;

fn terminal(scale: Scale) -> Terminal {
    Terminal::new(scale, (2, 7), Random::new(5))
}

#[test]
fn terminal_draws_orders_within_bounds_and_shares() {
    let mut terminal = terminal(Scale::of(4));
    let (mut lines, mut remote, mut mistaken, mut orders) = (0.0, 0.0, 0.0, 0);
    for _ in 0..DRAWS {
        let order = terminal.new_order();
        assert_eq!((order.warehouse, order.items), (2, 1_000));
        assert!((1..=10).contains(&order.district) && (1..=300).contains(&order.customer));
        assert!((5..=15).contains(&order.lines.len()));
        for line in &order.lines {
            assert!((1..=4).contains(&line.supply_warehouse) && (1..=10).contains(&line.quantity));
            assert!((1..=1_001).contains(&line.item));
            lines += 1.0;
            remote += f64::from(u8::from(line.supply_warehouse != 2));
            mistaken += f64::from(u8::from(line.item > order.items));
        }
        orders += u64::from(terminal.is_order_next());
    }
    let draws = DRAWS as f64;
    assert!((remote / lines - 0.01).abs() < 0.002, "{remote} of {lines} lines");
    assert!((mistaken / draws - 0.01).abs() < 0.004, "{mistaken} mistaken orders");
    assert!((orders as f64 / draws - 45.0 / 88.0).abs() < 0.02, "{orders} orders");
    assert!((lines / draws - 10.0).abs() < 0.1, "{lines} lines");
}

#[test]
fn terminal_draws_payments_within_bounds_and_shares() {
    let mut terminal = terminal(Scale::of(4));
    let mut remote = 0.0;
    for sequence in 1..=DRAWS {
        let payment = terminal.payment();
        assert_eq!((payment.warehouse, payment.name), (2, (7, sequence as u32)));
        assert!((1..=4).contains(&payment.customer_warehouse));
        assert!((1..=10).contains(&payment.customer_district));
        assert!((1..=300).contains(&payment.customer));
        assert!((100..=500_000).contains(&payment.amount_cents));
        let is_local = payment.customer_warehouse == 2;
        assert!(!is_local || payment.customer_district == payment.district);
        remote += f64::from(u8::from(!is_local));
    }
    assert!((remote / DRAWS as f64 - 0.15).abs() < 0.01, "{remote} remote payments");
}

#[test]
fn terminal_of_the_only_warehouse_stays_at_home() {
    let scale = Scale { warehouses: 1, ..SCALE };
    let mut terminal = Terminal::new(scale, (1, 1), Random::new(1));
    for _ in 0..500 {
        assert_eq!(terminal.payment().customer_warehouse, 1);
        assert!(terminal.new_order().lines.iter().all(|line| line.supply_warehouse == 1));
    }
}

struct Loaded {
    runtime: Runtime,
    stage: Stage<Remote>,
    dir: PathBuf,
}

fn loaded(name: &str) -> Loaded {
    let name = format!("sombra-bench-tpcc-{}-{name}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&dir);
    let runtime = Runtime::start(RuntimeOptions { shards: 2, ..Default::default() }).unwrap();
    let stage = runtime.block_on(async {
        let db = Db::open(&runtime, &dir, Options::default()).await.unwrap();
        let stage = Stage::open(db, SCALE, Isolation::Serializable).await.unwrap();
        let shards: Vec<_> = (1..=3).map(|warehouse| stage.shard_of(warehouse)).collect();
        assert!(shards[0] == shards[2] && shards[0] != shards[1], "{shards:?}");
        let rows = load(&stage, (SCALE, 1..=SCALE.warehouses), 1).await.unwrap();
        assert!(rows > 3 * (1 + 20 + 10 * (1 + 10 * 3)), "{rows} rows");
        stage
    });
    Loaded { runtime, stage, dir }
}

impl Loaded {
    fn check(&self) -> Consistency {
        self.runtime.block_on(check_consistency(&self.stage, SCALE)).unwrap()
    }

    fn contents(&self) -> Contents {
        self.runtime.block_on(read_contents(&self.stage, SCALE)).unwrap()
    }

    fn put(&self, key: &[u8], row: &impl Row) {
        let value = row.as_bytes().to_vec();
        self.runtime.block_on(self.stage.db.put(&self.stage.keyspace, key, value)).unwrap();
    }

    fn get<R: Row>(&self, key: &[u8]) -> R {
        let found = self.runtime.block_on(self.stage.db.get(&self.stage.keyspace, key)).unwrap();
        row_of(key, found.as_ref()).unwrap()
    }

    fn end(self) {
        self.runtime.block_on(self.stage.db.close()).unwrap();
        self.runtime.shutdown();
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

#[test]
fn orders_and_payments_keep_the_four_conditions_and_the_books() {
    let loaded = loaded("whole");
    let before = loaded.check();
    assert!(before.is_whole(), "{before:?}");
    assert_eq!((before.districts, before.orders, before.new_orders), (30, 300, 90));
    let mut terminal = terminal(SCALE);
    let (mut placed, mut mistaken, mut paid) = (0, 0, 0);
    loaded.runtime.block_on(async {
        for _ in 0..150 {
            let order = terminal.new_order();
            match new_order(&loaded.stage, &order).await.unwrap() {
                Some(done) => {
                    assert!(done.order > SCALE.customers && done.total_cents > 0);
                    placed += 1;
                }
                None => mistaken += 1,
            }
            let due = terminal.payment();
            payment(&loaded.stage, &due).await.unwrap();
            paid += due.amount_cents;
        }
    });
    let after = loaded.check();
    assert!(after.is_whole(), "{after:?}");
    assert!(placed + mistaken == 150 && placed > 130, "{placed} placed, {mistaken} mistaken");
    assert_eq!(after.orders, before.orders + placed);
    assert_eq!(after.new_orders, before.new_orders + placed);
    assert_eq!(after.ytd_cents, before.ytd_cents + paid);
    loaded.end();
}

/// The negative control of the check: each condition is broken by one row and found broken.
#[test]
fn consistency_check_finds_one_damaged_row_of_each_condition() {
    let loaded = loaded("damaged");
    let found = |violations: [u64; 4]| {
        let found = loaded.check();
        assert_eq!(found.violations, violations, "{found:?}");
        assert_eq!(found.examples.len() as u64, violations.iter().sum::<u64>());
        assert!(found.examples.iter().all(|example| example.warehouse == 3));
    };
    found([0; 4]);
    let place = key(3, Table::District, &[4]);
    let district: District = loaded.get(&place);
    loaded.put(&place, &District { ytd_cents: district.ytd_cents + 1, ..district.clone() });
    found([1, 0, 0, 0]);
    // Two counts of orders stand against the district's.
    loaded.put(&place, &District { next_order: district.next_order + 1, ..district.clone() });
    found([0, 2, 0, 0]);
    loaded.put(&place, &district);
    let place = key(3, Table::Order, &[4, 9]);
    let order: Order = loaded.get(&place);
    loaded.put(&place, &Order { lines: order.lines + 1, ..order.clone() });
    found([0, 0, 0, 1]);
    loaded.put(&place, &order);
    found([0; 4]);
    let middle = key(3, Table::NewOrder, &[4, 9]);
    loaded.runtime.block_on(loaded.stage.db.delete(&loaded.stage.keyspace, middle)).unwrap();
    found([0, 0, 1, 0]);
    loaded.end();
}

#[test]
fn contents_show_the_digest_of_each_order_and_payment_and_right_accounts() {
    let loaded = loaded("contents");
    let before = loaded.contents();
    let shares = Shares { remote_lines: 30, remote_payments: 50, mistaken_orders: 20 };
    let mut terminal = terminal(SCALE).with_shares(shares);
    let mut expected = before.digests.clone();
    loaded.runtime.block_on(async {
        for _ in 0..100 {
            let order = terminal.new_order();
            if let Some(Placed { order: number, .. }) =
                new_order(&loaded.stage, &order).await.unwrap()
            {
                let NewOrder { warehouse, district, .. } = order;
                expected.insert(Place::Order { warehouse, district, number }, order.digest());
            }
            let due = terminal.payment();
            payment(&loaded.stage, &due).await.unwrap();
            expected.insert(due.place(), due.digest());
        }
    });
    let after = loaded.contents();
    assert_eq!((before.wrong_accounts, after.wrong_accounts), (0, 0), "{:?}", after.examples);
    assert!(after.digests.len() > before.digests.len() + 150);
    assert_eq!(after.digests, expected);
    loaded.end();
}

/// The negative control of the contents: halves of orders and payments are found, those on another
/// shard, which the four conditions do not look at, too.
#[test]
fn contents_find_halves_of_an_order_and_of_a_payment() {
    let loaded = loaded("halves");
    let mut terminal = terminal(SCALE);
    let (order, due) = (terminal.new_order(), terminal.payment());
    let placed = loaded.runtime.block_on(async {
        payment(&loaded.stage, &due).await.unwrap();
        new_order(&loaded.stage, &order).await.unwrap().unwrap()
    });
    let whole = loaded.contents();
    assert_eq!(whole.wrong_accounts, 0);
    let wrong = |count: u64| {
        let found = loaded.contents();
        assert_eq!(found.wrong_accounts, count, "{:?}", found.examples);
        found
    };

    let line = order.lines[0];
    let place = key(line.supply_warehouse, Table::Stock, &[line.item]);
    let stock: Stock = loaded.get(&place);
    loaded.put(&place, &Stock { orders: stock.orders - 1, ..stock.clone() });
    wrong(1);
    loaded.put(&place, &stock);

    let place =
        key(due.customer_warehouse, Table::Customer, &[due.customer_district, due.customer]);
    let customer: Customer = loaded.get(&place);
    let paid_cents = customer.paid_cents - due.amount_cents;
    loaded.put(&place, &Customer { paid_cents, ..customer.clone() });
    wrong(1);
    assert!(loaded.check().is_whole(), "a condition looks at the customer after all");
    loaded.put(&place, &customer);
    assert_eq!(wrong(0), whole);

    let NewOrder { warehouse, district, .. } = order;
    let place = key(warehouse, Table::OrderLine, &[district, placed.order, 1]);
    loaded.runtime.block_on(loaded.stage.db.delete(&loaded.stage.keyspace, place)).unwrap();
    let found = wrong(3);
    let number = placed.order;
    assert_ne!(found.digests[&Place::Order { warehouse, district, number }], order.digest());
    assert_eq!(loaded.check().violations, [0, 0, 0, 1]);
    loaded.end();
}

#[test]
fn row_of_the_wrong_length_is_named_with_both_lengths() {
    let key = key(1, Table::Warehouse, &[]);
    let short = Bytes::from_static(b"short");
    let error = row_of::<District>(&key, Some(&short)).unwrap_err().to_string();
    assert!(error.contains("expected 64 bytes, found 5"), "{error}");
}
