//! The report of one number that all raise, for people.

use std::fmt;

use crate::measure::median;
use crate::phase::counter::{CounterFigures, CounterRow, CounterSide};

use super::table::{UNDECIDED, microseconds, new_table, rate, ratios_table};

impl CounterFigures {
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "one number that {} clients {} raise durably",
            self.clients,
            self.clients_on.name()
        )?;
        let rows = [
            ("A/A read and write, optimistic, against itself", &self.optimistic_against_itself),
            ("get_for_update against optimistic", &self.locked_against_optimistic),
            ("add against optimistic", &self.sum_against_optimistic),
        ];
        let rows = rows.into_iter().filter_map(|(name, ratio)| Some((name, ratio.as_ref()?)));
        writeln!(f, "{}", ratios_table(rows))?;
        if self.undecided {
            writeln!(f, "{UNDECIDED}")?;
        }
        let header =
            ["medians", "raises/s", "p50 µs", "p99 µs", "retries each", "CPU µs", "flushes each"];
        let mut table = new_table(&header);
        let sides: [fn(&CounterRow) -> &CounterSide; 3] =
            [|row| &row.optimistic[0], |row| &row.locked, |row| &row.sum];
        for side in sides {
            let Some(first) = self.rows.first() else { break };
            let middle = |of: fn(&CounterSide) -> f64| {
                let values: Vec<_> = self.rows.iter().map(|row| of(side(row))).collect();
                median(&values).unwrap_or(f64::NAN)
            };
            table.add_row([
                side(first).how.name().to_owned(),
                rate(middle(|side| side.per_s)),
                microseconds(middle(|side| side.latency.p50_us)),
                microseconds(middle(|side| side.latency.p99_us)),
                format!("{:.2}", middle(|side| side.retries_per_raise)),
                format!("{:.1}", middle(|side| side.cost.cpu_us_per_commit)),
                format!("{:.3}", middle(|side| side.cost.flushes_per_commit)),
            ]);
        }
        writeln!(f, "{table}")?;
        writeln!(f, "raises that were acknowledged and are not in the number: {}", self.lost)
    }
}
