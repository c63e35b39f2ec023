//! A crate as a tree of parsed files: which module each file is, and whether it ships.

pub(crate) mod paths;
#[cfg(test)]
mod tests;

use crate::{Failure, workspace::Workspace};
use quote::ToTokens;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use syn::{Attribute, Item, Meta, punctuated::Punctuated, spanned::Spanned, token::Comma};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Product,
    Test,
}

pub(crate) struct SourceFile {
    /// Relative to the workspace.
    pub(crate) path: PathBuf,
    /// Empty for the crate's root.
    pub(crate) module: Vec<String>,
    pub(crate) role: Role,
    pub(crate) text: String,
    pub(crate) ast: syn::File,
}

pub(crate) struct CrateSource {
    /// Folder in the workspace, such as `engine`.
    pub(crate) dir: String,
    pub(crate) files: Vec<SourceFile>,
    /// Files below `src` that no `mod` declaration leads to.
    pub(crate) unreached: Vec<PathBuf>,
}

pub(crate) fn load_all(workspace: &Workspace) -> Result<Vec<CrateSource>, Failure> {
    let all = workspace.files("rs")?;
    workspace.members().keys().map(|dir| load(workspace, dir, &all)).collect()
}

fn load(workspace: &Workspace, dir: &str, all: &[PathBuf]) -> Result<CrateSource, Failure> {
    let src = Path::new(dir).join("src");
    let own: Vec<&PathBuf> = all.iter().filter(|path| path.starts_with(dir)).collect();
    let mut loader = Loader { workspace, files: Vec::new(), seen: BTreeSet::new() };
    for path in own.iter().filter(|path| is_crate_root(path, &src)) {
        loader.follow(path, Vec::new(), Role::Product)?;
    }
    for path in own.iter().filter(|path| !path.starts_with(&src)) {
        loader.take(path, Vec::new(), Role::Test)?;
    }
    let unreached = own.iter().filter(|path| !loader.seen.contains(**path));
    let unreached = unreached.map(|path| (*path).clone()).collect();
    Ok(CrateSource { dir: dir.to_owned(), files: loader.files, unreached })
}

fn is_crate_root(path: &Path, src: &Path) -> bool {
    path == src.join("lib.rs")
        || path == src.join("main.rs")
        || path.parent() == Some(src.join("bin").as_path())
}

struct Loader<'a> {
    workspace: &'a Workspace,
    files: Vec<SourceFile>,
    seen: BTreeSet<PathBuf>,
}

impl Loader<'_> {
    fn take(&mut self, path: &Path, module: Vec<String>, role: Role) -> Result<(), Failure> {
        let text = self.workspace.read(path)?;
        let ast = syn::parse_file(&text).map_err(|error| {
            format!("{}:{}: {error}", path.display(), error.span().start().line)
        })?;
        self.seen.insert(path.to_owned());
        self.files.push(SourceFile { path: path.to_owned(), module, role, text, ast });
        Ok(())
    }

    fn follow(&mut self, path: &Path, module: Vec<String>, role: Role) -> Result<(), Failure> {
        self.take(path, module.clone(), role)?;
        let items = self.files.last().map(|file| file.ast.items.clone()).unwrap_or_default();
        let stem = path.file_stem().unwrap_or_default();
        let parent = path.parent().unwrap_or(Path::new(""));
        let is_dir_root = module.is_empty() || stem == "mod";
        let below = if is_dir_root { parent.to_owned() } else { parent.join(stem) };
        self.follow_items(&items, (parent, &below), &module, role)
    }

    /// `dirs`: where the file lies, and where the files of its modules lie.
    fn follow_items(
        &mut self,
        items: &[Item],
        dirs: (&Path, &Path),
        module: &[String],
        role: Role,
    ) -> Result<(), Failure> {
        for item in items {
            let Item::Mod(declared) = item else { continue };
            let name = declared.ident.to_string();
            let role = if is_test_only(&declared.attrs) { Role::Test } else { role };
            let inner: Vec<String> = module.iter().cloned().chain([name.clone()]).collect();
            let (beside, below) = dirs;
            match &declared.content {
                Some((_, items)) => {
                    let nested = below.join(&name);
                    self.follow_items(items, (&nested, &nested), &inner, role)?;
                }
                None => {
                    // A declared file that is absent is the compiler's to report.
                    let named = named_path(&declared.attrs).map(|named| beside.join(named));
                    if let Some(path) = named.or_else(|| self.file_of(below, &name)) {
                        self.follow(&path, inner, role)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn file_of(&self, below: &Path, name: &str) -> Option<PathBuf> {
        let candidates = [below.join(format!("{name}.rs")), below.join(name).join("mod.rs")];
        candidates.into_iter().find(|path| self.workspace.root().join(path).exists())
    }
}

/// The file that `#[path = "…"]` names.
fn named_path(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.path().is_ident("path"))?;
    let syn::Expr::Lit(literal) = &attribute.meta.require_name_value().ok()?.value else {
        return None;
    };
    let syn::Lit::Str(path) = &literal.lit else { return None };
    Some(path.value())
}

/// Calls `visit` with every item that ships and the module it stands in.
pub(crate) fn for_each_product_item(file: &SourceFile, visit: &mut dyn FnMut(&Item, &[String])) {
    if file.role == Role::Product {
        visit_product(&file.ast.items, &file.module, visit);
    }
}

fn visit_product(items: &[Item], module: &[String], visit: &mut dyn FnMut(&Item, &[String])) {
    for item in items.iter().filter(|item| !is_test_only(attributes(item))) {
        match item {
            Item::Mod(declared) => {
                let Some((_, items)) = &declared.content else { continue };
                let inner: Vec<String> =
                    module.iter().cloned().chain([declared.ident.to_string()]).collect();
                visit_product(items, &inner, visit);
            }
            other => visit(other, module),
        }
    }
}

/// Lines of the file without items that only tests see.
pub(crate) fn product_line_count(file: &SourceFile) -> usize {
    if file.role == Role::Test {
        return 0;
    }
    file.text.lines().count() - test_line_count(&file.ast.items)
}

fn test_line_count(items: &[Item]) -> usize {
    let count = |item: &Item| match item {
        item if is_test_only(attributes(item)) => {
            let span = item.to_token_stream().span();
            span.end().line + 1 - item.span().start().line
        }
        Item::Mod(declared) => {
            declared.content.as_ref().map_or(0, |(_, items)| test_line_count(items))
        }
        _ => 0,
    };
    items.iter().map(count).sum()
}

/// True when the item cannot exist outside a test build: `cfg(test)`, `cfg(all(test, …))`, `test`.
pub(crate) fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        if attribute.path().is_ident("test") {
            return true;
        }
        let condition = attribute.path().is_ident("cfg").then(|| attribute.parse_args::<Meta>());
        matches!(condition, Some(Ok(condition)) if needs_test(&condition))
    })
}

fn needs_test(condition: &Meta) -> bool {
    let Meta::List(list) = condition else { return condition.path().is_ident("test") };
    let parse = Punctuated::<Meta, Comma>::parse_terminated;
    let Ok(arms) = list.parse_args_with(parse) else { return false };
    if list.path.is_ident("all") {
        arms.iter().any(needs_test)
    } else if list.path.is_ident("any") {
        !arms.is_empty() && arms.iter().all(needs_test)
    } else {
        false
    }
}

pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
