//! `sombra export`: everything a store holds at one moment, as one file.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use sombra::{Keyspace, OpenMode, Snapshot};
use sombra_bench::Stop;

use crate::Outcome;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::print_json;
use crate::store::OpenStore;
use crate::transfer::{
    Definition, ExportWriter, Header, IMPORT_KEYSPACE, Totals, TransferProgress, is_standard,
};

/// Bytes handed to the file system at once.
const WRITE_BUFFER_BYTES: usize = 256 << 10;

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// Directory of the store.
    store: PathBuf,
    /// File to write, which must not exist; without it, or with `-`, standard output. Until it is
    /// whole and durable it is called FILE.part, which the next try writes again from the
    /// beginning.
    #[arg(default_value = "-", hide_default_value = true)]
    file: PathBuf,
    /// Export only this keyspace; may be given several times.
    #[arg(long, value_name = "NAME")]
    keyspace: Vec<String>,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    file: String,
    store_id: String,
    snapshot_lsn: u64,
    #[serde(flatten)]
    totals: Totals,
    file_bytes: u64,
    /// What an earlier try had left was thrown away.
    replaced_part: bool,
}

pub(crate) fn run(args: &ExportArgs) -> Outcome {
    let stop = Stop::new();
    interrupt::watch(&stop)?;
    if is_standard(&args.file) {
        if io::stdout().is_terminal() {
            return Err(Failure::usage("FILE: expected a file or a pipe, found a terminal"));
        }
        let store = OpenStore::open(&args.store, OpenMode::ReadOnly)?;
        let out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, io::stdout().lock());
        let place = || "standard output".to_owned();
        let exported = export(args, (&store, &stop), out, &place);
        let (_, summary) = store.finish(exported)?;
        return summary.tell(io::stderr(), args.json);
    }
    refuse_if_there(&args.file)?;
    let store = OpenStore::open(&args.store, OpenMode::ReadOnly)?;
    let exported = export_to_file(args, &store, &stop);
    let summary = store.finish(exported)?;
    if args.json { print_json(&summary) } else { summary.tell(io::stdout(), false) }
}

fn refuse_if_there(file: &Path) -> Outcome {
    match file.symlink_metadata() {
        Ok(_) => Err(Failure::work(format!("{}: expected no file, found one", file.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::work(format!("{}: {error}", file.display()))),
    }
}

/// Writes FILE.part, makes it durable, and only then gives it its name.
fn export_to_file(args: &ExportArgs, store: &OpenStore, stop: &Stop) -> Outcome<Summary> {
    let mut partial = args.file.clone().into_os_string();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    let describe = |operation: &'static str| {
        let place = partial.display();
        move |error: io::Error| Failure::work(format!("{place}: {operation}: {error}"))
    };
    let how = OpenOptions::new().write(true).create(true).truncate(false).open(&partial);
    let file = how.map_err(describe("create"))?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            Failure::work(format!("{}: another export is writing it", partial.display()))
        }
        TryLockError::Error(error) => describe("lock")(error),
    })?;
    let replaced_part = file.metadata().map_err(describe("look"))?.len() > 0;
    file.set_len(0).map_err(describe("truncate"))?;
    let out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
    let place = || partial.display().to_string();
    let (out, mut summary) = export(args, (store, stop), out, &place)?;
    let file = out.into_inner().map_err(|error| describe("write")(error.into_error()))?;
    file.sync_all().map_err(describe("flush"))?;
    refuse_if_there(&args.file)?;
    fs::rename(&partial, &args.file).map_err(describe("rename"))?;
    let parent = args.file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(describe("flush the directory"))?;
    summary.replaced_part = replaced_part;
    Ok(summary)
}

