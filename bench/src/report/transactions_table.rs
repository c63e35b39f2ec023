//! The reports of transactions, for people.

use std::fmt;

use crate::limits::LONG_FALSE_PERCENT_MAX;
use crate::measure::{Aborts, median};
use crate::phase::crossing::{CrossingFigures, CrossingRow};
use crate::phase::long_transactions::LongFigures;
use crate::phase::tpcc::{Books, TpccFigures, TpccRow};
use crate::phase::transaction_pairs::{TransactionPairRow, TransactionPairsFigures};
use crate::phase::transactions::TransactionFigures;
use crate::workload::tpcc::Consistency;

use super::table::{UNDECIDED, count, microseconds, new_table, rate, ratios_table, row};

impl TransactionPairsFigures {
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(crossing) = &self.crossing {
            crossing.write(f)?;
        }
        writeln!(
            f,
            "transactions of 2 reads and 2 updates, {}, {} clients {}; those that conflict are \
             not run again",
            self.distribution.name(),
            self.clients,
            self.clients_on.name(),
        )?;
        let rows = [
            ("A/A commits/s, snapshot against itself", &self.snapshot_against_itself),
            ("commits/s, serializable against snapshot", &self.serializable_against_snapshot),
            ("A/A CPU a commit, snapshot against itself", &self.cpu_snapshot_against_itself),
            (
                "CPU a commit, serializable against snapshot",
                &self.cpu_serializable_against_snapshot,
            ),
        ];
        let rows = rows.into_iter().filter_map(|(name, ratio)| Some((name, ratio.as_ref()?)));
        writeln!(f, "{}", ratios_table(rows))?;
        if self.undecided {
            writeln!(f, "{UNDECIDED}")?;
        }
        self.write_side(f, "snapshot", |row| &row.snapshot[0])?;
        self.write_side(f, "serializable", |row| &row.serializable)
    }

    fn write_side(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        side: fn(&TransactionPairRow) -> &TransactionFigures,
    ) -> fmt::Result {
        let middle = |of: fn(&TransactionFigures) -> f64| {
            let values: Vec<_> = self.rows.iter().map(|row| of(side(row))).collect();
            median(&values).unwrap_or(f64::NAN)
        };
        let mut aborts = Aborts::default();
        let mut ended = 0;
        for figures in self.rows.iter().map(side) {
            aborts.merge(&figures.aborts);
            ended += figures.committed + figures.aborted;
        }
        writeln!(
            f,
            "{name}, medians: {} commits/s, p50 {} µs, p99 {} µs; {:.1} µs of CPU, {:.3} log \
             records, {:.3} flushes and {:.0} bytes of log a commit; {:.1} % over several shards",
            rate(middle(|side| side.per_s)),
            microseconds(middle(|side| side.latency.p50_us)),
            microseconds(middle(|side| side.latency.p99_us)),
            middle(|side| side.cost.cpu_us_per_commit),
            middle(|side| side.cost.log_records_per_commit),
            middle(|side| side.cost.flushes_per_commit),
            middle(|side| side.cost.log_bytes_per_commit),
            100.0 * middle(|side| side.cost.across_shards_share),
        )?;
        let share = 100.0 * middle(|side| side.abort_share);
        write!(f, "  aborted {share:.2} %: ")?;
        write_aborts(f, &aborts, ended)
    }
}

/// The reasons that occurred, as shares of all transactions that ended.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn write_aborts(f: &mut fmt::Formatter<'_>, aborts: &Aborts, ended: u64) -> fmt::Result {
    let met = aborts.by_reason().into_iter().filter(|(_, number)| *number > 0);
    let share = |number: u64| 100.0 * number as f64 / ended.max(1) as f64;
    let parts: Vec<_> =
        met.map(|(reason, number)| format!("{reason} {:.3} %", share(number))).collect();
    writeln!(f, "{}", if parts.is_empty() { "for no reason".to_owned() } else { parts.join(", ") })
}

impl CrossingFigures {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.across.write(f, "over two shards")?;
        self.within.write(f, "on one shard")
    }
}

impl CrossingRow {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn write(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let each = |counted: u64| counted as f64 / self.commits.max(1) as f64;
        writeln!(
            f,
            "{} commits {name}, one after the other ({} counted as over several): {:.3} log \
             records and {:.3} flushes each{}; p50 {} µs, {:.1} µs of CPU, {:.0} bytes of log",
            count(self.commits),
            count(self.across_shards),
            each(self.log_records),
            each(self.flushes),
            if self.is_exact() {
                format!(" (exactly one, beside {} stamps of an idle log)", self.stamps)
            } else {
                format!(
                    " (NOT one: {} records, {} flushes, {} of them stamps)",
                    self.log_records, self.flushes, self.stamps
                )
            },
            microseconds(self.latency.p50_us),
            self.cpu_us_per_commit,
            self.log_bytes_per_commit,
        )
    }
}

