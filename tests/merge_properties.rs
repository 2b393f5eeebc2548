//! Merged dumps: what many cores and processes say together is what one core would have said that did
//! all of it, percentiles included; and files that are cut, changed, doubled or another program's are
//! an error, or lack something, and no more.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use histogram::SparseHistogram;
use megaconn::base::errno::Errno;
use megaconn::observe::dump::Dump;
use megaconn::observe::dump::merge::{Merge, MergeError, Merged, SideTotals};
use megaconn::observe::stats::{ClientStats, CoreStats, LOST_CAUSES, Listed, ServerStats};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

/// A place for dump lines that can be looked at.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A process with its dumps.
struct Process<S> {
    cores: Vec<Arc<S>>,
    dump: Dump<S>,
    lines: Lines,
}

impl<S: CoreStats + Default> Process<S> {
    fn new(cores: usize) -> Process<S> {
        let cores: Vec<Arc<S>> = (0..cores).map(|_| Arc::default()).collect();
        let cpus: Vec<u16> = (0..cores.len()).map(|cpu| u16::try_from(cpu).unwrap()).collect();
        let lines = Lines::default();
        let dump = Dump::new(&cpus, &cores, Box::new(lines.clone()));
        Process { cores, dump, lines }
    }

    fn text(&self) -> Vec<u8> {
        self.lines.0.lock().unwrap().clone()
    }
}

/// Something that a core counts.
#[derive(Clone, Copy, Debug)]
enum Event {
    Connects(u64),
    Holds(u32),
    Takes(u32),
    Fails(u8),
    Loses(u8),
    Ticks,
}

impl Event {
    fn happens_to(self, core: &ClientStats) {
        match self {
            Event::Connects(n) => core.connected_total.add(n),
            // A gauge that only grows, so that its sum over parts is its value over all.
            Event::Holds(n) => core.connections.set(core.connections.get() + u64::from(n)),
            Event::Takes(us) => {
                core.message_latency_us.record(Duration::from_micros(us.into()));
                core.push_gap_us.record(Duration::from_micros((us / 3).into()));
            }
            Event::Fails(errno) => core.failed[usize::from(errno) % Errno::LIMIT].add(1),
            Event::Loses(cause) => core.lost[usize::from(cause) % LOST_CAUSES.len()].add(1),
            Event::Ticks => {}
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..1_000_000_u64).prop_map(Event::Connects),
        (0..1_000_u32).prop_map(Event::Holds),
        // Microseconds to hours, evenly over their powers of two.
        (0..32_u32, any::<u32>()).prop_map(|(power, n)| Event::Takes(n >> power)),
        any::<u8>().prop_map(Event::Fails),
        any::<u8>().prop_map(Event::Loses),
        Just(Event::Ticks),
    ]
}

const PROCESSES: usize = 3;
const CORES: usize = 2;

fn merge<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> Result<Merged, MergeError> {
    let mut merge = Merge::default();
    for (number, file) in files.into_iter().enumerate() {
        merge.add(&format!("file-{number}"), file)?;
    }
    merge.finish()
}

