//! Every version of every key, and which of them an observation can have seen.
//!
//! The versions of a key have the order of their LSNs. One whose outcome is unknown has no
//! place in that order, and perhaps never came to be.

use std::collections::BTreeMap;
use std::fmt;

use super::history::{Action, Hex, History, KeyBound, Outcome};

/// A transaction's place in the history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TxnIndex(u32);

impl TxnIndex {
    pub(crate) fn new(index: usize) -> TxnIndex {
        TxnIndex(u32::try_from(index).expect("HISTORY_TRANSACTIONS_MAX is far below 2^32"))
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A key's place in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct KeyIndex(u32);

/// A key with its keyspace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct KeyName<'h> {
    pub(crate) keyspace: &'h str,
    pub(crate) key: &'h Hex,
}

impl fmt::Display for KeyName<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.keyspace, self.key)
    }
}

/// The last write of one transaction to one key; `None` is a delete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version<'h> {
    pub(crate) writer: TxnIndex,
    pub(crate) value: Option<&'h Hex>,
    lsn: u64,
    begin_ns: u64,
}

/// A delete that is no version: its transaction aborted, or wrote the key again.
#[derive(Clone, Copy, Debug)]
struct VoidDelete {
    writer: TxnIndex,
    aborted: bool,
    begin_ns: u64,
}

/// What is known of one key. Place 0 is the initial state, place n the n-th in `placed`.
#[derive(Debug)]
pub(crate) struct Versions<'h> {
    pub(crate) name: KeyName<'h>,
    initial: Option<&'h Hex>,
    /// Committed, by ascending LSN.
    pub(crate) placed: Vec<Version<'h>>,
    /// Of unknown outcome.
    pub(crate) unplaced: Vec<Version<'h>>,
    /// Where each writer's version stands.
    places: BTreeMap<TxnIndex, Place>,
    /// The places at which the key is absent.
    absences: Vec<usize>,
    void_deletes: Vec<VoidDelete>,
}

/// Who wrote a value.
#[derive(Clone, Copy, Debug)]
enum Written {
    Initially { key: KeyIndex },
    By { writer: TxnIndex, key: KeyIndex, last: bool },
}

/// Where the version that was seen stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    At(usize),
    /// The version of a transaction of unknown outcome.
    Of(TxnIndex),
    /// An absence that could stand anywhere.
    Unclear,
}

/// Which version an observation saw; unless `certain`, an absence at `place` or before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) place: Place,
    pub(crate) certain: bool,
}

/// An observation that no committed version explains.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Misread {
    Nobody,
    Elsewhere(KeyIndex),
    OwnLater,
    Aborted(TxnIndex),
    Intermediate(TxnIndex),
}

/// What a transaction saw of a key that it had not written itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation<'h> {
    pub(crate) reader: TxnIndex,
    pub(crate) name: KeyName<'h>,
    pub(crate) value: Option<&'h Hex>,
    /// A scan covered the key without showing it.
    pub(crate) predicate: bool,
    pub(crate) end_ns: u64,
}

pub(crate) struct KeyTable<'h> {
    spaces: BTreeMap<&'h str, BTreeMap<&'h Hex, KeyIndex>>,
    keys: Vec<Versions<'h>>,
    values: BTreeMap<&'h Hex, Written>,
}

impl<'h> KeyTable<'h> {
    pub(crate) fn new(history: &'h History) -> KeyTable<'h> {
        let mut table =
            KeyTable { spaces: BTreeMap::new(), keys: Vec::new(), values: BTreeMap::new() };
        for row in &history.initial {
            let key = table.enter(KeyName { keyspace: &row.keyspace, key: &row.key });
            table.versions_mut(key).initial = Some(&row.value);
            table.values.insert(&row.value, Written::Initially { key });
        }
        for index in 0..history.transactions.len() {
            table.enter_writes(history, TxnIndex::new(index));
        }
        table.keys.iter_mut().for_each(Versions::arrange);
        table
    }

    pub(crate) fn versions(&self, key: KeyIndex) -> &Versions<'h> {
        &self.keys[key.0 as usize]
    }

    pub(crate) fn find(&self, name: KeyName<'_>) -> Option<KeyIndex> {
        self.spaces.get(name.keyspace)?.get(name.key).copied()
    }

