//! `sombra repair`: what is wrong with a closed store, what helps, what that costs; and doing it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use sombra::Options;
use sombra::repair::{self, LogCut, LogGap, LostKey, Remedy, RepairReport, SalvageReport};
use sombra_bench::Progress;

use crate::Outcome;
use crate::failure::Failure;
use crate::output::{print_json, stdout, tablets_done};
use crate::problem::Problem;
use crate::store::start_runtime;
use crate::text::Notation;

/// Lost keys that are printed for people; `--json` has more of them.
const KEYS_SHOWN_MAX: usize = 20;

#[derive(Args)]
pub(crate) struct RepairArgs {
    /// Directory of the store, which nobody may have open.
    store: PathBuf,
    /// Do what is said; without it nothing is changed.
    #[arg(long)]
    apply: bool,
    /// Read what is whole into a new store in this directory; the old one is only read.
    #[arg(long, value_name = "NEWSTORE", conflicts_with = "apply")]
    salvage: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Repair {
    store: String,
    store_id: String,
    is_applied: bool,
    findings: Vec<Finding>,
    log_cut: Option<Cut>,
    /// Directory that holds what was taken away.
    kept_in: Option<String>,
    /// What a check found afterwards.
    left: Vec<Problem>,
}

#[derive(Serialize)]
struct Finding {
    problem: Problem,
    remedy: String,
    is_done: bool,
}

#[derive(Serialize)]
struct Cut {
    /// Whether `--apply` ends the log there; else it is left for `--salvage`.
    is_in_place: bool,
    end_lsn: u64,
    lost_up_to_lsn: u64,
    records_behind: u64,
    blocks_behind: u64,
    gaps: Vec<Gap>,
    keyspaces_lost: Vec<String>,
    keyspaces_back: Vec<u32>,
    lost_writes: u64,
    lost_keys: Vec<Lost>,
    tablets_ahead: Vec<Ahead>,
}

/// Commits with an LSN above `from` and up to `to` cannot be read.
#[derive(Serialize)]
struct Gap {
    from_lsn: u64,
    to_lsn: u64,
}

#[derive(Serialize)]
struct Lost {
    keyspace: String,
    keyspace_id: u32,
    key: String,
    key_hex: String,
    lsn: u64,
    is_delete: bool,
}

#[derive(Serialize)]
struct Ahead {
    keyspace: String,
    keyspace_id: u32,
    tablet: u32,
    tree_lsn: u64,
}

#[derive(Serialize)]
struct Salvage {
    store: String,
    store_id: String,
    new_store: String,
    keyspaces: Vec<Salvaged>,
    lost: Vec<LostSpan>,
    log_records: u64,
    log_damage: Option<String>,
    log_gaps: Vec<Gap>,
    /// Writes of the log to keyspaces of which neither name nor routing is known.
    log_writes_unplaced: u64,
    is_complete: bool,
}

#[derive(Serialize)]
struct Salvaged {
    name: String,
    rows_from_trees: u64,
    writes_from_log: u64,
}

#[derive(Serialize)]
struct LostSpan {
    problem: Problem,
    rows_from_log: u64,
}

pub(crate) fn run(args: &RepairArgs) -> Outcome {
    match &args.salvage {
        Some(into) => run_salvage(args, into),
        None => run_repair(args),
    }
}

fn run_repair(args: &RepairArgs) -> Outcome {
    let bar = Arc::new(Progress::new(true));
    let runtime = start_runtime()?;
    let report = match args.apply {
        false => {
            runtime.block_on(repair::plan(&runtime, &args.store, tablets_done(&bar, "reading")))
        }
        true => {
            runtime.block_on(repair::apply(&runtime, &args.store, tablets_done(&bar, "reading")))
        }
    };
    runtime.shutdown();
    bar.end();
    let report = report.map_err(Failure::work)?;
    let problems = if args.apply { report.left.len() } else { report.findings.len() };
    let repair = Repair::new(args.store.display().to_string(), &report);
    if args.json {
        print_json(&repair)?
    } else {
        repair.write_for_people()?
    }
    Failure::for_problems(problems, &repair.store)
}

fn run_salvage(args: &RepairArgs, into: &std::path::Path) -> Outcome {
    let bar = Arc::new(Progress::new(true));
    let runtime = start_runtime()?;
    let options = Options { metrics_file: false, ..Options::default() };
    let paths = (args.store.as_path(), into);
    let report =
        runtime.block_on(repair::salvage(&runtime, paths, options, tablets_done(&bar, "reading")));
    runtime.shutdown();
    bar.end();
    let report = report.map_err(Failure::work)?;
    let problems = report.lost.len()
        + report.log_gaps.len()
        + usize::from(report.log_damage.is_some())
        + usize::from(report.log_writes_unplaced > 0);
    let salvage = Salvage::new(args, into, &report);
    if args.json {
        print_json(&salvage)?
    } else {
        salvage.write_for_people()?
    }
    Failure::for_problems(problems, &salvage.store)
}

impl Repair {
    fn new(store: String, report: &RepairReport) -> Repair {
        let findings = report.findings.iter().map(|finding| Finding {
            problem: Problem::from(&finding.problem),
            remedy: finding.remedy.to_string(),
            is_done: report.is_applied && report.does(finding.remedy),
        });
        Repair {
            store,
            store_id: report.store_id.to_string(),
            is_applied: report.is_applied,
            findings: findings.collect(),
            log_cut: report.log_cut.as_ref().map(|cut| Cut::new(cut, report)),
            kept_in: report.kept_in.as_ref().map(|path| path.display().to_string()),
            left: report.left.iter().map(Problem::from).collect(),
        }
    }

