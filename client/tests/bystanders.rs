//! Bystanders beside a real run: the panel over loopback and in a namespace of its own, the search for
//! the safe capacity, and who watches alone. What only a wicked peer does is beside the probes.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Program, World, client, result_in, server_binary, sum};

#[expect(dead_code, reason = "each test uses its part of the helpers")]
mod common;

/// A world whose server offers the service of `--bystander`, and where that is.
fn world() -> (World, String) {
    let flags = ["--bystander", "127.0.0.1:0"];
    let world = World::with(Ipv4Addr::LOCALHOST.into(), 1, "200ms", &flags);
    let service = world.server.program.said("bystander=").unwrap().to_owned();
    (world, service)
}

fn spans(result: &Value) -> &Vec<Value> {
    result["bystanders"]["spans"].as_array().unwrap()
}

/// Of all spans, and of `bystanders.ndjson`, what one bystander came to: sent and lost.
fn told(result: &Value, name: &str) -> (u64, u64) {
    let rows = spans(result).iter().flat_map(|span| span["probes"].as_array().unwrap());
    let mine: Vec<&Value> = rows.filter(|row| row["name"] == name).collect();
    let all = |key: &str| mine.iter().map(|row| row[key].as_u64().unwrap()).sum();
    (all("sent"), all("lost"))
}

