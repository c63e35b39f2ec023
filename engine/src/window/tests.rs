use crate::ids::Direction;
use std::collections::BTreeMap;
use std::ops::RangeBounds;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

mod cursor;
mod memory;
mod order;

const KEYS: u8 = 6;

type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl Window {
    pub(super) fn get(&self, key: &[u8], snapshot: Lsn) -> Lookup {
        self.get_and_newer(key, snapshot).0
    }

    /// Rows of a range at `snapshot` in `direction`, up to the page bounds of `limits`.
    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        snapshot: Lsn,
        direction: Direction,
    ) -> RangePage {
        let mut page = RangePage::default();
        let mut page_bytes = 0;
        let walk = self.keys.walk((from, to), direction);
        for (index, at) in self.fetched(walk).enumerate() {
            let row = self.row_at(at, snapshot);
            if let Some(WindowRow { key, value: Some(value), .. }) = row {
                page_bytes += key.len() + value.as_slice().len();
                page.rows.push((Bytes::copy_from_slice(key), value.to_bytes()));
            }
            let full = page.rows.len() >= limits::SCAN_PAGE_ROWS_MAX
                || page_bytes >= limits::SCAN_PAGE_BYTES_MAX
                || index + 1 >= limits::SCAN_PAGE_LOOKED_AT_MAX;
            if full {
                page.resume_after = Some(Bytes::copy_from_slice(self.keys.records.key(at)));
                break;
            }
        }
        page
    }
}

/// Every version ever written: what a window that prunes nothing would hold.
#[derive(Default)]
struct Model {
    versions: BTreeMap<Bytes, Vec<(Lsn, Option<Bytes>)>>,
}

impl Model {
    fn get(&self, key: &[u8], snapshot: Lsn) -> Lookup {
        let versions = self.versions.get(key).map_or(&[][..], Vec::as_slice);
        match versions.iter().rev().find(|(lsn, _)| *lsn <= snapshot) {
            None => Lookup::Miss,
            Some((_, None)) => Lookup::Deleted,
            Some((_, Some(value))) => Lookup::Found(value.clone()),
        }
    }

    fn newest(&self, key: &[u8]) -> Option<Lsn> {
        Some(self.versions.get(key)?.last()?.0)
    }

    fn keys(&self, (from, to): Range<'_>, direction: Direction) -> Vec<Bytes> {
        let inside = |key: &&Bytes| RangeBounds::<[u8]>::contains(&(from, to), key.as_ref());
        let mut keys: Vec<Bytes> = self.versions.keys().filter(inside).cloned().collect();
        if direction == Direction::Reverse {
            keys.reverse();
        }
        keys
    }

    /// Keys of a range with a version at `snapshot`, deleted ones included.
    fn lookups(
        &self,
        range: Range<'_>,
        snapshot: Lsn,
        direction: Direction,
    ) -> Vec<(Bytes, Lookup)> {
        let keys = self.keys(range, direction).into_iter();
        let lookups = keys.map(|key| (key.clone(), self.get(&key, snapshot)));
        lookups.filter(|(_, lookup)| *lookup != Lookup::Miss).collect()
    }

    fn rows(&self, range: Range<'_>, snapshot: Lsn, direction: Direction) -> Vec<(Bytes, Bytes)> {
        let lookups = self.lookups(range, snapshot, direction).into_iter();
        let row = |(key, lookup)| match lookup {
            Lookup::Found(value) => Some((key, value)),
            _ => None,
        };
        lookups.filter_map(row).collect()
    }

    fn first_newer(&self, range: Range<'_>, snapshot: Lsn) -> Option<(Bytes, Lsn)> {
        let keys = self.keys(range, Direction::Forward).into_iter();
        let newest = keys.filter_map(|key| Some((key.clone(), self.newest(&key)?)));
        newest.into_iter().find(|(_, newest)| *newest > snapshot)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        key: u8,
        value_len: Option<u16>,
        /// At the lowest LSN that may still come, not above all others.
        late: bool,
    },
    /// Raises `visible` by a part of what is still invisible, in percent.
    Settle {
        percent: u8,
    },
    BeginSnapshot,
    EndSnapshot {
        which: prop::sample::Index,
    },
    /// Loads `visible`; the list of snapshots is taken later, as a real pruner does.
    LoadVisible,
    TakeList,
    Collect {
        steps: usize,
        with_cached_view: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..KEYS, value_len(), prop::bool::weighted(0.2))
            .prop_map(|(key, value_len, late)| Step::Write { key, value_len, late }),
        3 => (0..=100_u8).prop_map(|percent| Step::Settle { percent }),
        2 => Just(Step::BeginSnapshot),
        2 => any::<prop::sample::Index>().prop_map(|which| Step::EndSnapshot { which }),
        1 => Just(Step::LoadVisible),
        2 => Just(Step::TakeList),
        1 => (0..8_usize, any::<bool>())
            .prop_map(|(steps, with_cached_view)| Step::Collect { steps, with_cached_view }),
    ]
}

