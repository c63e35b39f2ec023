//! `sombra stat`: a store's counters, for people, scripts and Prometheus.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use sombra::{METRICS_FILE, MetricKind, MetricLine, OpenError, OpenMode};

use crate::Outcome;
use crate::failure::Failure;
use crate::output::{print_json, stdout};
use crate::store::OpenStore;

#[derive(Args)]
pub(crate) struct StatArgs {
    /// Directory of the store.
    store: PathBuf,
    /// Print one JSON document.
    #[arg(long, conflicts_with = "prometheus")]
    json: bool,
    /// Print the Prometheus text format.
    #[arg(long)]
    prometheus: bool,
}

/// The counters of a store, wherever they came from.
#[derive(Serialize)]
struct Counters {
    store: String,
    source: Source,
    /// What opening the store found, when this command opened it.
    opening: Option<String>,
    metrics: Vec<Metric>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    /// The file that the store's owner refreshes each second.
    Owner,
    /// This command had the store open for a moment.
    Opened,
}

#[derive(Serialize)]
struct Metric {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
    /// Known only when this command asked the store itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'static str>,
}

pub(crate) fn run(args: &StatArgs) -> Outcome {
    let counters = collect(&args.store)?;
    if args.json {
        return print_json(&counters);
    }
    let mut out = stdout();
    if args.prometheus {
        counters.write_prometheus(&mut out)?;
    } else {
        counters.write_for_people(&mut out)?;
    }
    Ok(out.flush()?)
}

/// Opens the store to read it; when somebody else has it open for writing, reads what that owner
/// wrote down.
fn collect(path: &Path) -> Outcome<Counters> {
    let store = path.display().to_string();
    match OpenStore::try_open(path, OpenMode::ReadOnly)? {
        Ok(opened) => {
            let opening = Some(opened.db.open_report().to_string());
            let metrics = opened.db.metrics().lines().iter().map(Metric::from).collect();
            opened.close()?;
            Ok(Counters { store, source: Source::Opened, opening, metrics })
        }
        Err(OpenError::Locked { .. }) => {
            let metrics = read_owners_file(path)?;
            Ok(Counters { store, source: Source::Owner, opening: None, metrics })
        }
        Err(error) => Err(Failure::work(error)),
    }
}

fn read_owners_file(path: &Path) -> Outcome<Vec<Metric>> {
    let file = path.join(METRICS_FILE);
    let text = fs::read_to_string(&file).map_err(|error| {
        let file = file.display();
        let reason = "the store is open elsewhere and its owner writes no counters";
        Failure::work(format!("{file}: {reason}: {error}"))
    })?;
    let metric = |line: &str| {
        parse_line(line).ok_or_else(|| {
            let file = file.display();
            Failure::work(format!(
                "{file}: expected `name{{label=\"value\"}} number`, found {line:?}"
            ))
        })
    };
    text.lines().map(metric).collect()
}

/// Reads one line as `MetricLine` prints it: label values hold no quotation marks.
fn parse_line(line: &str) -> Option<Metric> {
    let (named, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, labels) = match named.split_once('{') {
        None => (named, BTreeMap::new()),
        Some((name, rest)) => {
            let pairs = rest.strip_suffix('}')?.split(',').map(|pair| {
                let (label, value) = pair.split_once('=')?;
                let value = value.strip_prefix('"')?.strip_suffix('"')?;
                Some((label.to_owned(), value.to_owned()))
            });
            (name, pairs.collect::<Option<_>>()?)
        }
    };
    if name.is_empty() {
        return None;
    }
    Some(Metric { name: name.to_owned(), labels, value, kind: None, help: None })
}

impl From<&MetricLine> for Metric {
    fn from(line: &MetricLine) -> Metric {
        let labels = line.labels.iter().map(|(label, value)| ((*label).to_owned(), value.clone()));
        let kind = match line.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        Metric {
            name: line.name.to_owned(),
            labels: labels.collect(),
            value: line.value,
            kind: Some(kind),
            help: Some(line.help),
        }
    }
}

impl Metric {
    fn labels_text(&self) -> String {
        let pairs = self.labels.iter().map(|(label, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{label}=\"{value}\"")
        });
        pairs.collect::<Vec<_>>().join(",")
    }
}

impl Counters {
    fn write_for_people(&self, out: &mut impl Write) -> Outcome {
        match (self.source, &self.opening) {
            (Source::Opened, Some(opening)) => writeln!(out, "{opening}")?,
            (Source::Opened | Source::Owner, _) => {
                writeln!(out, "{}: open elsewhere; as its owner tells", self.store)?;
            }
        }
        let mut table = Table::new();
        table.load_preset(NOTHING);
        for metric in &self.metrics {
            let value = metric.value.to_string();
            let help = metric.help.unwrap_or_default().to_owned();
            table.add_row([metric.name.clone(), metric.labels_text(), value, help]);
        }
        if let Some(values) = table.column_mut(2) {
            values.set_cell_alignment(CellAlignment::Right);
        }
        Ok(writeln!(out, "{}", table.trim_fmt())?)
    }

    fn write_prometheus(&self, out: &mut impl Write) -> Outcome {
        let mut described = "";
        for metric in &self.metrics {
            if metric.name != described {
                described = &metric.name;
                if let (Some(kind), Some(help)) = (metric.kind, metric.help) {
                    writeln!(out, "# HELP {described} {help}")?;
                    writeln!(out, "# TYPE {described} {kind}")?;
                }
            }
            let labels = metric.labels_text();
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            writeln!(out, "{described}{labels} {}", metric.value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_line_is_read_as_the_engine_prints_it() {
        let labels = vec![("method", "dsync".to_owned()), ("class", "log".to_owned())];
        let (name, kind, help) = ("sombra_x_total", MetricKind::Gauge, "");
        let printed = MetricLine { name, labels, value: 1.5, kind, help }.to_string();
        let metric = parse_line(&printed).unwrap();
        assert_eq!(metric.name, name);
        assert_eq!(metric.labels_text(), "class=\"log\",method=\"dsync\"");
        assert_eq!(metric.value, 1.5);
        assert_eq!(parse_line("sombra_y 3").unwrap().labels.len(), 0);
    }

    #[test]
    fn owners_line_is_refused_when_it_is_something_else() {
        for line in ["", "name", "name x", "{a=\"b\"} 1", "name{a=b} 1", "name{a=\"b\" 1"] {
            assert!(parse_line(line).is_none(), "{line:?}");
        }
    }
}
