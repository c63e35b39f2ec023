use super::*;
use crate::format::IncarnationLink;
use crate::format::log_block::LogBlockHeader;
use crate::format::log_record::{LoggedWrite, encode_commit, pad_header};
use crate::ids::{KeyspaceId, StoreId};
use crate::options::DurabilityMethod;

const BLOCK: usize = BLOCK_PAYLOAD_BYTES;
const SEGMENT_BYTES: u64 = 1 << 20;

/// The keys of what a survey finds.
#[derive(Default)]
struct Keys(Vec<Vec<u8>>);

impl ReplaySink for Keys {
    fn record(&mut self, _lsn: Lsn, record: log_record::Record<'_>) -> Result<(), OpenError> {
        if let log_record::Record::Commit(commit) = record {
            self.0.extend(commit.writes.map(|write| write.key.to_vec()));
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), OpenError> {
        Ok(())
    }
}

fn commit(key: &str, value_bytes: usize) -> Vec<u8> {
    let mut record = Vec::new();
    let value = vec![b'v'; value_bytes];
    let keyspace = KeyspaceId::new(1);
    let write = LoggedWrite { keyspace, key: key.as_bytes(), value: Some(&value) };
    encode_commit(&mut record, 1, [write]).unwrap();
    record
}

/// Blocks of a stream of records, padded to whole blocks. `starts` are the records' offsets.
fn blocks(stream: &[u8], starts: &[usize], header: LogBlockHeader) -> Vec<Vec<u8>> {
    let mut stream = stream.to_vec();
    let rest = stream.len().next_multiple_of(BLOCK) - stream.len();
    stream.extend_from_slice(&pad_header(rest as u32));
    stream.resize(stream.len().next_multiple_of(BLOCK), 0);
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

#[test]
fn records_behind_the_end_of_an_opening_are_none_of_the_next_one() {
    let start = segment_start(1, SEGMENT_BYTES);
    let next_start = segment_start(2, SEGMENT_BYTES);
    let header = LogBlockHeader {
        store_id: StoreId::from_bytes([7; 16]),
        incarnation: Incarnation::new(1),
        first_lsn: start,
        durable: start,
        used_bytes: 0,
        first_record: None,
    };
    // The first record spans three blocks, of which the damaged first is not handed in; the dead
    // one behind it begins in the third. Its value's bytes there could be a record.
    let (mut long, dead) = (commit("long", 9_000), commit("dead", 300));
    let inner = commit("inner", 10);
    long[2 * BLOCK..][..inner.len()].copy_from_slice(&inner);
    let end = long.len();
    let own = blocks(&[long, dead].concat(), &[0, end], header);
    let (later, last) = (commit("later", 10), commit("last", 10));
    let starts = [0, later.len()];
    let next_header =
        LogBlockHeader { incarnation: Incarnation::new(2), first_lsn: next_start, ..header };
    let next = blocks(&[later, last].concat(), &starts, next_header);
    let link = |incarnation, previous_end, new_start| IncarnationLink {
        incarnation: Incarnation::new(incarnation),
        previous_end,
        new_start,
    };
    let previous_end = Lsn::new(start.as_u64() + end as u64);
    let superblock = Superblock {
        store_id: header.store_id,
        generation: 1,
        required_features: 0,
        optional_features: 0,
        segment_bytes: SEGMENT_BYTES,
        page_size_bytes: 4096,
        root_table_addr: 0,
        durability_method: DurabilityMethod::RingFlush,
        device_identity: String::new(),
        created_ms: 0,
        links: vec![link(1, Lsn::ZERO, start), link(2, previous_end, next_start)],
    };
    let (mut survey, mut keys) = (Survey::new(&superblock), Keys::default());
    survey.begin(start);
    let damaged = vec![0; BLOCK_SIZE_BYTES];
    let in_place = |first: Lsn, blocks: Vec<Vec<u8>>| {
        let at = move |index: usize| Lsn::new(first.as_u64() + (index * BLOCK) as u64);
        blocks.into_iter().enumerate().map(move |(index, block)| (at(index), block))
    };
    let own = std::iter::once(damaged).chain(own.into_iter().skip(1)).collect();
    for (first_lsn, block) in in_place(start, own).chain(in_place(next_start, next)) {
        survey.take(first_lsn, &block, &mut keys).unwrap();
    }
    assert_eq!(keys.0, [b"later".to_vec(), b"last".to_vec()]);
    assert_eq!(survey.found.records, 2);
    let gap = survey.found.gaps.first().expect("what the damage took");
    assert!(gap.from == start && gap.to >= previous_end, "{gap:?}");
}
