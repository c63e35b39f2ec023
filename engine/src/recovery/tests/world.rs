//! A log made block by block on a simulated disk, and what is found of it.

use std::path::{Path, PathBuf};

use sombra_runtime::Shard;
use sombra_runtime::sim::SimDisk;

use crate::error::OpenError;
use crate::format::log_block::LogBlockHeader;
use crate::format::log_record::{LoggedWrite, Record, encode_commit, pad_header};
use crate::format::segment::{SegmentHeader, segment_file_name, segment_start};
use crate::format::superblock::Superblock;
use crate::format::{BLOCK_PAYLOAD_BYTES, BLOCK_SIZE_BYTES, IncarnationLink};
use crate::ids::{Incarnation, KeyspaceId, Lsn};
use crate::options::DurabilityMethod;
use crate::recovery::replay::{LogEnd, ReplaySink, RootMarks, replay_until};
use crate::recovery::segment_files::SegmentFiles;
use crate::volume::Access;
use crate::volume::tests::world::{STORE, disk, run};

pub(in crate::recovery) const BLOCK: usize = BLOCK_PAYLOAD_BYTES;
pub(in crate::recovery) const SEGMENT_BYTES: u64 = 1 << 20;
/// Blocks of log in a segment.
pub(super) const SEGMENT_BLOCKS: usize = SEGMENT_BYTES as usize / BLOCK_SIZE_BYTES - 1;

/// The keys of what is found, and the LSNs of its records.
#[derive(Default)]
pub(in crate::recovery) struct Keys(pub(in crate::recovery) Vec<Vec<u8>>, Vec<Lsn>);

impl ReplaySink for Keys {
    fn record(&mut self, lsn: Lsn, record: Record<'_>) -> Result<(), OpenError> {
        self.1.push(lsn);
        if let Record::Commit(commit) = record {
            self.0.extend(commit.writes.map(|write| write.key.to_vec()));
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), OpenError> {
        Ok(())
    }
}

pub(in crate::recovery) fn commit(key: &str, value_bytes: usize) -> Vec<u8> {
    let mut record = Vec::new();
    let value = vec![b'v'; value_bytes];
    let keyspace = KeyspaceId::new(1);
    let write = LoggedWrite { keyspace, key: key.as_bytes(), value: Some(&value) };
    encode_commit(&mut record, 1, [write]).unwrap();
    record
}

/// Blocks of a stream of records, padded to whole blocks. `starts` are the records' offsets.
pub(in crate::recovery) fn blocks(
    stream: &[u8],
    starts: &[usize],
    header: LogBlockHeader,
) -> Vec<Vec<u8>> {
    let mut stream = stream.to_vec();
    let rest = stream.len().next_multiple_of(BLOCK) - stream.len();
    if rest > 0 {
        stream.extend_from_slice(&pad_header(rest as u32));
        stream.resize(stream.len().next_multiple_of(BLOCK), 0);
    }
    let block = |(index, payload): (usize, &[u8])| {
        let at = index * BLOCK;
        let first = starts.iter().find(|start| (at..at + BLOCK).contains(start));
        let header = LogBlockHeader {
            first_lsn: Lsn::new(header.first_lsn.as_u64() + at as u64),
            first_record: first.map(|start| (start - at) as u16),
            used_bytes: BLOCK as u16,
            ..header
        };
        [&header.seal(payload)[..], payload].concat()
    };
    stream.chunks(BLOCK).enumerate().map(block).collect()
}

pub(in crate::recovery) fn header(incarnation: u64, first_lsn: Lsn) -> LogBlockHeader {
    LogBlockHeader {
        store_id: STORE,
        incarnation: Incarnation::new(incarnation),
        first_lsn,
        durable: first_lsn,
        used_bytes: 0,
        first_record: None,
    }
}

pub(in crate::recovery) fn link(
    incarnation: u64,
    previous_end: Lsn,
    number: u64,
) -> IncarnationLink {
    let new_start = segment_start(number, SEGMENT_BYTES);
    IncarnationLink { incarnation: Incarnation::new(incarnation), previous_end, new_start }
}

pub(in crate::recovery) fn superblock(links: Vec<IncarnationLink>) -> Superblock {
    Superblock {
        store_id: STORE,
        generation: 1,
        required_features: 0,
        optional_features: 0,
        segment_bytes: SEGMENT_BYTES,
        page_size_bytes: 4096,
        root_table_addr: 0,
        durability_method: DurabilityMethod::RingFlush,
        device_identity: String::new(),
        created_ms: 0,
        links,
    }
}

/// A log and the superblock that names its openings.
pub(super) struct Log {
    pub(super) disk: SimDisk,
    pub(super) superblock: Superblock,
}

pub(super) fn wal_dir() -> PathBuf {
    PathBuf::from("/store/wal")
}

pub(super) fn segment_path(number: u64) -> PathBuf {
    wal_dir().join(segment_file_name(number))
}

/// Where a segment's block begins in the log, the first one of records being 0.
pub(super) fn block_lsn(number: u64, block: usize) -> Lsn {
    Lsn::new(segment_start(number, SEGMENT_BYTES).as_u64() + (block * BLOCK) as u64)
}

/// Blocks that hold one record each, of these keys, from the start of a segment.
pub(super) fn one_each(incarnation: u64, number: u64, keys: &[&str]) -> Vec<Vec<u8>> {
    let block = |(at, key): (usize, &&str)| {
        blocks(&commit(key, 10), &[0], header(incarnation, block_lsn(number, at))).remove(0)
    };
    keys.iter().enumerate().map(block).collect()
}

impl Log {
    pub(super) fn new(links: Vec<IncarnationLink>) -> Log {
        let disk = disk(1);
        disk.create_dir(wal_dir());
        Log { disk, superblock: superblock(links) }
    }

