//! Cycles of given kinds of edges: strongly connected components (Tarjan, "Depth-First Search
//! and Linear Graph Algorithms", 1972), and in each the shortest cycle.
//!
//! Snapshot isolation allows only cycles in which two `rw` edges follow each other (Fekete et
//! al., "Making Snapshot Isolation Serializable", TODS 2005). To find the others, each
//! transaction stands for two states: reached by an `rw` edge, or not; from the first no `rw`
//! edge leads on.

use std::collections::VecDeque;

use super::graph::{Edge, EdgeKind, Graph};
use crate::limits;

/// Which edges a cycle is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    /// It has at least one of these,
    pub(crate) first: &'static [EdgeKind],
    /// and otherwise these.
    pub(crate) rest: &'static [EdgeKind],
    /// No two `rw` edges follow each other.
    pub(crate) apart: bool,
}

/// The edges of a cycle in their order.
pub(crate) type Cycle = Vec<Edge>;

const UNVISITED: u32 = u32::MAX;

/// Returns the shortest cycle of `pattern` through `allowed` transactions of every strongly
/// connected component that has one; in components of more than `CYCLE_STARTS_MAX` states, the
/// shortest through that many of them.
///
/// Cost: linear in the graph where no component has two states.
pub(crate) fn shortest_cycles(graph: &Graph, allowed: &[bool], pattern: Pattern) -> Vec<Cycle> {
    let mut search = Search::new(graph, allowed, pattern);
    search.find_components();
    let states = 0..search.component.len();
    let mut by_component: Vec<usize> =
        states.filter(|state| search.component[*state] != UNVISITED).collect();
    by_component.sort_by_key(|state| search.component[*state]);
    let component = &search.component;
    let groups: Vec<Vec<usize>> = by_component
        .chunk_by(|left, right| component[*left] == component[*right])
        .filter(|group| group.len() > 1)
        .map(<[usize]>::to_vec)
        .collect();
    groups.iter().filter_map(|group| search.shortest_in(group)).collect()
}

struct Search<'g> {
    graph: &'g Graph,
    allowed: &'g [bool],
    pattern: Pattern,
    /// Of each state, `UNVISITED` where there is none.
    component: Vec<u32>,
    /// The last breadth-first search that came to the state, and from which state by which edge.
    visit: Vec<u32>,
    came: Vec<(usize, usize)>,
    visits: u32,
    /// States that it came to, with their distance.
    queue: VecDeque<(usize, usize)>,
}

/// A state on the path of the depth-first search, and its next edge.
struct Frame {
    state: usize,
    edge: usize,
}

impl<'g> Search<'g> {
    fn new(graph: &'g Graph, allowed: &'g [bool], pattern: Pattern) -> Search<'g> {
        let states = allowed.len() * 2;
        Search {
            graph,
            allowed,
            pattern,
            component: vec![UNVISITED; states],
            visit: vec![0; states],
            came: vec![(0, 0); states],
            visits: 0,
            queue: VecDeque::new(),
        }
    }

    /// The state that an edge of these kinds leads to.
    fn step(&self, state: usize, edge: usize, kinds: &[EdgeKind]) -> Option<usize> {
        let edge = &self.graph.edges()[edge];
        let to = edge.to.index();
        let is_rw = self.pattern.apart && edge.kind.is_rw();
        let is_after_rw = state % 2 == 1;
        let leads_on = self.allowed[to] && kinds.contains(&edge.kind) && !(is_rw && is_after_rw);
        leads_on.then_some(to * 2 + usize::from(is_rw))
    }

    fn step_any(&self, state: usize, edge: usize) -> Option<usize> {
        let first = self.step(state, edge, self.pattern.first);
        first.or_else(|| self.step(state, edge, self.pattern.rest))
    }

    fn find_components(&mut self) {
        let states = self.component.len();
        let mut order = vec![UNVISITED; states];
        let mut low = vec![0_u32; states];
        let mut stack = Vec::new();
        let mut path = Vec::new();
        let (mut visited, mut components) = (0, 0);
        for root in (0..states).step_by(2) {
            if !self.allowed[root / 2] || order[root] != UNVISITED {
                continue;
            }
            path.push(self.frame(root));
            while let Some(frame) = path.last_mut() {
                let state = frame.state;
                if order[state] == UNVISITED {
                    (order[state], low[state]) = (visited, visited);
                    visited += 1;
                    stack.push(state);
                }
                if frame.edge < self.graph.edges_of(state / 2).end {
                    let edge = frame.edge;
                    frame.edge += 1;
                    match self.step_any(state, edge) {
                        Some(to) if order[to] == UNVISITED => path.push(self.frame(to)),
                        Some(to) if self.component[to] == UNVISITED => {
                            low[state] = low[state].min(order[to]);
                        }
                        _ => {}
                    }
                    continue;
                }
                path.pop();
                if let Some(above) = path.last() {
                    low[above.state] = low[above.state].min(low[state]);
                }
                if low[state] == order[state] {
                    self.close(&mut stack, state, components);
                    components += 1;
                }
            }
        }
    }

    fn frame(&self, state: usize) -> Frame {
        Frame { state, edge: self.graph.edges_of(state / 2).start }
    }

    fn close(&mut self, stack: &mut Vec<usize>, root: usize, component: u32) {
        while let Some(state) = stack.pop() {
            self.component[state] = component;
            if state == root {
                return;
            }
        }
    }

    fn shortest_in(&mut self, group: &[usize]) -> Option<Cycle> {
        let mut best: Option<Cycle> = None;
        let starts = group.iter().filter(|state| **state % 2 == 0);
        for start in starts.take(limits::CYCLE_STARTS_MAX) {
            let bound = best.as_ref().map_or(usize::MAX, Vec::len);
            if bound == 2 {
                break;
            }
            best = self.shortest_through(*start, bound).or(best);
        }
        best
    }

    /// The shortest cycle that leaves `start` by one of the first edges, if it has fewer than
    /// `bound`.
    fn shortest_through(&mut self, start: usize, bound: usize) -> Option<Cycle> {
        self.visits += 1;
        self.queue.clear();
        for edge in self.graph.edges_of(start / 2) {
            if let Some(to) = self.step(start, edge, self.pattern.first) {
                self.arrive((start, edge), to, 1);
            }
        }
        while let Some((state, length)) = self.queue.pop_front() {
            if length + 1 >= bound {
                return None;
            }
            for edge in self.graph.edges_of(state / 2) {
                let Some(to) = self.step(state, edge, self.pattern.rest) else { continue };
                self.arrive((state, edge), to, length + 1);
                if to == start {
                    return Some(self.trace(start));
                }
            }
        }
        None
    }

    fn arrive(&mut self, from: (usize, usize), to: usize, length: usize) {
        if self.component[to] == self.component[from.0] && self.visit[to] != self.visits {
            self.visit[to] = self.visits;
            self.came[to] = from;
            self.queue.push_back((to, length));
        }
    }

    fn trace(&self, start: usize) -> Cycle {
        let mut cycle = Vec::new();
        let mut state = start;
        loop {
            let (before, edge) = self.came[state];
            cycle.push(self.graph.edges()[edge]);
            state = before;
            if state == start {
                break;
            }
        }
        cycle.reverse();
        cycle
    }
}
