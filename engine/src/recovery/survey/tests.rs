use super::*;
use crate::format::IncarnationLink;
use crate::format::log_block::LogBlockHeader;
use crate::recovery::tests::world::{
    BLOCK, Keys, SEGMENT_BYTES, blocks, commit, header, link, superblock,
};

#[test]
fn records_behind_the_end_of_an_opening_are_none_of_the_next_one() {
    let start = segment_start(1, SEGMENT_BYTES);
    let next_start = segment_start(2, SEGMENT_BYTES);
    let header = header(1, start);
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
    let previous_end = Lsn::new(start.as_u64() + end as u64);
    let superblock = superblock(vec![link(1, Lsn::ZERO, 1), link(2, previous_end, 2)]);
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

/// What is found of these blocks, handed in from the start of segment 1 on; `None`: none of it.
fn surveyed(
    links: &[IncarnationLink],
    from: Option<Lsn>,
    blocks: &[Option<Vec<u8>>],
) -> (Keys, Surveyed) {
    let superblock = superblock(links.to_vec());
    let (mut survey, mut keys) = (Survey::new(&superblock), Keys::default());
    from.into_iter().for_each(|from| survey.begin(from));
    for (at, block) in blocks.iter().enumerate() {
        if let Some(block) = block {
            survey.take(block_at(at), block, &mut keys).unwrap();
        }
    }
    (keys, survey.found)
}

fn block_at(index: usize) -> Lsn {
    Lsn::new(segment_start(1, SEGMENT_BYTES).as_u64() + (index * BLOCK) as u64)
}

fn one_opening() -> [IncarnationLink; 1] {
    [link(1, Lsn::ZERO, 1)]
}

#[test]
fn records_behind_damage_are_found_from_the_first_that_begins_there() {
    let records = [commit("a", 10), commit("long", 5_000), commit("b", 10), commit("c", 10)];
    let starts: Vec<usize> =
        (0..4).map(|at| records[..at].iter().map(Vec::len).sum::<usize>()).collect();
    let mut blocks = blocks(&records.concat(), &starts, header(1, block_at(0)));
    blocks[0][100] ^= 1;
    let blocks: Vec<_> = blocks.into_iter().map(Some).collect();
    let (keys, found) = surveyed(&one_opening(), Some(block_at(0)), &blocks);
    assert_eq!(keys.0, [b"b", b"c"]);
    let begins = Lsn::new(block_at(0).as_u64() + starts[2] as u64);
    assert_eq!(found.gaps, [LogGap { from: block_at(0), to: begins }]);
    assert_eq!((found.records, found.blocks), (2, 1));
    assert_eq!((found.end, found.blocks_end), (block_at(2), block_at(2)));
    let (keys, found) = surveyed(&one_opening(), None, &blocks);
    assert_eq!((keys.0.len(), found.gaps), (2, Vec::new()), "nobody says what was before");
}

#[test]
fn missing_block_is_a_gap_up_to_the_next_record() {
    let block = |key, at| blocks(&commit(key, 10), &[0], header(1, block_at(at))).remove(0);
    let handed = [Some(block("a", 0)), None, Some(block("c", 2))];
    let (keys, found) = surveyed(&one_opening(), Some(block_at(0)), &handed);
    assert_eq!(keys.0, [b"a", b"c"]);
    assert_eq!(found.gaps, [LogGap { from: block_at(1), to: block_at(2) }]);
    let handed = [Some(block("a", 0)), Some(block("b", 7)), Some(block("c", 2))];
    let (keys, found) = surveyed(&one_opening(), Some(block_at(0)), &handed);
    assert_eq!((keys.0.len(), found.gaps.len()), (2, 1), "a block of another place is none");
}

#[test]
fn record_that_makes_no_sense_ends_its_block_and_the_next_one_is_read() {
    let mut nonsense = commit("x", 10);
    // The number of writes, behind the record's header and the wall clock.
    nonsense[16] = 200;
    let mut broken = commit("x", 10);
    broken[4] = 9;
    for (bad, name) in [(nonsense, "contents"), (broken, "kind")] {
        let records = [commit("a", 10), bad, commit("b", 10)];
        let starts = [0, records[0].len(), records[0].len() + records[1].len()];
        let first = blocks(&records.concat(), &starts, header(1, block_at(0))).remove(0);
        let next = blocks(&commit("c", 10), &[0], header(1, block_at(1))).remove(0);
        let handed = [Some(first), Some(next)];
        let (keys, found) = surveyed(&one_opening(), Some(block_at(0)), &handed);
        assert_eq!(keys.0, [b"a", b"c"], "{name}");
        let end = Lsn::new(block_at(0).as_u64() + starts[1] as u64);
        assert_eq!(found.gaps, [LogGap { from: end, to: block_at(1) }], "{name}");
        assert_eq!((found.records, found.blocks), (2, 2), "{name}");
    }
}

#[test]
fn survey_from_the_end_of_an_opening_begins_with_the_next_one() {
    let end = Lsn::new(block_at(0).as_u64() + 80);
    let links = [link(1, Lsn::ZERO, 1), link(2, end, 2)];
    let superblock = superblock(links.to_vec());
    let (mut survey, mut keys) = (Survey::new(&superblock), Keys::default());
    survey.begin(end);
    let start = segment_start(2, SEGMENT_BYTES);
    assert_eq!(survey.found.end, start);
    let dead = blocks(&commit("dead", 10), &[0], header(1, block_at(1))).remove(0);
    survey.take(block_at(1), &dead, &mut keys).unwrap();
    let next = blocks(&commit("next", 10), &[0], header(2, start)).remove(0);
    survey.take(start, &next, &mut keys).unwrap();
    assert_eq!(keys.0, [b"next"]);
    assert_eq!((survey.found.records, survey.found.gaps), (1, Vec::new()));
}
