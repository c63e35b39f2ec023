//! Documents and the words they hold, kept in step by transactions: a search never finds a
//! document without the word, and never misses one that has it.
//!
//! `cargo run --release -p sombra --example inverted_index`

use std::collections::BTreeSet;
use std::path::Path;

use sombra::{BlockingDb, Db, KeyRange, Keyspace, Options, Routing, TransactionError};
use sombra_runtime::{Runtime, RuntimeOptions};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    let parent = std::env::temp_dir().join(format!("sombra-index-{}", std::process::id()));
    std::fs::create_dir_all(&parent)?;
    let outcome = run(&parent.join("store"));
    std::fs::remove_dir_all(&parent)?;
    println!("documents with \"lamp\": {:?}", outcome?);
    Ok(())
}

struct Library {
    db: BlockingDb,
    /// Name to text.
    documents: Keyspace,
    /// Word, a zero byte, name; no value.
    words: Keyspace,
}

/// Returns the documents that hold a word at the end.
pub(crate) fn run(dir: &Path) -> Result<Vec<String>, AnyError> {
    let runtime = Runtime::start(RuntimeOptions { shards: 2, ..Default::default() })?;
    let db = runtime.block_on(Db::open(&runtime, dir, Options::temporary()))?.blocking();
    let documents = db.create_keyspace("documents", Routing::hash(8))?;
    // Cut where a sample of the words says, so that both shards have a part.
    let sample = ["bread", "door", "lamp", "letter", "river", "table", "window"];
    let words = db.create_keyspace("words", Routing::range_sampled(sample, 2))?;
    let library = Library { db, documents, words };
    library.store("order", "a lamp and a table for the window")?;
    library.store("letter", "the lamp is broken")?;
    library.store("poem", "river, door, river")?;
    library.store("letter", "the table is broken")?; // the lamp goes from the index with it
    library.store("note", "buy bread and a lamp")?;
    library.remove("order")?;
    let found = library.search("lamp")?;
    if found != ["note"] {
        return Err(format!("expected the note alone, found {found:?}").into());
    }
    library.db.close()?;
    runtime.shutdown();
    Ok(found)
}

fn words_of(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

fn entry(word: &str, name: &str) -> Vec<u8> {
    [word.as_bytes(), b"\0", name.as_bytes()].concat()
}

impl Library {
    fn store(&self, name: &str, text: &str) -> Result<(), TransactionError> {
        self.change(name, Some(text))
    }

    fn remove(&self, name: &str) -> Result<(), TransactionError> {
        self.change(name, None)
    }

    /// The document and its entries change together.
    fn change(&self, name: &str, text: Option<&str>) -> Result<(), TransactionError> {
        self.db.run(|tx| {
            let old = tx.get(&self.documents, name)?;
            let old = old.map(|text| words_of(&String::from_utf8_lossy(&text))).unwrap_or_default();
            let new = text.map(words_of).unwrap_or_default();
            for word in old.difference(&new) {
                tx.delete(&self.words, entry(word, name))?;
            }
            for word in new.difference(&old) {
                tx.put(&self.words, entry(word, name), "")?;
            }
            match text {
                Some(text) => tx.put(&self.documents, name, text.to_owned())?,
                None => tx.delete(&self.documents, name)?,
            }
            Ok(())
        })
    }

    fn search(&self, word: &str) -> Result<Vec<String>, AnyError> {
        let view = self.db.snapshot()?;
        let prefix = entry(word, "");
        let mut names = Vec::new();
        for key in view.scan(&self.words, KeyRange::prefix(&prefix)).keys() {
            names.push(String::from_utf8(key?[prefix.len()..].to_vec())?);
        }
        Ok(names)
    }
}
