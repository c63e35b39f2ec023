//! One error enum per operation of the volume; each names the place, what was expected, and
//! what was found.

use std::io;
use std::path::PathBuf;

use crate::error::{OpenError, ReadError};
use crate::format::page::PageError;
use crate::format::root_table::{ROOT_PAGE_BYTES, RootCopy, RootPageError};
use crate::format::space_map::SpaceMapError;
use crate::ids::{PageAddr, TabletId};

/// Why a data file was not made or opened. Nothing was changed by an opening that fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenVolumeError {
    #[error("{path}: {operation}: {source}")]
    Io { path: PathBuf, operation: &'static str, source: io::Error },
    #[error("{path}: expected at least {expected} bytes (the root table), found {found}")]
    TooShort { path: PathBuf, expected: u64, found: u64 },
    #[error("{path}: page size: expected 4096, 8192, 16384 or 32768, found {found}")]
    PageSize { path: PathBuf, found: u32 },
    #[error("{path}: expected at most {expected} extents, found {found}")]
    TooLong { path: PathBuf, expected: u64, found: u64 },
}

/// Why a page was not read. Caller: a page of an ended snapshot may have been reused; else the
/// data is damaged or the device failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadPageError {
    #[error("{path} at byte {offset} (page {page}): {source}")]
    Device { path: PathBuf, offset: u64, len_bytes: u64, page: PageAddr, source: io::Error },
    #[error("{path} at byte {offset} (page {page}): {source}")]
    Damaged { path: PathBuf, offset: u64, page: PageAddr, source: PageError },
    /// A whole page whose content contradicts itself.
    #[error("{path} at byte {offset} (page {page}): expected a page of a tree, found {reason}")]
    Node { path: PathBuf, offset: u64, page: PageAddr, reason: String },
    #[error("{path} at byte {offset} (page {page}): expected {expected} bytes, found {found}")]
    Short { path: PathBuf, offset: u64, page: PageAddr, expected: usize, found: usize },
    /// The reference itself is wrong: a damaged parent, or a file that was cut.
    #[error("{path}: expected a page from {first} to below {end}, found page {page}")]
    Outside { path: PathBuf, page: PageAddr, first: u64, end: u64 },
}

impl ReadPageError {
    /// What a caller of the store decides by.
    pub(crate) fn to_read_error(&self) -> ReadError {
        let place = |path: &PathBuf, offset: u64, page: PageAddr| {
            format!("{} at byte {offset} (page {page})", path.display())
        };
        match self {
            ReadPageError::Device { path, offset, page, source, .. } => {
                let (place, reason) = (place(path, *offset, *page), source.to_string());
                ReadError::Device { place, reason }
            }
            ReadPageError::Damaged { path, offset, page, source } => ReadError::Damaged {
                place: place(path, *offset, *page),
                expected: "the page that its reference names".to_owned(),
                found: source.to_string(),
            },
            ReadPageError::Node { path, offset, page, reason } => ReadError::Damaged {
                place: place(path, *offset, *page),
                expected: "a page of a tree".to_owned(),
                found: reason.clone(),
            },
            ReadPageError::Short { path, offset, page, expected, found } => ReadError::Damaged {
                place: place(path, *offset, *page),
                expected: format!("{expected} bytes"),
                found: format!("{found} bytes"),
            },
            ReadPageError::Outside { path, page, first, end } => ReadError::Damaged {
                place: path.display().to_string(),
                expected: format!("a page from {first} to below {end}"),
                found: format!("page {page}"),
            },
        }
    }

    /// Whether the device refused, in contrast to bytes that are not the page.
    pub(crate) fn is_device(&self) -> bool {
        matches!(self, ReadPageError::Device { .. })
    }
}

/// Why a tablet's space map was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadMapError {
    #[error(transparent)]
    Read(#[from] ReadPageError),
    #[error("{path}: tablet {tablet:?}: {source}")]
    Map { path: PathBuf, tablet: TabletId, source: SpaceMapError },
}

/// A data write or a data flush failed. Caller: poison the store (INV-7).
#[derive(Debug, thiserror::Error)]
#[error("{path} at byte {offset}: {operation} of {len_bytes} bytes: {source}")]
pub(crate) struct WritePagesError {
    pub(crate) path: PathBuf,
    pub(crate) operation: &'static str,
    pub(crate) offset: u64,
    pub(crate) len_bytes: u64,
    pub(crate) source: io::Error,
}

