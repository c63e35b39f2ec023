//! Imports between the modules of the layered crate point downwards only.

use super::table::LayerTable;
use crate::{
    findings::Findings,
    source::{CrateSource, SourceFile, for_each_product_item, paths::named_paths},
};
use quote::ToTokens;
use std::collections::BTreeSet;

pub(super) fn check(source: &CrateSource, findings: &mut Findings) {
    let Some(root) = source.files.iter().find(|file| file.path.ends_with("src/lib.rs")) else {
        return;
    };
    let table = match LayerTable::parse(&root.text) {
        Ok(table) => table,
        Err(problem) => return findings.add(&root.path, 1, problem),
    };
    let exist: BTreeSet<&str> =
        source.files.iter().filter_map(|file| file.module.first().map(String::as_str)).collect();
    for listed in table.modules().filter(|module| !exist.contains(module)) {
        findings.add(&root.path, 1, format!("the layer table names `{listed}`: no such module"));
    }
    for file in &source.files {
        check_file(file, &table, findings);
    }
}

pub(super) fn check_file(file: &SourceFile, table: &LayerTable, findings: &mut Findings) {
    for_each_product_item(file, &mut |item, module| {
        let Some(own) = module.first() else { return };
        let Some(place) = table.place(own) else {
            return findings.add(&file.path, 1, format!("module `{own}` has no layer"));
        };
        for path in named_paths(item.to_token_stream()) {
            let Some(target) = target_module(&path.segments, module) else { continue };
            let is_root_macro = path.is_macro && path.segments.len() == 2;
            if target == *own || is_root_macro {
                continue;
            }
            let text = match table.place(&target) {
                Some(below) if below < place => continue,
                Some(above) => {
                    format!("`{own}` (layer {}) imports `{target}` (layer {})", place.0, above.0)
                }
                None => format!("`{own}` imports `crate::{target}`: name the module it comes from"),
            };
            findings.add(&file.path, path.line, text);
        }
    });
}

/// The top-level module that a path leads to, or nothing when it leaves the crate or stays inside.
fn target_module(segments: &[String], module: &[String]) -> Option<String> {
    let first = segments.first()?;
    if first == "crate" {
        return segments.get(1).cloned();
    }
    let ups = segments.iter().take_while(|segment| *segment == "super").count();
    if ups == 0 || ups < module.len() {
        return None;
    }
    segments.get(ups).cloned()
}
