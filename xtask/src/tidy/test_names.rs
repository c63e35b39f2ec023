//! A page that names a test (`sombra::wal::tests::name`) names one that exists.

use crate::{findings::Findings, source::CrateSource};
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use std::{collections::BTreeSet, path::Path};

/// Every function name of every crate, those inside macros such as `proptest!` included.
pub(super) fn function_names(sources: &[CrateSource]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in sources.iter().flat_map(|source| &source.files) {
        collect(file.ast.to_token_stream(), &mut names);
    }
    names
}

fn collect(tokens: TokenStream, names: &mut BTreeSet<String>) {
    let mut after_fn = false;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                if after_fn {
                    names.insert(ident.to_string());
                }
                after_fn = ident == "fn";
            }
            TokenTree::Group(group) => collect(group.stream(), names),
            _ => after_fn = false,
        }
    }
}

/// `packages` are the names that a test's path can begin with.
pub(super) fn check(
    page: &Path,
    text: &str,
    packages: &BTreeSet<String>,
    names: &BTreeSet<String>,
    findings: &mut Findings,
) {
    for (index, line) in text.lines().enumerate() {
        for code in line.split('`').skip(1).step_by(2) {
            let Some((start, name)) = code.rsplit_once("::") else { continue };
            let package = start.split("::").next().unwrap_or_default().replace('-', "_");
            let is_function = name.contains('_') && name.chars().all(|char| !char.is_uppercase());
            if packages.contains(&package) && is_function && !names.contains(name) {
                findings.add(page, index + 1, format!("`{code}`: no function of that name"));
            }
        }
    }
}
