//! `megaconn stats`: the screen and the JSON it makes of dumps, and what it says to files that are none.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::{Finished, Program, refusal};
use megaconn::host::cpu::own_thread;
use megaconn::observe::dump::Dump;
use megaconn::observe::dump::place;
use megaconn::observe::stats::{ClientStats, CoreStats, LostCause, ServerStats};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// A directory with dumps, in which the command is run.
struct World(tempfile::TempDir);

impl World {
    /// With the dumps of a server and a client whose times and memory are such and such.
    fn new() -> World {
        let world = World(tempfile::tempdir().unwrap());
        world.dump("server.ndjson", |_, stats: &ServerStats| stats.accepted_total.add(500_000));
        world.dump("client.ndjson", |core, stats: &ClientStats| {
            stats.connected_total.add(500_000);
            stats.failed[111].add(3);
            stats.lost[LostCause::Reset as usize].add(core);
            (1..1_000).for_each(|n| stats.message_latency_us.record(Duration::from_micros(n)));
            stats.connect_latency_us.record(Duration::from_millis(17 + core));
        });
        world
    }

    /// Dumps two cores before and after `work`.
    fn dump<S: CoreStats + Default>(&self, name: &str, work: impl Fn(u64, &S)) {
        let path = self.0.path().join(name);
        let cores: Vec<Arc<S>> = vec![Arc::default(), Arc::default()];
        let out = place::open(&path).unwrap();
        let mut dump = Dump::new(&[0, 3], &cores, out);
        for (core, stats) in (0..).zip(&cores) {
            stats.thread.set(own_thread());
            stats.set_connections(25_000 + core);
        }
        dump.tick().unwrap();
        for (core, stats) in (0..).zip(&cores) {
            stats.set_connections(0);
            work(core, stats);
        }
        dump.tick().unwrap();
        drop(dump);
        self.fix_what_moves(name);
    }

    /// Puts numbers that are the same everywhere in place of times and memory of this process.
    fn fix_what_moves(&self, name: &str) {
        let path = self.0.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().enumerate().map(|(number, line)| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let (tick, core) = (number as u64 / 2, number as u64 % 2);
            for (field, value) in [
                ("at_ms", 1_700_000_000_000 + 2_500 * tick),
                ("process_resident_bytes", 30 << 20),
                ("process_open_files", 44),
                ("process_ran_ms", 100),
                ("process_waited_ms", 10),
                ("process_lived_ms", 5_000),
                ("ran_us_total", 1_000_000 * tick + 7_000 * core * tick),
                ("waited_us_total", 2_500 * tick),
            ] {
                assert!(line.get(field).is_some(), "{field} is not there");
                line[field] = value.into();
            }
            line.to_string() + "\n"
        });
        let text: String = lines.collect();
        fs::write(path, text).unwrap();
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.path().join(name), bytes).unwrap();
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_megaconn"));
        command.arg("stats").args(flags).current_dir(self.0.path());
        command
    }

    fn run(&self, flags: &[&str]) -> Finished {
        let finished = Program::start(&mut self.command(flags)).finish();
        assert_eq!((finished.code, finished.stderr.len()), (Some(0), 0), "{finished:#?}");
        finished
    }
}

#[test]
fn the_screen_has_totals_rates_and_percentiles() {
    let world = World::new();
    let screen = world.run(&["client.ndjson", "server.ndjson"]).stdout;
    insta::assert_snapshot!("both_sides", screen);
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    assert!(screen.lines().count() <= 50, "{screen}");

    let text = fs::read(world.0.path().join("server.ndjson")).unwrap();
    let first = text.iter().position(|byte| *byte == b'\n').unwrap();
    world.write("once.ndjson", &text[..=first]);
    world.write("cut.ndjson", &text[..text.len() - 70]);
    insta::assert_snapshot!("what_is_missing", world.run(&["once.ndjson", "cut.ndjson"]).stdout);
}

#[test]
fn json_has_everything_and_stdin_is_a_file() {
    let world = World::new();
    let both = ["client.ndjson", "server.ndjson"];
    let from_files = world.run(&[&both[..], &["--format", "json"]].concat()).stdout;
    let json: Value = serde_json::from_str(&from_files).unwrap();
    assert_eq!(json["schema"], "megaconn.stats/1");
    let connected = &json["sides"]["client"]["counters"]["connected"];
    assert_eq!((&connected["total"], &connected["per_s"]), (&1_000_000.into(), &400_000.0.into()));
    assert_eq!(json["sides"]["client"]["latencies"]["message_latency_us"]["count"], 1_998);
    assert_eq!(json["sides"]["server"]["cores"][1]["cpu"], 3);
    assert_eq!(json["sides"]["server"]["missing"], Value::Array(Vec::new()));

    let texts = both.map(|name| fs::read(world.0.path().join(name)).unwrap());
    let mut child = world
        .command(&["-", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&texts.concat()).unwrap();
    let output = child.wait_with_output().unwrap();
    let from_stdin = String::from_utf8(output.stdout).unwrap();
    assert_eq!(from_stdin.replace("stdin", "FILE"), {
        let files = from_files.replace("client.ndjson", "FILE");
        files.replace("server.ndjson", "FILE")
    });
}

#[test]
fn files_that_are_none_are_refused_with_a_fix() {
    let world = World::new();
    world.write("empty", b"");
    world.write("junk", &[0xff; 4096]);
    world.write("other", b"{\"schema\":\"megaconn.result/1\"}\n");
    world.write("newer", b"{\"schema\":\"megaconn.core/2\"}\n");
    fs::create_dir(world.0.path().join("run")).unwrap();
    for (flags, words) in [
        (vec![], "required"),
        (vec!["nowhere"], "nowhere: No such file"),
        (vec!["empty"], "empty has no whole line"),
        (vec!["junk"], "junk: line 1 is no JSON object"),
        (vec!["other"], "other: line 1 is no dump of megaconn"),
        (vec!["newer"], "newer: line 1 is megaconn.core/2, not megaconn.core/1"),
        (vec!["run"], "run is a directory; fix: run/*.ndjson"),
        (vec!["server.ndjson", "./server.ndjson"], "would count twice"),
        (vec!["server.ndjson", "empty"], "leave it out"),
        (vec!["server.ndjson", "--format", "table"], "--format"),
    ] {
        let line = refusal(&mut world.command(&flags));
        assert!(line.contains(words), "{flags:?} is refused without `{words}`: {line}");
    }
    let mut server = fs::read(world.0.path().join("server.ndjson")).unwrap();
    server.extend(server.clone());
    world.write("twice", &server);
    let line = refusal(&mut world.command(&["twice"]));
    assert!(line.contains("more than one process wrote the file"), "{line}");
}

#[test]
fn a_file_of_bystanders_is_passed_over_and_said() {
    let world = World::new();
    world.write("bystanders.ndjson", b"{\"schema\":\"megaconn.bystander/1\",\"name\":\"ping\"}\n");
    let all = ["bystanders.ndjson", "client.ndjson", "server.ndjson"];
    let finished = world.run(&all);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let note = "note: bystanders.ndjson is of bystanders and passed over\n";
    assert!(finished.stdout.contains(note), "{}", finished.stdout);
    let json = world.run(&[&all[..], &["--format", "json"]].concat());
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["notes"][0], "bystanders.ndjson is of bystanders and passed over");
    let line = refusal(&mut world.command(&["bystanders.ndjson"]));
    assert!(line.contains("passed over: nothing is left"), "{line}");
}
