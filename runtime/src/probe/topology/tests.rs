use std::path::PathBuf;

use super::*;

/// A made-up sysfs, removed when dropped.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str) -> Machine {
        let root = std::env::temp_dir().join(format!("sombra-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        Machine(root)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn cpu(&self, cpu: usize, package: usize, core: usize, siblings: &str) {
        let dir = format!("cpu/cpu{cpu}/topology");
        self.write(&format!("{dir}/physical_package_id"), &package.to_string());
        self.write(&format!("{dir}/core_id"), &core.to_string());
        self.write(&format!("{dir}/thread_siblings_list"), siblings);
    }

    /// 2 nodes × 4 cores × 2 threads, numbered as on most servers: the second threads last.
    fn two_nodes(name: &str) -> Machine {
        let machine = Machine::new(name);
        machine.write("node/node0/cpulist", "0-3,8-11");
        machine.write("node/node1/cpulist", "4-7,12-15");
        machine.write("node/possible", "0-1");
        for cpu in 0..16 {
            let core = cpu % 8;
            machine.cpu(cpu, core / 4, core % 4, &format!("{core},{}", core + 8));
        }
        machine
    }

    fn order(&self, cpus: &[usize], shards: usize) -> Vec<usize> {
        Topology::read(&self.0, cpus).cpus_for(shards)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn all(count: usize) -> Vec<usize> {
    (0..count).collect()
}

#[test]
fn shards_take_cores_of_one_node_then_cores_of_both_then_hyper_threads() {
    let machine = Machine::two_nodes("two-nodes");
    let order = |shards| machine.order(&all(16), shards);
    assert_eq!(order(1), [0]);
    assert_eq!(order(4), [0, 1, 2, 3], "one node is large enough");
    assert_eq!(order(6), [0, 1, 2, 4, 5, 6], "evenly over both rather than on hyper-threads");
    assert_eq!(order(8), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(order(10), [0, 1, 2, 3, 8, 4, 5, 6, 7, 12]);
    let mut whole = order(16);
    assert_eq!(whole, [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15]);
    whole.sort_unstable();
    assert_eq!(whole, all(16));
    let topology = Topology::read(&machine.0, &all(16));
    assert_eq!((topology.node_of(3), topology.node_of(12)), (Some(0), Some(1)));
    assert_eq!(topology.only_node(), None);
}

#[test]
fn order_follows_the_cpus_that_are_allowed() {
    let machine = Machine::two_nodes("mask");
    // Both threads of one core on node 0, three cores of node 1.
    let allowed = [0, 5, 6, 7, 8];
    assert_eq!(machine.order(&allowed, 3), [5, 6, 7], "the first node that is large enough");
    assert_eq!(machine.order(&allowed, 4), [0, 5, 6, 7]);
    assert_eq!(machine.order(&allowed, 5), [0, 8, 5, 6, 7]);
    assert_eq!(machine.order(&[12, 14], 2), [12, 14], "a second thread alone on its core is one");
    assert_eq!(Topology::read(&machine.0, &[12, 14]).only_node(), Some(1));
}

#[test]
fn one_node_with_neighbouring_hyper_threads_gives_its_cores_first() {
    let machine = Machine::new("one-node");
    machine.write("node/node0/cpulist", "0-3");
    for cpu in 0..4 {
        machine.cpu(cpu, 0, cpu / 2, &format!("{}-{}", cpu / 2 * 2, cpu / 2 * 2 + 1));
    }
    assert_eq!(machine.order(&all(4), 1), [0]);
    assert_eq!(machine.order(&all(4), 2), [0, 2]);
    assert_eq!(machine.order(&all(4), 4), [0, 2, 1, 3]);
}

#[test]
fn core_numbers_do_where_there_is_no_list_of_siblings() {
    let machine = Machine::new("no-siblings");
    for cpu in 0..4 {
        let dir = format!("cpu/cpu{cpu}/topology");
        machine.write(&format!("{dir}/physical_package_id"), "0");
        machine.write(&format!("{dir}/core_id"), &(cpu % 2).to_string());
    }
    assert_eq!(machine.order(&all(4), 3), [0, 1, 2]);
    assert_eq!(machine.order(&[1, 2, 3], 2), [1, 2], "3 shares a core with 1");
}

#[test]
fn order_is_plain_where_sysfs_tells_nothing_or_nonsense() {
    let machine = Machine::new("nothing");
    assert_eq!(machine.order(&[2, 3, 5], 2), [2, 3]);
    assert_eq!(machine.order(&[2, 3, 5], 3), [2, 3, 5]);
    machine.write("node/node0/cpulist", "3-2");
    machine.write("node/nodeX/cpulist", "0-7");
    machine.write("node/node1/cpulist", "0-99999999");
    machine.cpu(3, 0, 0, "a,b");
    let topology = Topology::read(&machine.0, &[2, 3, 5]);
    assert_eq!(topology.cpus_for(3), [2, 3, 5]);
    assert_eq!((topology.node_of(2), topology.only_node()), (None, None));
}

#[test]
fn offline_cpus_and_nodes_without_cpus_are_passed_over() {
    let machine = Machine::two_nodes("offline");
    // CPUs 1 and 9 are offline: no topology, in no list, and not allowed to any thread.
    machine.write("node/node0/cpulist", "0,2-3,8,10-11");
    machine.write("node/node2/cpulist", "");
    fs::remove_dir_all(machine.0.join("cpu/cpu1")).unwrap();
    fs::remove_dir_all(machine.0.join("cpu/cpu9")).unwrap();
    let online: Vec<usize> = (0..16).filter(|cpu| ![1, 9].contains(cpu)).collect();
    assert_eq!(machine.order(&online, 3), [0, 2, 3]);
    assert_eq!(machine.order(&online, 4), [4, 5, 6, 7]);
    assert_eq!(machine.order(&online, 7), [0, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn lists_are_read_as_the_kernel_writes_them() {
    assert_eq!(parse_list("0-2,8\n"), Some(vec![0, 1, 2, 8]));
    assert_eq!(parse_list("\n"), Some(vec![]));
    for wrong in ["x", "1-", "3-1", "0-4294967296"] {
        assert_eq!(parse_list(wrong), None, "{wrong}");
    }
}
