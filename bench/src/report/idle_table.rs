//! The report of an idle store, for people.

use std::fmt;

use crate::limits::IDLE_PERCENT_MAX;
use crate::phase::idle::IdleFigures;

use super::table::new_table;

impl IdleFigures {
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "an open store with nothing to do, {:.1} s after the last write merging had {}settled",
            self.settle.seconds,
            if self.settle.settled { "" } else { "NOT " },
        )?;
        let header = ["held open", "seconds", "CPU ms", "% of a core", "wake-ups/s", "flushes"];
        let mut table = new_table(&header);
        for row in &self.rows {
            table.add_row([
                row.holds.to_owned(),
                format!("{:.1}", row.seconds),
                format!("{:.1}", row.cpu_ms),
                format!("{:.3}", row.percent_of_a_core),
                format!("{:.1}", row.wakeups_per_s),
                format!("{:.0}", row.flushes),
            ]);
        }
        writeln!(f, "{table}")?;
        let most = self.rows.iter().map(|row| row.percent_of_a_core).fold(0.0, f64::max);
        let verdict = if most < IDLE_PERCENT_MAX { "below" } else { "NOT below" };
        writeln!(f, "at most {most:.3} % of a core, {verdict} the {IDLE_PERCENT_MAX} % aimed at")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phase::idle::IdleRow;
    use crate::phase::settle::SettleFigures;

    struct Shown(IdleFigures);

    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.write(f)
        }
    }

    #[test]
    fn idle_store_that_takes_too_much_in_any_stretch_is_called_so() {
        let row = |percent_of_a_core| IdleRow {
            holds: "nothing",
            seconds: 10.0,
            cpu_ms: percent_of_a_core * 100.0,
            percent_of_a_core,
            wakeups_per_s: 6.4,
            flushes: 0.0,
            log_bytes: 0.0,
        };
        let shown = |percents: &[f64]| {
            let rows = percents.iter().copied().map(row).collect();
            Shown(IdleFigures { settle: SettleFigures { seconds: 0.0, settled: true }, rows })
                .to_string()
        };
        assert!(shown(&[0.1, 0.999]).contains("at most 0.999 % of a core, below the 1 %"));
        assert!(shown(&[1.0, 0.1]).contains("at most 1.000 % of a core, NOT below the 1 %"));
    }
}
