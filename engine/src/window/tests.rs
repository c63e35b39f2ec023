use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const KEYS: u8 = 6;

/// Every version ever written: what a window that prunes nothing would hold.
#[derive(Default)]
struct Model {
    versions: BTreeMap<Bytes, Vec<(Lsn, Option<Bytes>)>>,
}

impl Model {
    fn get(&self, key: &[u8], snapshot: Lsn) -> Option<Bytes> {
        let versions = self.versions.get(key)?;
        let newest = versions.iter().rev().find(|(lsn, _)| *lsn <= snapshot)?;
        newest.1.clone()
    }

    fn rows(&self, (from, to): (Bound<&[u8]>, Bound<&[u8]>), snapshot: Lsn) -> Vec<(Bytes, Bytes)> {
        let inside = |key: &[u8]| {
            let above = match from {
                Bound::Unbounded => true,
                Bound::Included(from) => key >= from,
                Bound::Excluded(from) => key > from,
            };
            let below = match to {
                Bound::Unbounded => true,
                Bound::Included(to) => key <= to,
                Bound::Excluded(to) => key < to,
            };
            above && below
        };
        let keys = self.versions.keys().filter(|key| inside(key));
        keys.filter_map(|key| Some((key.clone(), self.get(key, snapshot)?))).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        key: u8,
        value_len: Option<u8>,
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
        6 => (0..KEYS, prop::option::weighted(0.7, 0..40_u8))
            .prop_map(|(key, value_len)| Step::Write { key, value_len }),
        3 => (0..=100_u8).prop_map(|percent| Step::Settle { percent }),
        2 => Just(Step::BeginSnapshot),
        2 => any::<prop::sample::Index>().prop_map(|which| Step::EndSnapshot { which }),
        1 => Just(Step::LoadVisible),
        2 => Just(Step::TakeList),
        1 => (0..8_usize, any::<bool>())
            .prop_map(|(steps, with_cached_view)| Step::Collect { steps, with_cached_view }),
    ]
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
        let key = Bytes::from(vec![b'k', key]);
        self.charged_bytes += version_cost_bytes(key.len(), value.as_ref().map_or(0, Bytes::len));
        let history = self.model.versions.entry(key.clone()).or_default();
        history.push((self.newest, value.clone()));
        self.charged_bytes -= self.window.insert(key, self.newest, value, &self.view);
    }

    fn fresh_view(&self) -> PruneView {
        PruneView::new(self.visible, self.active.clone())
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Write { key, value_len } => {
                let value = value_len.map(|len| Bytes::from(vec![key; len.into()]));
                self.write(key, value);
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
        let later = (self.visible.as_u64()..=self.newest.as_u64()).step_by(8).map(Lsn::new);
        for snapshot in self.active.iter().copied().chain(later) {
            for key in self.model.versions.keys() {
                let found = match self.window.get(key, snapshot) {
                    Lookup::Found(value) => Some(value),
                    Lookup::Miss | Lookup::Deleted => None,
                };
                prop_assert_eq!(found, self.model.get(key, snapshot), "{:?} at {}", key, snapshot);
            }
        }
        Ok(())
    }

    fn check_accounts(&self) -> Result<(), TestCaseError> {
        let chains = self.window.entries.iter();
        let cost = |key: &Bytes, version: &Version| {
            version_cost_bytes(key.len(), version.value.as_ref().map_or(0, Bytes::len))
        };
        let held: u64 = chains.flat_map(|(key, chain)| chain.iter().map(|v| cost(key, v))).sum();
        prop_assert_eq!(self.window.bytes(), held);
        prop_assert_eq!(self.window.bytes(), self.charged_bytes);
        let versions: usize = self.window.entries.values().map(SmallVec::len).sum();
        prop_assert_eq!(self.window.version_count(), versions as u64);
        let mut pairs = self.window.entries.values().flat_map(|chain| chain.windows(2));
        prop_assert!(pairs.all(|pair| pair[0].lsn > pair[1].lsn), "newest first");
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
            let chain = &self.window.entries[&Bytes::from(vec![b'k', key])];
            let invisible = chain.iter().filter(|version| version.lsn > self.visible).count();
            prop_assert!(chain.len() <= self.active.len() + 1 + invisible, "{:?}", chain);
        }
        Ok(())
    }
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
    fn window_is_empty_and_charged_nothing_after_all_is_deleted_and_collected(
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
        prop_assert_eq!(world.window.bytes(), 0);
        prop_assert_eq!(world.window.version_count(), 0);
        prop_assert!(world.window.entries.is_empty());
        prop_assert_eq!(world.charged_bytes, 0);
        world.check_reads()?;
    }

    #[test]
    fn window_range_equals_the_model_for_all_bounds_and_snapshots(
        writes in vec((0..24_u8, prop::option::weighted(0.7, 0..4_u8)), 1..80),
        bounds in (key_bound(), key_bound()),
        snapshot in 0..800_u64,
    ) {
        let mut world = World::new();
        for (key, value_len) in writes {
            world.take(Step::Write { key, value_len });
        }
        let range = (slice(&bounds.0), slice(&bounds.1));
        let page = world.window.range(range.0, range.1, Lsn::new(snapshot));
        prop_assert_eq!(page.rows, world.model.rows(range, Lsn::new(snapshot)));
        prop_assert_eq!(page.resume_after, None);
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
fn window_tombstone_stays_while_somebody_reads_below_it() {
    let mut world = World::new();
    world.write(0, Some(Bytes::from_static(b"v")));
    world.visible = world.newest;
    world.active.push(world.visible);
    world.write(0, None);
    world.visible = world.newest;
    let view = world.fresh_view();
    assert_eq!(world.window.collect_garbage(&view, 100), 0);
    assert_eq!(world.window.newest_lsn(b"k\0"), Some(world.newest), "writers must see the delete");
    world.active.clear();
    let view = world.fresh_view();
    assert!(world.window.collect_garbage(&view, 100) > 0);
    assert_eq!(world.window.newest_lsn(b"k\0"), None);
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
fn read_all(window: &Window) -> (Vec<(Bytes, Bytes)>, usize) {
    let (mut rows, mut pages) = (Vec::new(), 0);
    let mut after: Option<Bytes> = None;
    loop {
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let page = window.range(from, Bound::Unbounded, Lsn::MAX);
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
    let (rows, pages) = read_all(&filled(2 * rows_max + 1, Some(b"")));
    assert_eq!((rows.len() as u32, pages), (2 * rows_max + 1, 3));
    let keys: Vec<u32> = rows
        .iter()
        .map(|(key, _)| u32::from_be_bytes(key.as_ref().try_into().expect("four bytes")))
        .collect();
    assert_eq!(keys, (0..=2 * rows_max).collect::<Vec<u32>>());

    static LARGE: [u8; 100_000] = [7; 100_000];
    let window = filled(7, Some(&LARGE));
    let first = window.range(Bound::Unbounded, Bound::Unbounded, Lsn::MAX);
    assert_eq!(first.rows.len(), limits::SCAN_PAGE_BYTES_MAX.div_ceil(100_004));
    assert_eq!(read_all(&window).0.len(), 7);
}

#[test]
fn window_range_over_deleted_keys_stops_after_its_bound_of_keys_looked_at() {
    let mut window = filled(3 * limits::SCAN_PAGE_LOOKED_AT_MAX as u32, None);
    let page = window.range(Bound::Unbounded, Bound::Unbounded, Lsn::MAX);
    assert!(page.rows.is_empty());
    assert!(page.resume_after.is_some(), "the shard is let go, the scan goes on");
    assert_eq!(read_all(&window).1, 4);
    let view = PruneView::new(Lsn::MAX, Vec::new());
    let mut rounds = 0;
    while window.garbage_len() > 0 {
        window.collect_garbage(&view, usize::MAX);
        rounds += 1;
    }
    let keys = 3 * limits::SCAN_PAGE_LOOKED_AT_MAX;
    assert_eq!(rounds, keys / limits::GARBAGE_STEP_MAX, "each round is bounded");
    assert_eq!(window.bytes(), 0);
}

#[test]
#[should_panic(expected = "INV-4b")]
fn window_refuses_a_version_that_is_not_above_the_newest_of_its_key() {
    let mut window = Window::default();
    let view = PruneView::new(Lsn::ZERO, Vec::new());
    window.insert(Bytes::from_static(b"k"), Lsn::new(16), None, &view);
    window.insert(Bytes::from_static(b"k"), Lsn::new(16), None, &view);
}
