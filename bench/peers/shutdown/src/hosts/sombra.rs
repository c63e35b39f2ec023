use std::path::Path;
use std::sync::mpsc;

use sombra_runtime::{IoClass, OpenHow, Runtime, RuntimeOptions, ShardId, TaskClass, TaskSpec};

use super::{End, offsets};
use crate::AnyError;
use crate::limits::READ_BYTES;

pub(super) fn start(path: &Path) -> Result<End, AnyError> {
    let options = RuntimeOptions {
        shards: 1,
        pin: false,
        // Buffers of the heap, which the quarantine sees.
        buffer_slab_bytes: 0,
        ..RuntimeOptions::default()
    };
    let runtime = Runtime::start(options)?;
    let path = path.to_owned();
    let (sender, started) = mpsc::channel();
    let spec = || TaskSpec::new("shutdown check", TaskClass::Foreground);
    runtime.run_on(ShardId::new(0), move |shard| {
        let main = shard.clone();
        shard.spawn(spec(), async move {
            let file = match main.open(&path, OpenHow::direct_read()).await {
                Ok(file) => file,
                Err(error) => return drop(sender.send(Err(error))),
            };
            for offset in offsets() {
                let (shard, file) = (main.clone(), file.clone());
                main.spawn(spec(), async move {
                    let buf = shard.alloc_buffer(READ_BYTES);
                    // Its result, were it there in time, would be as good as any.
                    let _ = shard.read_at(&file, IoClass::Read, offset, buf).await;
                    crate::read_completed();
                });
            }
            main.yield_now().await;
            // Nobody waits any more only when the program has failed.
            drop(sender.send(Ok(())));
        });
    });
    started.recv()??;
    Ok(Box::new(move || {
        runtime.shutdown();
    }))
}