/// A space map claims an extent that cannot be its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExtentError {
    #[error("extent {extent}: expected {first} to below {end}, where tablets' extents lie")]
    Outside { extent: u32, first: u32, end: u32 },
    #[error("extent {extent}: expected one owner, found a second")]
    OwnedTwice { extent: u32 },
}

/// Why the root table cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootLoadError {
    #[error("{path} at byte {offset}: root table: {operation}: {source}")]
    Io { path: PathBuf, offset: u64, operation: &'static str, source: io::Error },
    #[error("{path} at byte {offset}: root table: expected {expected} bytes, found {found}")]
    Short { path: PathBuf, offset: u64, expected: usize, found: usize },
    /// No copy of the slot can be believed, and the device does not deliver this one.
    #[error("{path} at byte {offset}: root slot {slot}: {source}; the other copy: {other}")]
    Unread { path: PathBuf, slot: u32, offset: u64, source: io::Error, other: String },
    /// A newer build wrote it.
    #[error("{path} at byte {offset}: root slot {slot}, copy {copy:?}: {source}")]
    Newer { path: PathBuf, offset: u64, slot: u32, copy: RootCopy, source: RootPageError },
    /// Neither copy can be believed.
    #[error(
        "{path}: root slot {slot}: expected one copy that is whole, found copy A at byte \
         {offset_a}: {copy_a}; copy B at byte {offset_b}: {copy_b}"
    )]
    BothDamaged {
        path: PathBuf,
        slot: u32,
        offset_a: u64,
        copy_a: String,
        offset_b: u64,
        copy_b: String,
    },
    #[error("{path}: {row}: expected in one root slot, found in slots {first} and {second}")]
    RowTwice { path: PathBuf, row: String, first: u32, second: u32 },
}

/// Why rows were not published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootPublishError {
    /// Nothing was written. Caller: refuse the new keyspace.
    #[error("root table: expected a slot with {needed} bytes of room, found none of {slots}")]
    Full { needed: usize, slots: u32 },
    /// Caller: poison the store (INV-7); which copy is on disk is unknown until it is reopened.
    #[error(transparent)]
    Write(#[from] WritePagesError),
}

/// What is left to do when the data file is not what it must be.
const WAY_OUT: &str = "`sombra repair --salvage` saves what can still be read";

impl From<OpenVolumeError> for OpenError {
    fn from(error: OpenVolumeError) -> OpenError {
        match error {
            // A file that is gone is damage: what only its trees held is lost.
            OpenVolumeError::Io { path, operation, source }
                if source.kind() != io::ErrorKind::NotFound =>
            {
                OpenError::from_io(path, operation, source)
            }
            _ => OpenError::DataFile { reason: format!("{error}; {WAY_OUT}") },
        }
    }
}

impl From<RootLoadError> for OpenError {
    fn from(error: RootLoadError) -> OpenError {
        match error {
            RootLoadError::Io { path, operation, source, .. } => {
                OpenError::from_io(path, operation, source)
            }
            RootLoadError::Unread { path, offset, source, .. } => {
                OpenError::from_read(path, (offset, ROOT_PAGE_BYTES as u64), source)
            }
            RootLoadError::Newer { .. } => OpenError::Newer { reason: error.to_string() },
            RootLoadError::Short { .. }
            | RootLoadError::BothDamaged { .. }
            | RootLoadError::RowTwice { .. } => {
                OpenError::DataFile { reason: format!("{error}; {WAY_OUT}") }
            }
        }
    }
}

/// Of those who read one page of a closed store.
impl From<ReadPageError> for OpenError {
    fn from(error: ReadPageError) -> OpenError {
        match error {
            ReadPageError::Device { path, offset, source, len_bytes, .. } => {
                OpenError::from_read(path, (offset, len_bytes), source)
            }
            _ => OpenError::DataFile { reason: error.to_string() },
        }
    }
}

impl From<WritePagesError> for OpenError {
    fn from(WritePagesError { path, operation, source, .. }: WritePagesError) -> OpenError {
        OpenError::from_io(path, operation, source)
    }
}
