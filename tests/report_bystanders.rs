//! Bystanders in the report: the answer, a panel for each with phases and connections behind it, the
//! figures phase by phase; and what is told of a file that is not whole, or somebody else's.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;

use fake_run::{FakeRun, result};
use megaconn::report;
use serde_json::{Value, json};

mod fake_run;

fn html(run: &FakeRun) -> String {
    report::html(&[run.path().to_path_buf()]).unwrap()
}

/// The section's text, without tags.
fn text(html: &str) -> String {
    let section = html.split("<h2>Bystanders").nth(1).unwrap();
    let section = section.split("</section>").next().unwrap();
    section.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect()
}

fn panels(html: &str) -> usize {
    html.split("<h2>Bystanders").nth(1).unwrap().matches("class=\"plot\"").count()
}

#[test]
fn what_happened_to_everything_else_is_told() {
    let html = html(&FakeRun::whole("first"));
    let text = text(&html);
    for expected in [
        "ping: no effect found",
        "connect: losing 5.00 % while 100,000 are opened",
        "Not tried: resolve (no --resolve NAME).",
        "17 samples had no room",
        "Safe capacity: 10,000 connections",
        "Wanted: connect p99 &lt; 5ms. Broken at 100,000 connections: connect p99 7.1 ms, &lt; 5 ms wanted.",
        "100,000noconnect p99 7.1 ms",
        "open connections, on the right",
        "connect ::1",
        "3 lost",
        // A row: counts, loss, latencies, against the idle host, what was found and what moved.
        "opening100,0006035.0 % (2.5 to 12.5)270 us540 us1.36 ms27 ms+141 us (120 to 160)42 % above \
         310 usloses 5.0 % (2.5 to 12.5)meanwhile TcpExt.ListenOverflows 1,212",
        "below 12.5 %",
        "too few samples: 44 more are needed",
        "opening100,0003.0 s12.3 %0.10 %0.0 %TcpExt.ListenOverflows 1,212",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in {text}");
    }
    assert_eq!(panels(&html), 3, "one for each bystander");
    let panel = |name: &str| {
        let after = html.split(&format!("<h3>{name}")).nth(1).unwrap();
        after.split("</figure>").next().unwrap().to_owned()
    };
    let connect = panel("connect");
    for phase in ["baseline", "opening", "settled", "closing", "recovery"] {
        assert!(connect.contains(&format!("{phase}\n</text>")), "no {phase} in {connect}");
    }
    assert_eq!(connect.matches("<polygon").count(), 1, "connections are behind it");
    // Where nothing was answered both lines break.
    let lines = |name| panel(name).matches("<polyline").count();
    assert_eq!(lines("connect"), lines("ping") + 2, "{connect}");
}

#[test]
fn a_run_that_was_killed_has_panels_and_no_answer() {
    let run = FakeRun::whole("first");
    run.remove("result.json");
    let html = html(&run);
    assert!(text(&html).contains("No answer: there is no whole result.json."));
    assert_eq!(panels(&html), 3);
}

#[test]
fn panels_that_are_missing_are_said_to_be_where_there_were_bystanders() {
    let run = FakeRun::whole("first");
    run.remove("bystanders.ndjson");
    let without = html(&run);
    assert!(without.contains("bystanders.ndjson is not there"), "{without}");
    assert!(text(&without).contains("loses 5.0 %"), "the figures are there all the same");
    run.write("bystanders.ndjson", "{\"schema\": \"megaconn.bystander/2\"}\n{\"sche");
    assert!(html(&run).contains("bystanders.ndjson has no whole line of this run"));
    // A run without them, in the directory of one with them.
    let mut none = result();
    none["bystanders"] = Value::Null;
    none["safe_capacity"] = Value::Null;
    run.write("result.json", &none.to_string());
    let html = html(&run);
    assert!(text(&html).contains("Not asked for"), "{html}");
    assert!(!html.contains("bystanders.ndjson") && panels(&html) == 0, "{html}");
}

#[test]
fn seconds_of_another_run_are_left_out() {
    let run = FakeRun::whole("first");
    let path = run.path().join("bystanders.ndjson");
    let ours = fs::read_to_string(&path).unwrap();
    let whole = html(&run);
    fs::write(&path, ours.replace("\"at_ms\":179", "\"at_ms\":178") + &ours).unwrap();
    assert_eq!(html(&run), whole);
}

#[test]
fn names_and_times_that_cannot_be_are_text_and_no_panic() {
    let evil = "<script>alert('x')</script>";
    let run = FakeRun::whole("first");
    let line = |name: &str, at_ms: u64, us: u64| {
        json!({
            "schema": "megaconn.bystander/1", "name": name, "at_ms": at_ms, "lost": 1,
            "reordered": 0, "latency_us": [us]
        })
    };
    let mut broken = result();
    broken["bystanders"]["began_at_ms"] = Value::Null;
    broken["bystanders"]["spans"][1]["to_ms"] = json!(1e17);
    broken["bystanders"]["spans"][1]["phase"] = evil.into();
    broken["bystanders"]["spans"][1]["counters"][evil] = json!(7);
    broken["started_at"] = Value::Null;
    run.write("result.json", &broken.to_string());
    let lines = [line(evil, 0, 0), line(evil, 1 << 50, u64::from(u32::MAX)), line("ping", 7, 1)];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    run.write("bystanders.ndjson", &lines);
    let html = html(&run);
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;"), "{html}");
    assert!(!html.contains("NaN") && !html.contains("inf "), "{html}");
    // Those of the result, and the one that only the file knows.
    assert!(text(&html).contains("disk ::1Not measured: nothing of it is in bystanders.ndjson."));
    assert_eq!(panels(&html), 2);
}
