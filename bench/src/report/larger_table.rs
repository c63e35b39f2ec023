//! The report of data that does not fit into the cache, for people.

use std::fmt;

use crate::measure::median;
use crate::phase::larger::{LargerFigures, LookupFigures};
use crate::phase::read_pairs::{ReadPairRow, ReadPairsFigures};
use crate::phase::reference::ReferenceFigures;
use crate::place::human_bytes;

use super::figures::Report;
use super::table::{UNDECIDED, microseconds, new_table, rate, ratios_table, row};

impl Report {
    pub(super) fn write_larger(
        &self,
        f: &mut fmt::Formatter<'_>,
        figures: &LargerFigures,
    ) -> fmt::Result {
        let mut table = new_table(&["", "in flight", "per second", "p50 µs", "p99 µs", "p99.9 µs"]);
        if let Some(load) = &self.load {
            let name = format!("load, {} records a commit", load.batch_records);
            table.add_row([name, "tasks".to_owned(), rate(load.per_s)]);
        }
        if let Some(found) = &figures.lookups {
            let place = format!("{} {}", found.clients, found.clients_on.name());
            row(&mut table, "cold lookup", &place, found.per_s, &found.latency);
        }
        for found in [&figures.fio, &figures.raw_loop].into_iter().flatten() {
            add_reference(&mut table, found);
        }
        writeln!(f, "{table}")?;
        figures.write_load(f)?;
        if let Some(lookups) = &figures.lookups {
            lookups.write_costs(f)?;
        }
        if let Some(reason) = &figures.fio_skipped {
            writeln!(f, "fio: SKIPPED: {reason}")?;
        }
        let glances = [
            ("fio's reads", figures.lookups_per_fio_read),
            ("the raw loop's reads", figures.lookups_per_raw_read),
        ];
        for (name, ratio) in glances {
            if let Some(ratio) = ratio {
                let tail = "(one run; --pairs 11 measures it)";
                writeln!(f, "lookups against {name}: {ratio:.3} {tail}")?;
            }
        }
        figures.pairs.as_ref().map_or(Ok(()), |pairs| pairs.write(f))
    }
}

fn add_reference(table: &mut comfy_table::Table, found: &ReferenceFigures) {
    let [p50, p99, p999] = [found.p50_us, found.p99_us, found.p999_us].map(microseconds);
    let depth = format!("depth {}", crate::limits::DISK_READ_DEPTH);
    let name = format!("random 4 KiB read, {}", found.tool);
    table.add_row([name, depth, rate(found.per_s), p50, p99, p999]);
}

impl LargerFigures {
    fn write_load(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unknown = |ratio: Option<f64>| {
            ratio.map_or_else(|| "unknown".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        let settled = self.settle.map_or(0.0, |settle| settle.seconds);
        let load_bytes_per_s = self.load_bytes_per_s.unwrap_or(0.0) as u64;
        writeln!(
            f,
            "loaded {} of rows at {}/s into {} of memory, {:.1} s until merging had settled",
            human_bytes(self.row_bytes),
            human_bytes(load_bytes_per_s),
            human_bytes(self.memory_bytes),
            settled,
        )?;
        writeln!(
            f,
            "the process took {} at most while loading ({} of the budget), {} at most at all ({}); \
             {} with the store empty",
            human_bytes(self.resident_bytes_load_peak),
            or_unknown(self.resident_load_peak_per_memory),
            human_bytes(self.resident_bytes_peak),
            or_unknown(self.resident_peak_per_memory),
            human_bytes(self.resident_bytes_empty),
        )?;
        writeln!(
            f,
            "data file {}, {} times what is live in it ({}) and {} times the rows; log {}, \
             windows {}, {} merges",
            human_bytes(self.space.data_file_bytes),
            or_unknown(self.data_file_per_live),
            human_bytes(self.space.data_live_bytes),
            or_unknown(self.data_file_per_row_byte),
            human_bytes(self.space.log_bytes),
            human_bytes(self.space.window_bytes),
            self.space.merges,
        )
    }
}

impl LookupFigures {
    fn write_costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "a lookup costs {:.2} device reads, {:.2} cache misses, {:.1} µs of CPU",
            self.device_reads_per_lookup, self.cache_misses_per_lookup, self.cpu_us_per_lookup,
        )
    }
}

impl ReadPairsFigures {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let itself = format!("A/A {}, against itself", self.reference);
        let against = format!("lookups against {}", self.reference);
        let rows = [
            (itself.as_str(), &self.reference_against_itself),
            (against.as_str(), &self.lookups_against_reference),
        ];
        let beside = self.lookups_against_raw_loop.as_ref();
        let beside = beside.map(|ratio| ("lookups against the raw loop", ratio));
        writeln!(f, "{}", ratios_table(rows.into_iter().chain(beside)))?;
        if self.undecided {
            writeln!(f, "{UNDECIDED}")?;
        }
        let middle = |of: fn(&ReadPairRow) -> f64| {
            median(&self.rows.iter().map(of).collect::<Vec<_>>()).unwrap_or(f64::NAN)
        };
        writeln!(
            f,
            "medians: {} reads/s at {:.1} µs of CPU each; {} lookups/s at {:.1} µs of CPU and \
             {:.2} device reads each",
            rate(middle(|row| row.reference[0].per_s)),
            middle(|row| row.reference[0].cpu_us_per_read),
            rate(middle(|row| row.lookups.per_s)),
            middle(|row| row.lookups.cpu_us_per_lookup),
            middle(|row| row.lookups.device_reads_per_lookup),
        )
    }
}
