//! `sombra import`: the rows of an export into a store, from where an earlier try stopped.
//!
//! Each transaction holds the rows of one frame and the mark that counts them. Commits are not
//! waited for one by one: what a crash takes is the end of their order, and the mark goes with it.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use sombra::{CommitError, Durability, Isolation, Keyspace, OpenMode, Routing, TransactionError};
use sombra_bench::Stop;

use crate::Outcome;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{print_json, stdout};
use crate::store::{NewStoreArgs, OpenStore};
use crate::text::{Notation, show_routing};
use crate::transfer::{
    Definition, ExportError, ExportReader, Frame, FrameRows, Header, IMPORT_KEYSPACE, Mark,
    Position, Totals, TransferProgress, is_standard,
};

/// The one key of the keyspace in which an import says how far it came.
const MARK_KEY: &str = "mark";
/// Attempts of one commit that finds no room while windows are being merged, and their distance.
const COMMIT_ATTEMPTS_MAX: u32 = 200;
const COMMIT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// Directory of the store, made if it is not there. After an interruption the same command
    /// goes on where it stopped.
    store: PathBuf,
    /// File that `sombra export` wrote; `-` is standard input. A file is verified to its end
    /// before anything is written; standard input frame by frame.
    file: PathBuf,
    /// Write into keyspaces that have rows already; the file's rows take the place of those with
    /// their keys. A keyspace with another routing is refused all the same.
    #[arg(long)]
    merge: bool,
    /// Verify the file to its end and touch no store.
    #[arg(long, conflicts_with = "merge")]
    dry_run: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    new_store: NewStoreArgs,
}

#[derive(Serialize)]
struct Summary {
    file: String,
    /// The store that has the rows now; absent after a dry run.
    store: Option<String>,
    /// The store that was exported.
    store_id: String,
    snapshot_lsn: u64,
    exported_ms: u64,
    #[serde(flatten)]
    totals: Totals,
    /// Rows that earlier, interrupted tries had brought in.
    rows_resumed: u64,
}

pub(crate) fn run(args: &ImportArgs) -> Outcome {
    let stop = Stop::new();
    interrupt::watch(&stop)?;
    let summary = if is_standard(&args.file) {
        let reader = read_from(&args.file, io::stdin().lock())?;
        match args.dry_run {
            true => verify(args, reader, None, &stop)?.0,
            false => import(args, &[], (reader, None), &stop)?,
        }
    } else {
        let (reader, length) = open(&args.file)?;
        let (summary, keyspaces) = verify(args, reader, Some(length), &stop)?;
        if args.dry_run {
            summary
        } else {
            let (reader, length) = open(&args.file)?;
            import(args, &keyspaces, (reader, Some(length)), &stop)?
        }
    };
    if args.json { print_json(&summary) } else { summary.write_for_people() }
}

fn in_file(file: &Path, reason: impl std::fmt::Display) -> Failure {
    Failure::work(format!("{}: {reason}", place(file)))
}

/// What is wrong with the file, which says at which byte.
fn in_export(file: &Path, error: &ExportError) -> Failure {
    Failure::work(format!("{} {error}", place(file)))
}

fn place(file: &Path) -> Cow<'_, str> {
    if is_standard(file) { "standard input".into() } else { file.to_string_lossy() }
}

fn open(file: &Path) -> Outcome<(ExportReader<io::BufReader<File>>, u64)> {
    let opened = File::open(file).map_err(|error| in_file(file, error))?;
    let length = opened.metadata().map_err(|error| in_file(file, error))?.len();
    Ok((read_from(file, io::BufReader::new(opened))?, length))
}

fn read_from<R: Read>(file: &Path, input: R) -> Outcome<ExportReader<R>> {
    ExportReader::new(input).map_err(|error| in_export(file, &error))
}

/// Reads a file to its end, and says what it holds and which keyspaces.
fn verify(
    args: &ImportArgs,
    mut reader: ExportReader<impl Read>,
    length: Option<u64>,
    stop: &Stop,
) -> Outcome<(Summary, Vec<Definition>)> {
    let progress = TransferProgress::new("verifying", length);
    let mut keyspaces: Vec<Definition> = Vec::new();
    loop {
        if stop.is_requested() {
            return Err(Failure::Interrupted);
        }
        match reader.next_frame().map_err(|error| in_export(&args.file, &error))? {
            Frame::Keyspace(definition) => keyspaces.push(definition),
            Frame::Rows(_) => progress.reached(reader.position().offset),
            Frame::Done(totals) => {
                return Ok((Summary::new(args, reader.header(), totals), keyspaces));
            }
        }
    }
}

