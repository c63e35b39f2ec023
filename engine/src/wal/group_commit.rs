//! Group commit: whoever has something to flush and finds the flusher's seat free takes it,
//! writes what is filled, and looks again after leaving the seat. No timer: a crowd shares one
//! write because the others fill while it is in flight.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sombra_runtime::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use sombra_runtime::sync::{BlockView, LogRing, SealedBlocks, Seat};
use sombra_runtime::{FlushVia, IoBuf, IoClass, PanicSink, Shard, TaskClass, TaskSpec, WriteMode};

use crate::format::BLOCK_SIZE_BYTES;
use crate::format::log_block::LogBlockHeader;
use crate::format::log_record::{self, RecordKind};
use crate::format::segment::{locate, segment_start};
use crate::ids::Lsn;
use crate::limits;
use crate::options::DurabilityMethod;
use crate::wal::segments::Segments;

/// One log write as it ended.
pub(crate) struct FlightEnd {
    /// The log is durable up to here, or why the write failed.
    pub(crate) outcome: Result<Lsn, String>,
    pub(crate) took: Duration,
}

/// Ends a flight, however its task ends.
struct Landing(Arc<GroupCommit>);

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs on the shard that flew, once per flight.
pub(crate) type OnFlightEnd = Rc<dyn Fn(FlightEnd)>;

/// Plain numbers of the log, for metrics.
#[derive(Default)]
pub(crate) struct LogCounters {
    pub(crate) flushes: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) flush_errors: AtomicU64,
    /// Log writes that ended before an earlier one: nothing of them counts until that has.
    pub(crate) out_of_order: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) stamps: AtomicU64,
}

/// The part of the log that all shards share.
pub(crate) struct GroupCommit {
    ring: Arc<LogRing>,
    segments: Segments,
    method: DurabilityMethod,
    on_panic: PanicSink,
    in_flight: AtomicUsize,
    /// Start of the first record that no flushed block holds the start of. Seat holder only.
    next_record: AtomicU64,
    /// End of the newest commit; what a stamp must cover.
    data_end: AtomicU64,
    /// Newest `durable` that stands in a block which is itself durable.
    stamped: AtomicU64,
    pub(crate) counters: LogCounters,
}

impl GroupCommit {
    pub(crate) fn new(
        ring: Arc<LogRing>,
        segments: Segments,
        method: DurabilityMethod,
        on_panic: PanicSink,
    ) -> GroupCommit {
        let start = ring.tail();
        GroupCommit {
            ring,
            segments,
            method,
            on_panic,
            in_flight: AtomicUsize::new(0),
            next_record: AtomicU64::new(start),
            data_end: AtomicU64::new(start),
            stamped: AtomicU64::new(start),
            counters: LogCounters::default(),
        }
    }

    pub(crate) fn ring(&self) -> &Arc<LogRing> {
        &self.ring
    }

    pub(crate) fn segments(&self) -> &Segments {
        &self.segments
    }

    pub(crate) fn method(&self) -> DurabilityMethod {
        self.method
    }

    pub(crate) fn durable(&self) -> Lsn {
        Lsn::new(self.ring.durable())
    }

    /// Says that a commit ends at `end`.
    pub(crate) fn note_commit(&self, end: Lsn) {
        self.data_end.fetch_max(end.as_u64(), Ordering::Relaxed);
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether commits are durable that no stamp covers yet.
    pub(crate) fn is_unstamped(&self) -> bool {
        self.stamped.load(Ordering::Relaxed) < self.data_end.load(Ordering::Relaxed)
    }

    /// Whether nothing waits and nothing flies.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_flying() && self.ring.durable() >= self.ring.tail()
    }