    fn write_for_people(&self) -> Outcome {
        let mut out = stdout();
        let Repair { store, store_id, .. } = self;
        writeln!(out, "{store}: store {store_id}")?;
        let will = if self.is_applied { "was" } else { "would be" };
        for finding in &self.findings {
            writeln!(out, "problem: {}", finding.problem)?;
            let told = if finding.is_done { "done" } else { "what helps" };
            writeln!(out, "  {told}: {}", finding.remedy)?;
        }
        match &self.log_cut {
            Some(cut) if cut.is_in_place => cut.write_for_people(&mut out, will)?,
            Some(_) => writeln!(
                out,
                "the log is left as it is: --salvage, which other damage needs, reads it past its \
                 own"
            )?,
            None => {}
        }
        if let Some(kept_in) = &self.kept_in {
            writeln!(out, "kept: what was taken away lies in {kept_in}")?;
        }
        for problem in &self.left {
            writeln!(out, "left: {problem}")?;
        }
        match (self.findings.is_empty(), self.is_applied, self.left.is_empty()) {
            (true, _, _) => writeln!(out, "nothing to repair was found")?,
            (false, false, _) => writeln!(
                out,
                "nothing was changed; --apply does it, but for what --salvage is for"
            )?,
            (false, true, true) => writeln!(out, "sound: a check found no problem afterwards")?,
            (false, true, false) => writeln!(
                out,
                "what is left cannot be repaired in place: read what is whole into a new store \
                 with --salvage NEWSTORE"
            )?,
        }
        Ok(out.flush()?)
    }
}

fn gap(gap: &LogGap) -> Gap {
    Gap { from_lsn: gap.from.as_u64(), to_lsn: gap.to.as_u64() }
}

impl Cut {
    fn new(cut: &LogCut, report: &RepairReport) -> Cut {
        let ahead = cut.tablets_ahead.iter().map(|ahead| Ahead {
            keyspace: ahead.tablet.keyspace.clone(),
            keyspace_id: ahead.tablet.id.keyspace.as_u32(),
            tablet: ahead.tablet.id.index,
            tree_lsn: ahead.tree_lsn.as_u64(),
        });
        Cut {
            is_in_place: report.does(Remedy::CutLog),
            end_lsn: cut.end.as_u64(),
            lost_up_to_lsn: cut.lost_up_to.as_u64(),
            records_behind: cut.records,
            blocks_behind: cut.blocks,
            gaps: cut.gaps.iter().map(gap).collect(),
            keyspaces_lost: cut.keyspaces_made.clone(),
            keyspaces_back: cut.keyspaces_dropped.iter().map(|id| id.as_u32()).collect(),
            lost_writes: cut.keys_total,
            lost_keys: cut.keys.iter().map(Lost::new).collect(),
            tablets_ahead: ahead.collect(),
        }
    }