fn import(
    args: &ImportArgs,
    keyspaces: &[Definition],
    (reader, length): (ExportReader<impl Read>, Option<u64>),
    stop: &Stop,
) -> Outcome<Summary> {
    let store = OpenStore::open_to_write(&args.store, OpenMode::CreateIfMissing, &args.new_store)?;
    let header = reader.header();
    let imported = Import::begin(args, &store, header, keyspaces).and_then(|mut import| {
        let rows_resumed = import.mark.position.rows;
        let totals = import.run(reader, length, stop)?;
        import.end()?;
        let store = Some(args.store.display().to_string());
        Ok(Summary { store, rows_resumed, ..Summary::new(args, header, totals) })
    });
    store.finish(imported)
}

/// An import that is under way.
struct Import<'a> {
    args: &'a ImportArgs,
    store: &'a OpenStore,
    marks: Keyspace,
    /// What the store has, or is about to have.
    mark: Mark,
    /// The keyspace that the next rows go to.
    keyspace: Option<Keyspace>,
}

impl<'a> Import<'a> {
    /// Finds out where to go on; `keyspaces` are the file's, as far as they are known.
    fn begin(
        args: &'a ImportArgs,
        store: &'a OpenStore,
        header: Header,
        keyspaces: &[Definition],
    ) -> Outcome<Import<'a>> {
        let marks = store.db.keyspace(IMPORT_KEYSPACE);
        let found = match &marks {
            Some(marks) => {
                let get = store.db.get(marks, MARK_KEY);
                store.runtime.block_on(get).map_err(Failure::work)?
            }
            None => None,
        };
        let mark = match found {
            Some(bytes) => the_same(header, &bytes)?,
            None => {
                keyspaces.iter().try_for_each(|definition| admit(args, store, definition))?;
                Mark { header, position: Position { frames: 0, offset: 0, crc: 0, rows: 0 } }
            }
        };
        let marks = match marks {
            Some(marks) => marks,
            None => create(store, IMPORT_KEYSPACE, Routing::range())?,
        };
        Ok(Import { args, store, marks, mark, keyspace: None })
    }

    fn run(
        &mut self,
        mut reader: ExportReader<impl Read>,
        length: Option<u64>,
        stop: &Stop,
    ) -> Outcome<Totals> {
        let progress = TransferProgress::new("importing", length);
        let resumed = self.mark.position;
        loop {
            if stop.is_requested() {
                return Err(Failure::Interrupted);
            }
            let sequence = reader.position().frames;
            let frame = reader.next_frame().map_err(|error| in_export(&self.args.file, &error))?;
            let position = reader.position();
            if position.frames == resumed.frames && position != resumed {
                let (expected, found) = (resumed, position);
                let reason = "not the file whose import was begun here";
                return Err(in_file(
                    &self.args.file,
                    format!(
                        "byte {}: {reason}: expected byte {} and checksum {:#010x}, found {:#010x}",
                        found.offset, expected.offset, expected.crc, found.crc
                    ),
                ));
            }
            let is_new = sequence >= resumed.frames;
            match frame {
                Frame::Keyspace(definition) => self.enter(definition, (is_new, position))?,
                Frame::Rows(rows) if is_new => self.write(&rows, position)?,
                Frame::Rows(_) => {}
                Frame::Done(totals) => return Ok(totals),
            }
            progress.reached(position.offset);
        }
    }

    /// Makes the next keyspace of the file, or finds it again. The mark that says it was begun
    /// comes first, so that a keyspace that was there before is never taken for the import's own.
    fn enter(&mut self, definition: Definition, (is_new, position): (bool, Position)) -> Outcome {
        if is_new {
            admit(self.args, self.store, &definition)?;
            self.write_mark_with(None, position)?;
        }
        let Definition { name, routing } = definition;
        let was_begun_last = self.mark.position.frames == position.frames;
        self.keyspace = Some(match self.store.db.keyspace(&name) {
            Some(keyspace) if *keyspace.routing() == routing => keyspace,
            Some(_) => {
                let reason = "its routing is not the file's: it was made anew meanwhile";
                return Err(Failure::work(format!("keyspace {name:?}: {reason}")));
            }
            None if was_begun_last => create(self.store, &name, routing)?,
            None => {
                let reason = "it was dropped while its import was not finished";
                return Err(Failure::work(format!("keyspace {name:?}: {reason}")));
            }
        });
        Ok(())
    }

    fn write(&mut self, rows: &FrameRows, position: Position) -> Outcome {
        self.write_mark_with(Some(rows), position).map_err(|failure| match failure {
            Failure::Work(reason) => {
                let done = self.mark.position.rows;
                let rest = "run the same import again to go on";
                Failure::Work(format!("{reason}; {done} rows are in, {rest}"))
            }
            other => other,
        })
    }

    /// Commits rows of the current keyspace together with the mark that counts them.
    fn write_mark_with(&mut self, rows: Option<&FrameRows>, position: Position) -> Outcome {
        let mark = Mark { header: self.mark.header, position };
        let attempt = async || {
            let transaction = self.store.db.begin_with(Isolation::Snapshot)?;
            transaction.durability(Durability::Async);
            if let (Some(rows), Some(keyspace)) = (rows, &self.keyspace) {
                for (key, value) in rows.iter() {
                    // A copy each, so that no value keeps its whole frame in memory.
                    transaction.put(keyspace, key, Bytes::copy_from_slice(value))?;
                }
            }
            transaction.put(&self.marks, MARK_KEY, mark.encode())?;
            transaction.commit().await?;
            Ok::<_, TransactionError>(())
        };
        for left in (0..COMMIT_ATTEMPTS_MAX).rev() {
            match self.store.runtime.block_on(attempt()) {
                Ok(()) => {
                    self.mark = mark;
                    break;
                }
                Err(error) if left > 0 && may_pass(&error) => thread::sleep(COMMIT_PAUSE),
                Err(error) => return Err(Failure::work(error)),
            }
        }
        Ok(())
    }

    /// Everything is in: drops the mark. That is durable, and so is all that came before it.
    fn end(self) -> Outcome {
        let drop = self.store.db.drop_keyspace(&self.marks);
        self.store.runtime.block_on(drop).map_err(Failure::work)
    }
}

