use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use sombra_runtime::ShardId;

use super::*;
use crate::ids::{KeyspaceId, TabletId};

fn place(key: u8) -> Place {
    (TabletId { keyspace: KeyspaceId::new(1), index: 0 }, Bytes::copy_from_slice(&[key]))
}

fn owner(number: u64) -> LockOwner {
    LockOwner::new(number, None)
}

/// A table whose replies are the owners.
type Table = LockTable<u64>;

fn queued(table: &mut Table, number: u64, key: u8, mode: LockMode) -> Ticket {
    match table.request(owner(number), place(key), mode, number) {
        Requested::Queued(ticket) => ticket,
        Requested::Granted(_) => panic!("{number} was to wait"),
    }
}

fn granted(table: &mut Table, number: u64, key: u8, mode: LockMode) {
    let requested = table.request(owner(number), place(key), mode, number);
    assert!(matches!(requested, Requested::Granted(n) if n == number), "{requested:?}");
}

fn release(table: &mut Table, number: u64) -> Vec<u64> {
    let mut told = Vec::new();
    table.release(owner(number), &mut told);
    told.into_iter().map(|(_, number)| number).collect()
}

use LockMode::{Exclusive, Shared};

#[test]
fn shared_locks_stand_beside_each_other_and_an_exclusive_one_alone() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, Shared);
    granted(&mut table, 2, 0, Shared);
    granted(&mut table, 3, 1, Exclusive);
    queued(&mut table, 4, 0, Exclusive);
    queued(&mut table, 5, 1, Shared);
    assert!(
        table.is_locked_from(None, &place(0)) && table.is_locked_from(Some(owner(3)), &place(0))
    );
    assert!(!table.is_locked_from(Some(owner(3)), &place(1)), "its own lock stops nobody");
    assert_eq!(release(&mut table, 1), []);
    assert_eq!(release(&mut table, 2), [4]);
    assert_eq!(release(&mut table, 3), [5]);
    assert_eq!((release(&mut table, 4), release(&mut table, 5)), (vec![], vec![]));
    assert!(table.is_empty());
}

#[test]
fn nobody_overtakes_a_waiter_whom_the_lock_would_suit() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, Shared);
    queued(&mut table, 2, 0, Exclusive);
    queued(&mut table, 3, 0, Shared);
    queued(&mut table, 4, 0, Shared);
    assert_eq!(release(&mut table, 1), [2], "3 and 4 came later");
    assert_eq!(release(&mut table, 2), [3, 4]);
}

#[test]
fn holder_who_wants_more_of_a_key_goes_before_those_who_hold_nothing_of_it() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, Shared);
    granted(&mut table, 2, 0, Shared);
    queued(&mut table, 3, 0, Exclusive);
    queued(&mut table, 1, 0, Exclusive);
    assert_eq!(release(&mut table, 2), [1]);
    granted(&mut table, 1, 0, Exclusive);
    granted(&mut table, 1, 0, Shared);
    assert_eq!(release(&mut table, 1), [3]);
}

#[test]
fn request_that_is_given_up_lets_those_behind_it_go_on() {
    let mut table = Table::default();
    granted(&mut table, 1, 0, Shared);
    let ticket = queued(&mut table, 2, 0, Exclusive);
    queued(&mut table, 3, 0, Shared);
    let mut told = Vec::new();
    assert_eq!(table.cancel(ticket, &mut told), Some(2));
    assert_eq!(told.pop().map(|(_, number)| number), Some(3));
    assert_eq!(table.cancel(ticket, &mut told), None, "only once");
    release(&mut table, 1);
    release(&mut table, 3);
    assert!(table.is_empty());
}

#[test]
fn ten_thousand_waiters_of_one_key_get_it_one_by_one_in_their_order() {
    const WAITERS: u64 = 10_000;
    let mut table = Table::default();
    granted(&mut table, 0, 0, Exclusive);
    for number in 1..=WAITERS {
        queued(&mut table, number, 0, Exclusive);
    }
    for number in 0..WAITERS {
        assert_eq!(release(&mut table, number), [number + 1]);
    }
    release(&mut table, WAITERS);
    assert!(table.is_empty());
}

