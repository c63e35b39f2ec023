//! A store whose pages lie on a raw block device, by the example of a loop device over a file.

use std::path::{Path, PathBuf};
use std::process::Command;

use sombra::{Db, Isolation, OpenError, Options, Routing};
use sombra_runtime::DriverChoice;

use crate::support::{TestDir, options, runtime};

const LEN_BYTES: u64 = 96 << 20;

/// A loop device, detached when dropped.
struct LoopDevice(PathBuf);

impl LoopDevice {
    fn new(backing: &Path) -> Result<LoopDevice, String> {
        let file = std::fs::File::create(backing).map_err(|error| error.to_string())?;
        file.set_len(LEN_BYTES).map_err(|error| error.to_string())?;
        let call = Command::new("losetup").args(["--find", "--show"]).arg(backing).output();
        let output = call.map_err(|error| format!("losetup: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(LoopDevice(String::from_utf8_lossy(&output.stdout).trim().into()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn store_on_a_raw_device_merges_into_it_and_is_there_after_reopening() {
    let dir = TestDir::new();
    let device = match LoopDevice::new(&dir.beside("backing")) {
        Ok(device) => device,
        Err(why) => return println!("SKIPPED a raw block device: {why}"),
    };
    let runtime = runtime(DriverChoice::Auto, 2);
    let on_device = Options {
        memory_bytes: 16 << 20,
        log_bytes_max: 8 << 20,
        device: Some(device.0.clone()),
        ..options()
    };
    let open = |options: Options| runtime.block_on(Db::open(&runtime, dir.store(), options));
    let a_file = Options { device: Some(dir.beside("backing")), ..on_device.clone() };
    let refused = open(a_file).map(drop).expect_err("a file is no device");
    assert!(refused.to_string().contains("expected a block device"), "{refused}");
    let db = open(on_device).unwrap();
    let keyspace = db.blocking().create_keyspace("k", Routing::hash_tablets(16, 4)).unwrap();
    let value = |number: u32| vec![number as u8; 2_000];
    for first in (0..15_000_u32).step_by(100) {
        let transaction = db.blocking().begin_with(Isolation::Snapshot).unwrap();
        for number in first..first + 100 {
            transaction.put(&keyspace, number.to_be_bytes(), value(number)).unwrap();
        }
        transaction.commit().unwrap();
    }
    let metrics = db.metrics();
    assert!(metrics.value("sombra_merges_total") > 0.0);
    assert_eq!(metrics.value("sombra_data_file_bytes"), LEN_BYTES as f64, "it does not grow");
    // Somebody else's store on the same device is refused: it is in use.
    let other = Options { device: Some(device.0.clone()), ..options() };
    let refused = runtime.block_on(Db::open(&runtime, dir.beside("other"), other));
    let Err(OpenError::Io { path, source, .. }) = refused else { panic!("two on one device") };
    assert_eq!((path, source.kind()), (device.0.clone(), std::io::ErrorKind::ResourceBusy));
    db.blocking().close().unwrap();
    let link = std::fs::read_link(dir.store().join("pages.sombra")).unwrap();
    assert_eq!(link, device.0);
    // The store knows its device: nobody has to name it again.
    let db = open(Options { memory_bytes: 16 << 20, ..options() }).unwrap();
    let keyspace = db.keyspace("k").unwrap();
    let snapshot = db.blocking().begin_with(Isolation::Snapshot).unwrap();
    for number in (0..15_000_u32).step_by(37) {
        let found = snapshot.get(&keyspace, number.to_be_bytes()).unwrap();
        assert_eq!(found.as_deref(), Some(&value(number)[..]), "{number}");
    }
    assert_eq!(snapshot.scan(&keyspace, ..).count(), 15_000);
    drop(snapshot);
    db.blocking().close().unwrap();
    runtime.shutdown();
}
