//! One shard's locks: holders and waiters of each key, first come first served.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::{LockMode, LockOwner};
use crate::ids::TabletId;

/// A key as its tablet's windows name it.
pub(crate) type Place = (TabletId, Bytes);

/// Names one waiting request of a shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Ticket(u64);

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Requested<T> {
    /// The owner holds the lock now; whoever asked gets its reply back.
    Granted(T),
    /// It waits; its reply comes out of a later [`LockTable::release`] or
    /// [`LockTable::cancel`].
    Queued(Ticket),
}

/// One who waits, with what tells it.
#[derive(Debug)]
struct Waiting<T> {
    ticket: Ticket,
    owner: LockOwner,
    mode: LockMode,
    reply: T,
}

/// A locked key. The front of the line holds only those who hold the key already and want more
/// of it: they cannot wait for others in it.
#[derive(Debug)]
struct Queue<T> {
    holders: Vec<(LockOwner, LockMode)>,
    upgrades: VecDeque<Waiting<T>>,
    line: VecDeque<Waiting<T>>,
}

impl<T> Queue<T> {
    fn new() -> Queue<T> {
        Queue { holders: Vec::new(), upgrades: VecDeque::new(), line: VecDeque::new() }
    }

    fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.upgrades.is_empty() && self.line.is_empty()
    }

    fn held_by(&self, owner: LockOwner) -> Option<LockMode> {
        self.holders.iter().find(|(holder, _)| *holder == owner).map(|(_, mode)| *mode)
    }

    /// Whether everybody else who holds the key lets `owner` have it so.
    fn lets(&self, owner: LockOwner, mode: LockMode) -> bool {
        let mut others = self.holders.iter().filter(|(holder, _)| *holder != owner);
        others.all(|(_, held)| held.is_compatible(mode))
    }

    fn hold(&mut self, owner: LockOwner, mode: LockMode) {
        match self.holders.iter_mut().find(|(holder, _)| *holder == owner) {
            Some((_, held)) => *held = (*held).max(mode),
            None => self.holders.push((owner, mode)),
        }
    }

    /// Grants what can be granted, in order.
    fn pump(&mut self, granted: &mut Vec<(Ticket, T)>) {
        while let Some(first) = self.upgrades.front()
            && self.lets(first.owner, first.mode)
        {
            let first = self.upgrades.pop_front().expect("it was looked at");
            self.hold(first.owner, first.mode);
            granted.push((first.ticket, first.reply));
        }
        while self.upgrades.is_empty()
            && let Some(first) = self.line.front()
            && self.lets(first.owner, first.mode)
        {
            let first = self.line.pop_front().expect("it was looked at");
            self.hold(first.owner, first.mode);
            granted.push((first.ticket, first.reply));
        }
    }

    /// Whom a waiting request waits for: the nearest before it that it cannot share the key with,
    /// of several who share it all of them; where nobody is before it, those who hold the key.
    fn blockers(&self, ticket: Ticket) -> Vec<LockOwner> {
        let others = |own: LockOwner, mode: LockMode| {
            let held = self.holders.iter().filter(move |(_, held)| !held.is_compatible(mode));
            let held = held.map(|(holder, _)| *holder);
            let upgrading = self.upgrades.iter().map(|waiting| waiting.owner);
            held.chain(upgrading).filter(move |owner| *owner != own)
        };
        if let Some(waiting) = self.upgrades.iter().find(|waiting| waiting.ticket == ticket) {
            return others(waiting.owner, waiting.mode).collect();
        }
        let Some(at) = self.line.iter().position(|waiting| waiting.ticket == ticket) else {
            return Vec::new();
        };
        let (own, before) = (&self.line[at], || self.line.range(..at).rev());
        let is_exclusive = |other: &&Waiting<T>| other.mode == LockMode::Exclusive;
        let ahead: Vec<LockOwner> = match own.mode {
            LockMode::Shared => before().find(is_exclusive).map(|other| other.owner),
            LockMode::Exclusive => before().next().filter(is_exclusive).map(|other| other.owner),
        }
        .into_iter()
        .collect();
        let sharing = before().take_while(|other| other.mode == LockMode::Shared);
        let sharing: Vec<LockOwner> = sharing.map(|other| other.owner).collect();
        let ahead = match own.mode {
            LockMode::Exclusive if ahead.is_empty() => sharing,
            _ => ahead,
        };
        match ahead.is_empty() {
            true => others(own.owner, own.mode).collect(),
            false => ahead.into_iter().filter(|owner| *owner != own.owner).collect(),
        }
    }

    /// Takes a waiting request out.
    fn take(&mut self, ticket: Ticket) -> Option<Waiting<T>> {
        let position = |line: &VecDeque<Waiting<T>>| line.iter().position(|w| w.ticket == ticket);
        if let Some(at) = position(&self.upgrades) {
            return self.upgrades.remove(at);
        }
        position(&self.line).and_then(|at| self.line.remove(at))
    }
}

/// The locks of one shard; `T` is how a waiting request is told that it holds its lock.
#[derive(Debug)]
pub(crate) struct LockTable<T> {
    keys: BTreeMap<Place, Queue<T>>,
    by_owner: BTreeMap<LockOwner, BTreeSet<Place>>,
    /// Where each waits.
    waiting: BTreeMap<Ticket, Place>,
    tickets: u64,
}

impl<T> Default for LockTable<T> {
    fn default() -> LockTable<T> {
        LockTable {
            keys: BTreeMap::new(),
            by_owner: BTreeMap::new(),
            waiting: BTreeMap::new(),
            tickets: 0,
        }
    }
}

