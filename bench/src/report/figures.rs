//! The figures of a run, as `sombra bench --json` prints them.

use serde::Serialize;

use crate::history::HistoryFigures;
use crate::measure::{Latency, Ratio};
use crate::phase::churn::ChurnFigures;
use crate::phase::clients::ClientsRun;
use crate::phase::counter::CounterFigures;
use crate::phase::disk::DiskRun;
use crate::phase::idle::IdleFigures;
use crate::phase::larger::LargerFigures;
use crate::phase::load::LoadFigures;
use crate::phase::long_transactions::LongFigures;
use crate::phase::tpcc::TpccFigures;
use crate::phase::transaction_pairs::TransactionPairsFigures;
use crate::phase::verify::VerifyFigures;
use crate::plan::{ClientsOn, Mode, Plan};
use crate::sample::Sample;
use crate::workload::{Distribution, Mix, tpcc};

use super::environment::Environment;

/// Everything that one run found. What was not measured is `null`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub environment: Environment,
    pub workload: WorkloadFacts,
    pub disk: Option<DiskFigures>,
    pub load: Option<LoadFigures>,
    pub commit: Option<CommitFigures>,
    /// The same with the clients in the other place.
    pub commit_beside: Option<CommitFigures>,
    pub lone_client: Option<CommitFigures>,
    pub read: Option<ReadFigures>,
    pub read_beside: Option<ReadFigures>,
    pub ycsb: Vec<MixFigures>,
    pub pairs: Option<PairsFigures>,
    pub larger_than_cache: Option<LargerFigures>,
    pub churn: Option<ChurnFigures>,
    pub transactions: Option<TransactionPairsFigures>,
    pub long_transactions: Option<LongFigures>,
    pub tpcc: Option<TpccFigures>,
    pub idle: Option<IdleFigures>,
    pub counter: Option<CounterFigures>,
    /// What the clients did, in a file of its own.
    pub history: Option<HistoryFigures>,
    pub verify: Option<VerifyFigures>,
    pub ratio: Option<RatioFigures>,
    /// What a reader of the figures must know: clients that ended early, what was cut short.
    pub notes: Vec<String>,
    /// Somebody asked the run to stop: what comes after was not measured.
    pub interrupted: bool,
}

impl Report {
    /// Says whether the run found the store in the wrong: lost, foreign or misread data.
    #[must_use]
    pub fn found_damage(&self) -> bool {
        let lost = self.verify.as_ref().is_some_and(|verify| verify.missing + verify.foreign > 0);
        let reads = [&self.read, &self.read_beside].into_iter().flatten();
        let misread = reads.map(|read| read.wrong).sum::<u64>()
            + self.ycsb.iter().map(|mix| mix.wrong_reads).sum::<u64>()
            + self.larger_than_cache.as_ref().map_or(0, LargerFigures::wrong_lookups)
            + self.transactions.as_ref().map_or(0, TransactionPairsFigures::wrong_reads)
            + self.long_transactions.as_ref().map_or(0, LongFigures::wrong);
        let snapshot = self.churn.as_ref().and_then(|churn| churn.snapshot.as_ref());
        let torn = snapshot.is_some_and(|snapshot| snapshot.wrong > 0);
        let unbalanced = self.tpcc.as_ref().is_some_and(TpccFigures::found_damage);
        let miscounted = self.counter.as_ref().is_some_and(|counter| counter.lost != 0);
        lost || misread > 0 || torn || unbalanced || miscounted
    }
}

/// The facts that belong to every figure of the run.
#[derive(Clone, Debug, Serialize)]
pub struct WorkloadFacts {
    pub records: u64,
    pub key_bytes: usize,
    pub value_bytes: usize,
    pub shards: usize,
    /// How keys find their tablets: by hash, or in key order.
    pub routing: &'static str,
    pub clients_on: ClientsOn,
    pub isolation: &'static str,
    pub durability: &'static str,
    pub warmup_seconds: f64,
    pub measured_seconds: f64,
    pub rate_per_s: Option<u64>,
    pub seed: u64,
    pub memory_bytes: u64,
}

