//! Parts that are made up, merged.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::observe::stats::Latency;
use crate::results::histograms::Recorded;
use crate::results::lenient::{List, Maybe};
use crate::results::parts::{ClockOffset, PartTuples, WholeGates};
use crate::results::percentiles::Percentiles;
use crate::results::plateau::{Counts, Plateau};
use crate::results::read;
use crate::results::verdict::{Attribution, NextWall, Verdict};
use crate::results::{RESULT, text};

/// A part of `of` that met everything, with latencies of so many microseconds.
fn part(number: u64, of: u64, us: &[u64]) -> PartRead {
    let latency = Latency::new();
    us.iter().for_each(|us| latency.record(Duration::from_micros(*us)));
    let durations = latency.durations();
    let recorded = Recorded::of(&durations).map(|all| ("messages.latency_us".to_owned(), all));
    let mut plateau = Plateau {
        connections: 100.into(),
        established: 100.into(),
        failed: Counts::none(),
        lost: Counts::none(),
        hold_began_at_ms: 5_000.into(),
        hold_seconds: 10.0.into(),
        ..Plateau::default()
    };
    plateau.messages.received = (us.len() as u64).into();
    plateau.messages.latency_us = Percentiles::of(&durations).into();
    let half = 10_000 / of;
    let part = PartOf {
        number: number.into(),
        of: of.into(),
        host: format!("host-{number}").into(),
        namespace: "boot net:[1]".into(),
        plan: [("hold".to_owned(), "10s".to_owned())].into_iter().collect(),
        plateaus: vec![100 * of].into(),
        gates: Part(WholeGates {
            min_established: (100 * of).into(),
            max_lost: 0.into(),
            max_p99_us: Maybe(None),
        }),
        tuples: Part(PartTuples {
            shared: true.into(),
            sources: vec!["127.0.0.2-127.255.255.254".to_owned()].into(),
            ports: vec![format!(
                "{}-{}",
                30_000 + number * half,
                30_000 + number * half + half - 1
            )]
            .into(),
        }),
        ..PartOf::default()
    };
    let result = RunResult {
        schema: RESULT.schema.into(),
        version: "1".into(),
        run_id: "demo".into(),
        part: Maybe(Some(part)),
        started_at: 1_000.into(),
        seconds: 20.0.into(),
        target_connections: 100.into(),
        established: 100.into(),
        failed: Counts::none(),
        lost: Counts::none(),
        untried: 0.into(),
        plateaus: vec![plateau].into(),
        verdict: Part(Verdict { met: true.into(), ..Verdict::default() }),
        ..RunResult::default()
    };
    let histograms = Histograms {
        schema: "megaconn.histograms/1".to_owned(),
        plateaus: vec![recorded.into_iter().collect::<BTreeMap<_, _>>()],
    };
    PartRead { result, histograms: Some(histograms), environment: None }
}

fn merged(parts: Vec<PartRead>, anyway: bool) -> Result<Merged, Vec<Problem>> {
    let mut merge = Merge::default();
    for (at, part) in parts.into_iter().enumerate() {
        merge.take(&format!("dir-{at}"), Ok(part));
    }
    merge.finish(anyway)
}

/// Two parts, the second of which is changed.
fn changed(change: impl FnOnce(&mut PartRead)) -> Vec<PartRead> {
    let mut second = part(2, 2, &[2]);
    change(&mut second);
    vec![part(1, 2, &[1]), second]
}

fn of_part(read: &mut PartRead) -> &mut PartOf {
    read.result.part.as_mut().expect("it is one")
}

#[test]
fn parts_are_added_in_any_order() {
    let all = || (1..=4).map(|number| part(number, 4, &[10 * number, 1_000]));
    let there = merged(all().collect(), false).expect("they are of one run").result;
    let back = merged(all().rev().collect(), false).expect("they are of one run").result;
    assert_eq!((*there.established, *there.target_connections), (Some(400), Some(400)));
    assert_eq!(there.verdict.met, true.into(), "{:?}", there.verdict.missed);
    assert_eq!(*there.plateaus[0].connections, Some(400));
    assert_eq!((&there.plateaus, &there.verdict), (&back.plateaus, &back.verdict));
    let numbers: Vec<_> = back.parts.iter().map(|part| *part.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4].map(Some));
    let read: RunResult =
        read::json(text(&there).as_bytes(), RESULT.schema).expect("as it was written");
    assert_eq!(read, there, "it is read as it was written");
}

