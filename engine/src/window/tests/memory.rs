//! What a window takes from the allocator against what it is charged.

use super::*;

/// Partly filled chunks and segments of a large window, each of its parts together.
const SLACK_BYTES: u64 = 384 << 10;
/// What the allocator takes beside the contents of a counted value.
const MALLOC_BYTES: usize = 16;

fn no_reader() -> PruneView {
    PruneView::new(Lsn::MAX, Vec::new())
}

/// A window of `count` keys of `key_len` with values of `value_len` bytes.
fn window_of(keys: impl Iterator<Item = u64>, key_len: usize, value_len: usize) -> Window {
    let mut window = Window::default();
    let value = Bytes::from(vec![7; value_len]);
    for (index, key) in keys.enumerate() {
        let mut bytes = vec![b'u'; key_len];
        bytes[key_len - 8..].copy_from_slice(&key.to_be_bytes());
        let lsn = Lsn::new(index as u64 + 1);
        window.insert(Bytes::from(bytes), lsn, Some(value.clone()), &no_reader());
    }
    window
}

/// Small windows may take twice their charge, large ones a fixed slack more.
fn check_honest(window: &Window, large_value_bytes: u64, case: &str) {
    let allocated = window.allocated_bytes() as u64 + large_value_bytes;
    let charged = window.bytes();
    let allowed = charged + charged.min(SLACK_BYTES) + 2_048;
    assert!(allocated <= allowed, "{case}: allocated {allocated}, charged {charged}");
}

fn scattered(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

#[test]
fn window_is_charged_at_least_what_it_allocates_for_all_shapes_orders_and_sizes() {
    for count in [1, 2, 30, 500, 3_000, 40_000] {
        for (key_len, value_len) in [(8, 0), (9, 1), (24, 100), (24, 256), (120, 17), (1_032, 256)]
        {
            if count == 40_000 && key_len > 1_000 {
                continue;
            }
            let shape = format!("{count} keys of {key_len} with {value_len}");
            let orders: [(&str, Box<dyn Iterator<Item = u64>>); 3] = [
                ("ascending", Box::new(0..count)),
                ("descending", Box::new((0..count).rev())),
                ("scattered", Box::new(scattered(count))),
            ];
            for (order, keys) in orders {
                let window = window_of(keys, key_len, value_len);
                let expected = count * version_cost_bytes(key_len, value_len);
                assert_eq!(window.bytes(), expected, "{shape}, {order}");
                check_honest(&window, 0, &format!("{shape}, {order}"));
            }
        }
    }
}

#[test]
fn window_of_large_values_is_charged_for_them_and_what_counts_them() {
    // `Bytes` keeps three words beside a vector's contents once it is shared.
    let each = |len: usize| (len + MALLOC_BYTES + 3 * size_of::<usize>() + MALLOC_BYTES) as u64;
    for value_len in [257, 1_000, 20_000] {
        let count = 2_000;
        let window = window_of(scattered(count), 24, value_len);
        let case = format!("values of {value_len}");
        check_honest(&window, count * each(value_len), &case);
    }
}

#[test]
fn window_takes_no_more_room_for_a_key_that_is_written_over_and_over() {
    let mut window = Window::default();
    let view = no_reader();
    let (mut charged, mut most_allocated) = (0, 0);
    for round in 0..200_000_u64 {
        // Sizes of every class, the bound of what is copied, tombstones.
        let value_len = (round * 7 % 300) as usize;
        let value = (round % 11 != 0).then(|| Bytes::from(vec![1; value_len]));
        let len = value.as_ref().map_or(0, Bytes::len);
        charged += version_cost_bytes(3, len);
        let lsn = Lsn::new(round + 1);
        charged -= window.insert(Bytes::from_static(b"hot"), lsn, value, &view);
        most_allocated = most_allocated.max(window.allocated_bytes());
    }
    assert_eq!(window.bytes(), charged);
    assert_eq!((window.len(), window.version_count(), window.garbage_len()), (1, 1, 0));
    assert!(most_allocated < 16 << 10, "{most_allocated} bytes for one key");
    assert!(window.bytes() < 16 << 10, "{} bytes charged for one key", window.bytes());
}

#[test]
fn window_uses_the_room_of_old_versions_again_when_readers_are_a_step_behind() {
    let mut window = Window::default();
    let keys: Vec<Bytes> = (0..100_u8).map(|key| Bytes::from(vec![key; 24])).collect();
    let mut allocated_after_warmup = 0;
    for round in 0..2_000_u64 {
        // Everything up to two rounds ago is seen, and one reader holds on to the round before.
        let seen = Lsn::new(round.saturating_sub(1) * 100);
        let view = PruneView::new(seen, vec![Lsn::new(round.saturating_sub(3) * 100)]);
        for (index, key) in keys.iter().enumerate() {
            let lsn = Lsn::new(round * 100 + index as u64 + 1);
            window.insert(key.clone(), lsn, Some(Bytes::from(vec![1; 100])), &view);
        }
        window.collect_garbage(&view, limits::GARBAGE_STEP_MAX);
        if round == 20 {
            allocated_after_warmup = window.allocated_bytes();
        }
        assert!(window.garbage_len() <= keys.len(), "a key is queued once");
    }
    assert!(window.allocated_bytes() <= 2 * allocated_after_warmup);
    check_honest(&window, 0, "readers a step behind");
}

#[test]
fn key_index_is_charged_at_least_what_it_allocates() {
    let window = window_of(scattered(40_000), 24, 100);
    let index = window.into_key_index();
    assert_eq!((index.len(), index.bytes()), (40_000, 40_000 * keys::cost_bytes(24)));
    let allocated = index.allocated_bytes() as u64;
    assert!(allocated <= index.bytes(), "allocated {allocated}, charged {}", index.bytes());
}

#[test]
fn empty_window_takes_no_memory() {
    let window = Window::default();
    assert_eq!((window.allocated_bytes(), window.bytes()), (0, 0));
    assert!(window.is_empty());
    assert_eq!((window.first_lsn(), window.newest_lsn_of_all()), (None, None));
    assert_eq!(window.get(b"k", Lsn::MAX), Lookup::Miss);
}
