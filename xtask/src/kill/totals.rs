//! What all rounds together came to.

use super::life::Life;
use super::workload::Reported;
use super::{ACKNOWLEDGED_MIN, MERGE, PUBLICATION, Pending, SEGMENT_SWITCH};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

#[derive(Default)]
pub(super) struct Totals {
    pub(super) counted: u64,
    rounds: u64,
    kills: u64,
    acknowledged: u64,
    doubtful: u64,
    transactions: u64,
    cross_shard: u64,
    merges: u64,
    recycled: u64,
    checks: u64,
    pub(super) lost: u64,
    half_applied: u64,
    /// What the judge said of the life that ended the run.
    pub(super) violations: usize,
    by_phase: BTreeMap<String, u64>,
    notes: BTreeMap<&'static str, u64>,
    drivers: BTreeSet<String>,
    acknowledged_per_round: Vec<u64>,
    openings_ms: Vec<u64>,
}

impl Totals {
    /// A reopened store has been compared with what was said of it.
    pub(super) fn compared(&mut self, reported: &Reported, pending: &Pending) {
        if pending.kills > 0 {
            self.rounds += 1;
        }
        if pending.counts() {
            self.counted += 1;
            self.acknowledged_per_round.push(pending.acknowledged);
        }
        self.lost += reported.lost;
        self.half_applied += reported.half_applied;
        if self.rounds.is_multiple_of(50) && pending.kills > 0 {
            println!(
                "kill: {} rounds, {} counted, {} kills",
                self.rounds, self.counted, self.kills
            );
        }
    }

    /// The checker found nothing wrong with what a kill left.
    pub(super) fn checked(&mut self) {
        self.checks += 1;
    }

    pub(super) fn end_of_life(&mut self, life: &Life, reported: &Reported) {
        self.acknowledged += reported.acknowledged;
        self.doubtful += reported.unanswered;
        for (name, count) in &reported.notes {
            *self.notes.entry(name).or_default() += count;
        }
        self.transactions += life.transactions;
        self.cross_shard += life.cross_shard;
        self.merges += life.merges;
        self.recycled += life.recycled;
        self.drivers.extend(life.driver.clone());
        self.openings_ms.extend(life.opening.map(|took| took.as_millis() as u64));
        if life.killed {
            self.kills += 1;
            *self.by_phase.entry(life.phase.clone()).or_default() += 1;
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let drivers: Vec<&str> = self.drivers.iter().map(String::as_str).collect();
        writeln!(f, "driver         {:>10}", drivers.join(", "))?;
        writeln!(f, "rounds         {:>10}  counted {}", self.rounds, self.counted)?;
        writeln!(f, "acknowledged   {:>10}  unanswered {}", self.acknowledged, self.doubtful)?;
        let per_round = median(&self.acknowledged_per_round);
        writeln!(f, "per round      {per_round:>10}  (median; at least {ACKNOWLEDGED_MIN})")?;
        let opening = median(&self.openings_ms);
        writeln!(f, "opening, ms    {opening:>10}  (median, from process start to first write)")?;
        let share = 100.0 * self.cross_shard as f64 / self.transactions.max(1) as f64;
        writeln!(f, "transactions   {:>10}  over shards {share:.0} %", self.transactions)?;
        writeln!(f, "kills          {:>10}", self.kills)?;
        let of_kills = |count: u64| 100.0 * count as f64 / self.kills.max(1) as f64;
        for (phase, count) in &self.by_phase {
            writeln!(f, "  {phase:<16} {count:>6}  {:.0} %", of_kills(*count))?;
        }
        let sore = ["recovery", MERGE, PUBLICATION, SEGMENT_SWITCH];
        let sore = sore.iter().filter_map(|phase| self.by_phase.get(*phase)).sum();
        let sore = of_kills(sore);
        writeln!(f, "in a recovery, merge, publication or segment switch: {sore:.0} %")?;
        writeln!(f, "merges         {:>10}  segments taken again {}", self.merges, self.recycled)?;
        writeln!(f, "checked        {:>10}  after a kill, before the next opening", self.checks)?;
        for (name, count) in &self.notes {
            writeln!(f, "{name:<14} {count:>10}")?;
        }
        writeln!(f, "lost           {:>10}", self.lost)?;
        writeln!(f, "half applied   {:>10}", self.half_applied)?;
        write!(f, "violations     {:>10}", self.violations)
    }
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
