//! Facts of a run, made by hand: a run in which nothing went wrong, and what can go wrong with it.

use std::collections::BTreeMap;

use megaconn::base::layers::Layers;
use megaconn::observe::snapshot::CoreSnapshot;
use megaconn::plan::demand::Demand;
use megaconn::runtime::footprint;
use megaconn::walls::diagnosis::diagnose;
use megaconn::walls::host::Host;
use megaconn::walls::place::Place;
use megaconn::walls::run_facts::{ClientFacts, End, RunFacts};
use megaconn::walls::symptom::Symptom;

/// A run of 1,000 connections to another host, in which nothing went wrong.
pub(crate) fn run_facts() -> RunFacts {
    let target = "192.0.2.1:7000".parse().unwrap();
    RunFacts {
        demand: Demand::of_client(1000, &[target], 28_232, 2, footprint::of(Layers::default())),
        host: Host::read(20_000, 1 << 30),
        symptoms: BTreeMap::new(),
        shares_kernel: false,
        client: End { counters: Some(Default::default()), ..End::default() },
        server: Some(End { counters: Some(Default::default()), ..End::default() }),
        log: Some(Vec::new()),
        facts: ClientFacts::default(),
    }
}

pub(crate) fn lost(run: &mut RunFacts, symptoms: &[(Symptom, u64)]) {
    run.symptoms = symptoms.iter().copied().collect();
}

pub(crate) fn server(run: &mut RunFacts) -> &mut End {
    run.server.as_mut().unwrap()
}

/// A core of either end, by its CPU, most connections at once and messages.
pub(crate) fn core(cpu: u16, connections_peak: u64, messages: u64) -> CoreSnapshot {
    let figures = [("connections_peak", connections_peak), ("messages_total", messages)];
    CoreSnapshot::of(u64::from(cpu), cpu, figures)
}

pub(crate) fn rises(end: &mut End, counter: &str, before: u64, now: u64) {
    let (was, is) = end.counters.as_mut().unwrap();
    was.set(counter, before);
    is.set(counter, now);
}

/// The walls in order, with what was lost to each.
pub(crate) fn named(run: &RunFacts) -> Vec<(&'static str, Place, u64)> {
    diagnose(run).walls.iter().map(|wall| (wall.id, wall.side, wall.lost)).collect()
}
