//! The phenomena that need no cycle: reads that no version explains, and lost updates.

use std::collections::BTreeMap;

use super::graph::{Fact, Graph, Unexplained};
use super::history::{Hex, History, Outcome};
use super::phenomenon::Phenomenon;
use super::versions::{KeyIndex, KeyTable, Misread, Place, TxnIndex};
use super::view::shown;
use crate::limits;

/// A transaction as reports name it.
pub(crate) fn name(history: &History, index: TxnIndex) -> String {
    format!("T{}", history.transactions[index.index()].transaction)
}

/// What an unexplained observation is; `None` where its reader takes no part in the graph and
/// may have seen what nobody may rely on.
pub(crate) fn misread(
    history: &History,
    table: &KeyTable<'_>,
    graph: &Graph,
    (observation, misread): &Unexplained<'_>,
) -> Option<(Phenomenon, String)> {
    let reader = observation.reader;
    let takes_part = graph.members[reader.index()];
    let read = format!(
        "{} read {} = {}",
        name(history, reader),
        observation.name,
        shown(observation.value)
    );
    let found = match misread {
        Misread::Nobody => {
            let text = format!("{read}, which nobody had written");
            (Phenomenon::Garbage, text)
        }
        Misread::Elsewhere(key) => {
            let text = format!("{read}, written to {}", table.versions(*key).name);
            (Phenomenon::Garbage, text)
        }
        Misread::OwnLater => {
            (Phenomenon::Internal, format!("{read} before it wrote that value itself"))
        }
        Misread::Aborted(writer) => {
            let reason = match &history.transactions[writer.index()].outcome {
                Outcome::Aborted { reason } => reason,
                Outcome::Committed { .. } | Outcome::Unknown => "",
            };
            let text = format!("{read}, written by {}, aborted: {reason}", name(history, *writer));
            (Phenomenon::G1a, text)
        }
        Misread::Intermediate(writer) => {
            let text = format!("{read}, which {} overwrote itself", name(history, *writer));
            (Phenomenon::G1b, text)
        }
    };
    let is_always_wrong = matches!(found.0, Phenomenon::Garbage | Phenomenon::Internal);
    (is_always_wrong || takes_part).then_some(found)
}

/// One participant that saw a version of a key and wrote the key.
struct Update<'h> {
    writer: TxnIndex,
    /// Where its own version stands.
    own: Place,
    value: Option<&'h Hex>,
    /// What it saw is certain.
    certain: bool,
}

/// Updates of a key that saw the same version: of any two, one did not see the other.
pub(crate) fn lost_updates(history: &History, table: &KeyTable<'_>, graph: &Graph) -> Vec<String> {
    let mut updates: BTreeMap<(KeyIndex, Place, bool), Vec<Update<'_>>> = BTreeMap::new();
    for fact in &graph.facts {
        let versions = table.versions(fact.key);
        let Some(own) = versions.place_of(fact.reader) else { continue };
        let value = versions.at(own).and_then(|version| version.value);
        let update = Update { writer: fact.reader, own, value, certain: fact.seen.certain };
        if is_later(fact, &update) {
            updates.entry((fact.key, fact.seen.place, fact.absent)).or_default().push(update);
        }
    }
    let mut texts = Vec::new();
    for ((key, place, absent), mut group) in updates {
        group.sort_by_key(|update| update.own);
        if absent {
            group = that_replaced_an_absence(group);
        }
        if group.len() > 1 {
            texts.push(text(history, table, (key, place, absent), &group));
        }
    }
    texts
}

/// Whether the update certainly replaced a version later than what it saw. What an update of
/// unknown outcome saw must be certain, because its own place says nothing.
fn is_later(fact: &Fact, update: &Update<'_>) -> bool {
    match (fact.seen.place, update.own) {
        (Place::Unclear, _) => false,
        (Place::At(seen), Place::At(own)) => seen < own,
        _ => update.certain,
    }
}

/// A delete of an absent key replaces nothing. One after an insert does, which only the order
/// of the LSNs tells.
fn that_replaced_an_absence(group: Vec<Update<'_>>) -> Vec<Update<'_>> {
    let has_order = group.iter().all(|update| matches!(update.own, Place::At(_)));
    if has_order {
        return group.into_iter().skip_while(|update| update.value.is_none()).collect();
    }
    group.into_iter().filter(|update| update.value.is_some()).collect()
}

fn text(
    history: &History,
    table: &KeyTable<'_>,
    (key, place, absent): (KeyIndex, Place, bool),
    group: &[Update<'_>],
) -> String {
    let named = group.iter().take(limits::WRITERS_NAMED_MAX);
    let mut writers: Vec<String> = named.map(|update| name(history, update.writer)).collect();
    if group.len() > writers.len() {
        writers.push(format!("{} more", group.len() - writers.len()));
    }
    let versions = table.versions(key);
    let saw = match versions.at(place) {
        _ if absent => "it absent".to_owned(),
        None => "its initial value".to_owned(),
        Some(version) => format!("the version of {}", name(history, version.writer)),
    };
    format!("{} all saw {saw} at {} and wrote it", writers.join(", "), versions.name)
}