#[test]
fn youngest_of_a_cycle_is_the_victim_and_the_cycle_begins_with_it() {
    for parties in 2..=8_u64 {
        let mut graph = WaitGraph::default();
        // 10 waits for 11, 11 for 12, …, each on another shard.
        let ticket = |number: u64| {
            let mut table = Table::default();
            granted(&mut table, 99, 0, Exclusive);
            (ShardId::new(number as u16 % 4), queued(&mut table, number, 0, Exclusive), table)
        };
        for number in 10..10 + parties {
            let next = if number + 1 == 10 + parties { 10 } else { number + 1 };
            let (_, own, _) = ticket(number);
            let shard = ShardId::new(number as u16);
            assert_eq!(graph.find_victim(owner(number)), None);
            let blockers = vec![owner(next), owner(500)];
            graph.set((shard, own), (owner(number), place(number as u8)), blockers);
        }
        for number in 10..10 + parties {
            let victim = graph.find_victim(owner(number)).expect("a cycle");
            assert_eq!(victim.owner, owner(10 + parties - 1), "the youngest");
            assert_eq!(victim.shard, ShardId::new(10 + parties as u16 - 1));
            assert_eq!(victim.cycle.len() as u64, parties);
            assert_eq!(victim.cycle[0].0, victim.owner);
            let in_order = victim.cycle[1..].windows(2).all(|pair| pair[0].0 < pair[1].0);
            assert!(in_order, "each waits for the next: {:?}", victim.cycle);
            let own_keys = victim.cycle.iter().all(|(of, key)| *key == place(of.as_u64() as u8));
            assert!(own_keys, "{:?}", victim.cycle);
        }
        let victim = graph.find_victim(owner(10)).expect("a cycle");
        graph.remove(victim.shard, victim.ticket);
        assert_eq!(graph.find_victim(owner(10)), None, "it gave way");
    }
}

#[test]
fn work_that_is_tried_again_keeps_its_age_and_gives_way_to_nobody_younger() {
    let first_attempt = owner(3);
    let again = LockOwner::new(90, Some(first_attempt.age()));
    assert_ne!(again, first_attempt, "what the first attempt held is not the second's");
    let mut graph = WaitGraph::default();
    let mut wait = |from: LockOwner, to: LockOwner| {
        let mut table = Table::default();
        granted(&mut table, 99, 0, Exclusive);
        let ticket = queued(&mut table, from.as_u64(), 0, Exclusive);
        let shard = ShardId::new(from.as_u64() as u16);
        graph.set((shard, ticket), (from, place(from.as_u64() as u8)), vec![to]);
    };
    wait(again, owner(40));
    wait(owner(40), again);
    assert_eq!(graph.find_victim(again).expect("a cycle").owner, owner(40));
}

/// What a queue is by its rules, kept in the plainest way.
#[derive(Default)]
struct Model {
    holders: BTreeMap<u8, Vec<(u64, LockMode)>>,
    /// In the order of the request; true: the owner holds the key already.
    line: BTreeMap<u8, Vec<(u64, LockMode, bool)>>,
}

impl Model {
    fn lets(&self, key: u8, number: u64, mode: LockMode) -> bool {
        let holders = self.holders.get(&key).into_iter().flatten();
        holders.filter(|(of, _)| *of != number).all(|(_, held)| (*held, mode) == (Shared, Shared))
    }

    /// Whoever waits is before all that it must not share the key with.
    fn next(&self, key: u8) -> Option<usize> {
        let line = self.line.get(&key)?;
        let first = line.iter().position(|(.., upgrades)| *upgrades).unwrap_or(0);
        let &(number, mode, _) = line.get(first)?;
        self.lets(key, number, mode).then_some(first)
    }

    fn pump(&mut self, key: u8) -> Vec<u64> {
        let mut told = Vec::new();
        while let Some(at) = self.next(key) {
            let (number, mode, _) = self.line.get_mut(&key).unwrap().remove(at);
            let holders = self.holders.entry(key).or_default();
            holders.retain(|(of, _)| *of != number);
            holders.push((number, mode));
            told.push(number);
        }
        told
    }

