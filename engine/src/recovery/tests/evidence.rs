//! Logs on the simulated disk, block by block, as replay finds them.

use std::path::Path;

use super::super::*;
use crate::format::log_block::LogBlockHeader;
use crate::format::log_record::{LoggedWrite, Record, encode_commit, pad_header};
use crate::format::segment::{SegmentHeader, segment_file_name};
use crate::format::{BLOCK_PAYLOAD_BYTES, log_record::RECORD_HEADER_BYTES};
use crate::ids::{KeyspaceId, StoreId};
use crate::volume::tests::world::{disk, run};

const SEGMENT_BYTES: u64 = 1 << 20;
const WAL: &str = "/store/wal";

struct Keys(Vec<Vec<u8>>);

impl ReplaySink for Keys {
    fn record(&mut self, _lsn: Lsn, record: Record<'_>) -> Result<(), OpenError> {
        if let Record::Commit(commit) = record {
            self.0.extend(commit.writes.map(|write| write.key.to_vec()));
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), OpenError> {
        Ok(())
    }
}

/// A log of one opening with one block, which holds commits of a and b.
struct OneBlock {
    superblock: Superblock,
    block: Vec<u8>,
    start: Lsn,
    /// End of the commit of a.
    first: Lsn,
    end: Lsn,
}

fn one_block() -> OneBlock {
    let start = segment_start(1, SEGMENT_BYTES);
    let mut payload = Vec::new();
    let mut ends = Vec::new();
    for key in [b"a", b"b"] {
        let write = LoggedWrite { keyspace: KeyspaceId::new(1), key, value: Some(b"v") };
        let mut record = Vec::new();
        encode_commit(&mut record, 1, [write]).unwrap();
        payload.extend_from_slice(&record);
        ends.push(Lsn::new(start.as_u64() + payload.len() as u64));
    }
    let used_bytes = payload.len() as u16;
    let rest = BLOCK_PAYLOAD_BYTES - payload.len();
    assert!(rest >= RECORD_HEADER_BYTES);
    payload.extend_from_slice(&pad_header(rest as u32));
    payload.resize(BLOCK_PAYLOAD_BYTES, 0);
    let store_id = StoreId::from_bytes([7; 16]);
    let header = LogBlockHeader {
        store_id,
        incarnation: Incarnation::new(1),
        first_lsn: start,
        durable: start,
        used_bytes,
        first_record: Some(0),
    };
    let block = [&header.seal(&payload)[..], &payload].concat();
    let link = IncarnationLink {
        incarnation: Incarnation::new(1),
        previous_end: Lsn::ZERO,
        new_start: start,
    };
    let superblock = Superblock {
        store_id,
        generation: 1,
        required_features: 0,
        optional_features: 0,
        segment_bytes: SEGMENT_BYTES,
        page_size_bytes: 4096,
        root_table_addr: 0,
        durability_method: DurabilityMethod::RingFlush,
        device_identity: String::new(),
        created_ms: 0,
        links: vec![link],
    };
    OneBlock { superblock, block, start, first: ends[0], end: ends[1] }
}

impl OneBlock {
    /// What replay says, and the keys that it handed on; `damage` changes the block.
    fn replay(
        &self,
        marks: RootMarks,
        damage: fn(&mut [u8]),
    ) -> (Result<Lsn, OpenError>, Vec<Vec<u8>>) {
        let disk = disk(1);
        disk.create_dir(WAL);
        let superblock = self.superblock.clone();
        let header = SegmentHeader {
            store_id: superblock.store_id,
            segment_number: 1,
            segment_bytes: SEGMENT_BYTES,
            incarnation: Incarnation::new(1),
            link: Some(superblock.links[0]),
        };
        let mut segment = header.encode().to_vec();
        segment.extend_from_slice(&self.block);
        damage(&mut segment[BLOCK_SIZE_BYTES..]);
        segment.resize(SEGMENT_BYTES as usize, 0);
        disk.write_file(Path::new(WAL).join(segment_file_name(1)), &segment);
        run(1, &disk, move |shard| async move {
            let access = Access::ReadWrite;
            let wal_dir = Path::new(WAL);
            let files = SegmentFiles::look(&shard, wal_dir, &superblock, access).await.unwrap();
            let mut keys = Keys(Vec::new());
            let log = replay(&shard, &superblock, (&files, marks), &mut keys).await;
            (log.map(|log| log.end), keys.0)
        })
    }
}

/// A tree holds a commit of the block, so all of the block was durable, and what follows that
/// commit in it had been acknowledged.
#[test]
fn root_proves_that_the_block_was_durable_in_which_replay_begins() {
    let log = one_block();
    let marks = RootMarks { start: log.first, newest: log.first, floor: log.first };
    let (found, keys) = log.replay(marks, |_| ());
    assert_eq!(keys, [b"b"]);
    assert!(found.is_ok_and(|end| end >= log.end), "the block is whole");
    let (found, keys) = log.replay(marks, |block| block[200] ^= 4);
    assert!(keys.is_empty());
    let error = found.expect_err("the commit of b was acknowledged");
    assert!(matches!(&error, OpenError::Damaged { offset: 4096, .. }), "{error}");
    assert!(error.to_string().contains("a tree holds"), "{error}");
}

#[test]
fn torn_block_behind_all_that_trees_hold_is_the_end_of_the_log() {
    let log = one_block();
    let marks = RootMarks { start: log.start, newest: log.start, floor: log.start };
    let (found, keys) = log.replay(marks, |block| block[200] ^= 4);
    assert!(keys.is_empty());
    assert_eq!(found.unwrap(), log.start);
}
