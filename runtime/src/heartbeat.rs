//! What a shard shows of the poll that it is in: a few plain stores for each poll.
//!
//! Knows numbers and names, no thread: who looks at it, and how often, is the watchdog's business.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits::TASK_NAMES_MAX;
use crate::time::Moment;

/// Number of a task's name in its runtime: a word that one store can publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NameId(u32);

impl NameId {
    /// All names beyond `TASK_NAMES_MAX`.
    const OTHER: NameId = NameId(0);
    /// Jobs have no names.
    pub(crate) const JOB: NameId = NameId(1);
}

/// The names of a runtime's tasks by number. Shards keep what they have asked for.
pub(crate) struct TaskNames(Mutex<Vec<&'static str>>);

impl TaskNames {
    pub(crate) fn new() -> TaskNames {
        TaskNames(Mutex::new(vec!["(another task)", "(a job)"]))
    }

    pub(crate) fn id_of(&self, name: &'static str) -> NameId {
        let mut names = self.names();
        if let Some(index) = names.iter().position(|known| *known == name) {
            return NameId(index as u32);
        }
        if names.len() >= TASK_NAMES_MAX {
            return NameId::OTHER;
        }
        names.push(name);
        NameId((names.len() - 1) as u32)
    }

    pub(crate) fn name_of(&self, id: NameId) -> &'static str {
        let names = self.names();
        names.get(id.0 as usize).copied().unwrap_or(names[NameId::OTHER.0 as usize])
    }

    fn names(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A poll that has begun and not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Running {
    pub(crate) beat: u64,
    pub(crate) began: Moment,
    pub(crate) name: NameId,
}

/// Written by its shard, except for `give_way`, and read by anybody.
pub(crate) struct Heartbeat {
    /// Goes up by one when a poll begins and when it ends: odd while one runs.
    beat: AtomicU64,
    began_ns: AtomicU64,
    name: AtomicU32,
    /// False while the shard's thread sleeps or does not exist.
    is_awake: AtomicBool,
    /// The poll that has used up its slice.
    give_way: AtomicU64,
}

impl Heartbeat {
    pub(crate) fn new() -> Heartbeat {
        Heartbeat {
            beat: AtomicU64::new(0),
            began_ns: AtomicU64::new(0),
            name: AtomicU32::new(NameId::OTHER.0),
            is_awake: AtomicBool::new(true),
            give_way: AtomicU64::new(0),
        }
    }

    /// A poll begins. `began` is the clock's last word, nobody looks at it for this.
    pub(crate) fn begin(&self, began: Moment, name: NameId) {
        let beat = self.beat.load(Ordering::Relaxed);
        assert!(beat.is_multiple_of(2), "a poll within a poll");
        // Whoever sees one of the next two stores sees that the poll before has ended.
        fence(Ordering::Release);
        self.began_ns.store(began.as_nanos(), Ordering::Relaxed);
        self.name.store(name.0, Ordering::Relaxed);
        self.beat.store(beat + 1, Ordering::Release);
    }

    pub(crate) fn end(&self) {
        self.beat.store(self.beat.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The shard is gone in the middle of whatever it did.
    pub(crate) fn stop(&self) {
        self.is_awake.store(false, Ordering::Relaxed);
        self.beat.store(self.beat.load(Ordering::Relaxed).next_multiple_of(2), Ordering::Relaxed);
    }

    pub(crate) fn beat(&self) -> u64 {
        self.beat.load(Ordering::Relaxed)
    }

    /// The running poll, if its three values could be read while it ran.
    pub(crate) fn running(&self) -> Option<Running> {
        let beat = self.beat.load(Ordering::Acquire);
        if beat.is_multiple_of(2) {
            return None;
        }
        let began = Moment::from_nanos(self.began_ns.load(Ordering::Relaxed));
        let name = NameId(self.name.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let is_same = self.beat.load(Ordering::Relaxed) == beat;
        is_same.then_some(Running { beat, began, name })
    }

    pub(crate) fn set_awake(&self, is_awake: bool) {
        self.is_awake.store(is_awake, Ordering::Relaxed);
    }

    pub(crate) fn is_awake(&self) -> bool {
        self.is_awake.load(Ordering::Relaxed)
    }

    /// Asks one poll to give way; it has no effect on any other, however late it comes.
    pub(crate) fn ask_to_give_way(&self, beat: u64) {
        self.give_way.store(beat, Ordering::Relaxed);
    }

    pub(crate) fn is_asked_to_give_way(&self, beat: u64) -> bool {
        self.give_way.load(Ordering::Relaxed) == beat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeat_shows_a_poll_while_it_runs_and_asks_only_that_one() {
        let (heart, names) = (Heartbeat::new(), TaskNames::new());
        let name = names.id_of("merge");
        assert_eq!(heart.running(), None);
        heart.begin(Moment::from_nanos(7), name);
        let running = heart.running().unwrap();
        assert_eq!((running.began.as_nanos(), running.name), (7, name));
        heart.ask_to_give_way(running.beat);
        assert!(heart.is_asked_to_give_way(heart.beat()));
        heart.end();
        assert_eq!(heart.running(), None);
        heart.begin(Moment::from_nanos(9), NameId::JOB);
        assert!(!heart.is_asked_to_give_way(heart.beat()));
        heart.stop();
        assert!(heart.running().is_none() && !heart.is_awake());
    }

    #[test]
    fn names_have_one_number_each_up_to_their_bound() {
        let names = TaskNames::new();
        let get = names.id_of("get");
        assert_eq!(names.id_of("get"), get);
        assert_ne!(names.id_of("scan"), get);
        assert_eq!(names.name_of(get), "get");
        for number in 0..TASK_NAMES_MAX {
            names.id_of(Box::leak(number.to_string().into_boxed_str()));
        }
        assert_eq!(names.name_of(names.id_of("one too many")), "(another task)");
        assert_eq!(names.name_of(get), "get");
    }
}
