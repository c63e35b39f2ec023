//! Who waits for whom over all shards, and the cycles among them.

use std::collections::{BTreeMap, BTreeSet};

use sombra_runtime::ShardId;

use super::{LockOwner, Place, Ticket};

/// Names one waiting request of the store.
type Wait = (ShardId, Ticket);

/// One who waits.
#[derive(Debug)]
struct Waiting {
    owner: LockOwner,
    place: Place,
    blockers: Vec<LockOwner>,
}

/// The waits-for graph of a store.
#[derive(Debug, Default)]
pub(crate) struct WaitGraph {
    waits: BTreeMap<Wait, Waiting>,
    of_owner: BTreeMap<LockOwner, BTreeSet<Wait>>,
}

/// Who must give way so that the others of a cycle can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Victim {
    pub(crate) owner: LockOwner,
    /// What it waits for within the cycle.
    pub(crate) shard: ShardId,
    pub(crate) ticket: Ticket,
    /// The key that each waits for and the next holds, or will before it; the last waits for the
    /// first, who is the victim.
    pub(crate) cycle: Vec<(LockOwner, Place)>,
}

impl WaitGraph {
    /// Says whom a request waits for, in the place of what was said before.
    pub(crate) fn set(
        &mut self,
        (shard, ticket): (ShardId, Ticket),
        (owner, place): (LockOwner, Place),
        blockers: Vec<LockOwner>,
    ) {
        self.of_owner.entry(owner).or_default().insert((shard, ticket));
        self.waits.insert((shard, ticket), Waiting { owner, place, blockers });
    }

    /// As [`WaitGraph::set`], of one that is there.
    pub(crate) fn set_blockers(&mut self, wait: (ShardId, Ticket), blockers: Vec<LockOwner>) {
        if let Some(waiting) = self.waits.get_mut(&wait) {
            waiting.blockers = blockers;
        }
    }

    /// A request waits no more.
    pub(crate) fn remove(&mut self, shard: ShardId, ticket: Ticket) {
        let wait = (shard, ticket);
        let Some(Waiting { owner, .. }) = self.waits.remove(&wait) else { return };
        if let Some(waits) = self.of_owner.get_mut(&owner) {
            waits.remove(&wait);
            if waits.is_empty() {
                self.of_owner.remove(&owner);
            }
        }
    }

    /// Who must give way so that `owner` is part of no cycle: the youngest of each. They wait no
    /// more from here on, though they are told later.
    pub(crate) fn take_victims(&mut self, owner: LockOwner) -> Vec<Victim> {
        let mut victims = Vec::new();
        while let Some(victim) = self.find_victim(owner) {
            self.remove(victim.shard, victim.ticket);
            victims.push(victim);
        }
        victims
    }

    /// The youngest of a cycle that `owner` is part of, if there is one. A search in depth: its
    /// cost is the requests that can be reached from `owner`.
    pub(super) fn find_victim(&self, owner: LockOwner) -> Option<Victim> {
        let mut path = self.find_cycle(owner)?;
        let youngest = path.iter().copied().max()?;
        let at = path.iter().position(|&owner| owner == youngest)?;
        path.rotate_left(at);
        let next = |at: usize| path[(at + 1) % path.len()];
        let waits = path.iter().enumerate().map(|(at, &owner)| self.wait_for(owner, next(at)));
        let waits: Vec<Wait> = waits.collect::<Option<_>>()?;
        let (shard, ticket) = waits[0];
        let places = waits.iter().map(|wait| self.waits[wait].place.clone());
        let cycle = path.iter().copied().zip(places).collect();
        Some(Victim { owner: youngest, shard, ticket, cycle })
    }

    /// The request of one owner that waits for another.
    fn wait_for(&self, owner: LockOwner, other: LockOwner) -> Option<Wait> {
        let waits = self.of_owner.get(&owner)?;
        waits.iter().find(|wait| self.waits[*wait].blockers.contains(&other)).copied()
    }

    /// Owners each of whom waits for the next, from `start` back to it.
    fn find_cycle(&self, start: LockOwner) -> Option<Vec<LockOwner>> {
        let mut path: Vec<(LockOwner, Vec<LockOwner>)> = vec![(start, self.blockers_of(start))];
        let mut seen = BTreeSet::from([start]);
        while let Some((_, waiting_for)) = path.last_mut() {
            let Some(next) = waiting_for.pop() else {
                path.pop();
                continue;
            };
            if next == start {
                return Some(path.into_iter().map(|(owner, _)| owner).collect());
            }
            if seen.insert(next) {
                path.push((next, self.blockers_of(next)));
            }
        }
        None
    }

    fn blockers_of(&self, owner: LockOwner) -> Vec<LockOwner> {
        let waits = self.of_owner.get(&owner).into_iter().flatten();
        waits.flat_map(|wait| self.waits[wait].blockers.iter().copied()).collect()
    }
}
