use super::{
    Role, SourceFile, is_test_only,
    paths::{NamedPath, named_paths},
    product_line_count,
};

fn paths_of(code: &str) -> Vec<String> {
    let tokens = code.parse().expect("the sample is Rust");
    let joined = |path: &NamedPath| path.segments.join("::");
    named_paths(tokens).iter().map(joined).filter(|path| path.contains("::")).collect()
}

#[test]
fn named_paths_spells_out_use_groups() {
    let found = paths_of("use crate::{wal::{self, Ring}, ids::Lsn as L, window::*};");
    assert_eq!(found, ["crate::wal", "crate::wal::Ring", "crate::ids::Lsn", "crate::window::*"]);
}

#[test]
fn named_paths_looks_into_macro_bodies_but_not_into_strings() {
    let found = paths_of(r#"assert!(crate::merge::ready(), "crate::db is not code");"#);
    assert_eq!(found, ["crate::merge::ready"]);
}

#[test]
fn named_paths_stops_at_a_turbofish_and_goes_on_behind_it() {
    let found = paths_of("let x = a::b::<c::D>(e::f);");
    assert_eq!(found, ["a::b", "c::D", "e::f"]);
}

fn attributes_of(item: &str) -> bool {
    let item: syn::ItemMod = syn::parse_str(item).expect("the sample is a module");
    is_test_only(&item.attrs)
}

#[test]
fn is_test_only_tells_test_builds_from_builds_that_may_ship() {
    assert!(attributes_of("#[cfg(test)] mod a;"));
    assert!(attributes_of("#[cfg(all(test, not(sombra_loom)))] mod a;"));
    assert!(attributes_of("#[cfg(any(test, all(test, unix)))] mod a;"));
    assert!(!attributes_of("#[cfg(not(test))] mod a;"));
    assert!(!attributes_of("#[cfg(any(test, feature = \"sim\"))] mod a;"));
    assert!(!attributes_of("#[cfg(feature = \"test\")] mod a;"));
}

#[test]
fn product_line_count_leaves_out_test_items_with_their_attributes() {
    let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n".to_owned();
    let ast = syn::parse_file(&text).expect("the sample is Rust");
    let file = SourceFile { path: "a.rs".into(), module: vec![], role: Role::Product, text, ast };
    assert_eq!(product_line_count(&file), 2);
}
