//! The list of tests that must have run: `crate::path::test_name  reason`, one a line.

use std::collections::BTreeSet;

#[derive(Debug)]
pub(super) struct KeyTests {
    names: Vec<String>,
}

impl KeyTests {
    /// Blank lines and lines that start with `#` are for people. An empty list guards nothing and a
    /// name without a reason tells nobody why it may not go, so both are errors.
    pub(super) fn parse(text: &str) -> Result<KeyTests, String> {
        let mut names = Vec::new();
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let Some((name, _reason)) = line.split_once(char::is_whitespace) else {
                return Err(format!("key test without a reason: {line}"));
            };
            names.push(normalized(name));
        }
        if names.is_empty() {
            return Err("the list of key tests is empty".to_owned());
        }
        Ok(KeyTests { names })
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn missing(&self, passed: &BTreeSet<String>) -> Vec<String> {
        self.names.iter().filter(|name| !passed.contains(*name)).cloned().collect()
    }
}

/// Package names are written with hyphens, crates with underscores: both mean the same test.
pub(super) fn normalized(name: &str) -> String {
    name.replace('-', "_")
}
