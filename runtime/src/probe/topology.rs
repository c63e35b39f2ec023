//! Where CPUs stand in the machine, as sysfs tells, and which of them shards take.
//!
//! Knows nodes, cores and hyper-threads; never a thread: pinning is the starter's business.
//! Source: the kernel's Documentation/ABI/stable/sysfs-devices-node and
//! Documentation/ABI/stable/sysfs-devices-system-cpu.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Where the kernel describes nodes and CPUs.
pub(crate) const SYSFS_SYSTEM: &str = "/sys/devices/system";

/// What is known of some CPUs. Where sysfs says nothing, a CPU is a core of its own on no node.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    /// In the order of their numbers.
    places: Vec<CpuPlace>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct CpuPlace {
    cpu: usize,
    node: Option<usize>,
    /// How many of the given CPUs before this one are hyper-threads of the same core.
    rank: usize,
}

impl Topology {
    /// Looks for `cpus`, ascending and unique, below `system`.
    pub(crate) fn read(system: &Path, cpus: &[usize]) -> Topology {
        let nodes = read_nodes(system);
        let mut cores = Cores::default();
        let mut threads_of = BTreeMap::<usize, usize>::new();
        let place = |&cpu: &usize| {
            let threads = threads_of.entry(cores.core_of(system, cpu)).or_default();
            let rank = *threads;
            *threads += 1;
            CpuPlace { cpu, node: nodes.get(&cpu).copied(), rank }
        };
        Topology { places: cpus.iter().map(place).collect() }
    }

    /// The node that all the CPUs are on, if it is one.
    pub(crate) fn only_node(&self) -> Option<usize> {
        let first = self.places.first()?.node;
        self.places.iter().all(|place| place.node == first).then_some(first).flatten()
    }

    pub(crate) fn node_of(&self, cpu: usize) -> Option<usize> {
        self.places.iter().find(|place| place.cpu == cpu)?.node
    }

    /// A CPU for each of `shards`, which are at most as many as there are CPUs.
    ///
    /// A core of its own comes first: no hyper-thread is shared while a core is free. Then as few
    /// nodes as possible, the first that is large enough if one is; over several, shards are
    /// spread evenly, so that each has the same part of a node's memory bandwidth. Shards of one
    /// node have neighbouring numbers.
    pub(crate) fn cpus_for(&self, shards: usize) -> Vec<usize> {
        assert!(shards <= self.places.len(), "{shards} shards on {} CPUs", self.places.len());
        let mut nodes = self.nodes_for(shards);
        let mut taken = vec![Vec::new(); nodes.len()];
        for _ in 0..shards {
            let next = |node: usize| nodes[node].first().map(|place| place.rank);
            let with_room = (0..nodes.len()).filter_map(|node| Some((next(node)?, node)));
            let (_, _, node) = with_room
                .map(|(rank, node)| (rank, taken[node].len(), node))
                .min()
                .expect("the nodes chosen have room for all shards");
            taken[node].push(nodes[node].remove(0).cpu);
        }
        taken.concat()
    }

    /// The CPUs of the nodes to use, cores before further hyper-threads.
    fn nodes_for(&self, shards: usize) -> Vec<Vec<CpuPlace>> {
        let mut by_node = BTreeMap::<Option<usize>, Vec<CpuPlace>>::new();
        for place in &self.places {
            by_node.entry(place.node).or_default().push(*place);
        }
        let mut nodes: Vec<Vec<CpuPlace>> = by_node.into_values().collect();
        for node in &mut nodes {
            node.sort_by_key(|place| (place.rank, place.cpu));
        }
        let cores = |node: &Vec<CpuPlace>| node.iter().filter(|place| place.rank == 0).count();
        if let Some(node) = nodes.iter().find(|node| cores(node) >= shards) {
            return vec![node.clone()];
        }
        // The largest ones give the smallest number of nodes; equal ones stay in order.
        nodes.sort_by_key(|node| std::cmp::Reverse(cores(node)));
        let mut room = 0;
        let enough = nodes.iter().position(|node| {
            room += cores(node);
            room >= shards
        });
        nodes.truncate(enough.map_or(nodes.len(), |last| last + 1));
        nodes.sort_by_key(|node| node[0].node);
        nodes
    }
}

/// The node of each CPU that any node lists.
fn read_nodes(system: &Path) -> BTreeMap<usize, usize> {
    let mut nodes = BTreeMap::new();
    let Ok(entries) = fs::read_dir(system.join("node")) else { return nodes };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(|name| name.strip_prefix("node")) else {
            continue;
        };
        let (Ok(node), Some(cpus)) = (number.parse(), read_list(&entry.path().join("cpulist")))
        else {
            continue;
        };
        nodes.extend(cpus.into_iter().map(|cpu: usize| (cpu, node)));
    }
    nodes
}

/// Names of cores: the lowest CPU seen on each.
#[derive(Default)]
struct Cores {
    first_of: BTreeMap<(usize, usize), usize>,
}

impl Cores {
    fn core_of(&mut self, system: &Path, cpu: usize) -> usize {
        let topology = system.join(format!("cpu/cpu{cpu}/topology"));
        let siblings = read_list(&topology.join("thread_siblings_list"));
        if let Some(first) = siblings.and_then(|cpus| cpus.into_iter().min()) {
            return first;
        }
        let number =
            |file: &str| fs::read_to_string(topology.join(file)).ok()?.trim().parse::<usize>().ok();
        match (number("physical_package_id"), number("core_id")) {
            (Some(package), Some(core)) => *self.first_of.entry((package, core)).or_insert(cpu),
            _ => cpu,
        }
    }
}

fn read_list(file: &Path) -> Option<Vec<usize>> {
    parse_list(&fs::read_to_string(file).ok()?)
}

/// The kernel's lists of CPUs, as `0-3,8`; `None` for anything else.
fn parse_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if first > last || last >= crate::limits::CPUS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests;