fn recorded(directory: &Path, name: &str) -> (u64, u64) {
    let text = fs::read_to_string(directory.join("bystanders.ndjson")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines: Vec<Value> = lines.filter(|line| line["name"] == name).collect();
    let lost: u64 = lines.iter().map(|line| line["lost"].as_u64().unwrap()).sum();
    let answered: usize =
        lines.iter().map(|line| line["latency_us"].as_array().unwrap().len()).sum();
    (answered as u64 + lost, lost)
}

#[test]
fn everybody_is_asked_from_before_the_first_connection_until_after_the_last() {
    let (world, service) = world();
    let flags = [
        "--connections",
        "500,2k",
        "--hold",
        "2s",
        "--message-every",
        "2s",
        "--bystanders",
        "--bystander-idle",
        "5s",
    ];
    let more = ["--bystander-service", &service, "--resolve", "localhost"];
    let finished = world.client(&[&flags[..], &more].concat()).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let result = world.result();
    let phases: Vec<(&str, u64)> = spans(&result)
        .iter()
        .map(|span| (span["phase"].as_str().unwrap(), span["connections"].as_u64().unwrap()))
        .collect();
    let of_plateau = |n| [("connecting", n), ("settled", n), ("messages", n)];
    let expected = [
        &[("baseline", 0)][..],
        &of_plateau(500),
        &of_plateau(2_000),
        &[("closing", 2_000), ("recovery", 0)],
    ];
    assert_eq!(phases, expected.concat());
    let ends: Vec<u64> =
        spans(&result).iter().map(|span| span["to_ms"].as_u64().unwrap()).collect();
    let begins: Vec<u64> =
        spans(&result).iter().map(|span| span["from_ms"].as_u64().unwrap()).collect();
    assert_eq!(ends[..ends.len() - 1], begins[1..], "one phase ends where the next begins");
    assert!(ends[0] - begins[0] >= 5_000, "the idle host is watched for five seconds");

    let ms = ends[ends.len() - 1] - begins[0];
    let names = ["connect", "request", "udp", "resolve", "disk", "schedule"];
    let asked = result["bystanders"]["probes"].as_array().unwrap();
    let pings = asked.iter().any(|probe| probe["name"] == "ping");
    assert!(pings || result["bystanders"]["not_probed"]["ping"].is_string(), "{asked:?}");
    assert_eq!(asked.len(), names.len() + usize::from(pings));
    for name in names.into_iter().chain(pings.then_some("ping")) {
        let (sent, lost) = told(&result, name);
        let most = ms * 20 / 1_000 + 2;
        // Nothing is begun in the last second: then the last answers are heard.
        assert!(sent <= most && sent + 45 >= most, "{name}: {sent} tries in {ms} ms");
        assert!(lost <= sent / 4, "{name}: {lost} of {sent} lost beside 2,000 connections");
        assert_eq!((sent, lost), recorded(world.directory.path(), name), "{name}, as recorded");
    }
    let answer = result["bystanders"]["answer"].as_array().unwrap();
    assert_eq!(answer.len(), asked.len());
    let of_plateau = result["plateaus"][1]["bystanders"].as_array().unwrap();
    assert_eq!(of_plateau.len(), 3 * asked.len());
    // Which of them have a line is a matter of what they suffered.
    let rows = finished.stdout.lines().filter(|line| line.trim_start().starts_with("bystanders"));
    assert_eq!(rows.count(), 1, "the summary says nothing of them: {}", finished.stdout);
    let report = fs::read_to_string(world.directory.path().join("report.html")).unwrap();
    assert!(report.contains("Bystanders"), "the report has no panel");
}

#[test]
fn without_a_service_and_a_directory_the_others_are_asked_and_the_rest_is_said() {
    let (world, _) = world();
    let target = world.server.address.to_string();
    let flags = ["run", "--target", &target, "--cores", &world.cores, "--connections", "10"];
    let more = ["--hold", "0s", "--bystanders", "--bystander-idle", "5s"];
    let finished = Program::start(&mut client(&[&flags[..], &more].concat())).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert!(finished.stdout.contains("schedule"), "{}", finished.stdout);
}

#[test]
fn a_search_finds_how_many_keep_bystanders_so() {
    let (world, service) = world();
    let always =
        ["--hold", "0s", "--bystanders", "--bystander-idle", "5s", "--bystander-service", &service];
    let always = [&always[..], &["--connections", "1600", "--bystander-rate", "100"]].concat();
    let keep = |expression| [&always[..], &["--keep-bystanders", expression]].concat();

    let finished = world.client(&keep("schedule p50 < 9s, request p50 < 9s")).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let result = world.result();
    let safe = &result["safe_capacity"];
    assert_eq!((&safe["connections"], &safe["broke_at"]), (&1_600.into(), &Value::Null), "{safe}");
    let tried: Vec<u64> = safe["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["connections"].as_u64().unwrap())
        .collect();
    assert_eq!(tried, [100, 200, 400, 800, 1_600]);
    assert_eq!(result["established"], 1_600);

    let finished = world.client(&keep("schedule p50 < 1us")).finish();
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    let result = world.result();
    assert_eq!(result["safe_capacity"]["connections"], Value::Null);
    let why = "bystanders were not kept at 100 connections: schedule p50";
    assert!(
        finished.stdout.replace("\n ", "").contains("bystanders were not kept"),
        "{finished:#?}"
    );
    let missed = result["verdict"]["missed"].to_string();
    assert!(missed.contains(why), "{missed}");
}

#[test]
fn what_cannot_be_watched_is_refused_with_the_fix() {
    let (world, _) = world();
    let nobody = "127.0.0.1:1";
    let cases: [(&[&str], &str); 7] = [
        (&["--bystanders", "--bystander-service", nobody], "fix: serve --bystander 127.0.0.1:1"),
        (&["--ping", "127.0.0.1"], "fix: add --bystanders"),
        (&["--keep-bystanders", "ping p99 < 1s"], "fix: --bystanders"),
        (&["--bystanders", "--keep-bystanders", "resolve p99 < 1s"], "no --resolve NAME"),
        (&["--bystanders", "--keep-bystanders", "ping p98 < 1s"], "fix: "),
        (&["--bystanders", "--bystander-rate", "5000"], "fix: write 400 or less"),
        (&["--bystanders", "--bystander-idle", "1s"], "fix: write 5s or more"),
    ];
    for (flags, words) in cases {
        let finished = world.client(&[&["--connections", "10"][..], flags].concat()).finish();
        assert_eq!(finished.code, Some(2), "{flags:?}: {finished:#?}");
        let said = finished.stderr.join("\n");
        assert!(said.contains(words), "{flags:?} is refused without `{words}`: {said}");
    }
    let finished = Program::start(&mut client(&["watch", "--out", "/tmp"])).finish();
    assert_eq!(finished.code, Some(2), "{finished:#?}");
    assert!(finished.stderr.join("\n").contains("nothing to watch; fix: --ping"), "{finished:#?}");
}

#[test]
fn a_signal_leaves_what_was_seen_until_then() {
    let (world, service) = world();
    let flags = ["--connections", "100", "--hold", "60s", "--bystanders", "--bystander-idle", "5s"];
    let flags = [&flags[..], &["--bystander-service", &service]].concat();
    let mut program = world.client(&flags);
    assert!(program.says("holding 100"));
    program.signal(Signal::INT);
    let finished = program.finish();
    assert_eq!(finished.code, Some(130), "{finished:#?}");
    let result = world.result();
    assert_eq!(spans(&result)[0]["phase"], "baseline");
    let (sent, _) = told(&result, "request");
    assert!(sent >= 90, "five seconds of the idle host: {sent}");
    assert_eq!(sum(&result["lost"]), 0);
}

/// In namespaces of its own: pings that are lost, answered by nobody, or not permitted.
#[test]
fn pings_that_are_dropped_are_lost_and_those_that_are_not_permitted_are_not_tried() {
    if !rustix::process::geteuid().is_root() {
        return println!("SKIPPED: pings that are dropped: it takes root");
    }
    let directory = tempfile::tempdir().unwrap();
    // Every third echo is dropped; then the program may ping no more.
    let script = r#"
        set -e
        ip link set lo up
        echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range
        nft 'add table ip t; add chain ip t c { type filter hook input priority 0; };
             add rule ip t c icmp type echo-request numgen inc mod 3 == 0 drop'
        "$1" serve --listen 127.0.0.1:7000 --cores 0 2>"$3/server.log" &
        server=$!
        trap 'kill $server' EXIT
        until grep -q '^listening' "$3/server.log"; do sleep 0.1; done
        run() { "$2" run --target 127.0.0.1:7000 --cores 0 --connections 10 --hold 1s --bystanders --bystander-idle 5s --out "$3/$4"; }
        run "$1" "$2" "$3" dropped >&2
        echo '1 0' > /proc/sys/net/ipv4/ping_group_range
        setpriv --bounding-set=-net_raw --inh-caps=-net_raw "$2" run --target 127.0.0.1:7000 --cores 0 \
            --connections 10 --hold 0s --bystanders --bystander-idle 5s --out "$3/forbidden" >&2
    "#;
    let programs = [server_binary(), Path::new(env!("CARGO_BIN_EXE_megaconn-client")).to_owned()];
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", script, "sh"]).args(&programs).arg(directory.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("unshare failed") || said.contains("nft: not found") {
        return println!("SKIPPED: pings that are dropped: {said}");
    }
    assert!(output.status.success(), "{said}");
    let (sent, lost) = told(&result_in(&directory.path().join("dropped")), "ping");
    assert!(sent >= 200 && lost.abs_diff(sent / 3) <= 2, "a third is dropped: {lost} of {sent}");
    let forbidden = result_in(&directory.path().join("forbidden"));
    let why = forbidden["bystanders"]["not_probed"]["ping"].as_str().unwrap_or_default();
    assert!(why.contains("fix: sysctl -w net.ipv4.ping_group_range"), "{forbidden}");
}

#[test]
fn a_watch_alone_tells_by_the_phases_of_the_run_beside_it() {
    let (world, service) = world();
    let beside = world.directory.path();
    let out = beside.join("back");
    let flags = ["watch", "--bystander-service", &service, "--bystander-idle", "5s", "--beside"];
    let mut watch = client(&flags);
    let mut watch = Program::start(watch.arg(beside).arg("--out").arg(&out));
    assert!(watch.says("bystanders="));
    let flags = ["--connections", "100", "--hold", "1s", "--bystanders", "--bystander-idle", "5s"];
    assert_eq!(world.client(&flags).finish().code, Some(0));
    watch.signal(Signal::TERM);
    let finished = watch.finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let text = fs::read_to_string(out.join("result.json")).unwrap();
    let (seen, run): (Value, Value) = (serde_json::from_str(&text).unwrap(), world.result());
    let phases = |result: &Value| -> Vec<Value> {
        spans(result).iter().map(|span| span["phase"].clone()).collect()
    };
    assert_eq!(phases(&seen), phases(&run));
    let (sent, lost) = told(&seen, "request");
    assert!(sent >= 180 && lost == 0, "{sent} sent, {lost} lost");
    assert!(out.join("report.html").exists());
}
