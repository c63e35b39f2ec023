//! Random reads of the store's own data file without the store: what its lookups are held against.

use serde::Serialize;

use crate::error::BenchError;
use crate::limits::DATA_FILE_HEAD_BYTES;
use crate::sample::process_cpu;
use crate::session::Session;
use crate::space::{DATA_FILE, data_file_bytes};

use super::disk::{DiskRun, Stretch};
use super::fio::{Fio, ReadTarget};
use super::raw_reads::RawFile;

/// One measurement of plain random reads.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ReferenceFigures {
    /// What read: fio with its version, or this program's own loop.
    pub tool: String,
    pub operations: u64,
    pub seconds: f64,
    pub per_s: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub cpu_us_per_read: f64,
}

pub(crate) const RAW_LOOP: &str = "raw loop";

/// The two references: fio where there is one, and this program's own loop.
pub(crate) struct References {
    /// Or why there is none.
    pub(crate) fio: Result<Fio, String>,
    target: ReadTarget,
}

impl References {
    pub(crate) fn of(session: &Session) -> References {
        let store = session.place.store();
        let end_byte = data_file_bytes(&store);
        // A store that never merged has nothing behind its root table.
        let first_byte = if end_byte > DATA_FILE_HEAD_BYTES { DATA_FILE_HEAD_BYTES } else { 0 };
        let target = ReadTarget { path: store.join(DATA_FILE), first_byte, end_byte };
        References { fio: Fio::find(), target }
    }

    /// fio over the data file; an error says why not.
    pub(crate) fn fio(
        &self,
        session: &Session,
        stretch: &Stretch,
    ) -> Result<ReferenceFigures, String> {
        let report = session.place.run_dir().join("fio.json");
        self.fio.as_ref().map_err(String::clone)?.random_reads(&self.target, &report, stretch)
    }

    /// The raw loop over the data file.
    pub(crate) fn raw_loop(
        &self,
        session: &Session,
        stretch: &Stretch,
    ) -> Result<ReferenceFigures, BenchError> {
        let ReadTarget { path, first_byte, end_byte } = &self.target;
        let place = (&session.runtime, &session.progress);
        let file = RawFile::open(place, path, *first_byte, *end_byte)?;
        let before = process_cpu();
        let run = file.random_reads(stretch)?;
        let cpu = process_cpu().saturating_sub(before);
        let latency = run.recorder.service();
        Ok(ReferenceFigures {
            tool: RAW_LOOP.to_owned(),
            operations: run.recorder.count(),
            seconds: run.seconds,
            per_s: run.per_s(),
            p50_us: latency.p50_us,
            p99_us: latency.p99_us,
            p999_us: latency.p999_us,
            cpu_us_per_read: cpu_us_per_operation(&run, stretch, cpu.as_secs_f64()),
        })
    }
}

/// CPU of an operation: the process' time over warm-up and measurement, scaled to the measured
/// part.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn cpu_us_per_operation(run: &DiskRun, stretch: &Stretch, cpu_seconds: f64) -> f64 {
    let share = run.seconds / (stretch.warmup.as_secs_f64() + run.seconds).max(f64::MIN_POSITIVE);
    cpu_seconds * 1e6 * share / run.recorder.count().max(1) as f64
}