/// Small values, those at the bound of what is copied, tombstones.
fn value_len() -> impl Strategy<Value = Option<u16>> {
    prop::option::weighted(0.7, prop_oneof![0..40_u16, 250..262_u16, Just(600)])
}

/// A window, its model, and the readers and pruners around it.
struct World {
    window: Window,
    model: Model,
    newest: Lsn,
    visible: Lsn,
    active: Vec<Lsn>,
    /// `visible` as a pruner loaded it, before it takes the list.
    loaded_visible: Lsn,
    view: PruneView,
    charged_bytes: u64,
}

impl World {
    fn new() -> World {
        World {
            window: Window::default(),
            model: Model::default(),
            newest: Lsn::ZERO,
            visible: Lsn::ZERO,
            active: Vec::new(),
            loaded_visible: Lsn::ZERO,
            view: PruneView::new(Lsn::ZERO, Vec::new()),
            charged_bytes: 0,
        }
    }

    fn write(&mut self, key: u8, value: Option<Bytes>) {
        self.newest = Lsn::new(self.newest.as_u64() + 8);
        self.write_at(self.newest, key, value);
    }

    fn write_at(&mut self, lsn: Lsn, key: u8, value: Option<Bytes>) {
        let key = key_of(key);
        self.charged_bytes += version_cost_bytes(key.len(), value.as_ref().map_or(0, Bytes::len));
        let history = self.model.versions.entry(key.clone()).or_default();
        history.push((lsn, value.clone()));
        self.charged_bytes -= self.window.insert(key, lsn, value, &self.view);
    }

    /// The lowest LSN at which a key may still be written.
    fn late_lsn(&self, key: u8) -> Lsn {
        let newest = self.model.newest(&key_of(key)).unwrap_or(Lsn::ZERO);
        Lsn::new(newest.max(self.visible).as_u64() + 1)
    }