/// Everything of a side but its lines, its cores and what cannot be the same twice: rates, and the
/// times and the memory of this process.
fn amounts(side: &SideTotals) -> impl PartialEq + std::fmt::Debug {
    let counters = side.counters.iter().map(|(name, counter)| (*name, counter.total));
    let counters: BTreeMap<&str, u64> = counters.collect();
    let named = (side.failed.clone(), side.lost.clone(), side.churn_failed.clone());
    (counters, side.gauges.clone(), named, side.latencies.clone(), side.missing.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parts_together_are_the_whole(
        events in prop::collection::vec((0..PROCESSES, 0..CORES, event()), 1..200)
    ) {
        let mut parts: Vec<Process<ClientStats>> =
            (0..PROCESSES).map(|_| Process::new(CORES)).collect();
        let mut whole = Process::<ClientStats>::new(1);
        for (process, core, event) in &events {
            event.happens_to(&parts[*process].cores[*core]);
            event.happens_to(&whole.cores[0]);
            if matches!(event, Event::Ticks) {
                parts[*process].dump.tick().unwrap();
            }
        }
        parts.iter_mut().chain([&mut whole]).for_each(|process| process.dump.tick().unwrap());
        let texts: Vec<Vec<u8>> = parts.iter().map(Process::text).collect();
        let of_parts = merge(texts.iter().map(Vec::as_slice)).unwrap();
        let backwards = merge(texts.iter().rev().map(Vec::as_slice)).unwrap();
        let of_whole = merge([whole.text().as_slice()]).unwrap();
        let [parts, backwards, one] =
            [&of_parts, &backwards, &of_whole].map(|merged| &merged.sides["client"]);
        prop_assert_eq!((parts.processes, parts.cores.len()), (PROCESSES, PROCESSES * CORES));
        prop_assert_eq!(amounts(parts), amounts(one));
        prop_assert_eq!(amounts(backwards), amounts(one));

        // And the whole is what the core itself has.
        for (name, histogram) in whole.cores[0].latencies() {
            let count = histogram.as_slice().iter().sum::<u64>();
            prop_assert_eq!(one.latencies.get(name).map_or(0, |p| p.count), count);
            let Some(p) = one.latencies.get(name) else { continue };
            for (quantile, seen) in
                [(0.5, p.p50), (0.9, p.p90), (0.99, p.p99), (0.999, p.p999), (1.0, p.max)]
            {
                let bucket = histogram.quantile_bucket(quantile).unwrap().unwrap();
                prop_assert_eq!(seen, bucket.end(), "{} at {}", name, quantile);
            }
        }
    }

    /// Whatever is done to a file, reading it ends, and what is read adds up.
    #[test]
    fn a_spoilt_file_is_no_reason_to_panic(
        spoils in prop::collection::vec((any::<Index>(), any::<Index>(), 0..7_u8, any::<u8>()), 1..6)
    ) {
        let mut process = Process::<ClientStats>::new(2);
        for us in [3, 70, 4_000, 1_000_000] {
            process.cores[0].message_latency_us.record(Duration::from_micros(us));
            process.cores[1].connected_total.add(us);
            process.cores[1].failed[111].add(1);
            process.dump.tick().unwrap();
        }
        let mut bytes = process.text();
        for (from, to, how, byte) in &spoils {
            if bytes.is_empty() {
                break;
            }
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            match how {
                0 => bytes[from] = *byte,
                1 => bytes.insert(from, *byte),
                2 => drop(bytes.remove(from)),
                3 => bytes.truncate(from),
                4 => { bytes.drain(from.min(to)..from.max(to)); }
                // Digits are where it hurts.
                5 => bytes[from] = b'0' + byte % 10,
                _ => {
                    let again = bytes[from.min(to)..from.max(to)].to_vec();
                    bytes.extend(again);
                }
            }
        }
        if let Ok(merged) = merge([bytes.as_slice()]) {
            for side in merged.sides.values() {
                for (name, counter) in &side.counters {
                    let each = side.cores.iter().map(|core| core.counters[name].total);
                    prop_assert_eq!(each.sum::<u64>(), counter.total, "{}", name);
                }
            }
        }
    }

    #[test]
    fn anything_at_all_may_come(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(merge([bytes.as_slice()]).is_err());
    }
}

/// A line with such fields in place of those of a good one.
fn line(core: u64, at_ms: u64, more: &str) -> String {
    format!(
        r#"{{"schema":"megaconn.core/1","side":"server","core":{core},"cpu":{core},"at_ms":{at_ms}{more}}}"#
    ) + "\n"
}

#[test]
fn a_rate_is_of_each_core_over_its_own_time() {
    let accepted = |core, at_ms, n: u64| line(core, at_ms, &format!(r#","accepted_total":{n}"#));
    let one = [accepted(0, 1_000, 100), accepted(1, 1_000, 5), accepted(0, 2_000, 105)].concat()
        + &accepted(0, 3_000, 120)
        + &accepted(1, 3_000, 65);
    // Another host, with another clock.
    let other = [accepted(0, 900_000, 0), accepted(0, 904_000, 400)].concat();
    let merged = merge([one.as_bytes(), other.as_bytes()]).unwrap();
    let server = &merged.sides["server"];
    let counter = server.counters["accepted"];
    assert_eq!((counter.total, counter.per_s), (120 + 65 + 400, Some(10.0 + 30.0 + 100.0)));
    assert_eq!((server.processes, server.lines, server.cores.len()), (2, 7, 3));
    assert!(server.missing.contains(&"closed_total"), "{:?}", server.missing);
    assert!(!server.counters.contains_key("closed"), "what nobody said is not 0");

    // One moment has no rate.
    let once = accepted(0, 1_000, 100);
    let merged = merge([one.as_bytes(), once.as_bytes()]).unwrap();
    let counter = merged.sides["server"].counters["accepted"];
    assert_eq!((counter.total, counter.per_s), (285, None));
    let same = accepted(0, 1_000, 100).repeat(2);
    assert_eq!(merge([same.as_bytes()]).unwrap().sides["server"].counters["accepted"].per_s, None);
}

#[test]
fn sides_are_kept_apart_in_one_file_and_in_many() {
    let (mut server, mut client) = (Process::<ServerStats>::new(2), Process::<ClientStats>::new(2));
    server.cores[0].accepted_total.add(3);
    client.cores[1].connected_total.add(4);
    server.dump.tick().unwrap();
    client.dump.tick().unwrap();
    let together = [server.text(), client.text()].concat();
    let (of_one, of_two) = (
        merge([together.as_slice()]).unwrap(),
        merge([server.text().as_slice(), client.text().as_slice()]).unwrap(),
    );
    for merged in [of_one, of_two] {
        let [server, client] = ["server", "client"].map(|side| &merged.sides[side].counters);
        assert_eq!((server["accepted"].total, server.get("connected")), (3, None));
        assert_eq!((client.get("accepted"), client["connected"].total), (None, 4));
    }
}

/// An older version wrote the figures of both sides for each.
#[test]
fn what_an_older_version_wrote_is_kept_and_what_it_wrote_for_the_other_side_is_not_missed() {
    let older = line(0, 1, r#","accepted_total":7,"churned_total":0,"lost":{"fin":2}"#);
    let newer = line(1, 1, r#","accepted_total":3"#);
    let merged = merge([older.as_bytes()]).unwrap();
    let server = &merged.sides["server"];
    assert_eq!((server.counters["accepted"].total, server.counters["churned"].total), (7, 0));
    assert_eq!(server.lost["fin"], 2);
    let merged = merge([older.as_bytes(), newer.as_bytes()]).unwrap();
    let server = &merged.sides["server"];
    assert_eq!((server.counters["accepted"].total, server.counters.get("churned")), (10, None));
    assert!(server.missing.contains(&"closed_total"), "{:?}", server.missing);
    for name in ["churned_total", "connected_total", "connect_latency_us"] {
        assert!(!server.missing.contains(&name), "{name} is no figure of a server");
    }
}

#[test]
fn a_last_line_that_is_cut_is_left_out_and_said() {
    let mut process = Process::<ServerStats>::new(1);
    process.cores[0].accepted_total.add(1);
    process.dump.tick().unwrap();
    let whole = process.text();
    process.cores[0].accepted_total.add(1);
    process.dump.tick().unwrap();
    let both = process.text();
    for end in [whole.len() + 1, whole.len() + 100, both.len() - 2] {
        let merged = merge([&both[..end]]).unwrap();
        assert_eq!(merged.sides["server"].counters["accepted"].total, 1, "cut at {end}");
        assert_eq!(merged.notes, ["file-0: line 2 is cut short and left out"]);
    }
    // A line that lacks nothing but its end is a line.
    let merged = merge([&both[..both.len() - 1]]).unwrap();
    assert_eq!((merged.sides["server"].counters["accepted"].total, merged.notes.len()), (2, 0));
    // Cut in its midst is another matter, and so is a file that has nothing else.
    let midst = [&both[..whole.len() - 5], b"\n", &both[whole.len()..]].concat();
    assert!(matches!(merge([midst.as_slice()]), Err(MergeError::Line(_, 1, _))));
    assert!(matches!(merge([&whole[..50]]), Err(MergeError::Line(_, 1, _))));
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let good = line(0, 1, r#","accepted_total":7"#);
    let form = SparseForm::default();
    let finer = SparseHistogram::new(7, 32).unwrap();
    let finer = format!(r#","histograms":{{"message_latency_us":{}}}"#, json!(finer));
    for (text, why) in [
        (String::new(), "no whole line"),
        ("\n".into(), "line 1 is no JSON object"),
        ("7\n".into(), "no JSON object"),
        ("{}\n".into(), "no dump of megaconn"),
        (good.replace("core/1", "result/1"), "no dump of megaconn"),
        (good.replace("core/1", "core/2"), "is megaconn.core/2, not megaconn.core/1"),
        (good.replace("server", "proxy"), "neither server nor client"),
        (good.replace(r#""core":0,"#, ""), "core is no whole number"),
        (good.replace(r#""cpu":0"#, r#""cpu":70000"#), "cpu is no CPU"),
        (good.replace(":7", ":NaN"), "no JSON object"),
        (good.replace(":7", ":-7"), "accepted_total is no whole number"),
        (good.replace(":7", ":7.5"), "accepted_total is no whole number"),
        (good.replace(":7", ":1e400"), "no JSON object"),
        (good.replace(":7", ":18446744073709551616"), "accepted_total is no whole number"),
        (good.clone() + &good.replace(":7", ":6"), "accepted_total falls of core 0: more than one"),
        (good.clone() + &good.replace(r#""cpu":0"#, r#""cpu":1"#), "another cpu (1 after 0)"),
        (
            line(0, 1, r#","accepted_total":18446744073709551615"#)
                + &line(1, 1, r#","accepted_total":1"#),
            "accepted_total is too large over all cores",
        ),
        (line(0, 1, r#","failed":[1]"#), "failed is no object"),
        (line(0, 1, r#","failed":{"EPERM":-1}"#), "failed is not in whole numbers"),
        (line(0, 1, r#","histograms":7"#), "histograms is no object"),
        (line(0, 1, &form.with("5", "32", "[3]", "[1,2]")), "no histogram of ours"),
        (line(0, 1, &form.with("5", "32", "[3,3]", "[1,2]")), "no histogram of ours"),
        (line(0, 1, &form.with("5", "32", "[4000000]", "[1]")), "no histogram of ours"),
        (line(0, 1, &form.with("60", "64", "[3]", "[1]")), "no histogram of ours"),
        (line(0, 1, &finer), "no histogram of ours"),
        (" ".repeat(3 << 20), "line 1 is no text"),
    ] {
        let error = merge([text.as_bytes()]).expect_err(&text).to_string();
        let start = &text[..text.len().min(200)];
        assert!(error.contains(why), "{start:?}: `{error}` is no word of `{why}`");
        assert!(error.starts_with("file-0") || why.contains("over all cores"), "{error}");
        assert!(error.contains("; fix: ") && !error.contains('\n'), "{error}");
    }
    let large = form.with("5", "32", "[3]", "[18446744073709551615]");
    let large = line(0, 1, &large) + &line(1, 1, &large);
    let error = merge([large.as_bytes()]).unwrap_err().to_string();
    assert!(error.contains("message_latency_us is too large"), "{error}");
}

/// The text of a histogram, as a dump has it.
struct SparseForm(String);

impl Default for SparseForm {
    fn default() -> SparseForm {
        let mut process = Process::<ClientStats>::new(1);
        process.dump.tick().unwrap();
        let line: serde_json::Value = serde_json::from_slice(&process.text()).unwrap();
        SparseForm(line["histograms"]["message_latency_us"].to_string())
    }
}

impl SparseForm {
    fn with(&self, grouping: &str, power: &str, index: &str, count: &str) -> String {
        let change = |text: &str, from: &str, to: &str| {
            assert!(text.contains(from), "no {from} in {text}");
            text.replace(from, to)
        };
        let form =
            change(&self.0, r#""grouping_power":5"#, &format!(r#""grouping_power":{grouping}"#));
        let form =
            change(&form, r#""max_value_power":32"#, &format!(r#""max_value_power":{power}"#));
        let form = change(&form, r#""index":[]"#, &format!(r#""index":{index}"#));
        let form = change(&form, r#""count":[]"#, &format!(r#""count":{count}"#));
        format!(r#","histograms":{{"message_latency_us":{form}}}"#)
    }
}
