//! The report that a run leaves: made of the files as the programs write them today, so that no
//! figure is lost between those and the page.

use std::fs;
use std::path::Path;

use common::World;
use megaconn::base::units::grouped;
use rustix::process::Signal;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

fn report(directory: &Path) -> String {
    fs::read_to_string(directory.join("report.html")).expect("a run leaves a report")
}

#[test]
fn every_chart_and_table_has_the_runs_figures() {
    let world = World::on_loopback();
    let traffic = ["--message-every", "500ms", "--churn", "100/s", "--sweep"];
    let plateaus = ["--connections", "500,1k,3k", "--hold", "1s", "--stats-every", "100ms"];
    let finished = world.client(&[&plateaus[..], &traffic].concat()).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let path = world.directory.path().join("report.html");
    let said = format!("report={}", path.display());
    assert!(finished.stderr.contains(&said), "{finished:#?}");

    let html = report(world.directory.path());
    let result = world.result();
    for missing in ["Not measured", "Not recorded", "Missing in the run directory"] {
        assert!(!html.contains(missing), "{missing}: {html}");
    }
    assert_eq!(html.matches("class=\"plot\"").count(), 7, "{html}");
    assert!(html.contains("Met: 3,000 of 3,000 connections established, 0 failed, 0 lost"));
    for line in ["client 0", "client 1", "server 0", "server 1"] {
        assert!(html.contains(line), "no line of {line}");
    }
    let figures = [
        "/plateaus/0/messages/received",
        "/plateaus/1/messages/sent",
        "/plateaus/2/churn/completed",
        "/plateaus/2/sweep/answered",
    ];
    for figure in figures {
        let number = result.pointer(figure).and_then(serde_json::Value::as_u64).unwrap();
        assert!(html.contains(&grouped(number)), "{figure}: {number} is not in the report");
    }
    let rows = result["verdict"]["met_without_loss"].as_array().unwrap().iter();
    for id in rows.map(|wall| wall["id"].as_str().unwrap()).chain(["source-ports", "memlock"]) {
        assert!(html.contains(id), "the wall {id} is not in the report");
    }
}

#[test]
fn what_a_killed_run_leaves_is_not_taken_for_an_earlier_ones() {
    let world = World::on_loopback();
    let first = world.client(&["--connections", "700", "--hold", "0s"]).finish();
    assert_eq!(first.code, Some(0), "{first:#?}");
    assert!(report(world.directory.path()).contains("700 of 700"));

    let mut killed = world.client(&["--connections", "900", "--hold", "30s"]);
    assert!(killed.says("holding"), "it holds");
    killed.signal(Signal::KILL);
    assert_eq!(killed.finish().code, None);
    for name in ["result.json", "counters.json", "report.html"] {
        assert!(!world.directory.path().join(name).exists(), "{name} of the run before");
    }
    let directory = world.directory.path().to_owned();
    let html = megaconn::report::html(&[directory]).unwrap();
    assert!(html.contains("No verdict") && html.contains("result.json is not there"), "{html}");
    assert!(html.contains("client 0"), "what its dumps show is there");
}

#[test]
fn a_report_that_could_not_be_written_is_refused_before_the_run() {
    let world = World::on_loopback();
    // A directory of that name is in the way, and cannot be taken away as a file.
    fs::create_dir(world.directory.path().join("report.html")).unwrap();
    let finished = world.client(&["--connections", "100", "--hold", "0s"]).finish();
    assert_eq!(finished.code, Some(2), "{finished:#?}");
    assert!(finished.stderr.iter().any(|line| line.contains("report.html")), "{finished:#?}");
}
