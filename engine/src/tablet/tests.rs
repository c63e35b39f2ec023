use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ids::PageAddr;
use crate::volume::{PageAllocator, PageRun, SlotGeneration};

const PAGE_SIZE: u32 = 32_768;

#[derive(Clone, Debug)]
enum Change {
    /// A new root: so many pages are added, and those of its old ones that a bit names go.
    Replace {
        added: usize,
        dropped: u64,
    },
    Hold,
    LetGo(usize),
    /// The root table's twin has caught up.
    Settle,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (1..4_usize, any::<u64>()).prop_map(|(added, dropped)| {
            Change::Replace { added, dropped }
        }),
        2 => Just(Change::Hold),
        2 => (0..4_usize).prop_map(Change::LetGo),
        3 => Just(Change::Settle),
    ]
}

fn run(addr: PageAddr) -> PageRun {
    PageRun { addr, pages: 1 }
}

/// A tree of which only the sets of pages are real.
struct Model {
    tree: TreeState,
    current: BTreeSet<PageAddr>,
    held: Vec<(Rc<RootHandle>, BTreeSet<PageAddr>)>,
    /// Pages of the root of each write of the root table.
    written: Vec<BTreeSet<PageAddr>>,
    settled: u64,
}

impl Model {
    fn new() -> Model {
        let mut allocator = PageAllocator::new(PAGE_SIZE);
        allocator.add_extents(&(8..108).collect::<Vec<u32>>());
        let merge_lsn = Lsn::new(8);
        let parts = TreeParts { root: None, merge_lsn, allocator, space: None };
        let (current, held) = (BTreeSet::new(), Vec::new());
        let written = vec![BTreeSet::new()];
        Model { tree: TreeState::new(parts), current, held, written, settled: 0 }
    }

    fn replace(&mut self, added: usize, dropped: u64) {
        let bits = self.current.iter().enumerate();
        let gone = bits.filter(|(at, _)| dropped >> (at % 64) & 1 == 1).map(|(_, &addr)| run(addr));
        let gone: Vec<PageRun> = gone.collect();
        let mut allocator = self.tree.allocator.borrow_mut();
        let taken = (0..added).map(|_| run(allocator.alloc().expect("a hundred extents")));
        let taken: Vec<PageRun> = taken.collect();
        // The slice gives up one of its own pages, too.
        let own = taken[0];
        let obsolete: Vec<PageRun> = gone.into_iter().chain([own]).collect();
        obsolete.iter().for_each(|run| allocator.obsolete(run.addr, run.pages));
        drop(allocator);
        self.current.extend(taken.iter().map(|run| run.addr));
        self.current.retain(|&page| obsolete.iter().all(|run| run.addr != page));
        self.written.push(self.current.clone());
        let write = SlotGeneration { slot: 0, generation: self.generation() };
        self.tree.replace_root(None, ReplacedPages { taken, obsolete }, (None, write));
    }

    fn generation(&self) -> u64 {
        self.written.len() as u64 - 1
    }

    /// Releases; everything released is out of every held root, and nothing stays without one.
    fn release(&mut self) {
        let settled = self.settled;
        let released = self.tree.take_releasable(|write| write.generation <= settled);
        for run in released {
            assert!(!self.current.contains(&run.addr), "INV-5: {:?} is in force", run.addr);
            let twin = &self.written[settled as usize];
            assert!(!twin.contains(&run.addr), "INV-5: the twin needs {:?}", run.addr);
            let is_read = self.held.iter().any(|(_, pages)| pages.contains(&run.addr));
            assert!(!is_read, "INV-5: {:?} is still read", run.addr);
            self.tree.allocator.borrow_mut().release(run.addr, run.pages);
        }
        if settled == self.generation() {
            let mut reached = self.current.clone();
            self.held.iter().for_each(|(_, pages)| reached.extend(pages));
            let held = self.tree.allocator.borrow().held_pages();
            assert_eq!(held, reached.len() as u64, "what nobody reaches is free");
        }
    }
}

proptest! {
    #[test]
    fn pages_stay_while_a_held_root_reaches_them_and_no_longer(changes in vec(change(), 1..60)) {
        let mut model = Model::new();
        for change in changes {
            match change {
                Change::Replace { added, dropped } => model.replace(added, dropped),
                Change::Hold => {
                    let handle = Rc::clone(model.tree.current());
                    model.held.push((handle, model.current.clone()));
                }
                Change::LetGo(at) if at < model.held.len() => drop(model.held.remove(at)),
                Change::LetGo(_) => {}
                Change::Settle => model.settled = model.generation(),
            }
            model.release();
        }
    }
}

#[test]
fn commit_below_the_freeze_goes_to_the_frozen_window_and_later_ones_to_the_active() {
    let memory = Arc::new(MemoryBudget::new(1 << 20));
    let id = TabletId { keyspace: crate::ids::KeyspaceId::new(1), index: 0 };
    let mut tablet = Tablet::new(id, TreeState::empty(Lsn::new(8), PAGE_SIZE), &memory);
    let view = PruneView::new(Lsn::new(8), Vec::new());
    let apply = |tablet: &mut Tablet, key: &'static [u8], lsn: u64| {
        let value = Some(Bytes::from_static(b"value"));
        memory.charge_unbounded(crate::window::version_cost_bytes(key.len(), b"value".len()));
        let freed = tablet.apply(Bytes::from_static(key), Lsn::new(lsn), value, &view);
        memory.release(freed);
    };
    apply(&mut tablet, b"early", 16);
    let frozen = tablet.freeze(Lsn::new(32));
    // Reserved before the freeze on another shard, and applied here after it.
    apply(&mut tablet, b"late", 32);
    apply(&mut tablet, b"after", 40);
    let newest = |key: &[u8]| {
        let in_frozen = frozen.window.with(|window| window.newest_lsn(key));
        (in_frozen.map(Lsn::as_u64), tablet.active.with(|window| window.newest_lsn(key)))
    };
    assert_eq!(newest(b"early"), (Some(16), None));
    assert_eq!(newest(b"late"), (Some(32), None), "the merge up to 32 must find it");
    assert_eq!(newest(b"after"), (None, Some(Lsn::new(40))));
}
