use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use foldhash::fast::FixedState;

use crate::heartbeat::{NameId, TaskNames};
use crate::limits::{TASK_NAMES_MAX, TASKS_PER_SHARD_MAX};
use crate::port::ShardPort;

/// Told the task's name and the panic's message; called on the shard, outside any borrow.
pub type PanicSink = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// Each class has a share of its shard's CPU time, `limits::TASK_CLASS_SHARES`, that it gets
/// whenever it wants it; what others leave is free for all. Within their shares they run in this
/// order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TaskClass {
    Foreground,
    Flush,
    Merge,
    Maintenance,
}

pub(crate) const TASK_CLASS_COUNT: usize = 4;

impl TaskClass {
    pub const ALL: [TaskClass; TASK_CLASS_COUNT] =
        [TaskClass::Foreground, TaskClass::Flush, TaskClass::Merge, TaskClass::Maintenance];

    pub const fn index(self) -> usize {
        self as usize
    }

    pub const fn name(self) -> &'static str {
        match self {
            TaskClass::Foreground => "foreground",
            TaskClass::Flush => "flush",
            TaskClass::Merge => "merge",
            TaskClass::Maintenance => "maintenance",
        }
    }
}

#[derive(Clone)]
pub struct TaskSpec {
    pub name: &'static str,
    pub class: TaskClass,
    pub on_panic: Option<PanicSink>,
}

impl TaskSpec {
    pub fn new(name: &'static str, class: TaskClass) -> TaskSpec {
        TaskSpec { name, class, on_panic: None }
    }

    pub fn on_panic(mut self, sink: PanicSink) -> TaskSpec {
        self.on_panic = Some(sink);
        self
    }
}

/// The part of a task that wakers share. It outlives the future and never touches it, so a
/// waker may be kept and used anywhere.
pub(crate) struct TaskHeader {
    slot: u32,
    generation: u32,
    class: TaskClass,
    name: NameId,
    scheduled: AtomicBool,
    port: Arc<ShardPort>,
}

impl TaskHeader {
    pub(crate) fn class(&self) -> TaskClass {
        self.class
    }

    pub(crate) fn name(&self) -> NameId {
        self.name
    }

    /// Called right before a poll. A read-modify-write, so that the poll sees what every waker
    /// that found the flag set had written.
    fn begin_poll(&self) {
        self.scheduled.swap(false, Ordering::AcqRel);
    }

    fn schedule(self: Arc<Self>) {
        let port = Arc::clone(&self.port);
        port.push_ready(self);
    }
}

impl Wake for TaskHeader {
    fn wake(self: Arc<Self>) {
        if !self.scheduled.swap(true, Ordering::AcqRel) {
            self.schedule();
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.scheduled.swap(true, Ordering::AcqRel) {
            Arc::clone(self).schedule();
        }
    }
}

pub(crate) type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

/// A task's future and what a poll of it needs; outside the table while it is polled.
pub(crate) struct TaskBody {
    pub(crate) future: TaskFuture,
    pub(crate) waker: Waker,
    pub(crate) spec: TaskSpec,
}

struct TaskSlot {
    generation: u32,
    /// Empty while the task is polled or the slot is free.
    body: Option<TaskBody>,
}

/// The futures of one shard. Wakers name a slot and its generation; a stale one finds nothing.
pub(crate) struct TaskTable {
    slots: Vec<TaskSlot>,
    free: Vec<u32>,
    alive: usize,
    names: Arc<TaskNames>,
    /// Numbers of names by address and length of their text.
    known_names: HashMap<(usize, usize), NameId, FixedState>,
}

impl TaskTable {
    pub(crate) fn new(names: Arc<TaskNames>) -> TaskTable {
        TaskTable {
            slots: Vec::new(),
            free: Vec::new(),
            alive: 0,
            names,
            known_names: HashMap::with_hasher(FixedState::default()),
        }
    }

    pub(crate) fn alive(&self) -> usize {
        self.alive
    }

    /// Stores the task and returns its header, already marked as scheduled.
    pub(crate) fn insert(
        &mut self,
        spec: TaskSpec,
        future: TaskFuture,
        port: &Arc<ShardPort>,
    ) -> Arc<TaskHeader> {
        assert!(self.alive < TASKS_PER_SHARD_MAX, "INV-9: more than TASKS_PER_SHARD_MAX tasks");
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(TaskSlot { generation: 0, body: None });
            (self.slots.len() - 1) as u32
        });
        let name = self.name_id(spec.name);
        let entry = &mut self.slots[slot as usize];
        let header = Arc::new(TaskHeader {
            slot,
            generation: entry.generation,
            class: spec.class,
            name,
            scheduled: AtomicBool::new(true),
            port: Arc::clone(port),
        });
        let waker = Waker::from(Arc::clone(&header));
        entry.body = Some(TaskBody { future, waker, spec });
        self.alive += 1;
        header
    }

    fn name_id(&mut self, name: &'static str) -> NameId {
        let key = (name.as_ptr().addr(), name.len());
        if let Some(id) = self.known_names.get(&key) {
            return *id;
        }
        let id = self.names.id_of(name);
        if self.known_names.len() < TASK_NAMES_MAX {
            self.known_names.insert(key, id);
        }
        id
    }

    /// Takes the body out for a poll; `None` if the task has ended.
    pub(crate) fn begin_poll(&mut self, header: &TaskHeader) -> Option<TaskBody> {
        let entry = self.slots.get_mut(header.slot as usize)?;
        if entry.generation != header.generation {
            return None;
        }
        header.begin_poll();
        entry.body.take()
    }

    pub(crate) fn end_poll_pending(&mut self, header: &TaskHeader, body: TaskBody) {
        self.slots[header.slot as usize].body = Some(body);
    }

    pub(crate) fn end_poll_finished(&mut self, header: &TaskHeader) {
        let entry = &mut self.slots[header.slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(header.slot);
        self.alive -= 1;
    }

    /// Empties the table. The caller drops the futures outside the table's borrow, because
    /// their destructors may spawn.
    pub(crate) fn take_all(&mut self) -> Vec<TaskBody> {
        let mut bodies = Vec::with_capacity(self.alive);
        for (slot, entry) in self.slots.iter_mut().enumerate() {
            if let Some(body) = entry.body.take() {
                entry.generation = entry.generation.wrapping_add(1);
                self.free.push(slot as u32);
                bodies.push(body);
            }
        }
        self.alive -= bodies.len();
        bodies
    }
}