/// Whether merging, which goes on meanwhile, may make room for the same commit.
fn may_pass(error: &TransactionError) -> bool {
    let is_full = matches!(error, TransactionError::Commit(CommitError::MemoryFull { .. }));
    is_full || error.is_retryable()
}

/// The mark in the store, which must be of this file.
fn the_same(header: Header, bytes: &[u8]) -> Outcome<Mark> {
    let mark = Mark::decode(bytes).ok_or_else(|| {
        let place = format!("keyspace {IMPORT_KEYSPACE:?}, key {MARK_KEY:?}");
        Failure::work(format!("{place}: expected the mark of an import, found something else"))
    })?;
    if mark.header == header {
        return Ok(mark);
    }
    let told = |header: Header| {
        let Header { store_id, snapshot_lsn, created_ms } = header;
        format!("of store {store_id} at LSN {snapshot_lsn}, written at {created_ms} ms")
    };
    let (expected, found) = (told(mark.header), told(header));
    let reason = "the import of another file is not finished in this store";
    Err(Failure::work(format!("{reason}: expected the export {expected}, found the one {found}")))
}

/// Refuses a keyspace of the file that the store has with another routing, or with rows of its
/// own that nobody said may be mixed with the file's.
fn admit(args: &ImportArgs, store: &OpenStore, definition: &Definition) -> Outcome {
    let Definition { name, routing } = definition;
    let Some(keyspace) = store.db.keyspace(name) else { return Ok(()) };
    let refuse = |reason: String| Err(Failure::work(format!("keyspace {name:?}: {reason}")));
    if keyspace.routing() != routing {
        let told = |routing: &Routing| show_routing(routing, Notation::Plain);
        let (expected, found) = (told(routing), told(keyspace.routing()));
        return refuse(format!(
            "expected it to route as the file's does ({expected}), found {found}; nothing of it \
             was changed"
        ));
    }
    if args.merge {
        return Ok(());
    }
    let snapshot = store.db.snapshot().map_err(Failure::work)?;
    let mut scan = snapshot.scan(&keyspace, ..);
    match store.runtime.block_on(scan.next()).map_err(Failure::work)? {
        None => Ok(()),
        Some(_) => refuse(
            "expected none of this name in the store, or an empty one, found rows; --merge writes \
             the file's rows over them; nothing of it was changed"
                .to_owned(),
        ),
    }
}

fn create(store: &OpenStore, name: &str, routing: Routing) -> Outcome<Keyspace> {
    let created = store.db.create_keyspace(name, routing);
    store.runtime.block_on(created).map_err(Failure::work)
}

impl Summary {
    fn new(args: &ImportArgs, header: Header, totals: Totals) -> Summary {
        Summary {
            file: place(&args.file).into_owned(),
            store: None,
            store_id: header.store_id.to_string(),
            snapshot_lsn: header.snapshot_lsn.as_u64(),
            exported_ms: header.created_ms,
            totals,
            rows_resumed: 0,
        }
    }

    fn write_for_people(&self) -> Outcome {
        let mut out = stdout();
        let Totals { keyspaces, rows, key_bytes, value_bytes } = self.totals;
        let Summary { file, store_id, snapshot_lsn, rows_resumed, .. } = self;
        writeln!(out, "{file}: whole; store {store_id} at LSN {snapshot_lsn}")?;
        writeln!(
            out,
            "{keyspaces} keyspaces, {rows} rows, {key_bytes} bytes of keys, {value_bytes} of values"
        )?;
        if let Some(store) = &self.store {
            let resumed = match rows_resumed {
                0 => String::new(),
                rows => format!(", {rows} rows of them by an earlier try"),
            };
            writeln!(out, "all of it is in {store}{resumed}")?;
        }
        Ok(out.flush()?)
    }
}