impl WorkloadFacts {
    pub(crate) fn of(plan: &Plan) -> WorkloadFacts {
        let (records, key_bytes, value_bytes) = match plan.mode {
            Mode::Tpcc { .. } => (0, tpcc::KEY_BYTES_MAX, tpcc::ROW_BYTES_MAX),
            _ => (plan.records, plan.shape.key_len_bytes, plan.shape.value_len_bytes),
        };
        let is_range = plan.needs_order() || matches!(plan.mode, Mode::Tpcc { .. });
        let isolation = match plan.mode {
            Mode::Phases | Mode::LargerThanCache | Mode::Churn { .. } => "snapshot",
            Mode::Transactions => "snapshot and serializable",
            Mode::LongTransactions | Mode::Tpcc { .. } | Mode::Idle | Mode::Counter => {
                "serializable"
            }
        };
        WorkloadFacts {
            records,
            key_bytes,
            value_bytes,
            shards: plan.shards,
            routing: if is_range { "range" } else { "hash" },
            clients_on: plan.clients_on,
            isolation,
            durability: "sync",
            warmup_seconds: plan.warmup.as_secs_f64(),
            measured_seconds: plan.measured.as_secs_f64(),
            rate_per_s: plan.rate_per_s,
            seed: plan.seed,
            memory_bytes: plan.memory_bytes(),
        }
    }
}

/// The device by itself, through the same runtime, in the same directory.
#[derive(Clone, Debug, Serialize)]
pub struct DiskFigures {
    /// One stream of durable 4 KiB writes.
    pub durable_write_per_s: f64,
    pub durable_write: Latency,
    /// Random 4 KiB reads at the named depth on one shard's ring.
    pub random_read_iops: Option<f64>,
    pub random_read_depth: usize,
    pub random_read: Option<Latency>,
    pub scratch_bytes: u64,
}

impl DiskFigures {
    pub(crate) fn of(writes: &DiskRun, reads: Option<&DiskRun>) -> DiskFigures {
        DiskFigures {
            durable_write_per_s: writes.per_s(),
            durable_write: writes.recorder.service(),
            random_read_iops: reads.map(DiskRun::per_s),
            random_read_depth: crate::limits::DISK_READ_DEPTH,
            random_read: reads.map(|run| run.recorder.service()),
            scratch_bytes: crate::limits::SCRATCH_BYTES,
        }
    }
}

/// Durable puts, one to a transaction.
#[derive(Clone, Debug, Serialize)]
pub struct CommitFigures {
    pub clients: usize,
    pub clients_on: ClientsOn,
    pub distribution: Distribution,
    pub operations: u64,
    pub seconds: f64,
    pub per_s: f64,
    #[serde(flatten)]
    pub latency: Latency,
    /// From the intended start, where a rate was asked for.
    pub response: Option<Latency>,
    pub conflicts: u64,
    /// Device flushes a commit; a durable write counts as one.
    pub flushes_per_commit: f64,
    /// Log blocks written × 4,096, a commit.
    pub log_bytes_per_commit: f64,
    pub log_blocks_per_commit: f64,
    pub cpu_us_per_commit: f64,
}

impl CommitFigures {
    pub(crate) fn of(run: &ClientsRun) -> CommitFigures {
        let writes = &run.report.writes;
        let counted = PerCommit::of(&run.counted);
        CommitFigures {
            clients: run.phase.clients,
            clients_on: run.phase.on,
            distribution: run.phase.distribution,
            operations: writes.count(),
            seconds: run.seconds,
            per_s: per_s(writes.count(), run.seconds),
            latency: writes.service(),
            response: run.phase.rate_per_s.map(|_| writes.response()),
            conflicts: run.report.conflicts,
            flushes_per_commit: counted.flushes,
            log_bytes_per_commit: counted.log_bytes,
            log_blocks_per_commit: counted.log_bytes / 4096.0,
            cpu_us_per_commit: counted.cpu_us,
        }
    }
}

struct PerCommit {
    flushes: f64,
    log_bytes: f64,
    cpu_us: f64,
}

impl PerCommit {
    fn of(sample: &Sample) -> PerCommit {
        let commits = sample.commits.max(1.0);
        PerCommit {
            flushes: sample.flushes / commits,
            log_bytes: sample.log_bytes / commits,
            cpu_us: sample.cpu.as_secs_f64() * 1e6 / commits,
        }
    }
}

