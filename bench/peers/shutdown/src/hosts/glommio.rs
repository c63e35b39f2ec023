use std::path::Path;
use std::rc::Rc;

use glommio::LocalExecutorBuilder;
use glommio::Placement;
use glommio::io::{BufferedFile, DmaFile};

use super::{ANSWERS_AT_ONCE, End, offsets};
use crate::AnyError;
use crate::limits::READ_BYTES;

pub(super) fn start(path: &Path) -> Result<End, AnyError> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make();
    let executor = executor.map_err(|error| error.to_string())?;
    executor.run(async {
        let file = Rc::new(DmaFile::open(path).await.map_err(|error| error.to_string())?);
        let first = BufferedFile::open(ANSWERS_AT_ONCE).await.map_err(|error| error.to_string())?;
        for offset in offsets() {
            let file = Rc::clone(&file);
            let reading = async move {
                let read = file.read_at_aligned(offset, READ_BYTES).await;
                crate::read_completed();
                read
            };
            glommio::spawn_local(reading).detach();
        }
        first.read_at(0, 1).await.map_err(|error| error.to_string())?;
        Ok::<_, AnyError>(())
    })?;
    Ok(Box::new(move || drop(executor)))
}
