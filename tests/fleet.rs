//! A thousand parts of a run of a billion connections: planned, and merged. Nothing is connected.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use megaconn::observe::stats::{Durations, Latency};
use megaconn::plan::parts::RunPart;
use megaconn::plan::tuples::{AddressRange, TuplePlan, share};
use megaconn::results::histograms::{Histograms, Recorded};
use megaconn::results::lenient::{Map, Maybe, Part};
use megaconn::results::parts::{PartOf, PartTuples, WholeGates};
use megaconn::results::percentiles::Percentiles;
use megaconn::results::plateau::Counts;
use megaconn::results::result::{PerCore, RunResult};
use megaconn::results::verdict::Verdict;
use megaconn::results::{HISTOGRAMS, RESULT, read, text};
use proptest::prelude::*;

const PARTS: u64 = 1_000;
const CONNECTIONS: u64 = 1_000_000_000;
const CORES: usize = 4;

/// Tuples of each part and end of it that are looked at.
const LOOKED_AT: u64 = 100;

fn parts(of: u64) -> impl Iterator<Item = RunPart> {
    (1..=of).map(move |number| RunPart::new(number, of).unwrap())
}

/// The ports that the kernel hands out by itself.
fn ports() -> Vec<u16> {
    (32_768..=60_999).collect()
}

#[test]
fn a_thousand_parts_plan_a_billion_connections_that_no_two_of_them_share() {
    let from = |text: &str| text.parse::<IpAddr>().unwrap();
    let sources = [AddressRange::new(from("127.0.0.2"), from("127.255.255.254")).unwrap()];
    let targets: Vec<SocketAddr> =
        (7_000..7_010).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
    let ports = ports();
    let (mut sum, mut dealt) = (0, Vec::new());
    let (mut tuples, mut seeds, mut runs) = (HashSet::new(), HashSet::new(), HashSet::new());
    for part in parts(PARTS) {
        let own = part.ports(&ports).to_vec();
        let plan = TuplePlan::new(targets.clone(), &sources, own.clone(), CORES).unwrap();
        let held = part.share(CONNECTIONS);
        assert!(plan.capacity() >= held, "part {part} has {} tuples", plan.capacity());
        dealt.extend(own.iter().copied());
        sum += held;
        assert!(seeds.insert(part.seed(7)) && runs.insert(part.message_run(u64::MAX)));
        for core in 0..CORES {
            let of_core = share(held, CORES, core);
            let ends = (0..LOOKED_AT).chain(of_core - LOOKED_AT..of_core);
            for index in ends {
                let tuple = plan.of_core(core, index).unwrap();
                assert!(own.contains(&tuple.source.port()), "part {part}: {tuple:?}");
                assert!(
                    tuples.insert((tuple.source, tuple.target)),
                    "part {part}: {tuple:?} again"
                );
            }
        }
    }
    assert_eq!((sum, dealt), (CONNECTIONS, ports), "all parts are the whole");
    assert_eq!(tuples.len() as u64, PARTS * CORES as u64 * 2 * LOOKED_AT);
}

proptest! {
    /// Parts that share sources have disjoint tuples, and together all that the whole has; numbers add up to the whole.
    #[test]
    fn parts_of_any_run_are_the_whole_and_disjoint(
        (of, addresses, ports) in (1_u64..12, 1_u8..5, 12_usize..40),
        (targets, cores, total, rate) in (1_u16..4, 1_usize..4, any::<u32>(), 0.001_f64..1e6),
        seed in any::<u64>(),
    ) {
        let at = |last: u8| IpAddr::from([127, 0, 0, last]);
        let sources = [AddressRange::new(at(2), at(1 + addresses)).unwrap()];
        let targets: Vec<SocketAddr> =
            (7_000..7_000 + targets).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let all: Vec<u16> = (40_000..).step_by(3).take(ports).collect();
        let ends = |ports: &[u16]| {
            let plan = TuplePlan::new(targets.clone(), &sources, ports.to_vec(), cores).unwrap();
            let tuples = (0..plan.capacity()).map(|number| plan.get(number).unwrap());
            tuples.map(|tuple| (tuple.source, tuple.target)).collect::<Vec<_>>()
        };
        let mut together: Vec<_> = parts(of).flat_map(|part| ends(part.ports(&all))).collect();
        let mut whole = ends(&all);
        together.sort_unstable();
        whole.sort_unstable();
        prop_assert_eq!(together, whole);
        prop_assert_eq!(parts(of).map(|part| part.share(total.into())).sum::<u64>(), u64::from(total));
        let shares: Vec<u64> = parts(of).map(|part| part.share(total.into())).collect();
        prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        let rates: f64 = parts(of).map(|part| part.rate(rate)).sum();
        prop_assert!((rates - rate).abs() <= 1e-9 * rate);
        let seeds: HashSet<u64> = parts(of).map(|part| part.seed(seed)).collect();
        let turns: HashSet<u64> =
            parts(of).flat_map(|part| (0..cores).map(move |core| part.turn(core, cores).to_bits())).collect();
        prop_assert_eq!((seeds.len() as u64, turns.len() as u64), (of, of * cores as u64));
    }
}

/// Latencies as they might be on one host: spread over many buckets.
fn latencies(number: u64) -> Durations {
    let latency = Latency::new();
    for n in 1..=400_u64 {
        latency.record(Duration::from_micros((n * n * (1 + number % 7)).min(3_000_000)));
    }
    latency.durations()
}

