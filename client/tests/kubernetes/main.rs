//! The manifests of `bench-scripts/kubernetes`: each is read by the schemas of Kubernetes, and all are run. A pod is a
//! network namespace with an address, and its containers have the command, environment, sysctls, limits, user, volumes and
//! seccomp profile of the manifest (`pods.py`). No cluster has a part in it.
//!
//! What is missing is said by `SKIPPED:`, and the rest is tested.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{number, result_in, server_binary, until};
use lab::host::skipped;
use serde_json::Value;
use tools::{beside, manifests, must, python, rendered, text_of};

#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "../common/mod.rs"]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "../lab/mod.rs"]
mod lab;
mod tools;

/// Every way to apply them.
const WAYS: [&[&str]; 5] = [
    &[],
    &["monitor"],
    &["shared-volume"],
    &["unsafe-sysctls"],
    &["monitor", "shared-volume", "unsafe-sysctls"],
];

/// Connections of all parts, which their number does not divide.
const CONNECTIONS: u64 = 3_001;

/// Client pods.
const PARTS: usize = 3;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is a place for temporary files")
}

#[test]
fn every_manifest_is_accepted() {
    let directory = directory();
    let Some(mut reader) = python("manifests.py") else { return };
    reader.arg(manifests().join("nodes"));
    for components in WAYS {
        let Some(file) = rendered(&manifests(), components, directory.path()) else { return };
        reader.arg(file);
    }
    let nodes = directory.path().join("of-nodes");
    fs::create_dir(&nodes).expect("it is ours");
    reader.arg(rendered(&manifests().join("nodes"), &[], &nodes).expect("kubectl is there"));
    let said = must(&mut reader);
    assert!(said.ends_with(" 0 faults\n"), "{said}");
}

#[test]
fn a_wrong_manifest_is_refused() {
    for wrong in fs::read_dir(beside("wrong")).expect("they are there") {
        let wrong = wrong.expect("it can be read").path();
        let text = fs::read_to_string(&wrong).expect("it can be read");
        let why = text.lines().next().and_then(|line| line.strip_prefix("# refused: "));
        let why = why.unwrap_or_else(|| panic!("{wrong:?} does not say why"));
        let Some(mut reader) = python("manifests.py") else { return };
        let output = reader.arg(manifests().join("nodes")).arg(&wrong).output().expect("it ran");
        let said = text_of(&output);
        assert!(output.status.code() == Some(1) && said.contains(why), "{wrong:?}: {said}");
    }
}

/// What runs pods, with programs and profiles in `directory`; `None`, said loudly, where it cannot be had.
fn runner(directory: &Path) -> Option<Command> {
    if !rustix::process::geteuid().is_root() {
        skipped(
            "pods of Kubernetes, because only root makes control groups; fix: run the test as root",
        );
        return None;
    }
    let programs = directory.join("programs");
    fs::create_dir(&programs).expect("it is ours");
    // Pods are another user's, who must come by.
    must(Command::new("chmod").arg("a+rx").arg(directory));
    let client = Path::new(env!("CARGO_BIN_EXE_megaconn-client"));
    for binary in [client, &server_binary()] {
        let name = binary.file_name().expect("it is a file");
        fs::copy(binary, programs.join(name)).expect("it was built");
    }
    let mut command = python("pods.py")?;
    command.arg("--programs").arg(&programs).arg("--profiles").arg(manifests().join("nodes"));
    Some(command)
}

/// A run of the pods of `file`: what came of it, and where parts and logs are.
fn pods(file: &Path, directory: &Path, more: &[&str]) -> Option<(Value, PathBuf)> {
    let mut command = runner(directory)?;
    let out = directory.join("out");
    fs::create_dir(&out).expect("it is ours");
    command.arg(file).arg("--out").arg(&out).args(["--parts", &PARTS.to_string()]);
    let connections = format!("CONNECTIONS={CONNECTIONS}");
    for pair in [&connections, "RATE=1k/s", "HOLD=3s", "MESSAGE_EVERY=1s"] {
        command.args(["--set", pair]);
    }
    let output = command.args(more).output().expect("it was installed");
    let said = text_of(&output);
    if output.status.code() == Some(77) {
        skipped(&format!("pods of Kubernetes, which this host does not let be made: {said}"));
        return None;
    }
    assert!(output.status.success(), "{said}");
    let line = said.lines().find(|line| line.starts_with('{'));
    let outcome = serde_json::from_str(line.unwrap_or_else(|| panic!("{said}")));
    Some((outcome.expect("it is JSON"), out))
}

