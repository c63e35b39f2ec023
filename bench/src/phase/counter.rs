//! One number that every client raises: by a transaction that reads and writes it, by one that
//! locks it first, and by sums; in pairs, beside a row of the first against itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use sombra::{RunOptions, TransactionError};

use crate::error::BenchError;
use crate::measure::{Latency, Ratio, Recorder, Stop, Window, ratio_of_pairs};
use crate::plan::ClientsOn;
use crate::report::Report;
use crate::sample::CommitCost;
use crate::session::Session;
use crate::site::Site;

use super::crew::{Shift, Work, Worked};
use super::load::load;
use super::pairs::is_too_wide;

const KEY: &str = "counter";

/// How a client raises the number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Raise {
    /// A transaction that reads and writes it, and is run again after a conflict.
    Optimistic,
    /// The same with `get_for_update`.
    Locked,
    /// `add`.
    Sum,
}

/// Alternating runs of all three.
#[derive(Clone, Debug, Serialize)]
pub struct CounterFigures {
    pub clients: usize,
    pub clients_on: ClientsOn,
    pub pairs: usize,
    pub side_seconds: f64,
    pub optimistic_against_itself: Option<Ratio>,
    pub locked_against_optimistic: Option<Ratio>,
    pub sum_against_optimistic: Option<Ratio>,
    /// The first row is too wide for the others to count.
    pub undecided: bool,
    /// What the number lacks, or has too much, of the raises that were acknowledged.
    pub lost: i64,
    pub rows: Vec<CounterRow>,
}

/// One pair of each.
#[derive(Clone, Debug, Serialize)]
pub struct CounterRow {
    pub optimistic: [CounterSide; 2],
    pub locked: CounterSide,
    pub sum: CounterSide,
}

/// One way for a fixed time.
#[derive(Clone, Debug, Serialize)]
pub struct CounterSide {
    pub how: Raise,
    pub raised: u64,
    pub seconds: f64,
    pub per_s: f64,
    /// With all attempts that a raise took.
    #[serde(flatten)]
    pub latency: Latency,
    /// Attempts beside the first, for each raise.
    pub retries_per_raise: f64,
    #[serde(flatten)]
    pub cost: CommitCost,
}

struct Shared {
    how: Raise,
    window: Window,
    stop: Stop,
    at_work: AtomicUsize,
}

struct CounterClient(Arc<Shared>);

#[derive(Default)]
struct CounterReport {
    counted: Recorder,
    /// Before and in the measured time.
    raised: u64,
    attempts: u64,
    failure: Option<String>,
}

/// Loads, and runs pairs until the wanted number is reached or a stop is requested.
pub(crate) fn measure_counter(session: &Session, report: &mut Report) -> Result<(), BenchError> {
    report.load = Some(load(session)?);
    session.settle();
    let mut figures = CounterFigures {
        clients: session.plan.clients,
        clients_on: session.plan.clients_on,
        pairs: 0,
        side_seconds: session.plan.measured.as_secs_f64(),
        optimistic_against_itself: None,
        locked_against_optimistic: None,
        sum_against_optimistic: None,
        undecided: false,
        lost: 0,
        rows: Vec::new(),
    };
    let mut raised = 0;
    for pair in 0..session.plan.pairs.unwrap_or(0) {
        if session.stop.is_requested() {
            break;
        }
        let mut side = |how| run_side(session, how, &mut raised);
        let row = if pair.is_multiple_of(2) {
            let optimistic = [side(Raise::Optimistic)?, side(Raise::Optimistic)?];
            let (locked, sum) = (side(Raise::Locked)?, side(Raise::Sum)?);
            CounterRow { optimistic, locked, sum }
        } else {
            let (sum, locked) = (side(Raise::Sum)?, side(Raise::Locked)?);
            let optimistic = [side(Raise::Optimistic)?, side(Raise::Optimistic)?];
            CounterRow { optimistic, locked, sum }
        };
        if !session.stop.is_requested() {
            figures.rows.push(row);
        }
    }
    let failed = |error: TransactionError| BenchError::phase("counter", error);
    let found = session.runtime.block_on(session.db.get(&session.keyspace, KEY));
    let found = number(found.map_err(|error| failed(error.into()))?.as_ref());
    figures.lost = raised.cast_signed() - found;
    figures.summarize();
    report.counter = Some(figures);
    Ok(())
}

