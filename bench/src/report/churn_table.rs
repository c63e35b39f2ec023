//! The report of a churn, for people.

use std::fmt;

use crate::limits::CURVE_POINTS_SHOWN;
use crate::measure::{Spread, evenly};
use crate::phase::churn::{ChurnFigures, ChurnPoint};
use crate::phase::first_state::SnapshotFigures;
use crate::place::human_bytes;

use super::figures::Report;
use super::table::{count, new_table, rate};

const COLUMNS: [&str; 9] =
    ["", "written ×", "file", "live", "waiting", "file/live", "log", "windows", "RSS"];

impl Report {
    pub(super) fn write_churn(
        &self,
        f: &mut fmt::Formatter<'_>,
        figures: &ChurnFigures,
    ) -> fmt::Result {
        let mut table = new_table(&COLUMNS);
        for point in evenly(&figures.curve, CURVE_POINTS_SHOWN) {
            table.add_row(point_cells(point));
        }
        for (name, of) in [
            ("min", (|spread| spread.min) as fn(&Spread) -> f64),
            ("median", |spread| spread.median),
            ("max", |spread| spread.max),
        ] {
            table.add_row(figures.spread_cells(name, of));
        }
        writeln!(f, "{table}")?;
        figures.write_facts(f)?;
        match &figures.snapshot {
            Some(snapshot) => snapshot.write(f)?,
            None => writeln!(f, "no snapshot was held")?,
        }
        let after = &figures.space_after;
        writeln!(
            f,
            "afterwards, with nothing held and merging settled: data file {}, live {}, waiting {}, \
             log {}",
            human_bytes(after.data_file_bytes),
            human_bytes(after.data_live_bytes),
            human_bytes(after.data_waiting_bytes),
            human_bytes(after.log_bytes),
        )
    }
}

fn point_cells(point: &ChurnPoint) -> Vec<String> {
    let space = &point.space;
    vec![
        format!("{:.1} s", point.seconds),
        format!("{:.2}", point.written_factor),
        human_bytes(space.data_file_bytes),
        human_bytes(space.data_live_bytes),
        human_bytes(space.data_waiting_bytes),
        point.file_per_live.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        human_bytes(space.log_bytes),
        human_bytes(space.window_bytes),
        human_bytes(point.resident_bytes),
    ]
}

impl ChurnFigures {
    fn spread_cells(&self, name: &str, of: fn(&Spread) -> f64) -> Vec<String> {
        let bytes = |spread: &Option<Spread>| {
            spread.as_ref().map_or_else(String::new, |spread| human_bytes(of(spread) as u64))
        };
        let ratio = self.file_per_live.as_ref();
        vec![
            name.to_owned(),
            String::new(),
            bytes(&self.data_file_bytes),
            bytes(&self.data_live_bytes),
            bytes(&self.data_waiting_bytes),
            ratio.map_or_else(String::new, |spread| format!("{:.2}", of(spread))),
            bytes(&self.log_bytes),
            bytes(&self.window_bytes),
            bytes(&self.resident_bytes),
        ]
    }

    fn write_facts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} rows ({}, {} times the live {}) overwritten at random by {} clients, {} a commit: \
             {:.1} s, {} rows/s, {}/s, {} conflicts, {} refused for want of room and \
             tried again{}",
            count(self.rows_written),
            human_bytes(self.written_bytes),
            self.factor,
            human_bytes(self.row_bytes),
            self.clients,
            self.batch_records,
            self.seconds,
            rate(self.rows_per_s),
            human_bytes(self.bytes_per_s as u64),
            count(self.conflicts),
            count(self.refused_for_room),
            if self.completed { "" } else { " (ended before all was written)" },
        )?;
        let ratio = self.resident_peak_per_memory.unwrap_or(f64::NAN);
        let (peak, budget) = (self.resident_bytes_peak, self.memory_bytes);
        let (peak, budget) = (human_bytes(peak), human_bytes(budget));
        writeln!(f, "the process took {peak} at most: {ratio:.2} of its budget of {budget}")
    }
}

impl SnapshotFigures {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the snapshot of the first state, held for {:.1} s: of {} keys {} as loaded, {} wrong, \
             {} refused as too old",
            self.held_seconds,
            count(self.sampled),
            count(self.first_state),
            count(self.wrong),
            count(self.too_old),
        )?;
        match self.ended_at_factor {
            Some(factor) => writeln!(f, " (it had ended when {factor:.2} × had been written)")?,
            None => writeln!(f)?,
        }
        self.examples.iter().try_for_each(|key| writeln!(f, "  not as loaded: {key}"))
    }
}
