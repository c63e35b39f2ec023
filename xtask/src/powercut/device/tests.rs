use super::*;

const LEN: usize = 4096;

/// A disk whose third flush fails; before it, block 0 was flushed and the others were not.
fn failed(unflushed: Unflushed) -> (State, bool) {
    let mut state = State::default();
    state.set_fault(Some(Fault { kind: Kind::Flush, after: 1, lasts: false, unflushed }));
    assert!(state.write(0, &[7; LEN]) && state.flush());
    (1..100).for_each(|block| assert!(state.write(block * LEN as u64, &[7; LEN])));
    let is_well = state.flush();
    (state, is_well)
}

fn filled(state: &State, block: u64) -> usize {
    state.image.read(block * LEN as u64, LEN).iter().filter(|byte| **byte == 7).count()
}

#[test]
fn flush_that_fails_keeps_what_was_flushed_and_scatters_the_rest() {
    let mut torn = 0;
    let mut lost = 0;
    for seed in 0..8 {
        let (state, is_well) = failed(Unflushed::Scattered { seed });
        assert!(!is_well && filled(&state, 0) == LEN, "seed {seed}");
        lost += (1..100).filter(|block| filled(&state, *block) == 0).count();
        torn += (1..100).filter(|block| (1..LEN).contains(&filled(&state, *block))).count();
    }
    assert!(lost > 0 && torn > 0, "{lost} lost, {torn} torn");
}

#[test]
fn flush_after_the_one_that_failed_does_not_bring_back_what_was_lost() {
    let (mut state, is_well) = failed(Unflushed::LostAndDenied);
    assert!(is_well, "the disk denies it");
    assert!(state.write(0, &[8; LEN]) && state.flush());
    assert_eq!(state.set_fault(None), 1);
    assert_eq!((1..100).map(|block| filled(&state, block)).sum::<usize>(), 0);
    assert_eq!(state.image.read(0, LEN), vec![8; LEN]);
}
