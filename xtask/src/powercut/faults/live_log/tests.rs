use super::*;
use sombra::Incarnation;

const BLOCK: u64 = BLOCK_PAYLOAD_BYTES as u64;

fn link(number: u64, previous_end: u64, new_start: u64) -> IncarnationLink {
    IncarnationLink {
        incarnation: Incarnation::new(number),
        previous_end: Lsn::new(previous_end),
        new_start: Lsn::new(new_start),
    }
}

/// Three openings: the first ends in its third block, the second wrote nothing, the third begins
/// at block 100 and has four blocks, of which a stamp proves the first and a part of the second.
fn marks(replay_from: u64) -> Marks {
    let end = 2 * BLOCK + 8;
    Marks {
        links: vec![link(1, 0, 0), link(2, end, 50 * BLOCK), link(3, end, 100 * BLOCK)],
        segment_bytes: sombra::limits::SEGMENT_BYTES_MIN,
        replay_from: Lsn::new(replay_from),
        end: Lsn::new(103 * BLOCK + 16),
        newest_stamp: Lsn::new(101 * BLOCK + 8),
    }
}

fn numbers(marks: &Marks) -> Vec<(u64, bool)> {
    live_blocks(marks).into_iter().map(|(lsn, proven)| (lsn.as_u64() / BLOCK, proven)).collect()
}

#[test]
fn live_blocks_are_those_between_the_replays_start_and_each_openings_end() {
    let newest = [(100, true), (101, true), (102, false), (103, false)];
    let oldest = [(0, true), (1, true), (2, true)];
    assert_eq!(numbers(&marks(0)), [&oldest[..], &newest].concat());
    assert_eq!(numbers(&marks(BLOCK + 8)), [&oldest[1..], &newest].concat());
    assert_eq!(numbers(&marks(2 * BLOCK + 8)), newest, "the trees hold all of the first opening");
    assert_eq!(numbers(&marks(103 * BLOCK + 16)), [], "the trees hold everything");
}