    fn fresh_view(&self) -> PruneView {
        PruneView::new(self.visible, self.active.clone())
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Write { key, value_len, late } => {
                let value = value_len.map(|len| Bytes::from(vec![key; len.into()]));
                if late {
                    let lsn = self.late_lsn(key);
                    self.newest = self.newest.max(lsn);
                    self.write_at(lsn, key, value);
                } else {
                    self.write(key, value);
                }
            }
            Step::Settle { percent } => {
                let invisible = self.newest.as_u64() - self.visible.as_u64();
                let raise = invisible * u64::from(percent) / 100;
                self.visible = Lsn::new(self.visible.as_u64() + raise);
            }
            Step::BeginSnapshot => self.active.push(self.visible),
            Step::EndSnapshot { which } => {
                if !self.active.is_empty() {
                    let index = which.index(self.active.len());
                    self.active.swap_remove(index);
                }
            }
            Step::LoadVisible => self.loaded_visible = self.visible,
            Step::TakeList => {
                self.view = PruneView::new(self.loaded_visible, self.active.clone());
                self.loaded_visible = self.visible;
            }
            Step::Collect { steps, with_cached_view } => {
                let view = if with_cached_view { self.view.clone() } else { self.fresh_view() };
                self.charged_bytes -= self.window.collect_garbage(&view, steps);
            }
        }
    }

    /// Reads of every active snapshot and of every one that may still begin.
    fn check_reads(&self) -> Result<(), TestCaseError> {
        let later = (self.visible.as_u64()..=self.newest.as_u64()).map(Lsn::new);
        for snapshot in self.active.iter().copied().chain(later) {
            for key in self.model.versions.keys() {
                let (found, has_newer) = self.window.get_and_newer(key, snapshot);
                let newest = self.model.newest(key);
                prop_assert_eq!(has_newer, newest.is_some_and(|newest| newest > snapshot));
                let expected = self.model.get(key, snapshot);
                prop_assert_eq!(found, expected, "{:?} at {}", key, snapshot);
            }
        }
        Ok(())
    }

    fn check_accounts(&self) -> Result<(), TestCaseError> {
        let (mut held_bytes, mut versions) = (0, 0);
        for key in self.model.versions.keys() {
            let chain = chain(&self.window, key);
            held_bytes += keys::cost_bytes(key.len());
            held_bytes += chain.iter().map(|(_, len)| versions::cost_bytes(*len)).sum::<u64>();
            versions += chain.len() as u64;
            prop_assert!(chain.windows(2).all(|pair| pair[0].0 > pair[1].0), "newest first");
            prop_assert_eq!(Some(chain[0].0), self.model.newest(key));
            prop_assert_eq!(self.window.newest_lsn(key), self.model.newest(key));
        }
        let idle_bytes = self.window.versions.counted_idle_bytes();
        prop_assert_eq!(self.window.versions.idle_bytes(), idle_bytes);
        prop_assert_eq!(self.window.bytes(), held_bytes + idle_bytes);
        prop_assert_eq!(self.window.bytes(), self.charged_bytes);
        prop_assert_eq!(self.window.version_count(), versions);
        prop_assert_eq!(self.window.len(), self.model.versions.len());
        let lsns = self.model.versions.values().flatten().map(|(lsn, _)| *lsn);
        prop_assert_eq!(self.window.first_lsn(), lsns.clone().min());
        prop_assert_eq!(self.window.newest_lsn_of_all(), lsns.max());
        Ok(())
    }

    /// With a fresh list a chain has at most the distinct snapshots + 2 versions, and those
    /// above `visible`.
    fn check_chain_bound(&mut self) -> Result<(), TestCaseError> {
        self.active.sort_unstable();
        self.active.dedup();
        for key in 0..KEYS {
            self.view = self.fresh_view();
            self.write(key, None);
            let chain = chain(&self.window, &key_of(key));
            let invisible = chain.iter().filter(|(lsn, _)| *lsn > self.visible).count();
            prop_assert!(chain.len() <= self.active.len() + 1 + invisible, "{:?}", chain);
        }
        Ok(())
    }
}

fn key_of(key: u8) -> Bytes {
    Bytes::from(vec![b'k', key])
}