    /// All whom each waiter waits for: who holds, or came before, what it cannot share.
    fn edges(&self) -> BTreeMap<u64, BTreeSet<u64>> {
        let mut edges: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for (key, line) in &self.line {
            for (at, &(number, mode, upgrades)) in line.iter().enumerate() {
                let clash = |other: LockMode| (other, mode) != (Shared, Shared);
                let held = self.holders.get(key).into_iter().flatten();
                let held = held.filter(|(_, held)| clash(*held)).map(|(of, _)| *of);
                let before = line.iter().enumerate().filter(|&(place, &(_, other, up))| {
                    !upgrades && (up || (place < at && clash(other)))
                });
                let all = held.chain(before.map(|(_, &(of, ..))| of)).filter(|of| *of != number);
                edges.entry(number).or_default().extend(all);
            }
        }
        edges
    }

    fn is_in_cycle(&self, number: u64) -> bool {
        let edges = self.edges();
        let (mut seen, mut open) = (BTreeSet::new(), vec![number]);
        while let Some(next) = open.pop() {
            for &to in edges.get(&next).into_iter().flatten() {
                if to == number {
                    return true;
                }
                if seen.insert(to) {
                    open.push(to);
                }
            }
        }
        false
    }
}

proptest! {
    #[test]
    fn locks_are_granted_as_their_rules_say_and_every_cycle_is_found(
        steps in vec((0_u8..5, 1_u64..7, 0_u8..4, any::<bool>()), 1..80),
    ) {
        let (mut table, mut model) = (Table::default(), Model::default());
        let mut tickets: BTreeMap<(u8, u64), Ticket> = BTreeMap::new();
        let shard = ShardId::new(0);
        for (what, number, key, is_shared) in steps {
            let mode = if is_shared { Shared } else { Exclusive };
            let waits = tickets.keys().any(|(_, of)| *of == number);
            let (mut told, mut at_once) = (Vec::new(), Vec::new());
            let expected = match what {
                0..=2 if !waits => {
                    let held = model.holders.get(&key).and_then(|holders| {
                        holders.iter().find(|(of, _)| *of == number).map(|(_, mode)| *mode)
                    });
                    match table.request(owner(number), place(key), mode, number) {
                        Requested::Granted(of) => at_once.push(of),
                        Requested::Queued(ticket) => drop(tickets.insert((key, number), ticket)),
                    }
                    if held.is_some_and(|held| held >= mode) {
                        vec![number]
                    } else {
                        let line = model.line.entry(key).or_default();
                        line.push((number, mode, held.is_some()));
                        model.pump(key)
                    }
                }
                3 => {
                    table.release(owner(number), &mut told);
                    tickets.retain(|(_, of), _| *of != number);
                    let mut expected = Vec::new();
                    for key in 0..4 {
                        let holders = model.holders.entry(key).or_default();
                        holders.retain(|(of, _)| *of != number);
                        let line = model.line.entry(key).or_default();
                        line.retain(|(of, ..)| *of != number);
                        expected.extend(model.pump(key));
                    }
                    expected
                }
                _ => match tickets.remove(&(key, number)) {
                    None => Vec::new(),
                    Some(ticket) => {
                        let back = table.cancel(ticket, &mut told);
                        prop_assert_eq!(back, Some(number));
                        let line = model.line.get_mut(&key).unwrap();
                        line.retain(|(of, ..)| *of != number);
                        model.pump(key)
                    }
                },
            };
            let told: Vec<u64> =
                at_once.into_iter().chain(told.into_iter().map(|(_, of)| of)).collect();
            prop_assert_eq!(&told, &expected);
            tickets.retain(|(_, of), _| !told.contains(of));
            let mut graph = WaitGraph::default();
            for ((key, of), ticket) in &tickets {
                let blockers = table.blockers(*ticket);
                graph.set((shard, *ticket), (owner(*of), place(*key)), blockers);
            }
            for number in 1..7 {
                let victim = graph.find_victim(owner(number));
                prop_assert_eq!(victim.is_some(), model.is_in_cycle(number), "of {}", number);
                if let Some(victim) = victim {
                    let is_youngest = victim.cycle.iter().all(|(of, _)| *of <= victim.owner);
                    let is_in = victim.cycle.iter().any(|(of, _)| *of == owner(number));
                    prop_assert!(is_youngest && is_in);
                }
            }
        }
        (1..7).for_each(|number| table.release(owner(number), &mut Vec::new()));
        prop_assert!(table.is_empty());
    }
}

