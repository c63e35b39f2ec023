//! Data that does not fit into the cache: loading it, and looking up what only the disk has.

use serde::Serialize;

use crate::error::BenchError;
use crate::limits::COLD_DEVICE_READS_MIN;
use crate::measure::Latency;
use crate::plan::ClientsOn;
use crate::report::Report;
use crate::sample::{resident_bytes, resident_bytes_peak};
use crate::session::Session;
use crate::space::{SpaceFigures, ratio};
use crate::workload::{Distribution, Mix};

use super::clients::{ClientsPhase, ClientsRun};
use super::load::load;
use super::read_pairs::{ReadPairsFigures, run_read_pairs};
use super::reference::{ReferenceFigures, References};
use super::settle::SettleFigures;

/// What a store larger than its memory does and takes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LargerFigures {
    /// Keys and values that were loaded.
    pub row_bytes: u64,
    pub memory_bytes: u64,
    /// Of the process with the empty store open.
    pub resident_bytes_empty: u64,
    pub load_bytes_per_s: Option<f64>,
    /// The most that the process took while loading and merging.
    pub resident_bytes_load_peak: u64,
    pub resident_load_peak_per_memory: Option<f64>,
    pub settle: Option<SettleFigures>,
    /// Once merging had settled.
    pub space: SpaceFigures,
    pub data_file_per_live: Option<f64>,
    pub data_file_per_row_byte: Option<f64>,
    pub lookups: Option<LookupFigures>,
    pub fio: Option<ReferenceFigures>,
    /// Why there are no figures of fio.
    pub fio_skipped: Option<String>,
    pub raw_loop: Option<ReferenceFigures>,
    pub lookups_per_fio_read: Option<f64>,
    pub lookups_per_raw_read: Option<f64>,
    pub pairs: Option<ReadPairsFigures>,
    /// The most that the process took over the whole run.
    pub resident_bytes_peak: u64,
    pub resident_peak_per_memory: Option<f64>,
}

impl LargerFigures {
    /// Lookups, those of pairs included, that found no value of their own record.
    #[must_use]
    pub fn wrong_lookups(&self) -> u64 {
        let of_pairs = self.pairs.iter().flat_map(|pairs| &pairs.rows).map(|row| &row.lookups);
        self.lookups.iter().chain(of_pairs).map(|lookups| lookups.wrong).sum()
    }
}

/// Uniform point reads, each with a snapshot of its own.
#[derive(Clone, Debug, Serialize)]
pub struct LookupFigures {
    pub clients: usize,
    pub clients_on: ClientsOn,
    pub distribution: Distribution,
    pub operations: u64,
    pub seconds: f64,
    pub per_s: f64,
    #[serde(flatten)]
    pub latency: Latency,
    pub wrong: u64,
    /// Reads of the device that a lookup waited for.
    pub device_reads_per_lookup: f64,
    pub cache_misses_per_lookup: f64,
    /// User and system time of the whole process.
    pub cpu_us_per_lookup: f64,
}

impl LookupFigures {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub(crate) fn of(run: &ClientsRun) -> LookupFigures {
        let operations = run.report.reads.count();
        let per_lookup = |counted: f64| counted / operations.max(1) as f64;
        LookupFigures {
            clients: run.phase.clients,
            clients_on: run.phase.on,
            distribution: run.phase.distribution,
            operations,
            seconds: run.seconds,
            per_s: operations as f64 / run.seconds.max(f64::MIN_POSITIVE),
            latency: run.report.reads.service(),
            wrong: run.report.wrong_reads,
            device_reads_per_lookup: per_lookup(run.counted.device_reads),
            cache_misses_per_lookup: per_lookup(run.counted.cache_misses),
            cpu_us_per_lookup: per_lookup(run.counted.cpu.as_secs_f64() * 1e6),
        }
    }

    /// Whether the device was asked often enough for this to be a measurement of cold lookups.
    #[must_use]
    pub fn is_cold(&self) -> bool {
        self.device_reads_per_lookup >= COLD_DEVICE_READS_MIN
    }
}

/// Loads, settles, looks up, and measures the references; a stop skips what is left.
pub(crate) fn measure_larger(session: &mut Session, report: &mut Report) -> Result<(), BenchError> {
    let mut figures = measure_load(session, report)?;
    let phase = lookup_phase(session);
    let run = session.step(phase, report)?;
    figures.lookups = run.as_ref().map(LookupFigures::of);
    if session.plan.pairs.is_some() {
        figures.pairs = run_read_pairs(session, phase, &mut figures)?;
    } else if !session.stop.is_requested() {
        session.close()?;
        measure_references(session, &mut figures)?;
    }
    figures.resident_bytes_peak = resident_bytes_peak();
    figures.resident_peak_per_memory = ratio(figures.resident_bytes_peak, figures.memory_bytes);
    report.note_lookups(&figures);
    report.larger_than_cache = Some(figures);
    Ok(())
}

fn measure_load(session: &Session, report: &mut Report) -> Result<LargerFigures, BenchError> {
    let row_bytes = session.plan.live_bytes();
    let memory_bytes = session.plan.memory_bytes();
    let resident_bytes_empty = resident_bytes();
    let loaded = load(session)?;
    #[expect(clippy::cast_precision_loss, reason = "a record's bytes are far below 2^53")]
    let load_bytes_per_s = loaded.per_s * session.plan.shape.record_bytes() as f64;
    report.load = Some(loaded);
    let settle = session.settle();
    let space = SpaceFigures::take(&session.db, &session.place.store());
    let resident_bytes_load_peak = resident_bytes_peak();
    Ok(LargerFigures {
        row_bytes,
        memory_bytes,
        resident_bytes_empty,
        load_bytes_per_s: Some(load_bytes_per_s),
        resident_bytes_load_peak,
        resident_load_peak_per_memory: ratio(resident_bytes_load_peak, memory_bytes),
        settle: Some(settle),
        space,
        data_file_per_live: space.file_per_live(),
        data_file_per_row_byte: ratio(space.data_file_bytes, row_bytes),
        ..LargerFigures::default()
    })
}

fn lookup_phase(session: &Session) -> ClientsPhase {
    ClientsPhase {
        name: "cold lookups",
        mix: Mix::Read,
        distribution: session.plan.distribution.unwrap_or(Distribution::Uniform),
        clients: session.plan.clients,
        on: session.plan.clients_on,
        rate_per_s: session.plan.rate_per_s,
        warmup: session.plan.warmup,
    }
}

fn measure_references(session: &Session, figures: &mut LargerFigures) -> Result<(), BenchError> {
    let references = References::of(session);
    let stretch = session.stretch();
    match references.fio(session, &stretch) {
        Ok(fio) => figures.fio = Some(fio),
        Err(reason) => figures.fio_skipped = Some(reason),
    }
    if session.stop.is_requested() {
        return Ok(());
    }
    let raw_loop = references.raw_loop(session, &stretch)?;
    let lookups = figures.lookups.as_ref().map(|lookups| lookups.per_s);
    let against = |reference: &ReferenceFigures| lookups.map(|per_s| per_s / reference.per_s);
    figures.lookups_per_fio_read = figures.fio.as_ref().and_then(against);
    figures.lookups_per_raw_read = against(&raw_loop);
    figures.raw_loop = Some(raw_loop);
    Ok(())
}