    /// Every key that was there initially or was written.
    pub(crate) fn keys(&self) -> impl Iterator<Item = KeyIndex> + use<> {
        (0..self.keys.len()).map(|index| KeyIndex(index as u32))
    }

    /// The keys of the history between two bounds.
    pub(crate) fn between<'b>(
        &'b self,
        keyspace: &str,
        from: &'b KeyBound,
        to: &'b KeyBound,
    ) -> impl Iterator<Item = KeyName<'h>> + use<'b, 'h> {
        let space = self.spaces.get_key_value(keyspace).filter(|_| !is_empty(from, to));
        let range = (from.as_bound(), to.as_bound());
        space.into_iter().flat_map(move |(keyspace, keys)| {
            let within = keys.range::<Hex, _>(range);
            within.map(move |(key, _)| KeyName { keyspace, key })
        })
    }

    /// Which version was seen. Nobody knows anything of a key that is not in the table except
    /// that it was absent.
    pub(crate) fn resolve(&self, observation: &Observation<'_>) -> Result<Seen, Misread> {
        let key = self.find(observation.name);
        let Some(value) = observation.value else {
            let initially = Seen { place: Place::At(0), certain: true };
            return key.map_or(Ok(initially), |key| self.versions(key).absence(observation));
        };
        let seen = match self.values.get(value) {
            None => return Err(Misread::Nobody),
            Some(Written::Initially { key: written }) => (*written, Place::At(0)),
            Some(Written::By { writer, .. }) if *writer == observation.reader => {
                return Err(Misread::OwnLater);
            }
            Some(Written::By { writer, key: written, last }) => {
                let versions = self.versions(*written);
                let place = versions.place_of(*writer).ok_or(Misread::Aborted(*writer))?;
                if !last {
                    return Err(Misread::Intermediate(*writer));
                }
                (*written, place)
            }
        };
        match seen {
            (written, place) if Some(written) == key => Ok(Seen { place, certain: true }),
            (written, _) => Err(Misread::Elsewhere(written)),
        }
    }

    fn versions_mut(&mut self, key: KeyIndex) -> &mut Versions<'h> {
        &mut self.keys[key.0 as usize]
    }

    fn enter(&mut self, name: KeyName<'h>) -> KeyIndex {
        let next = KeyIndex(u32::try_from(self.keys.len()).expect("a history fits into memory"));
        let space = self.spaces.entry(name.keyspace).or_default();
        let key = *space.entry(name.key).or_insert(next);
        if key == next {
            self.keys.push(Versions::new(name));
        }
        key
    }

    fn enter_writes(&mut self, history: &'h History, writer: TxnIndex) {
        let transaction = &history.transactions[writer.index()];
        let mut last: BTreeMap<KeyIndex, Version<'h>> = BTreeMap::new();
        let lsn = match transaction.outcome {
            Outcome::Committed { lsn } => lsn,
            Outcome::Aborted { .. } | Outcome::Unknown => 0,
        };
        let aborted = matches!(transaction.outcome, Outcome::Aborted { .. });
        for operation in &transaction.operations {
            let Action::Write { keyspace, key, value } = &operation.action else { continue };
            let begin_ns = operation.begin_ns;
            let key = self.enter(KeyName { keyspace, key });
            let version = Version { writer, value: value.as_ref(), lsn, begin_ns };
            if let Some(before) = last.insert(key, version) {
                self.overwrite(key, before, aborted);
            }
            if let Some(value) = value {
                self.values.insert(value, Written::By { writer, key, last: true });
            }
        }
        for (key, version) in last {
            match transaction.outcome {
                Outcome::Committed { .. } => self.versions_mut(key).placed.push(version),
                Outcome::Unknown => self.versions_mut(key).unplaced.push(version),
                Outcome::Aborted { .. } => self.void(key, version, true),
            }
        }
    }

    /// The same transaction wrote the key again.
    fn overwrite(&mut self, key: KeyIndex, before: Version<'h>, aborted: bool) {
        match before.value {
            Some(value) => {
                let written = Written::By { writer: before.writer, key, last: false };
                self.values.insert(value, written);
            }
            None => self.void(key, before, aborted),
        }
    }

    fn void(&mut self, key: KeyIndex, version: Version<'h>, aborted: bool) {
        if version.value.is_none() {
            let Version { writer, begin_ns, .. } = version;
            let void = VoidDelete { writer, aborted, begin_ns };
            self.versions_mut(key).void_deletes.push(void);
        }
    }
}

