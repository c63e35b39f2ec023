//! Writes the transactions of a run to a file while they end. Nothing is kept in memory but the
//! transactions at work and one buffer, and nothing is done at all where nobody named a file.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use sombra::{CommitError, TransactionError};
use sombra_runtime::{Moment, Runtime};

use crate::error::BenchError;
use crate::limits::HISTORY_TRANSACTIONS_WANTED;
use crate::workload::{Shape, WriteTag};

use super::format::{Action, Hex, HistoryWriter, Isolation, Operation, Outcome, Transaction};

/// The history that a run left behind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct HistoryFigures {
    pub path: PathBuf,
    pub transactions: u64,
    pub bytes: u64,
    /// It took as many transactions as a checker takes, and the run ended there.
    pub is_full: bool,
}

/// Where the clients of a run write down what they do: a file, or nowhere.
#[derive(Clone, Default)]
pub(crate) struct Recording(Option<Arc<Book>>);

struct Book {
    path: PathBuf,
    runtime: Runtime,
    keyspace: String,
    shape: Shape,
    begun: AtomicU64,
    ended: AtomicU64,
    is_over: AtomicBool,
    lines: Mutex<Lines>,
}

/// The file as long as it takes lines.
enum Lines {
    Open(HistoryWriter<BufWriter<File>>),
    Failed(io::Error),
    Done,
}

/// One transaction as its client sees it. Dropped without its end, it has left no trace.
pub(crate) struct Notes(Option<Box<Entry>>);

struct Entry {
    book: Arc<Book>,
    transaction: Transaction,
}

impl Recording {
    /// A recording of records of this shape in one keyspace.
    pub(crate) fn create(
        path: &Path,
        runtime: &Runtime,
        (keyspace, shape): (&str, Shape),
    ) -> Result<Recording, BenchError> {
        let file = File::create(path).map_err(|source| failed(path, "create", source))?;
        let lines = Lines::Open(HistoryWriter::new(BufWriter::new(file)));
        Ok(Recording(Some(Arc::new(Book {
            path: path.to_path_buf(),
            runtime: runtime.clone(),
            keyspace: keyspace.to_owned(),
            shape,
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            lines: Mutex::new(lines),
        }))))
    }

    /// A transaction that a client is about to begin.
    pub(crate) fn begin(&self, client: u32, isolation: sombra::Isolation) -> Notes {
        let Some(book) = &self.0 else { return Notes(None) };
        let isolation = match isolation {
            sombra::Isolation::Snapshot => Isolation::Snapshot,
            sombra::Isolation::Serializable => Isolation::Serializable,
        };
        let begin_ns = book.runtime.now().as_nanos();
        let transaction = Transaction {
            client,
            transaction: book.begun.fetch_add(1, Ordering::Relaxed) + 1,
            isolation,
            begin_ns,
            end_ns: begin_ns,
            operations: Vec::new(),
            outcome: Outcome::Unknown,
        };
        Notes(Some(Box::new(Entry { book: Arc::clone(book), transaction })))
    }

    /// Whether clients are to stop: the file is full, or takes no more.
    pub(crate) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|book| book.is_over.load(Ordering::Relaxed))
    }

    /// Writes what is buffered, and tells what became of the file. Clients have ended.
    ///
    /// # Errors
    /// A line, earlier or now, could not be written: the history is not whole.
    pub(crate) fn finish(&self) -> Result<Option<HistoryFigures>, BenchError> {
        let Some(book) = &self.0 else { return Ok(None) };
        let wrong = |source| failed(&book.path, "write the history", source);
        let lines = std::mem::replace(&mut *book.lock(), Lines::Done);
        let bytes = match lines {
            Lines::Failed(source) => return Err(wrong(source)),
            Lines::Done => return Ok(None),
            Lines::Open(writer) => {
                let out = writer.finish().map_err(wrong)?;
                out.get_ref().metadata().map_err(wrong)?.len()
            }
        };
        let transactions = book.ended.load(Ordering::Relaxed);
        let is_full = transactions >= HISTORY_TRANSACTIONS_WANTED;
        Ok(Some(HistoryFigures { path: book.path.clone(), transactions, bytes, is_full }))
    }
}

fn failed(path: &Path, operation: &'static str, source: io::Error) -> BenchError {
    BenchError::Io { path: path.to_path_buf(), operation, source }
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        // Held while one line goes into the buffer and never across an await.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one line; the first that cannot be written is the last that is tried.
    fn write(&self, transaction: &Transaction) {
        let mut lines = self.lock();
        if let Lines::Open(writer) = &mut *lines {
            if let Err(error) = writer.transaction(transaction) {
                *lines = Lines::Failed(error);
                self.is_over.store(true, Ordering::Relaxed);
                return;
            }
            if self.ended.fetch_add(1, Ordering::Relaxed) + 1 >= HISTORY_TRANSACTIONS_WANTED {
                self.is_over.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Notes {
    /// When an operation begins; nobody needs to know where nothing is written down.
    pub(crate) fn now(&self) -> Moment {
        self.0.as_ref().map_or(Moment::from_nanos(0), |entry| entry.book.runtime.now())
    }

    /// A record was read, or was not there.
    pub(crate) fn read(&mut self, begun: Moment, record: u64, found: Option<&Bytes>) {
        let Some(entry) = &mut self.0 else { return };
        let Book { keyspace, shape, .. } = &*entry.book;
        let value = found.map(|value| match shape.tag_of(value, record) {
            Some(tag) => name_of(record, tag),
            // Nobody wrote that, which is for the checker to say.
            None => Hex::of(value),
        });
        let key = Hex::of(&shape.key(record));
        let action = Action::Read { keyspace: keyspace.clone(), key, value };
        entry.note(begun, action);
    }

    /// A record was written.
    pub(crate) fn write(&mut self, begun: Moment, record: u64, tag: WriteTag) {
        let Some(entry) = &mut self.0 else { return };
        let Book { keyspace, shape, .. } = &*entry.book;
        let (key, value) = (Hex::of(&shape.key(record)), Some(name_of(record, tag)));
        let action = Action::Write { keyspace: keyspace.clone(), key, value };
        entry.note(begun, action);
    }

    /// The client knows how it ended: with the LSN of its commit, or an error.
    pub(crate) fn end(self, outcome: Result<u64, &TransactionError>) {
        let Some(entry) = self.0 else { return };
        let Entry { book, mut transaction } = *entry;
        transaction.end_ns = book.runtime.now().as_nanos();
        transaction.outcome = match outcome {
            Ok(lsn) => Outcome::Committed { lsn },
            Err(TransactionError::Commit(CommitError::Unknown { .. } | CommitError::Closed)) => {
                Outcome::Unknown
            }
            Err(error) => Outcome::Aborted { reason: error.to_string() },
        };
        book.write(&transaction);
    }

    /// The client gave up without asking for a commit.
    pub(crate) fn give_up(self) {
        self.end(Err(&TransactionError::abort("the run was stopped")));
    }
}

impl Entry {
    fn note(&mut self, begun: Moment, action: Action) {
        let (begin_ns, end_ns) = (begun.as_nanos(), self.book.runtime.now().as_nanos());
        self.transaction.operations.push(Operation { begin_ns, end_ns, action });
    }
}

/// What stands for a value whose every byte follows from it: no two writes share it.
fn name_of(record: u64, tag: WriteTag) -> Hex {
    let mut name = [0; 16];
    name[..8].copy_from_slice(&record.to_be_bytes());
    name[8..].copy_from_slice(&tag.as_u64().to_be_bytes());
    Hex::of(&name)
}
