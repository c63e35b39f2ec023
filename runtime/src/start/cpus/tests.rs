use super::*;
use crate::runtime::{DriverChoice, Runtime};

fn usable() -> Vec<usize> {
    sys::allowed_cpus().unwrap()
}

fn options(shards: usize, pin: bool, cpus: Option<Vec<usize>>) -> RuntimeOptions {
    RuntimeOptions { shards, pin, cpus, driver: DriverChoice::Threads, ..RuntimeOptions::default() }
}

/// The CPUs that each shard's thread may use, asked on that thread.
fn affinities(runtime: &Runtime) -> Vec<Vec<usize>> {
    (0..runtime.shard_count())
        .map(|index| {
            let (sender, receiver) = futures_channel::oneshot::channel();
            runtime.run_on(ShardId::from_index(index), move |_| {
                sender.send(sys::allowed_cpus().unwrap()).unwrap();
            });
            runtime.block_on(receiver).unwrap()
        })
        .collect()
}

/// Runs `test` on a thread that is itself pinned to the last CPU, as one of a host's executors.
fn on_a_pinned_thread(test: impl FnOnce() + Send + 'static) {
    let last = *usable().last().unwrap();
    let pinned = std::thread::spawn(move || {
        sys::pin_thread(&[last]).unwrap();
        test();
    });
    pinned.join().unwrap();
}

#[test]
fn chosen_cpus_count_whatever_the_caller_is_pinned_to() {
    let cpus = usable();
    on_a_pinned_thread(move || {
        let runtime = Runtime::start(options(0, false, Some(cpus.clone()))).unwrap();
        assert_eq!(affinities(&runtime), vec![cpus.clone(); cpus.len()]);
        assert!(runtime.placement().iter().all(|place| place.cpu.is_none()));
        assert!(runtime.shutdown().is_clean());
        let inherited = Runtime::start(options(0, false, None)).unwrap();
        assert_eq!(affinities(&inherited), [[*cpus.last().unwrap()]], "the control");
        assert!(inherited.shutdown().is_clean());
    });
}

#[test]
fn pinned_shards_stand_where_the_placement_says() {
    let cpus = usable();
    on_a_pinned_thread(move || {
        for shards in [1, cpus.len()] {
            let runtime = Runtime::start(options(shards, true, Some(cpus.clone()))).unwrap();
            let placement = runtime.placement();
            let told: Vec<usize> = placement.iter().map(|place| place.cpu.unwrap()).collect();
            let topology = Topology::read(Path::new(SYSFS_SYSTEM), &cpus);
            assert_eq!(told, topology.cpus_for(shards));
            let own: Vec<Vec<usize>> = told.iter().map(|cpu| vec![*cpu]).collect();
            assert_eq!(affinities(&runtime), own);
            for place in placement {
                assert_eq!(place.node, topology.node_of(place.cpu.unwrap()));
            }
            assert!(runtime.shutdown().is_clean());
        }
    });
}

#[test]
fn more_shards_than_cpus_share_all_of_them() {
    let last = *usable().last().unwrap();
    let runtime = Runtime::start(options(2, true, Some(vec![last, last]))).unwrap();
    assert_eq!(affinities(&runtime), [[last], [last]]);
    assert_eq!(runtime.placement()[1].cpu, None);
    assert!(runtime.shutdown().is_clean());
}

#[test]
fn cpu_that_cannot_be_used_is_named() {
    let first = usable()[0];
    for cpu in [CPUS_MAX - 1, CPUS_MAX, usize::MAX] {
        let error = Runtime::start(options(1, true, Some(vec![first, cpu]))).err().unwrap();
        assert!(matches!(error, StartError::Cpu { cpu: named, .. } if named == cpu), "{error}");
    }
    let error = Runtime::start(options(1, true, Some(Vec::new()))).err().unwrap();
    assert!(error.to_string().contains("cpus (how many): 0"), "{error}");
}