impl<'h> Versions<'h> {
    fn new(name: KeyName<'h>) -> Versions<'h> {
        Versions {
            name,
            initial: None,
            placed: Vec::new(),
            unplaced: Vec::new(),
            places: BTreeMap::new(),
            absences: Vec::new(),
            void_deletes: Vec::new(),
        }
    }

    fn arrange(&mut self) {
        self.placed.sort_by_key(|version| version.lsn);
        let placed = self.placed.iter().zip(1..);
        let placed = placed.map(|(version, at)| (version.writer, Place::At(at)));
        let unplaced = self.unplaced.iter();
        let unplaced = unplaced.map(|version| (version.writer, Place::Of(version.writer)));
        self.places = placed.chain(unplaced).collect();
        let initially = self.initial.is_none().then_some(0);
        let deleted = self.placed.iter().enumerate();
        let deleted = deleted.filter_map(|(at, version)| version.value.is_none().then_some(at + 1));
        self.absences = initially.into_iter().chain(deleted).collect();
    }

    /// Where the version of `writer` stands; `None` if it has none.
    pub(crate) fn place_of(&self, writer: TxnIndex) -> Option<Place> {
        self.places.get(&writer).copied()
    }

    /// The version at `place`; the initial state is nobody's.
    pub(crate) fn at(&self, place: Place) -> Option<&Version<'h>> {
        match place {
            Place::At(at) => self.placed.get(at.checked_sub(1)?),
            Place::Of(writer) => self.unplaced.iter().find(|version| version.writer == writer),
            Place::Unclear => None,
        }
    }

    /// The first version after `at` that changes what was seen there. A delete changes nothing
    /// for who saw the key absent: a store may leave out a delete that has nothing to delete.
    pub(crate) fn change_after(&self, at: usize, absent: bool) -> Option<&Version<'h>> {
        self.placed[at..].iter().find(|version| !absent || version.value.is_some())
    }

    fn absence(&self, observation: &Observation<'_>) -> Result<Seen, Misread> {
        let (reader, end_ns) = (observation.reader, observation.end_ns);
        let could = |version: &Version<'_>| version.writer != reader && version.begin_ns <= end_ns;
        let mut placed =
            self.absences.iter().rev().filter(|at| self.at(Place::At(**at)).is_none_or(could));
        let mut unplaced =
            self.unplaced.iter().filter(|version| version.value.is_none() && could(version));
        match (placed.next(), unplaced.next()) {
            (Some(at), None) => {
                Ok(Seen { place: Place::At(*at), certain: placed.next().is_none() })
            }
            (None, Some(version)) if unplaced.next().is_none() => {
                Ok(Seen { place: Place::Of(version.writer), certain: true })
            }
            (_, Some(_)) => Ok(Seen { place: Place::Unclear, certain: false }),
            (None, None) => Err(self.void_absence(observation)),
        }
    }

    fn void_absence(&self, observation: &Observation<'_>) -> Misread {
        let void = self
            .void_deletes
            .iter()
            .find(|void| void.begin_ns <= observation.end_ns && void.writer != observation.reader);
        match void {
            None => Misread::Nobody,
            Some(void) if void.aborted => Misread::Aborted(void.writer),
            Some(void) => Misread::Intermediate(void.writer),
        }
    }
}

/// Nothing lies between `from` and `to`.
fn is_empty(from: &KeyBound, to: &KeyBound) -> bool {
    match (from, to) {
        (KeyBound::Unbounded, _) | (_, KeyBound::Unbounded) => false,
        (KeyBound::Included(low), KeyBound::Included(high)) => low > high,
        (low, high) => low.key() >= high.key(),
    }
}

/// Whether `key` lies between two bounds.
pub(crate) fn is_between(key: &Hex, from: &KeyBound, to: &KeyBound) -> bool {
    let above = match from {
        KeyBound::Included(low) => key >= low,
        KeyBound::Excluded(low) => key > low,
        KeyBound::Unbounded => true,
    };
    let below = match to {
        KeyBound::Included(high) => key <= high,
        KeyBound::Excluded(high) => key < high,
        KeyBound::Unbounded => true,
    };
    above && below
}
