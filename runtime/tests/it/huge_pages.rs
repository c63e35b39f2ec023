//! Pages that the operator sets aside, here by the test itself.

use sombra_runtime::{
    DriverChoice, DriverKind, HugePages, IoClass, OpenHow, Runtime, RuntimeOptions, WriteMode,
};

use crate::harness::{SHARD_0, Scratch, on_shard, options, pattern};

const MIB: usize = 1 << 20;
const SETTING: &str = "/proc/sys/vm/nr_hugepages";
/// Other tests may take some of them meanwhile.
const PAGES_WANTED: usize = 64;

fn pages_set_aside() -> usize {
    std::fs::read_to_string(SETTING).unwrap().trim().parse().unwrap()
}

/// Huge pages beyond those that were there, given back when dropped.
struct SetAside {
    before: usize,
}

impl SetAside {
    fn new() -> Result<SetAside, String> {
        let before = pages_set_aside();
        let wanted = before + PAGES_WANTED;
        std::fs::write(SETTING, wanted.to_string())
            .map_err(|error| format!("{SETTING}: {error}"))?;
        let set = SetAside { before };
        match pages_set_aside() {
            got if got < wanted => Err(format!("the kernel found {got} of {wanted} huge pages")),
            _ => Ok(set),
        }
    }
}

impl Drop for SetAside {
    fn drop(&mut self) {
        let _ = std::fs::write(SETTING, self.before.to_string());
    }
}

fn slab_pages(runtime: &Runtime) -> HugePages {
    runtime.driver_report().shards[0].slab.unwrap().huge_pages
}

#[test]
fn slab_and_pools_lie_in_pages_that_are_set_aside() {
    let scratch = Scratch::new("huge_pages");
    let set = match SetAside::new() {
        Ok(set) => set,
        Err(why) => return println!("SKIPPED huge pages: {why}"),
    };
    for driver in [DriverChoice::Uring, DriverChoice::Inline] {
        let options =
            RuntimeOptions { shards: 1, buffer_slab_bytes: 4 * MIB + 4096, ..options(driver) };
        let runtime = Runtime::start(options).unwrap();
        assert_eq!(slab_pages(&runtime), HugePages::HugeTlb);
        let path = scratch.path(&format!("{driver:?}"));
        let is_ring = runtime.driver_kind() == DriverKind::Uring;
        on_shard(&runtime, SHARD_0, move |shard| async move {
            let pool = shard.add_buffer_pool(6 * MIB).unwrap();
            assert_eq!(pool.huge_pages(), HugePages::HugeTlb);
            let small = shard.add_buffer_pool(MIB).unwrap();
            assert_ne!(small.huge_pages(), HugePages::HugeTlb, "less than one of them");
            let vast = shard.add_buffer_pool(1 << 40).unwrap();
            assert_ne!(vast.huge_pages(), HugePages::HugeTlb, "more than there are");
            let file = shard.open(&path, OpenHow::create_new_direct()).await.unwrap();
            let last = pool.alloc(5 * MIB).unwrap();
            for mut buf in [shard.alloc_buffer(8192), pool.alloc(8192).unwrap(), last] {
                let bytes = pattern(buf.len(), 2);
                buf.copy_from_slice(&bytes);
                let class = IoClass::Merge;
                let write = shard.write_all_at(&file, class, 0, buf.into(), WriteMode::Plain);
                let mut buf = write.await.unwrap().into_owned().unwrap();
                buf.fill(0);
                let (buf, _) = shard.read_at(&file, IoClass::Read, 0, buf).await.unwrap();
                assert!(*buf == bytes[..], "{} bytes", bytes.len());
            }
            assert!(!is_ring || pool.registered_bytes() > 0);
        });
        assert!(runtime.shutdown().is_clean());
    }
    let before = set.before;
    drop(set);
    if before == 0 {
        let runtime = Runtime::start(options(DriverChoice::Uring)).unwrap();
        assert_ne!(slab_pages(&runtime), HugePages::HugeTlb, "there are none any more");
        assert!(runtime.shutdown().is_clean());
    }
}