    /// Whether a log write has not ended, well or not.
    pub(crate) fn is_flying(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) > 0
    }

    /// Puts one small pad record into the log, so that the block which holds it carries the
    /// present `durable`. The caller starts flights afterwards.
    pub(crate) fn reserve_stamp(&self) {
        if let Ok(charge) = self.ring.try_charge(log_record::RECORD_HEADER_BYTES as u32) {
            // A reservation dropped unfilled becomes a pad record.
            drop(self.ring.reserve(charge));
            self.counters.stamps.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Starts as many log writes as there is filled log and room in flight. Called after every
    /// fill and after every flight: nobody sleeps on a full buffer.
    pub(crate) fn start_flights(self: &Arc<Self>, shard: &Shard, ended: &OnFlightEnd) {
        fence(Ordering::SeqCst);
        while !self.ring.is_failed() && self.ring.has_flushable() && self.may_fly() {
            // The holder of the seat looks again after leaving it.
            let Some(mut seat) = self.ring.try_take_seat() else { return };
            let durable = self.durable();
            let sealed = if self.may_fly() { self.take(&mut seat, durable) } else { None };
            if sealed.is_some() {
                self.in_flight.fetch_add(1, Ordering::SeqCst);
            }
            drop(seat);
            fence(Ordering::SeqCst);
            if let Some(sealed) = sealed {
                self.fly(shard, (sealed, durable), ended);
            }
        }
    }

    fn may_fly(&self) -> bool {
        match self.in_flight.load(Ordering::SeqCst) {
            0 => true,
            n if n < limits::LOG_FLIGHTS_MAX => {
                self.ring.pending_bytes() >= limits::LOG_SECOND_FLIGHT_BYTES_MIN
            }
            _ => false,
        }
    }

    fn take(&self, seat: &mut Seat<'_>, durable: Lsn) -> Option<SealedBlocks> {
        seat.seal_tail();
        let identity = self.segments.identity();
        let first = Lsn::new(self.ring.next_unwritten());
        let segment_number = locate(first, identity.segment_bytes).segment_number;
        let stop_at = segment_start(segment_number + 1, identity.segment_bytes).as_u64();
        seat.take_filled(limits::LOG_WRITE_BLOCKS_MAX, stop_at, |view| self.header(&view, durable))
    }

    fn header(&self, view: &BlockView<'_>, durable: Lsn) -> [u8; 64] {
        let block_end = view.first_position + view.payload.len() as u64;
        let mut record = self.next_record.load(Ordering::Relaxed);
        let first_record = (record < block_end).then(|| (record - view.first_position) as u16);
        let mut used_bytes = view.payload.len() as u16;
        while record < block_end {
            let offset = (record - view.first_position) as usize;
            let header = log_record::peek(&view.payload[offset..]);
            let (kind, len) = header.expect("INV-6: this process wrote the record");
            if kind == RecordKind::Pad {
                used_bytes = offset as u16;
            } else {
                used_bytes = view.payload.len() as u16;
            }
            record += u64::from(len);
        }
        self.next_record.store(record, Ordering::Relaxed);
        let identity = self.segments.identity();
        let header = LogBlockHeader {
            store_id: identity.store_id,
            incarnation: identity.incarnation,
            first_lsn: Lsn::new(view.first_position),
            durable,
            used_bytes,
            first_record,
        };
        header.seal(view.payload)
    }

    fn fly(self: &Arc<Self>, shard: &Shard, load: (SealedBlocks, Lsn), ended: &OnFlightEnd) {
        let (log, on_shard, ended) = (Arc::clone(self), shard.clone(), Rc::clone(ended));
        let on_panic = Some(Arc::clone(&self.on_panic));
        let spec = TaskSpec { name: "log write", class: TaskClass::Flush, on_panic };
        let (sealed, stamp) = load;
        shard.spawn(spec, async move {
            let landing = Landing(Arc::clone(&log));
            let begun = on_shard.now();
            let outcome = log.write(&on_shard, sealed, stamp).await;
            let took = on_shard.now().saturating_since(begun);
            drop(landing);
            ended(FlightEnd { outcome, took });
            log.start_flights(&on_shard, &ended);
        });
    }

    async fn write(&self, shard: &Shard, sealed: SealedBlocks, stamp: Lsn) -> Result<Lsn, String> {
        let first = Lsn::new(sealed.first_position());
        let place = locate(first, self.segments.identity().segment_bytes);
        let file = self.segments.file(place.segment_number);
        let written_bytes = (sealed.block_count() * BLOCK_SIZE_BYTES) as u64;
        self.counters.flushes.fetch_add(1, Ordering::Relaxed);
        self.counters.written_bytes.fetch_add(written_bytes, Ordering::Relaxed);
        let mode = match self.method {
            DurabilityMethod::Dsync => WriteMode::Dsync,
            _ => WriteMode::Plain,
        };
        let buffer = IoBuf::Log(sealed);
        let offset = place.block_offset_bytes();
        if offset + written_bytes == self.segments.identity().segment_bytes {
            self.segments.assert_successor(place.segment_number);
        }
        let outcome = async {
            let buffer = shard.write_all_at(&file, IoClass::Log, offset, buffer, mode).await?;
            match self.method {
                DurabilityMethod::RingFlush => shard.flush(&file, FlushVia::Ring).await?,
                DurabilityMethod::PoolFlush => shard.flush(&file, FlushVia::Pool).await?,
                DurabilityMethod::Dsync | DurabilityMethod::WriteThrough => {}
            }
            Ok::<IoBuf, std::io::Error>(buffer)
        };
        match outcome.await {
            Ok(IoBuf::Log(sealed)) => {
                let end = Lsn::new(sealed.end_position());
                let durable = Lsn::new(self.ring.complete(sealed));
                if durable < end {
                    self.counters.out_of_order.fetch_add(1, Ordering::Relaxed);
                }
                self.note_stamp(first, stamp, durable);
                Ok(durable)
            }
            Ok(IoBuf::Owned(_)) => unreachable!("a log write gives back the blocks it was given"),
            Err(error) => {
                // The first error stops the log before any later completion counts (INV-7).
                self.ring.fail();
                self.counters.flush_errors.fetch_add(1, Ordering::Relaxed);
                Err(format!("log write at LSN {first}: {error}"))
            }
        }
    }

    /// The block at `first` carries a `durable` of at least what was known when it was taken.
    fn note_stamp(&self, first: Lsn, stamp: Lsn, durable: Lsn) {
        if durable > first {
            self.stamped.fetch_max(stamp.as_u64(), Ordering::Relaxed);
        }
    }
}