proptest! {
    /// Percentiles of the whole are those of one histogram in which everything was counted.
    #[test]
    fn percentiles_are_of_all_that_was_counted(
        parts in prop::collection::vec(prop::collection::vec(1_u64..100_000_000, 0..200), 1..8)
    ) {
        let of = parts.len() as u64;
        let reads = (1..).zip(&parts).map(|(number, us)| part(number, of, us)).collect();
        let result = merged(reads, false).expect("they are of one run").result;
        let all = Latency::new();
        parts.iter().flatten().for_each(|us| all.record(Duration::from_micros(*us)));
        let expected: Maybe<Percentiles> = Percentiles::of(&all.durations()).into();
        prop_assert_eq!(result.plateaus[0].messages.latency_us, expected);
        let count = parts.iter().flatten().count() as u64;
        prop_assert_eq!(*result.plateaus[0].messages.received, Some(count));
    }
}

type Change = fn(&mut PartRead);

#[test]
fn what_is_of_another_run_is_never_added() {
    let all: [(&str, Change); 4] = [
        ("another run:", |read| read.result.run_id = "other".into()),
        ("plan (hold)", |read| {
            of_part(read).plan.insert("hold".to_owned(), "20s".to_owned());
        }),
        ("number of parts", |read| of_part(read).of = 3.into()),
        ("both of part 1", |read| of_part(read).number = 1.into()),
    ];
    for (said, change) in all {
        for anyway in [false, true] {
            let problems = merged(changed(change), anyway).map(drop).expect_err(said);
            let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert!(words.iter().any(|words| words.contains(said)), "{said}: {words:?}");
            assert!(problems.iter().any(|problem| !problem.can_be_told()), "{said}");
        }
    }
}

#[test]
fn what_is_odd_is_refused_or_told() {
    let all: [(&str, Change); 7] = [
        ("another version", |read| read.result.version = "2".into()),
        ("of a whole run", |read| read.result.part = Maybe(None)),
        ("of a whole run", |read| of_part(read).number = Maybe(None)),
        ("source addresses and ports", |read| {
            of_part(read).tuples.ports = vec!["30000-39999".to_owned()].into();
        }),
        ("never held by all parts at once", |read| {
            read.result.plateaus[0].hold_began_at_ms = 15_100.into();
        }),
        ("clock of part", |read| {
            of_part(read).start_at_ms = 1.into();
            of_part(read).clock = Some(ClockOffset { offset_us: 60_000_000, error_us: 5 }).into();
        }),
        ("are missing: 3", |read| of_part(read).number = 2.into()),
    ];
    for (said, change) in all {
        let reads = || {
            let mut reads = changed(change);
            let first = of_part(&mut reads[0]);
            first.start_at_ms = 1.into();
            first.clock = Some(ClockOffset { offset_us: 0, error_us: 5 }).into();
            if said.contains("missing") {
                reads.iter_mut().for_each(|read| of_part(read).of = 3.into());
            }
            reads
        };
        let problems = merged(reads(), false).map(drop).expect_err(said);
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(words.iter().any(|words| words.contains(said)), "{said}: {words:?}");
        let told = merged(reads(), true).expect(said).result;
        assert_eq!(told.verdict.met, false.into(), "{said}");
        assert!(told.verdict.missed.iter().any(|why| why.contains(said)), "{said}: {told:?}");
        assert!(told.notes.contains_key("parts.problems"), "{said}");
    }
    // A clock that is off and known is reckoned with: these held at once.
    let held = changed(|read| {
        of_part(read).clock = Some(ClockOffset { offset_us: -30_000_000, error_us: 5 }).into();
        read.result.plateaus[0].hold_began_at_ms = 35_000.into();
    });
    assert!(merged(held, false).is_ok());
}

#[test]
fn nothing_to_read_is_no_part() {
    let mut merge = Merge::default();
    merge.take("gone", Err("result.json is not there".to_owned()));
    let refused = merge.finish(true).map(drop).expect_err("there is nothing");
    assert!(refused[0].to_string().contains("gone: result.json is not there"));
    let mut merge = Merge::default();
    merge.take("gone", Err("result.json is not there".to_owned()));
    merge.take("first", Ok(part(1, 2, &[1])));
    let told = merge.finish(true).expect("one is there").result;
    let missed = told.verdict.missed.join("; ");
    assert!(missed.contains("gone: ") && missed.contains("missing: 2"), "{missed}");
    assert_eq!(*told.plateaus[0].connections, Some(100), "what was asked of those that are there");
    assert!(Merge::default().finish(false).is_err());
}