fn number(value: Option<&Bytes>) -> i64 {
    let bytes = value.and_then(|value| <[u8; 8]>::try_from(&value[..]).ok());
    i64::from_le_bytes(bytes.unwrap_or_default())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn run_side(session: &Session, how: Raise, raised: &mut u64) -> Result<CounterSide, BenchError> {
    let (warmup, measured) = (session.plan.warmup, session.plan.measured);
    session.progress.begin_timed(how.name(), warmup + measured);
    let shared = Arc::new(Shared {
        how,
        window: Window::starting(session.runtime.now(), warmup, measured),
        stop: session.stop.clone(),
        at_work: AtomicUsize::new(session.plan.clients),
    });
    let crew = (0..session.plan.clients).map(|_| CounterClient(Arc::clone(&shared))).collect();
    let on = session.plan.clients_on;
    let shift = Shift { on, window: shared.window, at_work: &shared.at_work };
    let Worked { outcome, counted, seconds } = session.run_crew::<CounterClient>(crew, &shift)?;
    if let Some(failure) = outcome.failure {
        return Err(BenchError::phase("counter", failure));
    }
    *raised += outcome.raised;
    let in_time = outcome.counted.count();
    Ok(CounterSide {
        how,
        raised: in_time,
        seconds,
        per_s: in_time as f64 / seconds.max(f64::MIN_POSITIVE),
        latency: outcome.counted.service(),
        retries_per_raise: (outcome.attempts - outcome.raised) as f64
            / outcome.raised.max(1) as f64,
        cost: counted.cost_of(in_time),
    })
}

impl Work for CounterClient {
    type Outcome = CounterReport;

    async fn work(self, site: impl Site) -> CounterReport {
        let shared = self.0;
        let mut report = CounterReport::default();
        while !shared.stop.is_requested() {
            let started = site.now();
            if started >= shared.window.end {
                break;
            }
            if let Err(error) = shared.how.raise(&site, &mut report.attempts).await {
                report.failure = Some(error.to_string());
                break;
            }
            report.raised += 1;
            let done = site.now();
            if shared.window.counts(done) {
                let nanoseconds = done.saturating_since(started).as_nanos() as u64;
                report.counted.record(nanoseconds, nanoseconds);
            }
        }
        shared.at_work.fetch_sub(1, Ordering::Relaxed);
        report
    }

    fn merge(whole: &mut CounterReport, part: CounterReport) {
        whole.counted.merge(&part.counted);
        whole.raised += part.raised;
        whole.attempts += part.attempts;
        whole.failure = whole.failure.take().or(part.failure);
    }
}

impl Raise {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Raise::Optimistic => "optimistic",
            Raise::Locked => "get_for_update",
            Raise::Sum => "add",
        }
    }

    async fn raise(self, site: &impl Site, attempts: &mut u64) -> Result<(), TransactionError> {
        let (handle, keyspace) = (site.handle(), site.keyspace());
        if self == Raise::Sum {
            *attempts += 1;
            handle.add(keyspace, KEY, 1).await?;
            return Ok(());
        }
        let tried = Arc::new(AtomicU64::new(0));
        // Nobody gives up: what is measured is the number's progress.
        let patient = RunOptions {
            attempts_max: u32::MAX,
            time_max: Duration::from_secs(u64::from(u32::MAX)),
            ..RunOptions::default()
        };
        let outcome = handle.run_with(patient, |transaction| {
            tried.fetch_add(1, Ordering::Relaxed);
            let keyspace = keyspace.clone();
            async move {
                let before = match self {
                    Raise::Locked => transaction.get_for_update(&keyspace, KEY).await?,
                    Raise::Optimistic | Raise::Sum => transaction.get(&keyspace, KEY).await?,
                };
                let next = number(before.as_ref()) + 1;
                transaction.put(&keyspace, KEY, Bytes::copy_from_slice(&next.to_le_bytes()))?;
                Ok(())
            }
        });
        outcome.await?;
        *attempts += tried.load(Ordering::Relaxed);
        Ok(())
    }
}

impl CounterFigures {
    fn summarize(&mut self) {
        let ratio = |side: fn(&CounterRow) -> &CounterSide| {
            let ratios = self
                .rows
                .iter()
                .map(|row| side(row).per_s / row.optimistic[1].per_s.max(f64::MIN_POSITIVE));
            ratio_of_pairs(&ratios.collect::<Vec<_>>())
        };
        self.pairs = self.rows.len();
        self.optimistic_against_itself = ratio(|row| &row.optimistic[0]);
        self.locked_against_optimistic = ratio(|row| &row.locked);
        self.sum_against_optimistic = ratio(|row| &row.sum);
        self.undecided = self.optimistic_against_itself.as_ref().is_some_and(is_too_wide);
    }
}
