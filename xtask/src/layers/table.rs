//! The layer table: rows `//! | 3 | wal |` in the doc comment of `engine/src/lib.rs`.

use std::collections::BTreeMap;

/// A module's place: its row's number, then its position in the row. A module may import what is
/// placed before it, so neighbours in one row are ordered too and no cycle can hide in a row.
pub(crate) type Place = (u32, usize);

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LayerTable {
    places: BTreeMap<String, Place>,
}

impl LayerTable {
    /// Reads every row whose first column is a number; the second names modules, further columns
    /// are for people. A module named twice is an error.
    pub(crate) fn parse(text: &str) -> Result<LayerTable, String> {
        let mut table = LayerTable::default();
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("//!")) {
            let Some(row) = line.trim().strip_prefix('|') else { continue };
            let mut columns = row.split('|').map(str::trim);
            let number = columns.next().and_then(|column| column.parse::<u32>().ok());
            let (Some(number), Some(names)) = (number, columns.next()) else { continue };
            let separators = [' ', ',', '`'];
            let names = names.split(separators).filter(|name| !name.is_empty());
            for (position, name) in names.enumerate() {
                if table.places.insert(name.to_owned(), (number, position)).is_some() {
                    return Err(format!("the layer table names `{name}` twice"));
                }
            }
        }
        if table.places.is_empty() {
            return Err("no layer table: expected rows like `//! | 3 | wal |`".to_owned());
        }
        Ok(table)
    }

    pub(crate) fn place(&self, module: &str) -> Option<Place> {
        self.places.get(module).copied()
    }

    pub(crate) fn modules(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }
}