/// LSN and length of value of each version of a key, newest first.
fn chain(window: &Window, key: &[u8]) -> Vec<(Lsn, usize)> {
    let found = window.keys.find(key, Tag::of(key));
    let mut at = found.map_or(NONE, |found| window.keys.records.chain(found));
    let mut chain = Vec::new();
    while at != NONE {
        let version = window.versions.read(at);
        chain.push((version.lsn, version.value.map_or(0, |value| value.as_slice().len())));
        at = version.older;
    }
    chain
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn window_reads_as_if_nothing_were_pruned_whatever_readers_and_stale_views_do(
        steps in vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.check_reads()?;
            world.check_accounts()?;
        }
        world.check_chain_bound()?;
        world.check_reads()?;
    }

    #[test]
    fn window_holds_one_tombstone_a_key_after_all_is_deleted_and_collected(
        steps in vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        (0..KEYS).for_each(|key| world.write(key, None));
        world.active.clear();
        world.visible = world.newest;
        while world.window.garbage_len() > 0 {
            world.take(Step::Collect { steps: 3, with_cached_view: false });
        }
        prop_assert_eq!(world.window.version_count(), u64::from(KEYS));
        world.check_reads()?;
        world.check_accounts()?;
    }

    #[test]
    fn window_ranges_equal_the_model_for_all_bounds_snapshots_and_directions(
        writes in vec((0..24_u8, value_len(), any::<bool>()), 1..80),
        bounds in (key_bound(), key_bound()),
        snapshot in 0..800_u64,
    ) {
        let mut world = World::new();
        for (key, value_len, late) in writes {
            world.take(Step::Write { key, value_len, late });
        }
        let (range, snapshot) = ((slice(&bounds.0), slice(&bounds.1)), Lsn::new(snapshot));
        for direction in [Direction::Forward, Direction::Reverse] {
            let page = world.window.range(range.0, range.1, snapshot, direction);
            prop_assert_eq!(page.rows, world.model.rows(range, snapshot, direction));
            prop_assert_eq!(page.resume_after, None);
        }
        let newer = world.model.first_newer(range, snapshot);
        prop_assert_eq!(world.window.has_newer(range.0, range.1, snapshot), newer.clone());
        let index = world.window.into_key_index();
        prop_assert_eq!(index.has_newer(range.0, range.1, snapshot), newer);
        for key in 0..24 {
            let key = key_of(key);
            prop_assert_eq!(index.newest_lsn(&key), world.model.newest(&key));
        }
    }

    #[test]
    fn window_batches_are_every_key_with_its_newest_version_in_order(
        writes in vec((0..24_u8, value_len()), 1..80),
        max_keys in 1..30_usize,
        max_bytes in 1..2_000_usize,
    ) {
        let mut world = World::new();
        for (key, value_len) in writes {
            world.take(Step::Write { key, value_len, late: false });
        }
        let newest = |(key, history): (&Bytes, &Vec<_>)| -> NewestVersion {
            let (lsn, value): &(Lsn, Option<Bytes>) = &history[history.len() - 1];
            (key.clone(), *lsn, value.clone())
        };
        let expected: Vec<NewestVersion> = world.model.versions.iter().map(newest).collect();
        let rows = world.window.iter_newest();
        let all: Vec<NewestVersion> = rows
            .map(|row| {
                let value = row.value.map(|value| value.to_bytes());
                (Bytes::copy_from_slice(row.key), row.lsn, value)
            })
            .collect();
        prop_assert_eq!(&all, &expected);
        let mut batched: Vec<NewestVersion> = Vec::new();
        loop {
            let after = batched.last().map(|(key, ..)| key.clone());
            let batch = world.window.batch_after(after.as_deref(), max_keys, max_bytes);
            prop_assert!(batch.len() <= max_keys);
            let bytes = batch.iter().map(|(key, _, value)| {
                key.len() + value.as_ref().map_or(0, Bytes::len)
            });
            let all_but_the_last: usize = bytes.take(batch.len().saturating_sub(1)).sum();
            prop_assert!(all_but_the_last < max_bytes);
            if batch.is_empty() {
                break;
            }
            batched.extend(batch);
        }
        prop_assert_eq!(batched, expected);
    }
}

fn key_bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    let key = || vec(prop_oneof![Just(b'k'), 0..30_u8], 0..3);
    prop_oneof![
        Just(Bound::Unbounded),
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
    ]
}

fn slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// Negative control: the order in which a pruner loads is what the comparison above is about.
#[test]
fn window_loses_a_readers_version_when_the_list_is_taken_before_visible() {
    let mut world = World::new();
    let value = || Some(Bytes::from_static(b"v"));
    world.write(0, value());
    world.visible = world.newest;
    let list_taken_too_early = world.active.clone();
    world.active.push(world.visible);
    world.write(0, value());
    world.visible = world.newest;
    world.view = PruneView::new(world.visible, list_taken_too_early);
    world.write(0, value());
    assert!(world.check_reads().is_err(), "the reader's version was pruned");
}

#[test]
fn window_tombstone_stays_when_everybody_sees_it_because_the_tree_may_hold_the_key() {
    let mut world = World::new();
    world.write(0, Some(Bytes::from_static(b"v")));
    world.visible = world.newest;
    world.active.push(world.visible);
    world.write(0, None);
    world.visible = world.newest;
    let view = world.fresh_view();
    assert_eq!(world.window.collect_garbage(&view, 100), 0);
    assert_eq!(chain(&world.window, b"k\0").len(), 2, "a reader sees what was deleted");
    world.active.clear();
    let view = world.fresh_view();
    assert!(world.window.collect_garbage(&view, 100) > 0);
    assert_eq!(chain(&world.window, b"k\0"), [(world.newest, 0)]);
    assert_eq!(world.window.garbage_len(), 0);
    assert_eq!(world.window.get(b"k\0", Lsn::MAX), Lookup::Deleted);
    assert_eq!(world.window.get(b"k\0", Lsn::new(7)), Lookup::Miss);
    assert_eq!(world.window.newest_lsn(b"k\0"), Some(world.newest), "writers see the delete");
}

