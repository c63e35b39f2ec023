//! The direct serialization graph: who must come before whom, and because of which key.
//!
//! An edge is drawn only if every explanation of the history contains it, or contains a path of
//! the same meaning: where transactions of unknown outcome may have written in between, `ww` and
//! `rw` edges stand for that edge and the `ww` edges after it. A transaction of unknown outcome
//! takes part once a participant certainly saw what it wrote.

use std::collections::BTreeMap;

use super::history::{Hex, History, Outcome};
use super::versions::{KeyIndex, KeyTable, Misread, Observation, Place, Seen, TxnIndex};

/// In the order of what they forbid; of parallel edges a cycle takes the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum EdgeKind {
    /// The next version of a key.
    WriteWrite,
    /// Saw the version.
    WriteRead,
    /// Saw the version before.
    ReadWrite,
    /// Scanned a range in which the key was absent before it was put there.
    PredicateReadWrite,
}

impl EdgeKind {
    pub(crate) const ALL: [EdgeKind; 4] = [
        EdgeKind::WriteWrite,
        EdgeKind::WriteRead,
        EdgeKind::ReadWrite,
        EdgeKind::PredicateReadWrite,
    ];

    pub(crate) fn is_rw(self) -> bool {
        matches!(self, EdgeKind::ReadWrite | EdgeKind::PredicateReadWrite)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            EdgeKind::WriteWrite => "ww",
            EdgeKind::WriteRead => "wr",
            EdgeKind::ReadWrite => "rw",
            EdgeKind::PredicateReadWrite => "rw-predicate",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Edge {
    pub(crate) from: TxnIndex,
    pub(crate) to: TxnIndex,
    pub(crate) kind: EdgeKind,
    /// One of the keys that the edge is there for.
    pub(crate) key: KeyIndex,
}

/// An observation of a participant, resolved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fact {
    pub(crate) reader: TxnIndex,
    pub(crate) key: KeyIndex,
    pub(crate) seen: Seen,
    pub(crate) absent: bool,
    predicate: bool,
}

/// An observation that no version explains.
pub(crate) type Unexplained<'h> = (Observation<'h>, Misread);

pub(crate) struct Graph {
    /// By their start.
    edges: Vec<Edge>,
    /// Where the edges of each transaction begin.
    starts: Vec<usize>,
    /// Who takes part.
    pub(crate) members: Vec<bool>,
    pub(crate) facts: Vec<Fact>,
}

/// The observations of all transactions, resolved.
pub(crate) struct Evidence<'h> {
    facts: Vec<Vec<Fact>>,
    pub(crate) unexplained: Vec<Unexplained<'h>>,
}

impl<'h> Evidence<'h> {
    pub(crate) fn new(transactions: usize) -> Evidence<'h> {
        Evidence { facts: vec![Vec::new(); transactions], unexplained: Vec::new() }
    }

    pub(crate) fn add(&mut self, table: &KeyTable<'h>, observation: Observation<'h>) {
        match (table.resolve(&observation), table.find(observation.name)) {
            (Err(misread), _) => self.unexplained.push((observation, misread)),
            // Nobody ever wrote the key, so seeing it absent orders nothing.
            (Ok(_), None) => {}
            (Ok(seen), Some(key)) => {
                let Observation { reader, value, predicate, .. } = observation;
                let fact = Fact { reader, key, seen, absent: value.is_none(), predicate };
                self.facts[reader.index()].push(fact);
            }
        }
    }
}

impl Graph {
    pub(crate) fn new(history: &History, table: &KeyTable<'_>, evidence: &Evidence<'_>) -> Graph {
        let members = members(history, table, evidence);
        let takes_part = |(index, _): &(usize, &Vec<Fact>)| members[*index];
        let facts = evidence.facts.iter().enumerate().filter(takes_part);
        let facts: Vec<Fact> = facts.flat_map(|(_, facts)| facts.iter().copied()).collect();
        let followers = followers(table, &members, &facts);
        let mut edges = Vec::new();
        for fact in &facts {
            add_read(table, fact, &mut edges);
            let following = followers.get(&(fact.key, fact.seen.place));
            for (writer, writes) in following.into_iter().flatten() {
                if !(fact.absent && writes.is_none()) {
                    add(&mut edges, Some(fact.reader), *writer, fact.rw(), fact.key);
                }
            }
        }
        for key in table.keys() {
            let placed = &table.versions(key).placed;
            for pair in placed.windows(2) {
                let (before, after) = (Some(pair[0].writer), pair[1].writer);
                add(&mut edges, before, after, EdgeKind::WriteWrite, key);
            }
        }
        for ((key, place), followers) in &followers {
            let before = table.versions(*key).at(*place).map(|version| version.writer);
            for (writer, _) in followers {
                add(&mut edges, before, *writer, EdgeKind::WriteWrite, *key);
            }
        }
        Graph::of(edges, members, facts)
    }