impl<T> LockTable<T> {
    /// Asks for a lock. An owner that holds the key as strongly already has it at once; one that
    /// wants more of it goes before all who hold nothing of it.
    pub(crate) fn request(
        &mut self,
        owner: LockOwner,
        place: Place,
        mode: LockMode,
        reply: T,
    ) -> Requested<T> {
        let queue = self.keys.entry(place.clone()).or_insert_with(Queue::new);
        let held = queue.held_by(owner);
        let is_free = match held {
            Some(held) if held >= mode => return Requested::Granted(reply),
            Some(_) => queue.upgrades.is_empty(),
            None => queue.upgrades.is_empty() && queue.line.is_empty(),
        };
        if is_free && queue.lets(owner, mode) {
            queue.hold(owner, mode);
            self.by_owner.entry(owner).or_default().insert(place);
            return Requested::Granted(reply);
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let waiting = Waiting { ticket, owner, mode, reply };
        match held {
            Some(_) => queue.upgrades.push_back(waiting),
            None => queue.line.push_back(waiting),
        }
        self.waiting.insert(ticket, place.clone());
        // What an owner waits for it lets go of with what it holds.
        self.by_owner.entry(owner).or_default().insert(place);
        Requested::Queued(ticket)
    }

    /// Gives a waiting request up; its reply comes back unless it was granted meanwhile. Adds
    /// those who hold their locks now.
    pub(crate) fn cancel(&mut self, ticket: Ticket, granted: &mut Vec<(Ticket, T)>) -> Option<T> {
        let place = self.waiting.remove(&ticket)?;
        let queue = self.keys.get_mut(&place)?;
        let waiting = queue.take(ticket)?;
        let before = granted.len();
        queue.pump(granted);
        self.forget_waiting(&granted[before..]);
        self.forget_if_idle(&place, waiting.owner);
        Some(waiting.reply)
    }

    /// Lets go of everything that an owner holds, and of what it waits for, whose replies are
    /// dropped. Adds those who hold their locks now.
    pub(crate) fn release(&mut self, owner: LockOwner, granted: &mut Vec<(Ticket, T)>) {
        let before = granted.len();
        for place in self.by_owner.remove(&owner).unwrap_or_default() {
            let Entry::Occupied(mut entry) = self.keys.entry(place) else { continue };
            let queue = entry.get_mut();
            queue.holders.retain(|(holder, _)| *holder != owner);
            for line in [&mut queue.upgrades, &mut queue.line] {
                for gone in line.iter().filter(|waiting| waiting.owner == owner) {
                    self.waiting.remove(&gone.ticket);
                }
                line.retain(|waiting| waiting.owner != owner);
            }
            queue.pump(granted);
            if queue.is_idle() {
                entry.remove();
            }
        }
        self.forget_waiting(&granted[before..]);
    }

    fn forget_waiting(&mut self, granted: &[(Ticket, T)]) {
        for (ticket, _) in granted {
            self.waiting.remove(ticket);
        }
    }

    fn forget_if_idle(&mut self, place: &Place, owner: LockOwner) {
        let Some(queue) = self.keys.get(place) else { return };
        let is_named = queue.held_by(owner).is_some()
            || queue.line.iter().chain(&queue.upgrades).any(|waiting| waiting.owner == owner);
        let is_idle = queue.is_idle();
        if !is_named && let Some(places) = self.by_owner.get_mut(&owner) {
            places.remove(place);
            if places.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
        if is_idle {
            self.keys.remove(place);
        }
    }

    /// Whom a waiting request waits for; nobody, once it waits no more.
    pub(crate) fn blockers(&self, ticket: Ticket) -> Vec<LockOwner> {
        let queue = self.waiting.get(&ticket).and_then(|place| self.keys.get(place));
        queue.map_or_else(Vec::new, |queue| queue.blockers(ticket))
    }

    /// Those who wait behind a request for the same key, up to the first who waits for none
    /// before it but these.
    pub(crate) fn waiting_behind(&self, place: &Place, ticket: Ticket) -> Vec<(LockOwner, Ticket)> {
        let Some(queue) = self.keys.get(place) else { return Vec::new() };
        let behind = queue.line.iter().skip_while(|waiting| waiting.ticket < ticket);
        let mut near = Vec::new();
        for waiting in behind {
            near.push((waiting.owner, waiting.ticket));
            if waiting.mode == LockMode::Exclusive {
                break;
            }
        }
        near
    }

    /// The key that a request waits for.
    pub(crate) fn place_of(&self, ticket: Ticket) -> Option<&Place> {
        self.waiting.get(&ticket)
    }

    /// Whether somebody other than `owner` has locked the key, so that it must not be written.
    pub(crate) fn is_locked_from(&self, owner: Option<LockOwner>, place: &Place) -> bool {
        self.keys
            .get(place)
            .is_some_and(|queue| queue.holders.iter().any(|(holder, _)| Some(*holder) != owner))
    }

    /// Keys that are locked, and requests that wait.
    pub(crate) fn len(&self) -> usize {
        self.keys.len() + self.waiting.len()
    }

    /// Whether nobody holds or waits for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes out all who wait for a key that `which` names.
    pub(crate) fn take_waiting(&mut self, which: impl Fn(&Place) -> bool) -> Vec<(Ticket, T)> {
        let mut taken = Vec::new();
        for (_, queue) in self.keys.iter_mut().filter(|(place, _)| which(place)) {
            let waiting = queue.upgrades.drain(..).chain(queue.line.drain(..));
            taken.extend(waiting.map(|waiting| (waiting.ticket, waiting.reply)));
        }
        self.forget_waiting(&taken);
        taken
    }
}
