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
    let wanted = match kind {
        StateKind::AtFlush => Wanted { at_flush: 200, between: 0, control: 0 },
        StateKind::Between => Wanted { at_flush: 0, between: 200, control: 0 },
        StateKind::Control => Wanted { at_flush: 0, between: 0, control: 200 },
    };
    draw(&recording(), &wanted, &mut Random::new(7), |_| true)
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
    assert!(lost.count() > 100);
}
