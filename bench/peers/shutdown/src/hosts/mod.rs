//! Each executor with its reads on their way.

mod compio;
mod glommio;
mod monoio;
mod sombra;
mod tokio_uring;

use std::path::Path;

use crate::AnyError;
use crate::limits::{BUFFER_ALIGN_BYTES, READ_BYTES, READS};

/// Drops the executor.
pub(crate) type End = Box<dyn FnOnce()>;

/// Starts an executor and its reads of the file.
pub(crate) type Start = fn(&Path) -> Result<End, AnyError>;

pub(crate) const HOSTS: [(&str, Start); 5] = [
    ("sombra", sombra::start),
    ("tokio-uring", tokio_uring::start),
    ("glommio", glommio::start),
    ("monoio", monoio::start),
    ("compio", compio::start),
];

/// Offsets of the reads, each in another part of the file.
fn offsets() -> impl Iterator<Item = u64> {
    (0..READS).map(|read| (read * READ_BYTES) as u64)
}

/// Heap memory, and where the part of it begins that direct I/O can use.
fn memory() -> (Vec<u8>, usize) {
    let bytes = vec![0; READ_BYTES + BUFFER_ALIGN_BYTES];
    let begin = bytes.as_ptr().align_offset(BUFFER_ALIGN_BYTES);
    (bytes, begin)
}

/// A read of this goes to the kernel behind the others, and comes back before most of them: then
/// they are on their way.
const ANSWERS_AT_ONCE: &str = "/dev/zero";

fn open_direct(path: &Path) -> Result<std::fs::File, AnyError> {
    use std::os::unix::fs::OpenOptionsExt;
    Ok(std::fs::OpenOptions::new().read(true).custom_flags(O_DIRECT).open(path)?)
}

/// As in fcntl.h of the machine that this is built for.
const O_DIRECT: i32 = if cfg!(target_arch = "aarch64") { 0o200_000 } else { 0o40_000 };
