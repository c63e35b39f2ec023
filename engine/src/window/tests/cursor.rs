//! Cursors over a window that changes under them.

use super::*;
use crate::ids::Direction;

/// What a cursor shows from where it stands, with `looks` keys a turn.
fn drain(
    cursor: &mut WindowCursor,
    window: &Window,
    snapshot: Lsn,
    looks: usize,
) -> Vec<(Bytes, Lookup)> {
    let mut rows = Vec::new();
    loop {
        let mut left = looks;
        loop {
            match cursor.peek(window, snapshot, &mut left) {
                CursorStep::Row(row) => {
                    rows.push((Bytes::copy_from_slice(row.key), row.lookup()));
                    cursor.advance(window);
                }
                CursorStep::Pause => break,
                CursorStep::End => return rows,
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn cursor_shows_the_models_rows_in_both_directions_with_any_bound_of_looks(
        writes in vec((0..24_u8, value_len(), any::<bool>()), 1..80),
        bounds in (key_bound(), key_bound()),
        (snapshot, looks) in (0..800_u64, 1..9_usize),
    ) {
        let mut world = World::new();
        for (key, value_len, late) in writes {
            world.take(Step::Write { key, value_len, late });
        }
        let (range, snapshot) = ((slice(&bounds.0), slice(&bounds.1)), Lsn::new(snapshot));
        for direction in [Direction::Forward, Direction::Reverse] {
            let mut cursor = world.window.cursor(range.0, range.1, direction);
            let rows = drain(&mut cursor, &world.window, snapshot, looks);
            prop_assert_eq!(rows, world.model.lookups(range, snapshot, direction));
        }
    }

    /// A reader's rows stay what they were while others write, prune and collect.
    #[test]
    fn cursor_of_a_snapshot_shows_one_state_while_the_window_changes_between_its_steps(
        before in vec((any::<u8>(), value_len()), 1..200),
        during in vec((1..5_usize, vec(step_of_many_keys(), 0..40)), 1..60),
        bounds in (key_bound(), key_bound()),
    ) {
        let mut world = World::new();
        for (key, value_len) in before {
            world.take(Step::Write { key, value_len, late: false });
        }
        world.visible = world.newest;
        let snapshot = world.visible;
        world.active.push(snapshot);
        world.view = world.fresh_view();
        let range = (slice(&bounds.0), slice(&bounds.1));
        let mut cursors = [Direction::Forward, Direction::Reverse].map(|direction| {
            let expected = world.model.lookups(range, snapshot, direction);
            (world.window.cursor(range.0, range.1, direction), expected, Vec::new())
        });
        for (rows_now, steps) in during {
            for (cursor, _, rows) in &mut cursors {
                for _ in 0..rows_now {
                    let step = cursor.peek(&world.window, snapshot, &mut usize::MAX.clone());
                    let CursorStep::Row(row) = step else { break };
                    rows.push((Bytes::copy_from_slice(row.key), row.lookup()));
                    cursor.advance(&world.window);
                }
            }
            steps.into_iter().for_each(|step| world.take(step));
        }
        for (mut cursor, expected, mut rows) in cursors {
            rows.extend(drain(&mut cursor, &world.window, snapshot, 1_000));
            prop_assert_eq!(rows, expected);
        }
    }

    #[test]
    fn cursor_goes_on_at_the_key_it_is_sent_to(
        writes in vec((0..24_u8, value_len()), 1..80),
        bounds in (key_bound(), key_bound()),
        target in vec(prop_oneof![Just(b'k'), 0..30_u8], 1..3),
    ) {
        let mut world = World::new();
        for (key, value_len) in writes {
            world.take(Step::Write { key, value_len, late: false });
        }
        let range = (slice(&bounds.0), slice(&bounds.1));
        for direction in [Direction::Forward, Direction::Reverse] {
            let mut cursor = world.window.cursor(range.0, range.1, direction);
            cursor.seek(&world.window, &target);
            let rows = drain(&mut cursor, &world.window, Lsn::MAX, 1_000);
            let end = direction.ends(range).1;
            let rest = direction.ends((Bound::Included(target.as_slice()), end));
            prop_assert_eq!(rows, world.model.lookups(rest, Lsn::MAX, direction));
        }
    }
}

/// Writes above the snapshot to any key, and all that may happen to old versions but the end of
/// the reader.
fn step_of_many_keys() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<u8>(), value_len(), any::<bool>())
            .prop_map(|(key, value_len, late)| Step::Write { key, value_len, late }),
        1 => (0..=100_u8).prop_map(|percent| Step::Settle { percent }),
        1 => Just(Step::LoadVisible),
        1 => Just(Step::TakeList),
        1 => Just(Step::Collect { steps: 8, with_cached_view: false }),
    ]
}

#[test]
fn cursor_pauses_when_its_looks_are_used_up_and_the_next_peek_goes_on() {
    let window = filled(10, Some(b"v"));
    let mut cursor = window.cursor(Bound::Unbounded, Bound::Unbounded, Direction::Forward);
    // Key 9 is the only one that this snapshot does not see first of all in reverse.
    let snapshot = Lsn::new(1);
    let mut looks = 1;
    assert!(matches!(cursor.peek(&window, snapshot, &mut looks), CursorStep::Row(_)));
    assert_eq!(looks, 0);
    cursor.advance(&window);
    let mut turns = 0;
    loop {
        match cursor.peek(&window, snapshot, &mut 4) {
            CursorStep::Pause => turns += 1,
            CursorStep::End => break,
            CursorStep::Row(row) => panic!("{:?} is above the snapshot", row.key),
        }
    }
    assert_eq!(turns, 2, "nine keys, four a turn");
}
