//! What one transaction saw from outside, and whether it agreed with itself.
//!
//! At both levels a transaction reads one state of the store and its own writes on top. So a key
//! that it has written shows what it wrote last, and any other key shows the same each time,
//! whether it is read alone or in a scan.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Action, Hex, History, KeyBound, Operation, Row};
use super::versions::{KeyName, KeyTable, Observation, TxnIndex, is_between};

/// The first observation of each key, and what was wrong within the transaction.
#[derive(Default)]
pub(crate) struct View<'h> {
    pub(crate) observations: Vec<Observation<'h>>,
    pub(crate) broken: Vec<String>,
}

struct Walk<'h, 't> {
    table: &'t KeyTable<'h>,
    reader: TxnIndex,
    own: BTreeMap<KeyName<'h>, Option<&'h Hex>>,
    seen: BTreeMap<KeyName<'h>, Option<&'h Hex>>,
    view: View<'h>,
}

struct Range<'h> {
    keyspace: &'h str,
    from: &'h KeyBound,
    to: &'h KeyBound,
}

pub(crate) fn view<'h>(history: &'h History, table: &KeyTable<'h>, reader: TxnIndex) -> View<'h> {
    let (own, seen, view) = (BTreeMap::new(), BTreeMap::new(), View::default());
    let mut walk = Walk { table, reader, own, seen, view };
    for operation in &history.transactions[reader.index()].operations {
        walk.step(operation);
    }
    walk.view
}

pub(crate) fn shown(value: Option<&Hex>) -> &str {
    value.map_or("null", Hex::as_str)
}

impl<'h> Walk<'h, '_> {
    fn step(&mut self, operation: &'h Operation) {
        let end_ns = operation.end_ns;
        match &operation.action {
            Action::Write { keyspace, key, value } => {
                self.own.insert(KeyName { keyspace, key }, value.as_ref());
            }
            Action::Read { keyspace, key, value } => {
                let (name, value) = (KeyName { keyspace, key }, value.as_ref());
                self.observe(name, value, end_ns, false);
            }
            Action::Scan { keyspace, from, to, rows } => {
                self.scan(&Range { keyspace, from, to }, rows, end_ns);
            }
        }
    }

    fn scan(&mut self, range: &Range<'h>, rows: &'h [Row], end_ns: u64) {
        let &Range { keyspace, from, to } = range;
        let mut keys = BTreeSet::new();
        for (key, value) in rows {
            let name = KeyName { keyspace, key };
            if !is_between(key, from, to) {
                self.view.broken.push(format!("a scan showed {name}, outside its bounds"));
            }
            if !keys.insert(key) {
                self.view.broken.push(format!("a scan showed {name} twice"));
            }
            self.observe(name, Some(value), end_ns, false);
        }
        for name in self.table.between(keyspace, from, to) {
            if !keys.contains(name.key) {
                self.observe(name, None, end_ns, true);
            }
        }
    }

    fn observe(&mut self, name: KeyName<'h>, value: Option<&'h Hex>, end_ns: u64, predicate: bool) {
        let own = self.own.get(&name).map(|own| (own, "wrote"));
        let earlier = || self.seen.get(&name).map(|seen| (seen, "read"));
        if let Some((expected, verb)) = own.or_else(earlier) {
            if *expected != value {
                let (expected, found) = (shown(*expected), shown(value));
                let text = format!("{verb} {name} = {expected} and then read {found}");
                self.view.broken.push(text);
            }
            return;
        }
        self.seen.insert(name, value);
        let reader = self.reader;
        self.view.observations.push(Observation { reader, name, value, predicate, end_ns });
    }
}