/// What a part leaves in `dir`, of a run that is made up.
fn leave(dir: &Path, part: RunPart) {
    let stored = include_bytes!("run_directory/result.json");
    let mut result: RunResult = read::json(stored, RESULT.schema).unwrap();
    let held = part.share(CONNECTIONS);
    let durations = latencies(part.number());
    let plateaus = std::mem::take(&mut result.plateaus.0);
    let mut plateau = plateaus.last().unwrap().clone();
    plateau.connections = held.into();
    plateau.established = held.into();
    plateau.failed = Counts::none();
    plateau.lost = Counts::none();
    plateau.hold_began_at_ms = (1_000_000 + part.number()).into();
    plateau.messages.received = part.number().into();
    plateau.messages.latency_us = Percentiles::of(&durations).into();
    result.plateaus = vec![plateau.clone(), plateau].into();
    result.target_connections = held.into();
    result.established = held.into();
    result.failed = Counts::none();
    result.lost = Counts::none();
    result.verdict = Part(Verdict { met: true.into(), ..Verdict::default() });
    result.changes = Vec::new().into();
    result.run_id = "simulated".into();
    let core =
        |core: u64| PerCore { side: "client".into(), core: core.into(), ..PerCore::default() };
    result.per_core = (0..CORES as u64).map(core).collect();
    let rows = |ports: &[u16]| format!("{}-{}", ports[0], ports[ports.len() - 1]);
    result.part = Maybe(Some(PartOf {
        number: part.number().into(),
        of: part.of().into(),
        host: format!("host-{}", part.number() / 10).into(),
        namespace: format!("boot-{} net:[1]", part.number() / 10).into(),
        plan: Map::from_iter([("hold", "30s".to_owned())]),
        plateaus: vec![CONNECTIONS, CONNECTIONS].into(),
        gates: Part(WholeGates {
            min_established: CONNECTIONS.into(),
            max_lost: 0.into(),
            ..WholeGates::default()
        }),
        tuples: Part(PartTuples {
            shared: true.into(),
            sources: vec!["127.0.0.2-127.255.255.254".to_owned()].into(),
            ports: vec![rows(part.ports(&ports()))].into(),
        }),
        ..PartOf::default()
    }));
    let recorded = Recorded::of(&durations).unwrap();
    let places = ["messages.latency_us", "connect.latency_us", "schedule_lag_us"];
    let of_plateau = || places.map(|place| (place.to_owned(), recorded.clone())).into();
    let histograms = Histograms {
        schema: HISTOGRAMS.schema.to_owned(),
        plateaus: vec![of_plateau(), of_plateau()],
    };
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(RESULT.name), text(&result)).unwrap();
    fs::write(dir.join(HISTOGRAMS.name), text(&histograms)).unwrap();
}

/// `megaconn merge` of all directories in `dir`, within 500 MiB.
fn merge(dir: &Path, to: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_megaconn");
    let line = format!("ulimit -v 512000; exec {program} merge part-* --out {to}");
    Command::new("bash").args(["-c", &line]).current_dir(dir).output().unwrap()
}

#[test]
fn a_thousand_directories_are_merged_in_seconds_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    for part in parts(PARTS) {
        leave(&dir.path().join(format!("part-{}", part.number())), part);
    }
    let began = Instant::now();
    let output = merge(dir.path(), "all");
    let took = began.elapsed();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    // Ten seconds are for a build for use; this one may be for tests.
    assert!(took < Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 10 }), "{took:?}");
    let all: RunResult =
        read::json(&fs::read(dir.path().join("all/result.json")).unwrap(), RESULT.schema).unwrap();
    assert_eq!((*all.established, *all.target_connections), (Some(CONNECTIONS), Some(CONNECTIONS)));
    assert_eq!((all.parts.len() as u64, all.per_core.len()), (PARTS, 1_000 * CORES));
    let plateau = &all.plateaus[1];
    assert_eq!(*plateau.connections, Some(CONNECTIONS));
    assert_eq!(*plateau.messages.received, Some(PARTS * (PARTS + 1) / 2));
    let sum = (1..=PARTS).map(latencies).reduce(|sum, next| sum.and(&next)).unwrap();
    assert_eq!(
        plateau.messages.latency_us,
        Percentiles::of(&sum).into(),
        "of all that was counted"
    );
    let size = fs::metadata(dir.path().join("all/report.html")).unwrap().len();
    assert!(size < 4 << 20, "a page of {size} bytes");

    println!("{PARTS} parts were merged in {took:?}");
}

#[test]
fn what_is_missing_or_there_twice_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for part in parts(20) {
        leave(&dir.path().join(format!("part-{}", part.number())), part);
    }
    let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    fs::remove_file(dir.path().join("part-7/result.json")).unwrap();
    let refused = merge(dir.path(), "all");
    let why = told(&refused);
    assert_eq!(refused.status.code(), Some(2), "{why}");
    assert!(why.contains("part-7: result.json is not there") && why.contains("fix: "), "{why}");
    assert!(!dir.path().join("all").exists(), "nothing is left of it");
    let anyway = merge(dir.path(), "all --anyway");
    assert_eq!(anyway.status.code(), Some(1), "{}", told(&anyway));
    leave(&dir.path().join("part-7"), parts(20).nth(7).unwrap());
    let refused = merge(dir.path(), "all --anyway");
    let why = told(&refused);
    assert_eq!(refused.status.code(), Some(2), "{why}");
    assert!(why.contains("both of part 8"), "{why}");
    let among = merge(dir.path(), "part-3 --anyway");
    assert_eq!(among.status.code(), Some(2));
    assert!(told(&among).contains("one of the parts"), "{}", told(&among));
}