#[test]
fn a_part_without_whole_histograms_has_no_percentiles() {
    let result = merged(changed(|read| read.histograms = None), false).expect("a sum").result;
    assert!(result.plateaus[0].messages.latency_us.is_none());
    let note = result.notes.get("plateaus.latency_us").expect("it is said");
    assert!(note.contains("parts 2"), "{note}");
}

#[test]
fn the_verdict_says_which_host_met_what() {
    let wall = |lost: u64| Attribution {
        id: "source-ports".into(),
        side: "client".into(),
        lost: lost.into(),
        became: [("failed", lost)].into_iter().collect(),
        evidence: vec![format!("{lost} connects failed")].into(),
        ..Attribution::default()
    };
    let met = |numbers: &[u64]| {
        let reads = (1..=4).map(|number| {
            let mut read = part(number, 4, &[1]);
            if numbers.contains(&number) {
                read.result.established = (100 - number).into();
                read.result.failed = Counts::named([("EADDRNOTAVAIL", number)]);
                read.result.verdict.met = false.into();
                read.result.verdict.missed = vec!["some failed".to_owned()].into();
                read.result.verdict.wall = Some(wall(number)).into();
            }
            read
        });
        merged(reads.collect(), false).expect("they are of one run").result
    };
    let one = met(&[3]);
    let wall = one.verdict.wall.as_ref().expect("it was met");
    assert_eq!(wall.evidence.0, ["part 3 (host-3) alone met it", "3 connects failed"]);
    assert_eq!((*wall.lost, one.failed.sum(), *one.verdict.met), (Some(3), 3, Some(false)));
    let missed: &List<String> = &one.verdict.missed;
    assert_eq!(missed.0, ["397 established of 400 wanted", "part 3: some failed"]);
    let some = met(&[1, 3, 4]);
    let wall = some.verdict.wall.as_ref().expect("it was met");
    assert_eq!(wall.evidence.0, ["3 of 4 parts met it: 1, 3-4", "4 connects failed"]);
    assert_eq!((*wall.lost, wall.became.get("failed")), (Some(8), Some(&8)));
    let all = met(&[1, 2, 3, 4]);
    assert_eq!(all.verdict.wall.as_ref().expect("it was met").evidence[0], "all 4 parts met it");
}

#[test]
fn a_gate_is_of_the_whole() {
    let reads = |lost: u64, p99_us: u64| {
        let reads = (1..=3).map(|number| {
            let mut read = part(number, 3, &[100 * number; 10]);
            let gates = &mut of_part(&mut read).gates;
            gates.max_lost = 5.into();
            gates.max_p99_us = p99_us.into();
            read.result.lost = Counts::named([("reset", lost)]);
            if 100 * number > p99_us {
                read.result.verdict.missed =
                    vec!["p99 of messages 300us, 250us allowed".to_owned()].into();
            }
            read
        });
        merged(reads.collect(), false).expect("they are of one run").result.verdict
    };
    assert_eq!(*reads(1, 1_000).met, Some(true));
    assert_eq!(reads(2, 1_000).missed.0, ["6 connections lost, 5 allowed"]);
    // A part that was too slow is told by the percentile of all.
    let slow = reads(0, 250).missed.join("; ");
    assert!(slow.starts_with("p99 of messages 30") && !slow.contains("part"), "{slow}");
}

#[test]
fn the_next_wall_is_of_all_parts_or_of_their_kernels() {
    let next = |id: &str| {
        let reads = (1..=3).map(|number| {
            let mut read = part(number, 3, &[1]);
            let at_connections = (1_000 * number).into();
            let next = NextWall { id: id.into(), at_connections, ..NextWall::default() };
            read.result.verdict.next_wall = Some(next).into();
            read
        });
        let verdict = merged(reads.collect(), false).expect("they are of one run").result.verdict;
        verdict.next_wall.as_ref().and_then(|next| *next.at_connections)
    };
    // All are on one kernel.
    assert_eq!((next("memory"), next("source-ports")), (Some(1_000), Some(3_000)));
}