fn log(out: &Path, pod: &str) -> String {
    fs::read_to_string(out.join(format!("{pod}.log"))).expect("it was written")
}

#[test]
fn pods_of_the_manifests_run_as_parts_of_one_run() {
    let directory = directory();
    let Some(file) = rendered(&manifests(), &[], directory.path()) else { return };
    let Some((outcome, out)) = pods(&file, directory.path(), &[]) else { return };

    for status in outcome["confinement"].as_array().expect("of the server and of a client") {
        let none = "0000000000000000";
        assert_eq!(status["Uid"], "65532", "{outcome}");
        assert_eq!(
            (&status["CapEff"], &status["CapBnd"]),
            (&none.into(), &none.into()),
            "{outcome}"
        );
        assert_eq!(
            (&status["NoNewPrivs"], &status["Seccomp"]),
            (&"1".into(), &"2".into()),
            "{outcome}"
        );
    }
    let clients = outcome["clients"].as_array().expect("one for each part");
    assert_eq!(clients.len(), PARTS);
    for (index, client) in clients.iter().enumerate() {
        // On a host that does other work as well, messages may be late: then a part has missed, and is whole all the same.
        let log = log(&out, &format!("megaconn-client-{index}-abcde.client"));
        assert!([0, 1].contains(&number(client, "exit")), "{log}");
        assert_eq!(client["keeper_waited"], true, "{outcome}");
    }

    let parts: Vec<Value> =
        (0..PARTS).map(|index| result_in(&out.join(format!("part-{index}")))).collect();
    let sum = |key: &str| parts.iter().map(|part| number(part, key)).sum::<u64>();
    assert_eq!((sum("target_connections"), sum("established")), (CONNECTIONS, CONNECTIONS));
    // Each part looks at each of 16 targets before the run.
    let accepted = outcome["servers"][0]["figures"]["megaconn_accepted_total"].as_f64();
    assert_eq!(accepted, Some((CONNECTIONS + 16 * PARTS as u64) as f64), "{outcome}");
    assert_eq!(number(&outcome["servers"][0], "exit"), 143, "{outcome}");
    // Pods have addresses of their own, so each part has all ports: those that the manifest gives it.
    for part in &parts {
        let tuples = &part["part"]["tuples"];
        assert_eq!(tuples["shared"], false, "{tuples}");
        assert_eq!(tuples["ports"], serde_json::json!(["1024-9100", "9102-65535"]), "{tuples}");
    }
    let starts: Vec<&Value> = parts.iter().map(|part| &part["part"]["start_at_ms"]).collect();
    assert!(starts.iter().all(|start| start.is_u64() && *start == starts[0]), "{starts:?}");

    let mut merge = Command::new(server_binary());
    merge.arg("merge").arg("--out").arg(out.join("whole"));
    merge.args((0..PARTS).map(|index| out.join(format!("part-{index}"))));
    let merged = merge.output().expect("it was built");
    assert!(matches!(merged.status.code(), Some(0 | 1)), "{}", text_of(&merged));
    let whole = result_in(&out.join("whole"));
    assert_eq!(
        (number(&whole, "target_connections"), number(&whole, "established")),
        (CONNECTIONS, CONNECTIONS)
    );
    let messages = |result: &Value| number(&result["plateaus"][0]["messages"], "received");
    assert_eq!(messages(&whole), parts.iter().map(messages).sum::<u64>());
    assert_eq!(whole["parts"].as_array().map(Vec::len), Some(PARTS), "{}", whole["parts"]);
}

#[test]
fn a_profile_without_io_uring_is_named() {
    let directory = directory();
    let Some(file) = rendered(&manifests(), &[], directory.path()) else { return };
    let Some((outcome, out)) = pods(&file, directory.path(), &["--without-io-uring"]) else {
        return;
    };
    let said = log(&out, "megaconn-server-0.server");
    assert_eq!(number(&outcome["servers"][0], "exit"), 2, "{said}");
    assert!(said.contains("error: io-uring-seccomp: "), "{said}");
}

#[test]
fn the_memory_of_a_pod_is_a_limit_of_its_part() {
    let directory = directory();
    let Some(file) = rendered(&manifests(), &["unsafe-sysctls"], directory.path()) else { return };
    let text = fs::read_to_string(&file).expect("it was just written");
    assert_eq!(text.matches("memory: 1Gi").count(), 2, "of the client's request and limit");
    fs::write(&file, text.replace("memory: 1Gi", "memory: 64Mi")).expect("it is ours");
    let more = ["--set", "CONNECTIONS=90k", "--begin-in", "4"];
    let Some((outcome, out)) = pods(&file, directory.path(), &more) else { return };
    for (index, client) in outcome["clients"].as_array().expect("all").iter().enumerate() {
        let said = log(&out, &format!("megaconn-client-{index}-abcde.client"));
        assert_eq!(number(client, "exit"), 2, "{said}");
        assert!(said.contains("error: cgroup-memory: "), "{said}");
    }
}