    /// Makes a segment's file: header, these blocks, zeroes.
    pub(super) fn segment(&self, number: u64, incarnation: u64, blocks: &[Vec<u8>]) -> &Log {
        let header = SegmentHeader {
            store_id: STORE,
            segment_number: number,
            segment_bytes: SEGMENT_BYTES,
            incarnation: Incarnation::new(incarnation),
            link: None,
        };
        let mut bytes = [&header.encode()[..], &blocks.concat()].concat();
        bytes.resize(SEGMENT_BYTES as usize, 0);
        self.disk.write_file(segment_path(number), &bytes);
        self
    }

    pub(super) fn set_len(&self, number: u64, len_bytes: usize) -> &Log {
        let path = segment_path(number);
        let mut bytes = self.disk.read_file(&path).unwrap();
        bytes.resize(len_bytes, 0);
        self.disk.write_file(&path, &bytes);
        self
    }

    pub(super) fn len_bytes(&self, number: u64) -> Option<usize> {
        self.disk.read_file(segment_path(number)).map(|bytes| bytes.len())
    }

    /// Looks at the files as an opening does, and goes on with them.
    pub(super) fn with_files<T: Send + 'static, F: Future<Output = T> + 'static>(
        &self,
        program: impl FnOnce(Shard, Superblock, SegmentFiles) -> F + Send + 'static,
    ) -> T {
        let superblock = self.superblock.clone();
        run(2, &self.disk, |shard| async move {
            let access = Access::ReadWrite;
            let files = SegmentFiles::look(&shard, &wal_dir(), &superblock, access).await.unwrap();
            program(shard, superblock, files).await
        })
    }

    /// Replays the log: its keys, its end, and the error if there is one.
    pub(super) fn replay(&self, marks: RootMarks) -> Replayed {
        self.with_files(move |shard, superblock, files| async move {
            let mut found = Keys::default();
            let seen = (&files, marks);
            let (end, outcome) = replay_until(&shard, &superblock, seen, &mut found).await;
            let keys = found.0.into_iter().map(|key| String::from_utf8(key).unwrap()).collect();
            Replayed { keys, lsns: found.1, end, outcome }
        })
    }
}

pub(super) struct Replayed {
    pub(super) keys: Vec<String>,
    pub(super) lsns: Vec<Lsn>,
    pub(super) end: LogEnd,
    pub(super) outcome: Result<(), OpenError>,
}

impl Replayed {
    /// File, byte, reason and what was found, of damage that refuses the log.
    pub(super) fn damage(self) -> (PathBuf, u64, &'static str, String) {
        match self.outcome {
            Err(OpenError::Damaged { path, offset, reason, found, .. }) => {
                (path, offset, reason, found)
            }
            other => panic!("{other:?}, keys {:?}", self.keys),
        }
    }
}

pub(super) fn store_dir() -> &'static Path {
    Path::new("/store")
}
