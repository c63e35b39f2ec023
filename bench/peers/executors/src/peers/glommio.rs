//! glommio: `DmaFile`, whose reads bring a buffer of the executor's own registered memory, and
//! whose writes take one.

use std::io;
use std::rc::Rc;

use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use glommio::{LocalExecutorBuilder, Placement};
use sombra_bench::disk::job::Direction;
use sombra_bench::disk::plan::JobThread;

use crate::AnyError;
use crate::drive::{self, Drive, Moved, PeerFile, Scope, ThreadEnd};
use crate::files::{Access, access_of};
use crate::limits::{GLOMMIO_ENTRIES, GLOMMIO_MEMORY_BYTES};

/// What a task writes from; `None` for a job that only reads.
pub(crate) struct Source(Option<Rc<DmaBuffer>>);

impl PeerFile for DmaFile {
    type Memory = Source;

    fn bytes<'a>(&self, memory: &'a mut Source, len: usize) -> &'a mut [u8] {
        let buffer = memory.0.as_mut().expect("a job that writes has buffers to write from");
        if Rc::get_mut(buffer).is_none() {
            // The executor has not let go of it yet: the next write takes another.
            let mut copy = self.alloc_dma_buffer(buffer.len());
            copy.as_bytes_mut().copy_from_slice(buffer.as_bytes());
            *buffer = Rc::new(copy);
        }
        let buffer = Rc::get_mut(buffer).expect("it is shared with nobody now");
        &mut buffer.as_bytes_mut()[..len]
    }

    async fn read(&self, memory: Source, at: u64, len: usize) -> Moved<Source> {
        let read = self.read_at_aligned(at, len).await;
        (read.map(|bytes| bytes.len()).map_err(io::Error::from), memory)
    }

    async fn write(&self, memory: Source, at: u64, _len: usize) -> Moved<Source> {
        let buffer = memory.0.clone().expect("a job that writes has buffers to write from");
        let written = self.write_rc_at(buffer, at).await;
        (written.map_err(io::Error::from), memory)
    }

    async fn flush(&self, scope: Scope) -> io::Result<()> {
        assert!(scope == Scope::Data, "jobs that want an fsync were refused");
        self.fdatasync().await.map_err(io::Error::from)
    }
}

pub(super) fn run(thread: &JobThread) -> Result<ThreadEnd, AnyError> {
    let job = &thread.job;
    let in_flight_bytes = drive::largest_bytes(job) * job.iodepth as usize;
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .ring_depth(super::entries(GLOMMIO_ENTRIES, job) as usize)
        .io_memory(GLOMMIO_MEMORY_BYTES.max(2 * in_flight_bytes))
        .make()
        .map_err(|error| error.to_string())?;
    executor.run(run_inside(thread))
}

async fn run_inside(thread: &JobThread) -> Result<ThreadEnd, AnyError> {
    let job = &thread.job;
    let regions = crate::files::regions(thread)?;
    let files = Rc::new(open(thread).await?);
    let writes = job.pattern.mix.has(Direction::Write);
    let size = job.block.of(Direction::Write).max_bytes() as usize;
    let memories = (0..job.iodepth).map(|task| {
        Source(writes.then(|| {
            let mut buffer = files[0].alloc_dma_buffer(size);
            drive::prime(thread, task, buffer.as_bytes_mut());
            Rc::new(buffer)
        }))
    });
    let memories: Vec<_> = memories.collect();
    let drive = Drive::start(thread, &regions);
    let tasks: Vec<_> = memories
        .into_iter()
        .map(|memory| {
            let (drive, files) = (drive.clone(), files.clone());
            glommio::spawn_local(drive::keep_one_in_flight(drive, files, memory))
        })
        .collect();
    for task in tasks {
        task.await;
    }
    let end = Drive::finish(&drive)?;
    let files = Rc::into_inner(files).expect("the tasks are over");
    for file in files {
        file.close().await.map_err(|error| error.to_string())?;
    }
    Ok(end)
}

async fn open(thread: &JobThread) -> Result<Vec<DmaFile>, AnyError> {
    let Access { read, write, flags } = access_of(&thread.job);
    let mut files = Vec::with_capacity(thread.files.len());
    for planned in &thread.files {
        let mut options = OpenOptions::new();
        options.read(read).write(write).custom_flags(flags);
        let file = options.dma_open(&planned.path).await.map_err(|error| error.to_string())?;
        files.push(file);
    }
    Ok(files)
}
