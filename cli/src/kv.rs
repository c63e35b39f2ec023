//! `sombra kv`: read and write keys.

use std::ffi::OsString;
use std::io::Write;
use std::ops::Bound;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use sombra::{KeyRange, Keyspace, OpenMode, Routing};

use crate::Outcome;
use crate::failure::Failure;
use crate::output::{stdout, write_json_line};
use crate::store::{NewStoreArgs, OpenStore};
use crate::text::Notation;

#[derive(Subcommand)]
pub(crate) enum KvCommand {
    /// Print the value of one key.
    Get(KeyArgs),
    /// Write one key durably.
    Put(PutArgs),
    /// Delete one key durably; a key that is not there is no error.
    Del(KeyArgs),
    /// Print keys and values in the keyspace's order.
    Scan(ScanArgs),
}

#[derive(Args)]
pub(crate) struct Place {
    /// Directory of the store.
    store: PathBuf,
    /// Keyspace within the store.
    keyspace: String,
    /// Keys and values are hexadecimal digits, given and printed.
    #[arg(long)]
    hex: bool,
}

#[derive(Args)]
pub(crate) struct KeyArgs {
    #[command(flatten)]
    place: Place,
    key: OsString,
}

#[derive(Args)]
pub(crate) struct PutArgs {
    #[command(flatten)]
    at: KeyArgs,
    value: OsString,
    /// Make the store, and the keyspace (one tablet, in key order), if they are not there.
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    new_store: NewStoreArgs,
}

#[derive(Args)]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    place: Place,
    /// Only keys that begin with this.
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["from", "to"])]
    prefix: Option<OsString>,
    /// First key, included.
    #[arg(long, value_name = "KEY")]
    from: Option<OsString>,
    /// Last key, excluded.
    #[arg(long, value_name = "KEY")]
    to: Option<OsString>,
    /// Print at most this many rows.
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &KvCommand) -> Outcome {
    match command {
        KvCommand::Get(args) => get(args),
        KvCommand::Put(args) => put(args),
        KvCommand::Del(args) => delete(args),
        KvCommand::Scan(args) => scan(args),
    }
}

impl Place {
    fn notation(&self) -> Notation {
        Notation::new(self.hex)
    }
}

impl KeyArgs {
    fn key(&self) -> Outcome<Vec<u8>> {
        self.place.notation().parse("KEY", &self.key)
    }
}

fn get(args: &KeyArgs) -> Outcome {
    let key = args.key()?;
    let store = OpenStore::open(&args.place.store, OpenMode::ReadOnly)?;
    let found = store.keyspace(&args.place.keyspace).and_then(|keyspace| {
        store.runtime.block_on(store.db.get(&keyspace, &key)).map_err(Failure::work)
    });
    let notation = args.place.notation();
    let Some(value) = store.finish(found)? else {
        let (key, keyspace) = (notation.show(&key), &args.place.keyspace);
        return Err(Failure::work(format!("key {key:?}: not in keyspace {keyspace:?}")));
    };
    let mut out = stdout();
    match notation {
        Notation::Plain => out.write_all(&value)?,
        Notation::Hex => write!(out, "{}", notation.show(&value))?,
    }
    writeln!(out)?;
    Ok(out.flush()?)
}

fn put(args: &PutArgs) -> Outcome {
    let key = args.at.key()?;
    let place = &args.at.place;
    let value = place.notation().parse("VALUE", &args.value)?;
    if args.new_store.is_given() && !args.create {
        return Err(Failure::usage("--page-size: expected --create beside it"));
    }
    let mode = if args.create { OpenMode::CreateIfMissing } else { OpenMode::MustExist };
    let store = OpenStore::open_to_write(&place.store, mode, &args.new_store)?;
    let written = keyspace_to_write(&store, &place.keyspace, args.create).and_then(|keyspace| {
        let put = store.db.put(&keyspace, &key, value);
        store.runtime.block_on(put).map(drop).map_err(Failure::work)
    });
    store.finish(written)
}

fn keyspace_to_write(store: &OpenStore, name: &str, create: bool) -> Outcome<Keyspace> {
    if create && store.db.keyspace(name).is_none() {
        let created = store.db.create_keyspace(name, Routing::range());
        return store.runtime.block_on(created).map_err(Failure::work);
    }
    store.keyspace(name)
}

fn delete(args: &KeyArgs) -> Outcome {
    let key = args.key()?;
    let store = OpenStore::open(&args.place.store, OpenMode::MustExist)?;
    let deleted = store.keyspace(&args.place.keyspace).and_then(|keyspace| {
        let delete = store.db.delete(&keyspace, &key);
        store.runtime.block_on(delete).map(drop).map_err(Failure::work)
    });
    store.finish(deleted)
}

fn scan(args: &ScanArgs) -> Outcome {
    let range = args.range()?;
    let store = OpenStore::open(&args.place.store, OpenMode::ReadOnly)?;
    let printed = store
        .keyspace(&args.place.keyspace)
        .and_then(|keyspace| store.runtime.block_on(print_rows(args, &store, &keyspace, range)));
    store.finish(printed)
}

async fn print_rows(
    args: &ScanArgs,
    store: &OpenStore,
    keyspace: &Keyspace,
    range: KeyRange,
) -> Outcome {
    let snapshot = store.db.snapshot().map_err(Failure::work)?;
    let mut scan = snapshot.scan(keyspace, range);
    let mut out = stdout();
    let notation = args.place.notation();
    for _ in 0..args.limit.unwrap_or(u64::MAX) {
        let Some((key, value)) = scan.next().await.map_err(Failure::work)? else { break };
        let row = Row { key: notation.show(&key), value: notation.show(&value) };
        if args.json {
            write_json_line(&mut out, &row)?;
        } else {
            writeln!(out, "{}\t{}", row.key, row.value)?;
        }
    }
    Ok(out.flush()?)
}

#[derive(Serialize)]
struct Row {
    key: String,
    value: String,
}

impl ScanArgs {
    fn range(&self) -> Outcome<KeyRange> {
        let parse = |what, argument: &Option<OsString>| {
            let argument = argument.as_deref();
            argument.map(|bytes| self.place.notation().parse(what, bytes)).transpose()
        };
        if let Some(prefix) = parse("--prefix", &self.prefix)? {
            return Ok(KeyRange::prefix(&prefix));
        }
        let from = parse("--from", &self.from)?.map_or(Bound::Unbounded, Bound::Included);
        let to = parse("--to", &self.to)?.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(KeyRange::new(from, to))
    }
}
