//! The keyspaces of the workload: three that stay, and some that come and go.

use std::sync::Arc;

use sombra::{CommitError, Db, Keyspace, KeyspaceError, Routing};

use super::client::{Client, End};
use crate::model::{Event, Recorder, SpaceId};
use crate::workload::tally::Tally;

/// A keyspace in use by a client.
#[derive(Clone)]
pub struct Space {
    pub id: SpaceId,
    pub keyspace: Keyspace,
    /// Whether a scan hands out its rows in key order.
    pub ordered: bool,
}

/// A keyspace that an earlier opening made and nobody dropped.
pub type Leftover = Space;

const STAYING: [(SpaceId, &str); 3] =
    [(SpaceId(0), "split"), (SpaceId(1), "hashed"), (SpaceId(2), "whole")];

fn routing(space: SpaceId, tablets: u32) -> Routing {
    match space {
        SpaceId(0) => {
            let boundary = |number| format!("{:04x}", 0x1_0000 / tablets * number);
            Routing::range_split((1..tablets).map(boundary))
        }
        SpaceId(1) => Routing::hash_tablets(4, tablets),
        _ => Routing::range(),
    }
}

/// The keyspaces that stay, made where they are missing.
///
/// # Errors
/// What the store answered, when it refused.
pub async fn prepare_spaces(
    db: &Db,
    recorder: &Arc<dyn Recorder>,
    tablets: u32,
) -> Result<Vec<Space>, KeyspaceError> {
    let mut spaces = Vec::new();
    for (id, name) in STAYING {
        let keyspace = match db.keyspace(name) {
            Some(keyspace) => keyspace,
            None => create(db, recorder, (id, name), tablets).await?,
        };
        spaces.push(Space { id, keyspace, ordered: id != SpaceId(1) });
    }
    Ok(spaces)
}

async fn create(
    db: &Db,
    recorder: &Arc<dyn Recorder>,
    (space, name): (SpaceId, &str),
    tablets: u32,
) -> Result<Keyspace, KeyspaceError> {
    recorder.record(Event::SpaceCreating { space, name: name.to_owned() });
    let answer = db.create_keyspace(name, routing(space, tablets)).await;
    match &answer {
        Ok(_) => recorder.record(Event::SpaceCreated { space }),
        Err(error) if is_open(error) => {}
        Err(_) => recorder.record(Event::SpaceCreateRefused { space }),
    }
    answer
}

/// Whether the answer leaves open what happened.
fn is_open(error: &KeyspaceError) -> bool {
    matches!(error, KeyspaceError::Commit(CommitError::Unknown { .. } | CommitError::Closed))
}

/// Whether the store has no room.
fn is_full(error: &KeyspaceError) -> bool {
    let full = |error: &CommitError| {
        use CommitError::{Conflict, DiskFull, LogFull, MemoryFull};
        matches!(error, Conflict { .. } | DiskFull { .. } | LogFull { .. } | MemoryFull { .. })
    };
    matches!(error, KeyspaceError::Commit(error) if full(error))
}

impl Client {
    /// Makes a keyspace, or fills the one it has, or drops it: a name lives, dies and lives on.
    pub(super) async fn churn(&mut self) -> Result<(), End> {
        Tally::add(&self.options.tally.keyspaces);
        match self.temporary.take() {
            None => self.create_temporary().await,
            Some(space) if !self.random.percent(self.options.mix.drop_percent) => {
                let mut spaces = vec![space.clone()];
                if self.random.percent(50) {
                    spaces.extend(self.options.spaces.iter().cloned());
                }
                let answer = self.transaction(&spaces).await;
                self.temporary = Some(space);
                answer
            }
            Some(space) => self.drop_temporary(space).await,
        }
    }

    async fn create_temporary(&mut self) -> Result<(), End> {
        let (life, client) = (self.options.life, u32::from(self.options.client));
        assert!(client < 256, "the number of a keyspace is packed");
        if self.keyspaces_made == 255 {
            return Ok(());
        }
        self.keyspaces_made += 1;
        let id = SpaceId((life + 1) << 16 | client << 8 | self.keyspaces_made);
        // A name used again must come back empty; a new one each time would never show that.
        let name = match self.options.reuse_names {
            true => format!("temporary-{client}"),
            false => format!("temporary-{life}-{client}-{}", self.keyspaces_made),
        };
        match create(&self.options.db, &self.options.recorder, (id, &name), 1).await {
            Ok(keyspace) => {
                self.temporary = Some(Space { id, keyspace, ordered: true });
                Ok(())
            }
            Err(error) if self.may_go_on(&error) => Ok(()),
            Err(error) => Err(self.keyspace_end(&error)),
        }
    }

    async fn drop_temporary(&mut self, space: Space) -> Result<(), End> {
        self.record(Event::SpaceDropping { space: space.id });
        match self.options.db.drop_keyspace(&space.keyspace).await {
            Ok(()) => {
                self.record(Event::SpaceDropped { space: space.id });
                Ok(())
            }
            Err(error) if self.may_go_on(&error) => {
                self.record(Event::SpaceDropRefused { space: space.id });
                self.temporary = Some(space);
                Ok(())
            }
            Err(error) => {
                if !is_open(&error) {
                    self.record(Event::SpaceDropRefused { space: space.id });
                }
                Err(self.keyspace_end(&error))
            }
        }
    }

    /// Whether the store has no room, or a read failed it, so that going on makes sense.
    fn may_go_on(&self, error: &KeyspaceError) -> bool {
        let damaged = matches!(error, KeyspaceError::Commit(CommitError::Damaged { .. }));
        is_full(error) || damaged && self.options.may_be_damaged
    }

    fn keyspace_end(&self, error: &KeyspaceError) -> End {
        let stopped = matches!(
            error,
            KeyspaceError::Commit(
                CommitError::Unknown { .. } | CommitError::Poisoned { .. } | CommitError::Closed
            )
        );
        if stopped { End::StoreStopped } else { self.broken(format!("keyspace: {error}")) }
    }
}