/// Point reads, each with a snapshot of its own.
#[derive(Clone, Debug, Serialize)]
pub struct ReadFigures {
    pub clients: usize,
    pub clients_on: ClientsOn,
    pub distribution: Distribution,
    pub operations: u64,
    pub seconds: f64,
    pub per_s: f64,
    #[serde(flatten)]
    pub latency: Latency,
    pub response: Option<Latency>,
    /// Reads that found nothing, or the value of another record.
    pub wrong: u64,
    pub cpu_us_per_read: f64,
}

impl ReadFigures {
    pub(crate) fn of(run: &ClientsRun) -> ReadFigures {
        let reads = &run.report.reads;
        ReadFigures {
            clients: run.phase.clients,
            clients_on: run.phase.on,
            distribution: run.phase.distribution,
            operations: reads.count(),
            seconds: run.seconds,
            per_s: per_s(reads.count(), run.seconds),
            latency: reads.service(),
            response: run.phase.rate_per_s.map(|_| reads.response()),
            wrong: run.report.wrong_reads,
            cpu_us_per_read: cpu_us_per(run, reads.count()),
        }
    }
}

/// One of YCSB's mixes.
#[derive(Clone, Debug, Serialize)]
pub struct MixFigures {
    pub mix: Mix,
    pub distribution: Distribution,
    pub clients: usize,
    pub clients_on: ClientsOn,
    pub operations: u64,
    pub seconds: f64,
    pub per_s: f64,
    pub reads: Latency,
    pub read_operations: u64,
    pub writes: Latency,
    pub write_operations: u64,
    pub reads_response: Option<Latency>,
    pub writes_response: Option<Latency>,
    pub conflicts: u64,
    pub wrong_reads: u64,
    /// Rows that scans gave back; of mixes with scans, `reads` are scans.
    pub scanned_rows: u64,
    pub cpu_us_per_operation: f64,
}

impl MixFigures {
    pub(crate) fn of(run: &ClientsRun) -> MixFigures {
        let (reads, writes) = (&run.report.reads, &run.report.writes);
        let operations = reads.count() + writes.count();
        let paced = run.phase.rate_per_s.is_some();
        MixFigures {
            mix: run.phase.mix,
            distribution: run.phase.distribution,
            clients: run.phase.clients,
            clients_on: run.phase.on,
            operations,
            seconds: run.seconds,
            per_s: per_s(operations, run.seconds),
            reads: reads.service(),
            read_operations: reads.count(),
            writes: writes.service(),
            write_operations: writes.count(),
            reads_response: paced.then(|| reads.response()),
            writes_response: paced.then(|| writes.response()),
            conflicts: run.report.conflicts,
            wrong_reads: run.report.wrong_reads,
            scanned_rows: run.report.scanned_rows,
            cpu_us_per_operation: cpu_us_per(run, operations),
        }
    }
}

/// The commit phase against the device.
#[derive(Clone, Debug, Serialize)]
pub struct RatioFigures {
    /// Commits a second divided by single-stream durable 4 KiB writes a second.
    pub commit_per_durable_write: f64,
    /// One run is a glance, not a measurement: `--pairs 11` makes one.
    pub is_median_of_pairs: bool,
}

/// Alternating runs of the device's durable writes (A) and of commits (B).
#[derive(Clone, Debug, Serialize)]
pub struct PairsFigures {
    pub pairs: usize,
    pub side_seconds: f64,
    /// The device against itself: how far this machine can tell two rates apart.
    pub reference_against_itself: Ratio,
    pub commit_against_reference: Ratio,
    /// The first row is too wide for the second to count.
    pub undecided: bool,
    pub rows: Vec<PairRow>,
}

/// One pair.
#[derive(Clone, Debug, Serialize)]
pub struct PairRow {
    /// Which sides ran in which order.
    pub order: &'static str,
    pub reference_per_s: [f64; 2],
    pub reference_cpu_us: f64,
    pub commit: CommitFigures,
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn per_s(operations: u64, seconds: f64) -> f64 {
    operations as f64 / seconds.max(f64::MIN_POSITIVE)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn cpu_us_per(run: &ClientsRun, operations: u64) -> f64 {
    run.counted.cpu.as_secs_f64() * 1e6 / operations.max(1) as f64
}