    pub(crate) fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The numbers of the edges that begin at `from`.
    pub(crate) fn edges_of(&self, from: usize) -> std::ops::Range<usize> {
        self.starts[from]..self.starts[from + 1]
    }

    fn of(mut edges: Vec<Edge>, members: Vec<bool>, facts: Vec<Fact>) -> Graph {
        edges.sort_unstable();
        edges.dedup_by_key(|edge| (edge.from, edge.to, edge.kind));
        let start = |from: usize| edges.partition_point(|edge| edge.from.index() < from);
        let starts = (0..=members.len()).map(start).collect();
        Graph { edges, starts, members, facts }
    }
}

impl Fact {
    fn rw(&self) -> EdgeKind {
        if self.predicate { EdgeKind::PredicateReadWrite } else { EdgeKind::ReadWrite }
    }
}

/// Committed transactions, and those of unknown outcome whose version a participant saw.
fn members(history: &History, table: &KeyTable<'_>, evidence: &Evidence<'_>) -> Vec<bool> {
    let committed = |outcome: &Outcome| matches!(outcome, Outcome::Committed { .. });
    let transactions = history.transactions.iter();
    let mut members: Vec<bool> =
        transactions.map(|transaction| committed(&transaction.outcome)).collect();
    let mut unread: Vec<usize> = (0..members.len()).filter(|index| members[*index]).collect();
    while let Some(reader) = unread.pop() {
        for fact in evidence.facts[reader].iter().filter(|fact| fact.seen.certain) {
            let version = table.versions(fact.key).at(fact.seen.place);
            let Some(writer) = version.map(|version| version.writer.index()) else { continue };
            if !members[writer] {
                members[writer] = true;
                unread.push(writer);
            }
        }
    }
    members
}

/// Versions that are certainly later than another one though no LSN says so.
type Followers<'h> = BTreeMap<(KeyIndex, Place), Vec<(TxnIndex, Option<&'h Hex>)>>;

/// A participant that saw a version wrote a later one, or the graph has a cycle of `wr` and `ww`
/// anyway; so it comes after the version and after everybody who saw that or an earlier one.
/// And every version is later than the initial state.
fn followers<'h>(table: &KeyTable<'h>, members: &[bool], facts: &[Fact]) -> Followers<'h> {
    let mut followers = Followers::new();
    for key in table.keys() {
        let unplaced = &table.versions(key).unplaced;
        for version in unplaced.iter().filter(|version| members[version.writer.index()]) {
            let follower = (version.writer, version.value);
            followers.entry((key, Place::At(0))).or_default().push(follower);
        }
    }
    for fact in facts.iter().filter(|fact| fact.seen.certain) {
        let versions = table.versions(fact.key);
        let Some(own) = versions.place_of(fact.reader) else { continue };
        let unplaced = |place: Place| matches!(place, Place::Of(_));
        if let Some(version) = versions.at(own)
            && (unplaced(own) || unplaced(fact.seen.place))
        {
            let place = (fact.key, fact.seen.place);
            followers.entry(place).or_default().push((version.writer, version.value));
        }
    }
    followers
}

fn add_read(table: &KeyTable<'_>, fact: &Fact, edges: &mut Vec<Edge>) {
    let versions = table.versions(fact.key);
    if fact.seen.certain {
        let writer = versions.at(fact.seen.place).map(|version| version.writer);
        add(edges, writer, fact.reader, EdgeKind::WriteRead, fact.key);
    }
    if let Place::At(at) = fact.seen.place
        && let Some(change) = versions.change_after(at, fact.absent)
    {
        add(edges, Some(fact.reader), change.writer, fact.rw(), fact.key);
    }
}

/// Nothing comes before the initial state, and nobody before himself.
fn add(edges: &mut Vec<Edge>, from: Option<TxnIndex>, to: TxnIndex, kind: EdgeKind, key: KeyIndex) {
    if let Some(from) = from.filter(|from| *from != to) {
        edges.push(Edge { from, to, kind, key });
    }
}
