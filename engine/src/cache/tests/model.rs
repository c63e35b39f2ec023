//! Readers, prefetchers and a writer at random over few addresses and fewer frames.

use proptest::prelude::*;

use super::*;

/// Addresses 1 to this; the first are inner nodes.
const ADDRESSES: u64 = 12;
const INNER: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    Fetch(u64),
    /// Polled once and dropped.
    Abandon(u64),
    Get(u64),
    /// Keeps the last page that was read.
    Hold,
    LetGo,
    Prefetch(Vec<u64>),
    /// The address is released and written anew: by hand, or through the cache.
    Rewrite(u64),
    Insert(u64),
    FailNext,
    Budget(u64),
    Pause(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let page = 1..=ADDRESSES;
    prop_oneof![
        8 => page.clone().prop_map(Step::Fetch),
        1 => page.clone().prop_map(Step::Abandon),
        3 => page.clone().prop_map(Step::Get),
        2 => Just(Step::Hold),
        1 => Just(Step::LetGo),
        1 => prop::collection::vec(page.clone(), 1..6).prop_map(Step::Prefetch),
        1 => page.clone().prop_map(Step::Rewrite),
        1 => page.prop_map(Step::Insert),
        1 => Just(Step::FailNext),
        1 => (0u64..8).prop_map(Step::Budget),
        1 => (0u64..100).prop_map(Step::Pause),
    ]
}

/// What the disk holds, as the writer knows it.
struct Model {
    disk: TestDisk,
    cache: TestCache,
    versions: RefCell<BTreeMap<u64, (u64, PageRef)>>,
    /// The budget, or what readers kept from being evicted when it was made smaller.
    bytes_max: Cell<u64>,
    failures: Cell<u64>,
    running: Cell<usize>,
}

impl Model {
    fn current(&self, number: u64) -> (u64, PageRef) {
        self.versions.borrow()[&number]
    }

    fn renew(&self, number: u64, version: u64) -> PageRef {
        let page = self.disk.write(number, u8::from(number <= INNER), version);
        self.versions.borrow_mut().insert(number, (version, page));
        page
    }

    fn check(&self, held: &[(Page, u64)]) {
        self.cache.check();
        assert!(self.cache.resident_bytes() <= self.bytes_max.get());
        held.iter().for_each(|(page, version)| assert_eq!(version_of(page), *version));
    }

    fn judge(
        &self,
        found: Result<Page, ReadError>,
        number: u64,
        before: (u64, PageRef),
    ) -> Option<Page> {
        match found {
            Ok(page) => {
                assert_eq!(page.reference(), before.1, "what was asked for");
                assert_eq!(version_of(&page), before.0);
                Some(page)
            }
            Err(ReadError::Damaged(PageError::Reference { .. })) => {
                assert_ne!(self.current(number), before, "the page is there and was not read");
                None
            }
            Err(ReadError::Device) => {
                assert!(self.failures.get() > 0, "nothing was to fail");
                None
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn run_client(shard: Shard, model: Rc<Model>, steps: Vec<Step>) {
    let mut held: Vec<(Page, u64)> = Vec::new();
    let mut last: Option<Page> = None;
    for step in steps {
        match step {
            Step::Fetch(number) => {
                let before = model.current(number);
                let found = fetch(&model.cache, before.1).await;
                last = model.judge(found, number, before);
            }
            Step::Abandon(number) => {
                let before = model.current(number);
                if let Poll::Ready(found) = poll_once(&mut fetch(&model.cache, before.1)) {
                    model.judge(found, number, before);
                }
            }
            Step::Get(number) => {
                let before = model.current(number);
                if let Some(page) = model.cache.get(before.1, &owner(0)) {
                    last = model.judge(Ok(page), number, before);
                }
            }
            Step::Hold => held.extend(last.take().map(|page| {
                let version = version_of(&page);
                (page, version)
            })),
            Step::LetGo => held.clear(),
            Step::Prefetch(numbers) => {
                let pages: Vec<_> = numbers.iter().map(|number| model.current(*number).1).collect();
                model.cache.prefetch(&pages, owner(0), IoClass::Read);
            }
            Step::Rewrite(number) => {
                model.cache.forget(addr(number));
                model.renew(number, model.current(number).0 + 1);
            }
            Step::Insert(number) => {
                let version = model.current(number).0 + 1;
                let page = model.renew(number, version);
                let mut buf = model.cache.page_buffer();
                assert_eq!(seal(&mut buf, addr(number), u8::from(number <= INNER), version), page);
                assert_eq!(version_of(&model.cache.insert(page, buf)), version);
            }
            Step::FailNext => {
                model.failures.set(model.failures.get() + 1);
                model.disk.0.failing.set(model.disk.0.failing.get() + 1);
            }
            Step::Budget(frames) => {
                let budget_bytes = frames * FRAME_BYTES;
                model.cache.set_budget(budget_bytes);
                model.bytes_max.set(budget_bytes.max(model.cache.resident_bytes()));
            }
            Step::Pause(us) => shard.sleep(Duration::from_micros(us)).await,
        }
        model.check(&held);
    }
    model.running.set(model.running.get() - 1);
}

fn run(seed: u64, clients: Vec<Vec<Step>>) {
    simulate(seed, move |shard, disk| async move {
        let model = Rc::new(Model {
            cache: cache(&shard, &disk, 6),
            disk,
            versions: RefCell::default(),
            bytes_max: Cell::new(6 * FRAME_BYTES),
            failures: Cell::new(0),
            running: Cell::new(clients.len()),
        });
        for number in 1..=ADDRESSES {
            model.renew(number, 1);
        }
        for steps in clients {
            let client = run_client(shard.clone(), Rc::clone(&model), steps);
            shard.spawn(TaskSpec::new("client", TaskClass::Foreground), client);
        }
        while model.running.get() > 0 {
            shard.sleep(Duration::from_micros(100)).await;
        }
        shard.sleep(Duration::from_millis(1)).await;
        model.cache.check();
        // Everything that was lent is back: nobody reads, nobody holds.
        model.cache.set_budget(0);
        assert_eq!(model.cache.resident_bytes(), 0);
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn cache_gives_what_the_disk_holds_within_its_budget_whatever_clients_do(
        seed in any::<u64>(),
        clients in prop::collection::vec(prop::collection::vec(step(), 1..40), 1..6),
    ) {
        run(seed, clients);
    }
}