/// Writes the export to `out`; `place` names it in errors.
fn export<W: Write>(
    args: &ExportArgs,
    (store, stop): (&OpenStore, &Stop),
    out: W,
    place: &dyn Fn() -> String,
) -> Outcome<(W, Summary)> {
    let keyspaces = choose(args, store)?;
    let snapshot = store.db.snapshot().map_err(Failure::work)?;
    let header = Header {
        store_id: store.db.open_report().store_id,
        snapshot_lsn: snapshot.lsn(),
        created_ms: now_ms(),
    };
    let failed = |error: io::Error| Failure::work(format!("{}: write: {error}", place()));
    let mut writer = ExportWriter::new(out, &header).map_err(failed)?;
    let progress = TransferProgress::new("exporting", None);
    for keyspace in &keyspaces {
        let definition =
            Definition { name: keyspace.name().to_owned(), routing: keyspace.routing().clone() };
        writer.begin_keyspace(&definition).map_err(failed)?;
        let rows = write_rows((&snapshot, keyspace), &mut writer, (stop, &progress), &failed);
        store.runtime.block_on(rows)?;
    }
    let (out, totals, file_bytes) = writer.finish().map_err(failed)?;
    let summary = Summary {
        file: match is_standard(&args.file) {
            true => place(),
            false => args.file.display().to_string(),
        },
        store_id: header.store_id.to_string(),
        snapshot_lsn: header.snapshot_lsn.as_u64(),
        totals,
        file_bytes,
        replaced_part: false,
    };
    Ok((out, summary))
}

async fn write_rows<W: Write>(
    (snapshot, keyspace): (&Snapshot, &Keyspace),
    writer: &mut ExportWriter<W>,
    (stop, progress): (&Stop, &TransferProgress),
    failed: &dyn Fn(io::Error) -> Failure,
) -> Outcome {
    let mut scan = snapshot.scan(keyspace, ..);
    loop {
        if stop.is_requested() {
            return Err(Failure::Interrupted);
        }
        let row = scan
            .next()
            .await
            .map_err(|error| Failure::work(format!("keyspace {:?}: {error}", keyspace.name())))?;
        let Some((key, value)) = row else { return Ok(()) };
        writer.row(&key, &value).map_err(failed)?;
        progress.reached(writer.bytes());
    }
}

/// The keyspaces to export, in the store's order.
fn choose(args: &ExportArgs, store: &OpenStore) -> Outcome<Vec<Keyspace>> {
    let mut keyspaces = store.db.keyspaces();
    if args.keyspace.is_empty() {
        if keyspaces.iter().any(|keyspace| keyspace.name() == IMPORT_KEYSPACE) {
            let reason = "an import into this store is not finished";
            let help = "finish it, or name what to export with --keyspace";
            return Err(Failure::work(format!("{}: {reason}: {help}", args.store.display())));
        }
        return Ok(keyspaces);
    }
    for name in &args.keyspace {
        if name == IMPORT_KEYSPACE {
            return Err(Failure::work(format!("keyspace {name:?}: it is not exported")));
        }
        store.keyspace(name)?;
    }
    keyspaces.retain(|keyspace| args.keyspace.iter().any(|name| name == keyspace.name()));
    Ok(keyspaces)
}

fn now_ms() -> u64 {
    // A clock before 1970 is no reason not to export.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Summary {
    /// Tells people, or prints one line of JSON where standard output holds the export itself.
    fn tell(&self, mut out: impl Write, as_json: bool) -> Outcome {
        if as_json {
            return crate::output::write_json_line(&mut out, self);
        }
        let Totals { keyspaces, rows, key_bytes, value_bytes } = self.totals;
        let Summary { file, store_id, snapshot_lsn, file_bytes, .. } = self;
        writeln!(out, "{file}: {file_bytes} bytes of store {store_id} at LSN {snapshot_lsn}")?;
        writeln!(
            out,
            "{keyspaces} keyspaces, {rows} rows, {key_bytes} bytes of keys, {value_bytes} of values"
        )?;
        if self.replaced_part {
            writeln!(out, "started again: {file}.part of an earlier try was replaced")?;
        }
        Ok(())
    }
}
