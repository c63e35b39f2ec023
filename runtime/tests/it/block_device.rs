//! Raw block devices, by the example of a loop device over a file.

use std::path::{Path, PathBuf};
use std::process::Command;

use sombra_runtime::{FlushVia, IoClass, OpenHow, WriteCache, WriteMode};

use crate::harness::{SHARD_0, Scratch, on_shard, pattern, with_each_driver};

const LEN_BYTES: u64 = 8 << 20;

/// A loop device, detached when dropped.
struct LoopDevice(PathBuf);

impl LoopDevice {
    fn new(backing: &Path) -> Result<LoopDevice, String> {
        std::fs::write(backing, vec![0; LEN_BYTES as usize]).unwrap();
        let call = Command::new("losetup").args(["--find", "--show"]).arg(backing).output();
        let output = call.map_err(|error| format!("losetup: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(LoopDevice(name.into()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn block_device_is_opened_measured_written_and_read() {
    let scratch = Scratch::new("block_device");
    let device = match LoopDevice::new(&scratch.path("backing")) {
        Ok(device) => device,
        Err(why) => return println!("SKIPPED a block device: {why}"),
    };
    with_each_driver(|runtime| {
        let path = device.0.clone();
        on_shard(runtime, SHARD_0, move |shard| async move {
            let file = shard.open(&path, OpenHow::direct_rw()).await.unwrap();
            assert!(file.is_direct() && file.dio_alignment_bytes() <= 4096);
            assert_eq!(shard.file_len(&file).await.unwrap(), LEN_BYTES);
            let info = shard.disk_info(&file).await.unwrap();
            assert!(info.identity.starts_with("7:"), "{info:?}: loop devices have major number 7");
            assert!(info.identity.ends_with("block device"), "{info:?}");
            assert_eq!((info.free_bytes, info.is_block_device), (0, true));
            let claim = shard.open(&path, OpenHow::exclusive_read()).await.unwrap();
            let again = shard.open(&path, OpenHow::exclusive_read()).await;
            let refused = again.err().and_then(|error| error.raw_os_error());
            assert_eq!(refused, Some(libc::EBUSY), "one holder at a time");
            drop(claim);
            assert!(info.write_cache != WriteCache::Unknown, "{info:?}");
            let bytes = pattern(64 * 1024, 8);
            for (index, mode) in [WriteMode::Plain, WriteMode::Dsync].into_iter().enumerate() {
                let offset = LEN_BYTES - 64 * 1024 * (index as u64 + 1);
                let mut buf = shard.alloc_buffer(bytes.len());
                buf.copy_from_slice(&bytes);
                let class = IoClass::Merge;
                shard.write_all_at(&file, class, offset, buf.into(), mode).await.unwrap();
                shard.flush(&file, FlushVia::Ring).await.unwrap();
                let buf = shard.alloc_buffer(bytes.len());
                let (buf, count) = shard.read_at(&file, IoClass::Read, offset, buf).await.unwrap();
                assert!(count == bytes.len() && *buf == bytes[..]);
            }
            let buf = shard.alloc_buffer(4096);
            let past = shard.read_at(&file, IoClass::Read, LEN_BYTES, buf).await.unwrap();
            assert_eq!(past.1, 0);
        });
    });
}
