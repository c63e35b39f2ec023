use super::*;
use std::collections::BTreeSet;

const BLOCK_BYTES: usize = 4 * SECTOR_BYTES;

fn write(block: u64, fill: u8) -> Op {
    Op::Write { offset: block * BLOCK_BYTES as u64, bytes: vec![fill; BLOCK_BYTES].into() }
}

/// Two generations of four blocks, a flush after each of the first; the second is never flushed.
fn recording() -> Vec<Op> {
    let mut ops = Vec::new();
    for block in 0..4 {
        ops.extend([write(block, 1), Op::Flush]);
    }
    ops.extend((0..4).map(|block| write(block, 2)));
    ops
}

fn states(kind: StateKind) -> Vec<State> {
    let drawn =
        draw(&recording(), Wanted { states: 200, control: 200 }, &mut Random::new(7), |_| true);
    drawn.states.into_iter().filter(|state| state.kind == kind).collect()
}

fn sectors(image: &Image, block: u64) -> Vec<u8> {
    let bytes = image.read(block * BLOCK_BYTES as u64, BLOCK_BYTES);
    let sectors = bytes.chunks(SECTOR_BYTES).map(|sector| {
        assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is never torn");
        sector[0]
    });
    sectors.collect()
}

#[test]
fn state_at_a_flush_holds_all_that_was_flushed_and_nothing_else() {
    let ops = recording();
    let mut builder = Builder::new(&ops, Image::default());
    for state in states(StateKind::AtFlush) {
        assert_eq!(state.durable, state.cut);
        let image = builder.build(&state);
        for block in 0..4 {
            let expected = u8::from(2 * block + 1 < state.cut);
            assert_eq!(sectors(&image, block), vec![expected; 4], "{state:?}, block {block}");
        }
    }
}

#[test]
fn state_between_flushes_keeps_what_was_flushed_and_each_other_sector_old_or_new() {
    let ops = recording();
    let mut builder = Builder::new(&ops, Image::default());
    let mut seen = BTreeSet::new();
    for state in states(StateKind::Between) {
        let image = builder.build(&state);
        for block in 0..4 {
            let found = sectors(&image, block);
            let flushed = 2 * block + 1 < state.durable;
            let rewritten = 8 + block < state.cut;
            let begun = 2 * block < state.cut;
            for fill in &found {
                let is_possible = match fill {
                    0 => !flushed,
                    1 => begun,
                    2 => rewritten,
                    _ => false,
                };
                assert!(is_possible, "{state:?}, block {block}: {found:?}");
            }
            if rewritten {
                let fills: BTreeSet<u8> = found.into_iter().collect();
                seen.insert(fills.into_iter().collect::<Vec<_>>());
            }
        }
    }
    assert_eq!(seen, BTreeSet::from([vec![1], vec![2], vec![1, 2]]), "kept, lost and torn");
}

#[test]
fn control_state_loses_what_was_flushed() {
    let ops = recording();
    let mut builder = Builder::new(&ops, Image::default());
    let lost = states(StateKind::Control).into_iter().filter(|state| {
        let image = builder.build(state);
        (0..4).any(|block| 2 * block + 1 < state.cut && sectors(&image, block).contains(&0))
    });
    assert!(lost.count() > 5);
}

/// A long recording: flushes with nothing between them, and several writes before each other one.
fn long() -> Vec<Op> {
    let mut ops = Vec::new();
    for block in 0..100 {
        ops.extend([write(3 * block, 1), write(3 * block + 1, 1), write(3 * block + 2, 1)]);
        ops.extend([Op::Flush, Op::Flush]);
    }
    ops
}

#[test]
fn every_flush_is_a_state_when_so_many_are_wanted_and_a_sample_otherwise() {
    let ops = long();
    let taken = |states| {
        let wanted = Wanted { states, control: 10 };
        let drawn = draw(&ops, wanted, &mut Random::new(3), |_| true);
        let of = |kind| drawn.states.iter().filter(move |state| state.kind == kind);
        let flushes: BTreeSet<u64> = of(StateKind::AtFlush).map(|state| state.cut).collect();
        assert_eq!(flushes.len() as u64, drawn.flushes_taken);
        assert_eq!((drawn.flushes, of(StateKind::Control).count()), (100, 10));
        (drawn.flushes_taken, of(StateKind::Between).count())
    };
    assert_eq!(taken(250), (100, 150));
    assert_eq!(taken(100), (100, 0));
    assert_eq!(taken(60), (30, 30));
}

#[test]
fn no_two_states_are_the_same_disk() {
    let ops = long();
    let drawn = draw(&ops, Wanted { states: 300, control: 0 }, &mut Random::new(5), |_| true);
    let mut builder = Builder::new(&ops, Image::default());
    let mut seen = BTreeSet::new();
    for state in &drawn.states {
        assert!(seen.insert(builder.build(state).read(0, 300 * BLOCK_BYTES)), "{state:?}");
    }
    assert!(seen.len() > 200, "{}", seen.len());
}
