//! The simulation's clients as the writer, and its model of a store as the judge.

use super::WORKING;
use super::workload::{Judge, Reported};
use super::writer::{Opened, WriterArguments, Writers};
use crate::Failure;
use sombra_runtime::{Runtime, ShardId};
use sombra_sim::limits::VALUE_BYTES_MIN;
use sombra_sim::model::{
    Event, History, Intent, KeyId, Observation, Recorder, SpaceId, TxnId, Violation, Write,
};
use sombra_sim::protocol::{self, Line};
use sombra_sim::random::Random;
use sombra_sim::workload::{Client, ClientOptions, Mix, Session, Tally, observe, prepare_spaces};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;

#[derive(Default)]
pub(super) struct ModelJudge(History);

impl Judge for ModelJudge {
    /// The comparison that a life made settles what earlier lives left open.
    fn hear(&mut self, reports: &[String]) -> Result<Reported, Failure> {
        let mut reported = Reported::default();
        let mut shown = Observation::default();
        let mut space = String::new();
        for text in reports {
            let line = protocol::parse(text).ok_or_else(|| format!("unreadable line {text:?}"))?;
            match line {
                Line::Phase { .. } => {}
                Line::ShownSpace { name } => {
                    shown.spaces.entry(name.clone()).or_default();
                    space = name;
                }
                Line::Shown { index, found } => {
                    let keys = shown.spaces.get_mut(&space);
                    keys.ok_or("a key without its keyspace")?.insert(index, found);
                }
                Line::ShownAll => self.settle(&std::mem::take(&mut shown), &mut reported),
                Line::Event(event) => {
                    count(&event, &mut reported);
                    self.0.apply(event);
                }
            }
        }
        reported.violations = self.0.violations().iter().map(ToString::to_string).collect();
        Ok(reported)
    }
}

impl ModelJudge {
    fn settle(&mut self, shown: &Observation, reported: &mut Reported) {
        self.0.settle(shown, false);
        reported.compared = true;
        let count = |pick: fn(&Violation) -> Option<_>| {
            self.0.violations().iter().filter_map(pick).collect::<BTreeSet<_>>().len() as u64
        };
        reported.lost = count(Violation::lost);
        reported.half_applied = count(Violation::half_applied);
    }
}

fn count(event: &Event, reported: &mut Reported) {
    match event {
        Event::Intent(_) => reported.unanswered += 1,
        Event::Acknowledged { .. } => {
            reported.acknowledged += 1;
            reported.unanswered -= 1;
        }
        Event::Refused { .. } => reported.unanswered -= 1,
        _ => {}
    }
}

pub(super) fn show(opened: &Opened) -> Result<(), Failure> {
    let Opened { runtime, db, pipe } = opened;
    let observation = runtime.block_on(observe(db, Mix::steady().keys));
    let observation = observation.map_err(|error| error.to_string())?;
    for (name, keys) in observation.spaces {
        pipe.line(&Line::ShownSpace { name });
        for (index, found) in keys {
            pipe.line(&Line::Shown { index, found });
        }
    }
    pipe.line(&Line::ShownAll);
    Ok(())
}

/// Half of the writers are tasks on shards, half are threads with a handle.
pub(super) fn start(opened: &Opened, arguments: &WriterArguments) -> Result<Writers, Failure> {
    let Opened { runtime, db, pipe } = opened;
    let recorder: Arc<dyn Recorder> = pipe.clone();
    let spaces = runtime.block_on(prepare_spaces(db, &recorder, Mix::steady().tablets));
    let spaces = spaces.map_err(|error| format!("keyspaces: {error}"))?;
    pipe.phase(WORKING, "");
    if arguments.lie {
        tell_a_lie(opened, arguments, spaces[0].id)?;
    }
    let tally = Arc::new(Tally::default());
    let threads = (0..arguments.writers)
        .map(|client| {
            let options = ClientOptions {
                db: db.clone(),
                recorder: pipe.clone(),
                tally: Arc::clone(&tally),
                spaces: spaces.clone(),
                mix: Mix::steady(),
                random: Random::new(arguments.seed).fork(u64::from(client)),
                life: arguments.life,
                client,
                actions: u64::MAX,
                may_be_damaged: false,
                keyspaces: client == 0,
                reuse_names: false,
                leftover: None,
            };
            start_writer(runtime.clone(), options, arguments.shard_of(client))
        })
        .collect();
    let counts = move || {
        let now = tally.report();
        (now.transactions, now.cross_shard)
    };
    Ok(Writers { threads, counts: Box::new(counts) })
}

/// Reports a commit that nobody makes, on a key that nobody else writes.
fn tell_a_lie(opened: &Opened, arguments: &WriterArguments, space: SpaceId) -> Result<(), Failure> {
    let view = opened.db.snapshot().map_err(|error| format!("snapshot: {error}"))?;
    let floor = view.lsn().as_u64();
    let id = TxnId::new(arguments.life, arguments.writers, 1);
    let key = KeyId { space, index: Mix::steady().keys };
    let writes = vec![Write { key, value_len: Some(VALUE_BYTES_MIN) }];
    let intent = Intent { id, snapshot: None, floor, relaxed: false, writes };
    opened.pipe.line(&Line::Event(Event::Intent(intent)));
    opened.pipe.line(&Line::Event(Event::Acknowledged { id, lsn: floor + 1 }));
    Ok(())
}

fn start_writer(
    runtime: Runtime,
    options: ClientOptions,
    shard: Option<ShardId>,
) -> JoinHandle<()> {
    let db = options.db.clone();
    std::thread::spawn(move || match shard {
        None => runtime.block_on(Client::new(options, Session::Handle(db)).run()),
        Some(shard) => {
            let work = move |local| Client::new(options, Session::OnShard(local)).run();
            // A refusal means that the store has stopped; the caller says why.
            let _stopped = runtime.block_on(db.on_shard(shard, work));
        }
    })
}
