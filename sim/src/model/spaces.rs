//! Keyspaces over their lives: a name is made, dropped and made again, each time empty.

use std::collections::{BTreeMap, BTreeSet};

use super::value::SpaceId;
use super::violation::Violation;

/// What is known of one name.
#[derive(Clone, Copy, Default, Debug)]
struct Slot {
    /// The life that certainly exists unless `dropping` hits it.
    live: Option<SpaceId>,
    /// A creation nobody has answered.
    creating: Option<SpaceId>,
    /// A drop nobody has answered.
    dropping: bool,
}

/// All names that a history has used.
#[derive(Clone, Default, Debug)]
pub(crate) struct Spaces {
    slots: BTreeMap<String, Slot>,
    names: BTreeMap<SpaceId, String>,
}

impl Spaces {
    fn slot(&mut self, space: SpaceId) -> &mut Slot {
        let name = self.names.get(&space).expect("a space is created before it is used");
        self.slots.get_mut(name).expect("every name has its slot")
    }

    pub(crate) fn creating(&mut self, space: SpaceId, name: &str) {
        self.names.insert(space, name.to_owned());
        self.slots.entry(name.to_owned()).or_default().creating = Some(space);
    }

    pub(crate) fn created(&mut self, space: SpaceId) {
        let slot = self.slot(space);
        (slot.live, slot.creating) = (Some(space), None);
    }

    pub(crate) fn create_refused(&mut self, space: SpaceId) {
        self.slot(space).creating = None;
    }

    pub(crate) fn dropping(&mut self, space: SpaceId) {
        self.slot(space).dropping = true;
    }

    pub(crate) fn dropped(&mut self, space: SpaceId) {
        let slot = self.slot(space);
        (slot.live, slot.dropping) = (None, false);
    }

    pub(crate) fn drop_refused(&mut self, space: SpaceId) {
        self.slot(space).dropping = false;
    }

    /// The names that certainly exist, with the life each is in.
    pub(crate) fn live(&self) -> BTreeMap<String, SpaceId> {
        let live = |(name, slot): (&String, &Slot)| slot.live.map(|space| (name.clone(), space));
        self.slots.iter().filter_map(live).collect()
    }

    /// The life of each name that a reopened store shows, and what should not be so. Forgets
    /// open creations and drops: each has now either happened or not.
    pub(crate) fn settle(
        &mut self,
        shown: &BTreeSet<String>,
        violations: &mut Vec<Violation>,
    ) -> BTreeMap<String, SpaceId> {
        let mut lives = BTreeMap::new();
        for (name, slot) in &mut self.slots {
            let here = shown.contains(name);
            let life = if here { slot.live.or(slot.creating) } else { None };
            if here && life.is_none() {
                violations.push(Violation::SpaceUnexpected { name: name.clone() });
            }
            if !here && slot.live.is_some() && !slot.dropping {
                violations.push(Violation::SpaceLost { name: name.clone() });
            }
            *slot = Slot { live: life, creating: None, dropping: false };
            lives.extend(life.map(|space| (name.clone(), space)));
        }
        for name in shown.iter().filter(|name| !self.slots.contains_key(*name)) {
            violations.push(Violation::SpaceUnexpected { name: name.clone() });
        }
        lives
    }
}
