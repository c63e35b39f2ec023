//! Time, chance, threads and I/O come through the runtime, and `unsafe` stays in five places of it.

use crate::{
    findings::Findings,
    source::{
        CrateSource, SourceFile, for_each_product_item,
        paths::{NamedPath, named_paths},
    },
};
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use std::path::Path;

/// Files below `runtime/src` that may hold `unsafe`; a name covers `name.rs` and `name/`.
const UNSAFE_PLACES: [&str; 5] = ["task", "buffer", "ring", "sync", "sys"];

/// Where tests of the runtime take rights from their own process, which only the kernel can do.
const UNSAFE_TEST_PLACE: &str = "runtime/tests/it/sys.rs";

/// Where a program watches what other executors write after they gave memory back: it has to stand
/// in for the allocator (decision 0001).
const UNSAFE_PEER_PLACE: &str = "bench/peers/shutdown/src/quarantine.rs";

/// Crates in which one seed must replay a run.
const SEEDED_CRATES: [&str; 4] = ["runtime", "engine", "graph", "server"];

struct Door {
    path: &'static [&'static str],
    /// Names below the path that are plain data.
    harmless: &'static [&'static str],
}

const DOORS: [Door; 11] = [
    Door { path: &["std", "time"], harmless: &["Duration"] },
    Door { path: &["core", "time"], harmless: &["Duration"] },
    Door { path: &["std", "thread"], harmless: &[] },
    Door { path: &["std", "fs"], harmless: &[] },
    Door { path: &["std", "net"], harmless: &["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr"] },
    Door { path: &["std", "process"], harmless: &[] },
    Door { path: &["std", "env"], harmless: &[] },
    Door { path: &["HashMap", "new"], harmless: &[] },
    Door { path: &["HashSet", "new"], harmless: &[] },
    Door { path: &["RandomState"], harmless: &[] },
    Door { path: &["thread_local"], harmless: &[] },
];

/// Where the runtime itself meets the world: file or folder below `runtime/src`, module of `std`.
const RUNTIME_PLACES: [(&str, &[&str]); 7] = [
    ("time", &["time"]),
    ("start", &["thread"]),
    ("runtime", &["thread"]),
    ("driver/pool", &["thread"]),
    ("driver/fileops", &["fs"]),
    ("file", &["fs"]),
    ("probe", &["fs"]),
];

pub(super) fn check(source: &CrateSource, findings: &mut Findings) {
    for file in &source.files {
        check_unsafe(&source.dir, file, findings);
        if SEEDED_CRATES.contains(&source.dir.as_str()) {
            check_doors(&source.dir, file, findings);
        }
    }
}

fn check_unsafe(dir: &str, file: &SourceFile, findings: &mut Findings) {
    let is_place = UNSAFE_PLACES.iter().any(|place| is_at(&file.path, place));
    let allowed = match dir {
        "runtime" => is_place || file.path == Path::new(UNSAFE_TEST_PLACE),
        _ => file.path == Path::new(UNSAFE_PEER_PLACE),
    };
    if allowed {
        return;
    }
    for line in lines_of_word(file.ast.to_token_stream(), "unsafe") {
        let text = "`unsafe` stands only in runtime/src/{task,buffer,ring,sync,sys}";
        findings.add(&file.path, line, text);
    }
}

pub(super) fn check_doors(dir: &str, file: &SourceFile, findings: &mut Findings) {
    for_each_product_item(file, &mut |item, _module| {
        for path in named_paths(item.to_token_stream()) {
            let Some(door) = DOORS.iter().find(|door| opens(door, &path)) else { continue };
            if dir == "runtime" && is_named_place(&file.path, door.path) {
                continue;
            }
            let named = path.segments.join("::");
            findings.add(&file.path, path.line, format!("`{named}`: the world enters elsewhere"));
        }
    });
}

fn opens(door: &Door, path: &NamedPath) -> bool {
    let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
    if door.path[0] == "std" || door.path[0] == "core" {
        let below = segments.get(door.path.len());
        return segments.starts_with(door.path)
            && !below.is_some_and(|name| door.harmless.contains(name));
    }
    segments.windows(door.path.len()).any(|window| window == door.path)
}

fn is_named_place(file: &Path, door: &[&str]) -> bool {
    let Some(module) = door.get(1) else { return false };
    RUNTIME_PLACES.iter().any(|(place, modules)| is_at(file, place) && modules.contains(module))
}

fn is_at(file: &Path, place: &str) -> bool {
    let below = Path::new("runtime/src");
    file == below.join(format!("{place}.rs")) || file.starts_with(below.join(place))
}

fn lines_of_word(tokens: TokenStream, word: &str) -> Vec<usize> {
    let lines = |token: TokenTree| match token {
        TokenTree::Ident(ident) if ident == word => vec![ident.span().start().line],
        TokenTree::Group(group) => lines_of_word(group.stream(), word),
        _ => Vec::new(),
    };
    tokens.into_iter().flat_map(lines).collect()
}
