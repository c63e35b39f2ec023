//! compio: a `File` opened through its own options, buffers lent as slices of a `Vec`.

use std::io;
use std::rc::Rc;

use compio::BufResult;
use compio::buf::{IntoInner, IoBuf};
use compio::driver::ProactorBuilder;
use compio::fs::{File, OpenOptions};
use compio::io::{AsyncReadAt, AsyncWriteAt};
use compio::runtime::RuntimeBuilder;
use sombra_bench::disk::plan::JobThread;

use super::Memory;
use crate::AnyError;
use crate::drive::{self, Drive, Moved, PeerFile, Scope, ThreadEnd};
use crate::files::{Access, access_of};
use crate::limits::COMPIO_ENTRIES;

impl PeerFile for File {
    type Memory = Memory<Vec<u8>>;

    fn bytes<'a>(&self, memory: &'a mut Self::Memory, len: usize) -> &'a mut [u8] {
        memory.first(len)
    }

    async fn read(&self, memory: Self::Memory, at: u64, len: usize) -> Moved<Self::Memory> {
        let Memory { bytes, begin } = memory;
        let BufResult(result, slice) = self.read_at(bytes.slice(begin..begin + len), at).await;
        (result, Memory { bytes: slice.into_inner(), begin })
    }

    async fn write(&self, memory: Self::Memory, at: u64, len: usize) -> Moved<Self::Memory> {
        let Memory { bytes, begin } = memory;
        let mut file = self;
        let BufResult(result, slice) = file.write_at(bytes.slice(begin..begin + len), at).await;
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
    let mut ring = ProactorBuilder::new();
    ring.capacity(super::entries(COMPIO_ENTRIES, job));
    let runtime = RuntimeBuilder::new().with_proactor(ring).build()?;
    runtime.block_on(async {
        let regions = crate::files::regions(thread)?;
        let Access { read, write, flags } = access_of(job);
        let mut files = Vec::with_capacity(thread.files.len());
        for planned in &thread.files {
            let mut options = OpenOptions::new();
            let file = options.read(read).write(write).custom_flags(flags);
            let file = file.open(&planned.path).await;
            files.push(file.map_err(|error| format!("{}: {error}", planned.path.display()))?);
        }
        let files = Rc::new(files);
        let memories: Vec<_> = (0..job.iodepth).map(|task| Memory::new(thread, task)).collect();
        let drive = Drive::start(thread, &regions);
        let tasks: Vec<_> = memories
            .into_iter()
            .map(|memory| {
                let (drive, files) = (drive.clone(), files.clone());
                compio::runtime::spawn(drive::keep_one_in_flight(drive, files, memory))
            })
            .collect();
        for task in tasks {
            task.await.map_err(|_| "a task was lost")?;
        }
        let end = Drive::finish(&drive)?;
        drive::flush_at_end(job, &files).await?;
        Ok(end)
    })
}