impl LongFigures {
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(load) = &self.load {
            writeln!(
                f,
                "beside: {}, {}, {} clients {}: {} operations/s",
                load.mix,
                load.distribution.name(),
                load.clients,
                load.clients_on.name(),
                rate(load.per_s),
            )?;
        }
        writeln!(
            f,
            "{} clients with serializable transactions that read {} uniform keys over {} ms and \
             write one: {} committed, {} aborted",
            self.clients,
            self.reads,
            self.milliseconds,
            count(self.committed),
            count(self.aborted),
        )?;
        write!(f, "  aborted: ")?;
        write_aborts(f, &self.aborts, self.committed + self.aborted)?;
        let percent = 100.0 * self.false_share_of_aborts;
        let verdict = if percent < LONG_FALSE_PERCENT_MAX { "below" } else { "NOT below" };
        writeln!(
            f,
            "  of the aborts {} true, {} false ({} of them with no key changed), {} undecided: \
             {percent:.2} % false, {verdict} the {LONG_FALSE_PERCENT_MAX} % aimed at",
            count(self.true_aborts),
            count(self.false_aborts),
            count(self.false_aborts_of_unchanged),
            count(self.undecided_aborts),
        )?;
        writeln!(f, "  {} commits that should have been aborted", count(self.wrong_commits))
    }
}

impl TpccFigures {
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "in the shape of TPC-C's new-order and payment, not a result of TPC-C: {} warehouses, \
             {:?} of them on each shard, {} rows loaded in {:.1} s",
            self.warehouses,
            self.warehouses_on_shards,
            count(self.rows_loaded),
            self.load_seconds,
        )?;
        let mut table = new_table(&["", "clients", "per second", "p50 µs", "p99 µs", "p99.9 µs"]);
        let place = format!("{} {}", self.clients, self.clients_on.name());
        let kinds = [("new-order", &self.new_orders), ("payment", &self.payments)];
        for (name, kind) in kinds {
            row(&mut table, name, &place, kind.per_s, &kind.latency);
        }
        writeln!(f, "{table}")?;
        kinds.into_iter().try_for_each(|(name, kind)| kind.write_aborts(f, name))?;
        writeln!(
            f,
            "a commit costs {:.1} µs of CPU, {:.3} log records, {:.3} flushes, {:.0} bytes of \
             log; {:.1} % over several shards; {} orders rolled back for an item that is not there",
            self.cost.cpu_us_per_commit,
            self.cost.log_records_per_commit,
            self.cost.flushes_per_commit,
            self.cost.log_bytes_per_commit,
            100.0 * self.cost.across_shards_share,
            count(self.rolled_back),
        )?;
        write_consistency(f, "before closing", &self.consistency)?;
        if let Some(found) = &self.consistency_reopened {
            write_consistency(f, "after reopening", found)?;
        }
        self.books.write(f)
    }
}

impl TpccRow {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn write_aborts(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let ended = self.committed + self.aborts.total();
        let share = 100.0 * self.aborts.total() as f64 / ended.max(1) as f64;
        write!(f, "{name} aborted {share:.2} %: ")?;
        write_aborts(f, &self.aborts, ended)
    }
}

fn write_consistency(f: &mut fmt::Formatter<'_>, when: &str, found: &Consistency) -> fmt::Result {
    writeln!(
        f,
        "consistency {when}, one snapshot: {} districts, {} orders, {} order lines, {} \
         new-orders; conditions 1 to 4 violated {:?} times",
        count(found.districts),
        count(found.orders),
        count(found.order_lines),
        count(found.new_orders),
        found.violations,
    )?;
    found.examples.iter().try_for_each(|example| writeln!(f, "  {example}"))
}

impl Books {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "books: {} orders and {} cents acknowledged, {} orders and {} cents found, {} \
             transactions of unknown outcome: {}",
            count(self.orders_acknowledged),
            count(self.cents_acknowledged),
            count(self.orders_found),
            count(self.cents_found),
            count(self.unknown),
            if self.is_balanced() { "balanced" } else { "NOT balanced" },
        )
    }
}
