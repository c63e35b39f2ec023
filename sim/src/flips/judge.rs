//! What a store makes of one flipped bit: opened to be read, every row read, scrubbed, closed,
//! then checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sombra::{Db, KeyRange, Lsn, OpenMode, Options, ReadError, ScrubReport, inspect};
use sombra_runtime::Runtime;
use sombra_runtime::sim::{SimDisk, SimOptions, SimWorld};

use super::part::Part;
use super::store::{STORE_DIR, options};
use super::{BytePlace, Rows};
use crate::machine;

/// Who was the first to notice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Noticed {
    /// The store did not open.
    Refused,
    /// It opened, and said what was damaged.
    Reported,
    /// A read got an error instead of a row.
    Read,
    /// All rows were there; `check` had a problem or a note.
    Checked,
    /// Only the scrubber found it.
    Scrubbed,
}

impl Noticed {
    pub const ALL: [Noticed; 5] =
        [Noticed::Refused, Noticed::Reported, Noticed::Read, Noticed::Checked, Noticed::Scrubbed];

    /// A heading for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Noticed::Refused => "refused",
            Noticed::Reported => "reported",
            Noticed::Read => "read error",
            Noticed::Checked => "check",
            Noticed::Scrubbed => "scrub",
        }
    }
}

/// Where the log that was opened began and ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogMarks {
    pub(super) replayed_from: Lsn,
    pub(super) replayed_to: Lsn,
    pub(super) newest_stamp: Lsn,
}

/// What a look at the store found.
pub(super) struct Looked {
    pub(super) noticed: Option<Noticed>,
    /// `check` said so, whoever else did.
    pub(super) is_checked: bool,
    /// Rows that are not what they were, without an error.
    pub(super) wrong: Vec<String>,
    pub(super) log: LogMarks,
    pub(super) rows: Rows,
}

/// One flip and what became of it.
#[derive(Clone, Debug)]
pub struct Flip {
    pub place: BytePlace,
    pub part: Part,
    pub noticed: Option<Noticed>,
    /// The checker found it too.
    pub is_checked: bool,
    /// Data changed, and no read said so.
    pub wrong: Option<String>,
}

impl Flip {
    pub(super) fn of(place: BytePlace, part: Part, looked: Looked) -> Flip {
        let Looked { noticed, is_checked, wrong, .. } = looked;
        Flip { place, part, noticed, is_checked, wrong: wrong.into_iter().next() }
    }

    /// Whether the store behaved as it promises: data never changes without an error, but for the
    /// end of a log that nobody closed, which nothing vouches for.
    #[must_use]
    pub fn is_right(&self) -> bool {
        match &self.wrong {
            Some(_) => self.part == Part::LogTail,
            None => self.noticed.is_some() || !self.part.is_needed(),
        }
    }
}

/// Looks at the store on a disk that nobody uses; no byte of it changes. Without `expected`
/// whatever is there is right.
pub(super) fn look(
    disk: &SimDisk,
    seed: u64,
    expected: Option<&Arc<Rows>>,
) -> Result<Looked, String> {
    let mut world = SimWorld::new(SimOptions::new(seed, 1, disk.clone()));
    let runtime = world.runtime();
    let expected = expected.map(Arc::clone);
    let looked =
        machine::finish(
            &mut world,
            "look",
            async move { look_at(&runtime, expected.as_deref()).await },
        );
    world.kill();
    looked?
}

async fn look_at(runtime: &Runtime, expected: Option<&Rows>) -> Result<Looked, String> {
    let mut looked = Looked {
        noticed: None,
        is_checked: false,
        wrong: Vec::new(),
        log: LogMarks { replayed_from: Lsn::ZERO, replayed_to: Lsn::ZERO, newest_stamp: Lsn::ZERO },
        rows: Rows::new(),
    };
    let options = Options { open_mode: OpenMode::ReadOnly, ..options() };
    let mut scrubbed = ScrubReport::default();
    match Db::open(runtime, STORE_DIR, options).await {
        Err(_) => looked.noticed = Some(Noticed::Refused),
        Ok(db) => {
            let report = db.open_report();
            looked.log = LogMarks {
                replayed_from: report.replayed_from,
                replayed_to: report.replayed_to,
                newest_stamp: report.newest_stamp,
            };
            looked.noticed = (!report.notes.is_empty()).then_some(Noticed::Reported);
            looked.read(&db, expected).await?;
            scrubbed = db.scrub().await.map_err(|error| format!("scrub: {error}"))?;
            db.close().await.map_err(|error| format!("close: {error}"))?;
        }
    }
    let checked = inspect::check(runtime, Path::new(STORE_DIR), |_, _| ()).await;
    looked.is_checked =
        checked.map_or(true, |report| !report.problems.is_empty() || !report.notes.is_empty());
    let checked = looked.is_checked.then_some(Noticed::Checked);
    let scrubbed = (!scrubbed.problems.is_empty()).then_some(Noticed::Scrubbed);
    looked.noticed = looked.noticed.or(checked).or(scrubbed);
    Ok(looked)
}

impl Looked {
    /// Reads every row: in one scan, and after an error one by one.
    async fn read(&mut self, db: &Db, expected: Option<&Rows>) -> Result<(), String> {
        let view = db.snapshot().map_err(|error| error.to_string())?;
        let spaces: BTreeMap<String, _> =
            db.keyspaces().into_iter().map(|k| (k.name().to_owned(), k)).collect();
        if let Some(expected) = expected
            && !expected.keys().eq(spaces.keys())
        {
            let (before, now) = (expected.keys(), spaces.keys());
            self.wrong.push(format!("keyspaces {now:?}, before {before:?}"));
        }
        for (name, keyspace) in &spaces {
            let before = expected.and_then(|expected| expected.get(name));
            match view.scan(keyspace, KeyRange::all()).collect().await {
                Ok(rows) => {
                    let rows = rows.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec()));
                    let rows: BTreeMap<Vec<u8>, Vec<u8>> = rows.collect();
                    if before.is_some_and(|before| *before != rows) {
                        self.wrong.push(format!("a scan of {name:?} shows other rows"));
                    }
                    self.rows.insert(name.clone(), rows);
                }
                Err(ReadError::Damaged { .. }) => {
                    self.noticed.get_or_insert(Noticed::Read);
                    for (key, value) in before.into_iter().flatten() {
                        match view.get(keyspace, key).await {
                            Ok(Some(found)) if found == *value => {}
                            Err(ReadError::Damaged { .. }) => {}
                            other => {
                                let key = key.escape_ascii();
                                self.wrong.push(format!("{name:?} key {key}: {other:?}"));
                            }
                        }
                    }
                }
                Err(error) => return Err(format!("reading {name:?}: {error}")),
            }
        }
        Ok(())
    }
}