/// Two servers behind one name, and clients of which the last comes when the others have begun.
#[test]
fn a_pod_that_comes_too_late_is_a_part_that_is_missing() {
    let directory = directory();
    let Some(file) = rendered(&manifests(), &[], directory.path()) else { return };
    let text = fs::read_to_string(&file).expect("it was just written");
    fs::write(&file, text.replace("replicas: 1\n", "replicas: 2\n")).expect("it is ours");
    let more = ["--begin-in", "14", "--apart", "8"];
    let Some((outcome, out)) = pods(&file, directory.path(), &more) else { return };
    let last = log(&out, "megaconn-client-2-abcde.client");
    assert_eq!(number(&outcome["clients"][2], "exit"), 2, "{last}");
    assert!(last.contains("error: --start-at: that was "), "{last}");

    let first = result_in(&out.join("part-0"));
    assert_eq!(number(&first, "established"), CONNECTIONS.div_ceil(PARTS as u64), "{first}");
    let shares = outcome["servers"].as_array().expect("two").iter();
    let shares: Vec<f64> =
        shares.filter_map(|server| server["figures"]["megaconn_accepted_total"].as_f64()).collect();
    // Each of two parts has up to one more for each of the first of 32 targets.
    assert!(shares.len() == 2 && (shares[0] - shares[1]).abs() <= 32.0, "{outcome}");

    let mut merge = Command::new(server_binary());
    merge
        .arg("merge")
        .arg("--out")
        .arg(out.join("whole"))
        .arg(out.join("part-0"))
        .arg(out.join("part-1"));
    let refused = merge.output().expect("it was built");
    assert_eq!(refused.status.code(), Some(2), "{}", text_of(&refused));
}

/// `run.sh`, before a stand-in for kubectl that runs the pods here.
#[test]
fn the_script_begins_a_run_and_merges_its_parts() {
    let directory = directory();
    let Some(runner) = runner(directory.path()) else { return };
    let Some(_) = rendered(&manifests(), &[], directory.path()) else { return };
    let Some(stand_in) = python("kubectl.py") else { return };
    let words = |command: &Command| {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| format!("'{}'", word.display())).collect::<Vec<_>>().join(" ")
    };
    let bin = directory.path().join("bin");
    fs::create_dir(&bin).expect("it is ours");
    let kubectl = bin.join("kubectl");
    fs::write(&kubectl, format!("#!/bin/sh\nexec {} \"$@\"\n", words(&stand_in)))
        .expect("it is ours");
    must(Command::new("chmod").arg("+x").arg(&kubectl));
    let real = must(Command::new("sh").args(["-c", "command -v kubectl"]));
    let path = std::env::var("PATH").expect("there is one");
    let out = directory.path().join("runs");

    let mut script = Command::new(manifests().join("run.sh"));
    script.args(["--parts", &PARTS.to_string(), "--connections", &CONNECTIONS.to_string()]);
    script.args(["--rate", "1k/s", "--hold", "3s", "--message-every", "1s", "--begin-in", "20"]);
    script.arg("--out").arg(&out).env("PATH", format!("{}:{path}", bin.display()));
    script.env("KUBECTL", real.trim()).env("STATE", directory.path()).env("PODS", words(&runner));
    let output = script.env("MEGACONN", server_binary()).output().expect("there is bash");
    let said = text_of(&output)
        + &fs::read_to_string(directory.path().join("pods.log")).unwrap_or_default();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
    let whole = result_in(&out);
    assert_eq!(
        (number(&whole, "target_connections"), number(&whole, "established")),
        (CONNECTIONS, CONNECTIONS),
        "{said}"
    );
    assert_eq!(whole["parts"].as_array().map(Vec::len), Some(PARTS), "{said}");
    assert!((0..PARTS).all(|index| out.join(format!("part-{index}.log")).is_file()), "{said}");
    // Keepers go when they are told, and all else with them.
    let outcome = directory.path().join("outcome.json");
    until("all pods have ended", || {
        fs::read_to_string(&outcome).is_ok_and(|text| text.ends_with('\n'))
    });
    let outcome: Value = serde_json::from_str(&fs::read_to_string(&outcome).expect("it was read"))
        .expect("it is JSON");
    assert_eq!(number(&outcome["servers"][0], "exit"), 143, "{outcome}");
}
