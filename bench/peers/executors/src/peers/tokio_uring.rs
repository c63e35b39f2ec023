//! tokio-uring: a `File` of its own over a `std::fs::File`, buffers lent as slices of a `Vec`.

use std::io;
use std::rc::Rc;

use sombra_bench::disk::plan::JobThread;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::fs::File;

use super::Memory;
use crate::AnyError;
use crate::drive::{self, Drive, Moved, PeerFile, Scope, ThreadEnd};
use crate::limits::TOKIO_URING_ENTRIES;

impl PeerFile for File {
    type Memory = Memory<Vec<u8>>;

    fn bytes<'a>(&self, memory: &'a mut Self::Memory, len: usize) -> &'a mut [u8] {
        memory.first(len)
    }

    async fn read(&self, memory: Self::Memory, at: u64, len: usize) -> Moved<Self::Memory> {
        let Memory { bytes, begin } = memory;
        let (result, slice) = self.read_at(bytes.slice(begin..begin + len), at).await;
        (result, Memory { bytes: slice.into_inner(), begin })
    }

    async fn write(&self, memory: Self::Memory, at: u64, len: usize) -> Moved<Self::Memory> {
        let Memory { bytes, begin } = memory;
        let (result, slice) = self.write_at(bytes.slice(begin..begin + len), at).submit().await;
        (result, Memory { bytes: slice.into_inner(), begin })
    }

    async fn flush(&self, scope: Scope) -> io::Result<()> {
        match scope {
            Scope::Data => self.sync_data().await,
            Scope::All => self.sync_all().await,
        }
    }
}

pub(super) fn run(thread: &JobThread) -> Result<ThreadEnd, AnyError> {
    let job = &thread.job;
    let mut builder = tokio_uring::builder();
    builder.entries(super::entries(TOKIO_URING_ENTRIES, job));
    let runtime = tokio_uring::Runtime::new(&builder)?;
    runtime.block_on(async {
        let regions = crate::files::regions(thread)?;
        let open = |path| Ok::<_, AnyError>(File::from_std(crate::files::open(job, path)?));
        let files = thread.files.iter().map(|planned| open(&planned.path));
        let files = Rc::new(files.collect::<Result<Vec<_>, _>>()?);
        let memories: Vec<_> = (0..job.iodepth).map(|task| Memory::new(thread, task)).collect();
        let drive = Drive::start(thread, &regions);
        let tasks: Vec<_> = memories
            .into_iter()
            .map(|memory| {
                let (drive, files) = (drive.clone(), files.clone());
                tokio_uring::spawn(drive::keep_one_in_flight(drive, files, memory))
            })
            .collect();
        for task in tasks {
            task.await?;
        }
        let end = Drive::finish(&drive)?;
        drive::flush_at_end(job, &files).await?;
        Ok(end)
    })
}

pub(super) fn no_ring() -> Option<String> {
    tokio_uring::Runtime::new(&tokio_uring::builder()).err().map(|error| error.to_string())
}