fn filled(keys: u32, value: Option<&'static [u8]>) -> Window {
    let mut window = Window::default();
    let view = PruneView::new(Lsn::MAX, Vec::new());
    for key in 0..keys {
        let lsn = Lsn::new(u64::from(key) + 1);
        let key = Bytes::copy_from_slice(&key.to_be_bytes());
        window.insert(key, lsn, value.map(Bytes::from_static), &view);
    }
    window
}

/// Reads page after page; returns the rows and how many pages it took.
fn read_all(window: &Window, direction: Direction) -> (Vec<(Bytes, Bytes)>, usize) {
    let (mut rows, mut pages) = (Vec::new(), 0);
    let mut after: Option<Bytes> = None;
    loop {
        let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (from, to) = direction.ends((start, Bound::Unbounded));
        let page = window.range(from, to, Lsn::MAX, direction);
        rows.extend(page.rows);
        pages += 1;
        match page.resume_after {
            Some(last) => after = Some(last),
            None => return (rows, pages),
        }
    }
}

#[test]
fn window_range_pages_end_at_their_bounds_and_resume_without_gap_or_repeat() {
    let rows_max = limits::SCAN_PAGE_ROWS_MAX as u32;
    let window = filled(2 * rows_max + 1, Some(b""));
    let mut expected: Vec<u32> = (0..=2 * rows_max).collect();
    for direction in [Direction::Forward, Direction::Reverse] {
        let (rows, pages) = read_all(&window, direction);
        let keys: Vec<u32> = rows
            .iter()
            .map(|(key, _)| u32::from_be_bytes(key.as_ref().try_into().expect("four bytes")))
            .collect();
        assert_eq!((keys, pages), (expected.clone(), 3));
        expected.reverse();
    }

    static LARGE: [u8; 100_000] = [7; 100_000];
    let window = filled(7, Some(&LARGE));
    let first = window.range(Bound::Unbounded, Bound::Unbounded, Lsn::MAX, Direction::Forward);
    assert_eq!(first.rows.len(), limits::SCAN_PAGE_BYTES_MAX.div_ceil(100_004));
    assert_eq!(first.rows[0].1.as_ptr(), LARGE.as_ptr(), "a large value is not copied");
    assert_eq!(read_all(&window, Direction::Reverse).0.len(), 7);
}

#[test]
fn window_range_over_deleted_keys_stops_after_its_bound_of_keys_looked_at() {
    let window = filled(3 * limits::SCAN_PAGE_LOOKED_AT_MAX as u32, None);
    let page = window.range(Bound::Unbounded, Bound::Unbounded, Lsn::MAX, Direction::Forward);
    assert!(page.rows.is_empty());
    assert!(page.resume_after.is_some(), "the shard is let go, the scan goes on");
    assert_eq!(read_all(&window, Direction::Forward).1, 4);
}

#[test]
fn window_collects_garbage_in_bounded_rounds_and_queues_a_key_once() {
    let keys = 3 * limits::GARBAGE_STEP_MAX as u32;
    let mut window = filled(keys, Some(b"old"));
    let no_one_sees = PruneView::new(Lsn::new(u64::from(keys)), Vec::new());
    for round in 1..=3 {
        for key in 0..keys {
            let lsn = Lsn::new(u64::from(keys) * round + u64::from(key) + 1);
            let value = Some(Bytes::from_static(b"new"));
            window.insert(Bytes::copy_from_slice(&key.to_be_bytes()), lsn, value, &no_one_sees);
        }
    }
    assert_eq!(window.garbage_len(), keys as usize);
    assert_eq!(window.version_count(), 4 * u64::from(keys));
    let view = PruneView::new(Lsn::MAX, Vec::new());
    let mut rounds = 0;
    while window.garbage_len() > 0 {
        window.collect_garbage(&view, usize::MAX);
        rounds += 1;
    }
    assert_eq!(rounds, 3, "each round is bounded");
    assert_eq!(window.version_count(), u64::from(keys));
}

#[test]
#[should_panic(expected = "INV-4b")]
fn window_refuses_a_version_that_is_not_above_the_newest_of_its_key() {
    let mut window = Window::default();
    let view = PruneView::new(Lsn::ZERO, Vec::new());
    window.insert(Bytes::from_static(b"k"), Lsn::new(16), None, &view);
    window.insert(Bytes::from_static(b"k"), Lsn::new(16), None, &view);
}
