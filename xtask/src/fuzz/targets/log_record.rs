//! Records of the log. They have no checksum of their own: sealed is one whose length is true.

use crate::fuzz::store::{Pieces, Store};
use crate::fuzz::subject::{Decoder, accepted, plant, scale, shape};
use sombra::KeyspaceId;
use sombra::Routing;
use sombra::format::log_record::{
    Commit, CreateKeyspace, LoggedWrite, RECORD_HEADER_BYTES, Record, decode_record, encode_commit,
    encode_create_keyspace, encode_drop_keyspace, pad_header, peek,
};

const RECORDS_MAX: usize = 64;

pub(in crate::fuzz) struct LogRecords;

impl Decoder for LogRecords {
    fn corpus(&self) -> Vec<Vec<u8>> {
        let records = Pieces::of(Store::get()).log_records();
        let step = records.len().div_ceil(RECORDS_MAX);
        let found = records.iter().step_by(step).map(|record| record.to_vec());
        found.chain(handmade()).collect()
    }

    fn seal(&self, input: &mut Vec<u8>) {
        input.resize(input.len().max(RECORD_HEADER_BYTES).next_multiple_of(8), 0);
        let length = (input.len() as u32).to_le_bytes();
        input[..4].copy_from_slice(&length);
    }

    fn check(&self, bytes: &[u8], has_planted: bool) -> u64 {
        let peeked = peek(bytes);
        let record = match decode_record(bytes) {
            Ok(record) => record,
            Err(error) => return shape(&error),
        };
        let (_, length) = peeked.expect("a record whose header was refused is none");
        assert_eq!(length as usize, bytes.len());
        let mut again = Vec::new();
        match &record {
            Record::Pad => again.extend_from_slice(&pad_header(length)),
            Record::Commit(commit) => write_commit(&mut again, commit),
            Record::CreateKeyspace(create) => encode_create_keyspace(&mut again, create),
            Record::DropKeyspace { wall_ms, keyspace } => {
                encode_drop_keyspace(&mut again, *wall_ms, *keyspace);
            }
        }
        again.resize(bytes.len(), 0);
        assert_eq!(decode_record(&again).as_ref(), Ok(&record), "another record after writing it");
        summed_up(&record, has_planted)
    }
}

fn write_commit(buf: &mut Vec<u8>, commit: &Commit<'_>) {
    let writes = commit.writes.clone();
    assert_eq!(writes.clone().count(), writes.len(), "as many writes as are said to be left");
    encode_commit(buf, commit.wall_ms, writes).expect("a record is not too long for a record");
}

fn summed_up(record: &Record<'_>, has_planted: bool) -> u64 {
    match record {
        Record::Pad => accepted("pad"),
        Record::DropKeyspace { .. } => accepted("drop"),
        Record::Commit(commit) => {
            let writes = commit.writes.clone();
            let gone = writes.clone().filter(|write| write.value.is_none()).count();
            plant(has_planted, gone > 0 && commit.wall_ms > 1 << 60);
            accepted(("commit", scale(writes.len() as u64), scale(gone as u64)))
        }
        Record::CreateKeyspace(create) => {
            let name = create.name.len().min(20);
            let is_hash = matches!(create.routing, Routing::Hash { .. });
            accepted(("create", name, is_hash, scale(create.routing.tablet_count() as u64)))
        }
    }
}

/// Kinds and sizes that the store's log has few of.
fn handmade() -> Vec<Vec<u8>> {
    let keyspace = KeyspaceId::new(3);
    let values = [Some(&b"v"[..]), None, Some(&[7; 300]), Some(&[])];
    let writes = values.map(|value| LoggedWrite { keyspace, key: b"some key", value });
    let mut commit = Vec::new();
    encode_commit(&mut commit, 5, writes).expect("a short record");
    let routings = [
        Routing::range(),
        Routing::range_split(["b", "key", "m"]),
        Routing::hash_tablets(4, 7),
        Routing::hash_tablets(1, 1024),
    ];
    let create = |routing| {
        let mut buf = Vec::new();
        let create = CreateKeyspace { wall_ms: 9, keyspace, name: "names \u{fc}", routing };
        encode_create_keyspace(&mut buf, &create);
        buf
    };
    let mut dropped = Vec::new();
    encode_drop_keyspace(&mut dropped, 1, keyspace);
    let mut pad = pad_header(64).to_vec();
    pad.resize(64, 0);
    routings.into_iter().map(create).chain([commit, dropped, pad]).collect()
}