/// A table and its graph as a shard keeps them, whose victims hear of it later.
#[derive(Default)]
struct Shard {
    table: Table,
    graph: WaitGraph,
    /// The place and the owner of each that waits.
    waiting: BTreeMap<Ticket, (u8, u64)>,
    told: Vec<Victim>,
}

impl Shard {
    const ID: ShardId = ShardId::new(0);

    fn request(&mut self, number: u64, key: u8, mode: LockMode) {
        let requested = self.table.request(owner(number), place(key), mode, number);
        let Requested::Queued(ticket) = requested else { return };
        self.waiting.insert(ticket, (key, number));
        let blockers = self.table.blockers(ticket);
        self.graph.set((Shard::ID, ticket), (owner(number), place(key)), blockers);
        self.told.extend(self.graph.take_victims(owner(number)));
    }

    fn release(&mut self, number: u64) {
        let mut granted = Vec::new();
        let own = |(ticket, (_, of)): (&Ticket, &(u8, u64))| (*of == number).then_some(*ticket);
        for ticket in self.waiting.iter().filter_map(own).collect::<Vec<Ticket>>() {
            self.graph.remove(Shard::ID, ticket);
            self.waiting.remove(&ticket);
        }
        self.table.release(owner(number), &mut granted);
        self.note_granted(granted);
    }

    fn note_granted(&mut self, granted: Vec<(Ticket, u64)>) {
        for (ticket, _) in granted {
            self.graph.remove(Shard::ID, ticket);
            self.waiting.remove(&ticket);
        }
    }

    /// A victim gives its request up, and then all that it holds.
    fn give_way(&mut self, victim: &Victim) {
        let mut granted = Vec::new();
        if self.table.cancel(victim.ticket, &mut granted).is_none() {
            return;
        }
        let (key, number) = self.waiting.remove(&victim.ticket).expect("it waited");
        for (of, behind) in self.table.waiting_behind(&place(key), victim.ticket) {
            self.graph.set_blockers((Shard::ID, behind), self.table.blockers(behind));
            self.told.extend(self.graph.take_victims(of));
        }
        self.note_granted(granted);
        self.release(number);
    }

    /// Whether some wait for each other: then nobody of them ever goes on.
    fn is_stuck(&self) -> bool {
        let mut graph = WaitGraph::default();
        for (&ticket, &(key, number)) in &self.waiting {
            let blockers = self.table.blockers(ticket);
            graph.set((Shard::ID, ticket), (owner(number), place(key)), blockers);
        }
        self.waiting.values().any(|(_, number)| graph.find_victim(owner(*number)).is_some())
    }
}

proptest! {
    #[test]
    fn no_deadlock_outlasts_the_victims_however_late_they_hear_of_it(
        steps in vec((0_u8..6, 1_u64..7, 0_u8..3, any::<bool>()), 1..60),
    ) {
        let mut shard = Shard::default();
        for (what, number, key, is_shared) in steps {
            let waits = shard.waiting.values().any(|(_, of)| *of == number);
            match what {
                0..=3 if !waits => {
                    shard.request(number, key, if is_shared { Shared } else { Exclusive });
                }
                4 if !waits => shard.release(number),
                5 if !shard.told.is_empty() => {
                    let at = number as usize % shard.told.len();
                    let victim = shard.told.remove(at);
                    shard.give_way(&victim);
                }
                _ => {}
            }
        }
        while let Some(victim) = shard.told.pop() {
            shard.give_way(&victim);
        }
        prop_assert!(!shard.is_stuck(), "{:?}", shard.waiting);
    }
}