    fn write_for_people(&self, out: &mut impl Write, was: &str) -> Outcome {
        let Cut { end_lsn, lost_up_to_lsn, records_behind, blocks_behind, .. } = self;
        writeln!(
            out,
            "the log {was} ended at LSN {end_lsn}; it reached LSN \
             {lost_up_to_lsn}. Behind the damage {records_behind} records in {blocks_behind} \
             blocks can be read; none of them {was} kept in the log"
        )?;
        for Gap { from_lsn, to_lsn } in &self.gaps {
            writeln!(
                out,
                "lost: whatever was committed above LSN {from_lsn} up to {to_lsn}; nobody knows \
                 its keys"
            )?;
        }
        for name in &self.keyspaces_lost {
            writeln!(out, "lost: keyspace {name:?}, made behind the damage")?;
        }
        for id in &self.keyspaces_back {
            writeln!(out, "back: keyspace {id}, dropped behind the damage")?;
        }
        for lost in self.lost_keys.iter().take(KEYS_SHOWN_MAX) {
            let what = if lost.is_delete { "delete" } else { "put" };
            let Lost { keyspace, key, lsn, .. } = lost;
            writeln!(out, "lost: {what} of {key} in keyspace {keyspace:?} at LSN {lsn}")?;
        }
        let shown = self.lost_keys.len().min(KEYS_SHOWN_MAX) as u64;
        if self.lost_writes > shown {
            writeln!(out, "lost: {} writes more (--json names them)", self.lost_writes - shown)?;
        }
        for Ahead { keyspace, tablet, tree_lsn, .. } in &self.tablets_ahead {
            writeln!(
                out,
                "ahead: the tree of tablet {tablet} of keyspace {keyspace:?} holds commits up to \
                 LSN {tree_lsn}, which the log then does not: of a transaction over several \
                 tablets a part may be there and a part be lost"
            )?;
        }
        Ok(())
    }
}

impl Lost {
    fn new(lost: &LostKey) -> Lost {
        Lost {
            keyspace: lost.tablet.keyspace.clone(),
            keyspace_id: lost.tablet.id.keyspace.as_u32(),
            key: Notation::Plain.show(&lost.key),
            key_hex: Notation::Hex.show(&lost.key),
            lsn: lost.lsn.as_u64(),
            is_delete: lost.is_delete,
        }
    }
}

impl Salvage {
    fn new(args: &RepairArgs, into: &std::path::Path, report: &SalvageReport) -> Salvage {
        let keyspaces = report.keyspaces.iter().map(|keyspace| Salvaged {
            name: keyspace.name.clone(),
            rows_from_trees: keyspace.rows_from_trees,
            writes_from_log: keyspace.writes_from_log,
        });
        let lost = report.lost.iter().map(|lost| LostSpan {
            problem: Problem::from(&lost.problem),
            rows_from_log: lost.rows_from_log,
        });
        Salvage {
            store: args.store.display().to_string(),
            store_id: report.store_id.to_string(),
            new_store: into.display().to_string(),
            keyspaces: keyspaces.collect(),
            lost: lost.collect(),
            log_records: report.log_records,
            log_damage: report.log_damage.clone(),
            log_gaps: report.log_gaps.iter().map(gap).collect(),
            log_writes_unplaced: report.log_writes_unplaced,
            is_complete: report.is_complete(),
        }
    }

    fn write_for_people(&self) -> Outcome {
        let mut out = stdout();
        writeln!(out, "{}: store {} read into {}", self.store, self.store_id, self.new_store)?;
        for Salvaged { name, rows_from_trees, writes_from_log } in &self.keyspaces {
            writeln!(
                out,
                "keyspace {name:?}: {rows_from_trees} rows from its trees, {writes_from_log} \
                 writes from the log on top of them"
            )?;
        }
        for LostSpan { problem, rows_from_log, .. } in &self.lost {
            writeln!(out, "lost: {problem}")?;
            if *rows_from_log > 0 {
                writeln!(out, "  of these keys {rows_from_log} are there: the log has them")?;
            }
        }
        if let Some(damage) = &self.log_damage {
            writeln!(out, "log: {damage}")?;
        }
        for Gap { from_lsn, to_lsn } in &self.log_gaps {
            writeln!(
                out,
                "lost: whatever was committed above LSN {from_lsn} up to {to_lsn}; what comes \
                 behind is there"
            )?;
        }
        if self.log_writes_unplaced > 0 {
            writeln!(
                out,
                "lost: {} writes of the log to keyspaces whose names and routings are not known",
                self.log_writes_unplaced
            )?;
        }
        if self.is_complete {
            writeln!(out, "nothing was lost")?;
        }
        Ok(out.flush()?)
    }
}
