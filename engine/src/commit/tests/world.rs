//! One shard's side of a store on a simulated disk, whose steps a test takes by itself.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_channel::oneshot;
use sombra_runtime::sync::{LogRing, LogRingConfig};
use sombra_runtime::{PanicSink, Shard, ShardId, TaskClass, TaskSpec};

use crate::commit::{CommitReply, CommitRequest, Core, ShardPart, SnapshotAges};
use crate::commit::{StoreCore, StoreCoreParts};
use crate::error::CommitError;
use crate::format::log_record::{LoggedWrite, encode_commit, pad_header};
use crate::format::segment::segment_start;
use crate::ids::{Incarnation, Lsn, TabletId};
use crate::limits;
use crate::memory::MemoryBudget;
use crate::mvcc::registry::{SnapshotGuard, SnapshotKind};
use crate::options::{Durability, DurabilityMethod};
use crate::tablet::{Tablet, TreeState};
use crate::txn::Write;
use crate::volume::tests::world::{STORE, config, disk, run};
use crate::volume::{RootTable, Volume};
use crate::wal::group_commit::GroupCommit;
use crate::wal::segments::{self, SegmentIdentity, Segments};

pub(super) const SEGMENT_BYTES: u64 = 1 << 20;
pub(super) const MEMORY_BYTES: u64 = 4 << 20;
pub(super) const SHARD: ShardId = ShardId::new(0);

pub(super) type Answered = oneshot::Receiver<Result<Lsn, CommitError>>;

/// Runs a test on shard 0 of two, of a store without keyspaces whose log is one segment.
pub(super) fn with_core<F>(test: impl FnOnce(Rc<Core>) -> F + Send + 'static)
where
    F: Future<Output = ()> + 'static,
{
    with_log(limits::LOG_RING_BLOCKS_MIN, 1, test);
}

/// As [`with_core`], with a ring of so many blocks and a log of at most so many segments.
pub(super) fn with_log<F>(
    ring_blocks: usize,
    segments_max: u64,
    test: impl FnOnce(Rc<Core>) -> F + Send + 'static,
) where
    F: Future<Output = ()> + 'static,
{
    let log_bytes_max = segments_max * SEGMENT_BYTES;
    run(1, &disk(1), move |shard| async move {
        test(core(&shard, ring_blocks, log_bytes_max).await).await;
    });
}

async fn core(shard: &Shard, ring_blocks: usize, log_bytes_max: u64) -> Rc<Core> {
    Volume::create(shard, &config()).await.unwrap();
    let volume = Volume::open(shard, config()).await.unwrap();
    let roots = RootTable::load(shard, &volume).await.unwrap().table;
    let wal_dir = PathBuf::from("/store/wal");
    shard.create_dir(&wal_dir).await.unwrap();
    let incarnation = Incarnation::new(1);
    let segment_bytes = SEGMENT_BYTES;
    let identity = SegmentIdentity { wal_dir, store_id: STORE, incarnation, segment_bytes };
    let file = segments::create(shard, &identity, 1, None).await.unwrap();
    let start = segment_start(1, segment_bytes);
    let ring =
        LogRing::new(LogRingConfig { block_count: ring_blocks, start: start.as_u64(), pad_header });
    ring.set_space_end(segments::space_end(1, segment_bytes).as_u64());
    let segments = Segments::new(identity, (1, file), BTreeMap::new(), log_bytes_max);
    let on_panic: PanicSink = Arc::new(|task, message| panic!("{task}: {message}"));
    let method = DurabilityMethod::RingFlush;
    let store = StoreCore::new(StoreCoreParts {
        log: Arc::new(GroupCommit::new(ring, segments, method, Arc::clone(&on_panic))),
        volume: Arc::new(volume),
        roots: Arc::new(roots),
        poison: Arc::default(),
        memory: Arc::new(MemoryBudget::new(MEMORY_BYTES)),
        ages: SnapshotAges::default(),
        shard_count: 2,
        start,
    });
    Core::new(shard.clone(), Arc::new(store), (BTreeMap::new(), Vec::new()), on_panic)
}

/// Adds the tablet that these writes go to.
pub(super) fn add_tablet(core: &Core, writes: &[Write]) -> TabletId {
    let id = writes[0].tablet;
    core.add_tablet(id, TreeState::empty(core.store.oracle.visible(), 4096));
    id
}

pub(super) fn snapshot(core: &Core) -> Option<SnapshotGuard> {
    let visible = || core.store.oracle.visible();
    core.store.registry.acquire(visible, 0, SnapshotKind::ReadWrite)
}

pub(super) fn record(writes: &[Write]) -> Vec<u8> {
    let mut record = Vec::new();
    let logged = writes.iter().map(|write| LoggedWrite {
        keyspace: write.tablet.keyspace,
        key: write.key(),
        value: write.value.as_deref(),
    });
    encode_commit(&mut record, 1, logged).unwrap();
    record
}

/// Commits a part, without waiting for the answer.
pub(super) fn commit(
    core: &Rc<Core>,
    snapshot: Option<SnapshotGuard>,
    part: ShardPart,
) -> Answered {
    let (sender, answered) = oneshot::channel();
    let record = record(&part.writes);
    let (durability, reply) = (Durability::Sync, CommitReply::new(sender, None));
    let parts = vec![part];
    core.commit_here(CommitRequest { snapshot, durability, parts, record, reply });
    answered
}

pub(super) fn part(writes: Vec<Write>) -> ShardPart {
    ShardPart { writes, ..ShardPart::new(SHARD) }
}

/// Commits, and writes the log.
pub(super) async fn commit_durably(
    core: &Rc<Core>,
    snapshot: Option<SnapshotGuard>,
    writes: Vec<Write>,
) -> Result<Lsn, CommitError> {
    let answered = commit(core, snapshot, part(writes));
    core.start_flights();
    answered.await.unwrap()
}

/// Settles what is signalled from now on, as a shard does at the end of its turns.
pub(super) fn serve(core: &Rc<Core>) {
    let served = Rc::clone(core);
    core.shard.spawn(TaskSpec::new("settle", TaskClass::Foreground), async move {
        loop {
            served.store.signal(SHARD).wait().await;
            served.progress();
            served.start_flights();
        }
    });
}

/// The same write with a value of so many bytes.
pub(super) fn sized(writes: Vec<Write>, bytes: usize) -> Vec<Write> {
    let value = Some(Bytes::from(vec![b'v'; bytes]));
    writes.into_iter().map(|write| Write { value: value.clone(), ..write }).collect()
}

/// Bytes in the windows of one tablet.
pub(super) fn window_bytes(core: &Core, tablet: TabletId) -> u64 {
    core.with_tablet(tablet, Tablet::window_bytes).unwrap()
}

/// Whether the future is ready when it is polled once.
pub(super) async fn is_ready(future: impl Future) -> bool {
    let mut future = pin!(future);
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await
}
