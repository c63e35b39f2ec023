//! Sizes of files, functions and lines, and leftovers that must not stay.

use crate::{
    findings::Findings,
    limits::{FILE_LINES_MAX, FILE_LINES_NOTED, FUNCTION_LINES_MAX, LINE_CHARS_MAX},
    source::{SourceFile, product_line_count},
};
use quote::ToTokens;
use syn::{
    Attribute, Block, ImplItemFn, ItemFn, Macro, Signature, TraitItemFn,
    spanned::Spanned,
    visit::{self, Visit},
};

/// Spelled in two halves, or the check would find itself.
const LEFTOVER_WORD: &str = concat!("FIX", "ME");

pub(super) fn check(file: &SourceFile, findings: &mut Findings) {
    let lines = product_line_count(file);
    if lines > FILE_LINES_MAX {
        findings.add(&file.path, 1, format!("{lines} lines without tests (max {FILE_LINES_MAX})"));
    } else if lines > FILE_LINES_NOTED {
        println!("note: {} has {lines} lines without tests", file.path.display());
    }
    for (index, line) in file.text.lines().enumerate() {
        let length = line.chars().count();
        if length > LINE_CHARS_MAX && !line.contains("https://") {
            findings.add(&file.path, index + 1, format!("{length} characters in a line"));
        }
        if line.contains(LEFTOVER_WORD) {
            findings.add(&file.path, index + 1, LEFTOVER_WORD);
        }
    }
    Walk { file, findings }.visit_file(&file.ast);
}

struct Walk<'a> {
    file: &'a SourceFile,
    findings: &'a mut Findings,
}

impl Walk<'_> {
    fn function(&mut self, signature: &Signature, block: &Block) {
        let first = signature.fn_token.span().start().line;
        let lines = block.brace_token.span.close().end().line + 1 - first;
        if lines > FUNCTION_LINES_MAX {
            let name = &signature.ident;
            let text = format!("`{name}` has {lines} lines (max {FUNCTION_LINES_MAX})");
            self.findings.add(&self.file.path, first, text);
        }
    }
}

/// The one reason for which a test may be passed over: its parent runs it.
const CHILD_REASON: &str = "runs in a child process of another test";

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let is_child = attribute.meta.require_name_value().is_ok_and(|meta| {
            meta.value.to_token_stream().to_string() == format!("{CHILD_REASON:?}")
        });
        if attribute.path().is_ident("ignore") && !is_child {
            let line = attribute.span().start().line;
            self.findings.add(&self.file.path, line, "a test that is never run");
        }
        visit::visit_attribute(self, attribute);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        let line = called.path.span().start().line;
        let is = |name: &str| called.path.is_ident(name);
        if is("todo") || is("unimplemented") {
            self.findings.add(&self.file.path, line, "a stub");
        }
        let arguments = called.tokens.to_token_stream().to_string();
        if is("assert") && (arguments == "true" || arguments.starts_with("true ,")) {
            self.findings.add(&self.file.path, line, "a check that cannot fail");
        }
        visit::visit_macro(self, called);
    }
}
