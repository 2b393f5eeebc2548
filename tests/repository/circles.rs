//! Circles of a graph: the strongly connected components of two members or more, after R. Tarjan,
//! "Depth-first search and linear graph algorithms" (1972).

use crate::graph::Graph;

/// Each circle among modules, with one use for each of its edges.
pub(crate) fn offences(graph: &Graph) -> Vec<String> {
    let mut next = vec![Vec::new(); graph.modules.len()];
    graph.edges.keys().for_each(|(from, to)| next[*from].push(*to));
    let mut shown: Vec<_> =
        circles(&next).iter().map(|circle| (circle.len(), shown(graph, circle))).collect();
    shown.sort();
    shown.into_iter().map(|(_, text)| text).collect()
}

fn shown(graph: &Graph, circle: &[usize]) -> String {
    let mut names: Vec<_> = circle.iter().map(|module| graph.name(*module)).collect();
    names.sort_unstable();
    let is_inside = |(from, to): &&(usize, usize)| circle.contains(from) && circle.contains(to);
    let edges = graph.edges.keys().filter(is_inside);
    let mut edges: Vec<_> = edges.map(|(from, to)| graph.shown(*from, *to)).collect();
    edges.sort();
    let (members, arrows) = (circle.len(), edges.len());
    let names = names.join(", ");
    format!("circle of {members}, {arrows} edges: {names}\n  {}", edges.join("\n  "))
}

/// The circles among nodes `0..next.len()`, where `next` tells which nodes a node leads to.
pub(crate) fn circles(next: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut search = Search {
        next,
        order: vec![None; next.len()],
        lowest: vec![0; next.len()],
        is_open: vec![false; next.len()],
        path: Vec::new(),
        met: 0,
        found: Vec::new(),
    };
    for node in 0..next.len() {
        if search.order[node].is_none() {
            search.visit(node);
        }
    }
    search.found
}

struct Search<'a> {
    next: &'a [Vec<usize>],
    /// When a node was first met.
    order: Vec<Option<usize>>,
    /// The earliest open node that a node leads back to.
    lowest: Vec<usize>,
    is_open: Vec<bool>,
    path: Vec<usize>,
    met: usize,
    found: Vec<Vec<usize>>,
}

impl Search<'_> {
    fn visit(&mut self, node: usize) {
        let order = self.met;
        self.met += 1;
        self.order[node] = Some(order);
        self.lowest[node] = order;
        self.is_open[node] = true;
        self.path.push(node);
        for &to in &self.next[node] {
            match self.order[to] {
                None => {
                    self.visit(to);
                    self.lowest[node] = self.lowest[node].min(self.lowest[to]);
                }
                Some(met) if self.is_open[to] => self.lowest[node] = self.lowest[node].min(met),
                Some(_) => {}
            }
        }
        if self.lowest[node] == order {
            let start = self.path.iter().rposition(|open| *open == node).unwrap();
            let component = self.path.split_off(start);
            component.iter().for_each(|member| self.is_open[*member] = false);
            if component.len() > 1 {
                self.found.push(component);
            }
        }
    }
}
