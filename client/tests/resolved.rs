//! A name that moves while short connections come and go: with --resolve-every they follow it, and held
//! connections stay. In a network and a mount namespace of the test's own, with hosts in a file of its own.

use std::path::Path;
use std::process::Command;

use common::{cores, number, result_in, server_binary};
use serde_json::{Value, json};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "common/openssl.rs"]
mod openssl;

/// Two servers, of which a name has the first, then the second and an address at which nothing listens,
/// then none. Flags of the client follow.
const SCRIPT: &str = r#"
    ip link set lo up || exit 77
    echo '127.0.0.1 moves.test' >"$TMP/hosts"
    mount --bind "$TMP/hosts" /etc/hosts || exit 77
    server=$1 client=$2 cores=$3; shift 3
    for n in 1 2; do
        "$server" serve $SERVE --listen "127.0.0.$n:7000" --cores "$cores" --stats "$TMP/$n.ndjson" 2>"$TMP/said$n" &
        ids="$ids $!"
    done
    trap 'kill $ids; wait' EXIT
    for _ in $(seq 200); do
        [ "$(cat "$TMP"/said? | grep -c 'listening on')" = 2 ] && break; sleep 0.05
    done
    "$client" run --cores "$cores" --target "$TARGET" --source-ports 20000-59999 --out "$TMP/run" "$@" &
    run=$!
    for _ in $(seq 200); do grep -qs churned_total "$TMP/run/client.ndjson" && break; sleep 0.05; done
    sleep 2
    printf '127.0.0.2 moves.test\n127.0.0.9 moves.test\n' >"$TMP/hosts"
    sleep 5
    echo >"$TMP/hosts"
    wait $run
"#;

/// One server at 127.0.0.1 alone, of whose name ::1 is another address.
const ONE_FAMILY: &str = r#"
    ip link set lo up || exit 77
    printf '127.0.0.1 both.test\n::1 both.test\n' >"$TMP/hosts"
    mount --bind "$TMP/hosts" /etc/hosts || exit 77
    server=$1 client=$2 cores=$3; shift 3
    "$server" serve --listen 127.0.0.1:7000 --cores "$cores" 2>"$TMP/said" &
    id=$!
    trap 'kill $id; wait' EXIT
    for _ in $(seq 200); do grep -q 'listening on' "$TMP/said" && break; sleep 0.05; done
    "$client" run --cores "$cores" --target both.test:7000 --out "$TMP/run" "$@"
"#;

/// What the client said, and its result; `None` where there are no namespaces.
fn run(script: &str, place: &Path, flags: &[&str]) -> Option<(String, Value)> {
    run_to("moves.test:7000", "", script, place, flags)
}

/// The same, towards `target`, which servers with the flags `serve` are.
#[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
fn run_to(
    target: &str,
    serve: &str,
    script: &str,
    place: &Path,
    flags: &[&str],
) -> Option<(String, Value)> {
    let client = Path::new(env!("CARGO_BIN_EXE_megaconn-client"));
    let mut command = Command::new("unshare");
    command.args(["-Urnm", "sh", "-c", script, "sh"]).arg(server_binary()).arg(client);
    command.arg(cores(1)).args(flags).env("TMP", place);
    command.env("TARGET", target).env("SERVE", serve);
    let output = command.output().expect("unshare can be run");
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat();
    if output.status.code() == Some(77) || said.contains("unshare failed") {
        eprintln!("SKIPPED: a namespace with hosts of its own, because {said}");
        return None;
    }
    assert!(output.status.success(), "{said}");
    Some((said, result_in(&place.join("run"))))
}

/// Connections that server `n` has accepted, by its last dump.
fn accepted(place: &Path, n: u32) -> u64 {
    let dump = std::fs::read_to_string(place.join(format!("{n}.ndjson"))).expect("it has a dump");
    let line = dump.lines().last().expect("it has dumped");
    let line: Value = serde_json::from_str(line).expect("a dump is JSON");
    line["accepted_total"].as_u64().unwrap_or_else(|| panic!("{line:#}"))
}

#[test]
fn short_connections_follow_a_name_and_held_ones_stay() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let place = place.path();
    let flags = "--connections 20 --churn 200/s --hold 12s --resolve-every 1s";
    let flags: Vec<&str> = flags.split(' ').collect();
    let Some((said, result)) = run(SCRIPT, place, &flags) else { return };
    let note = "note: --target moves.test: short connections went to 127.0.0.1:7000 and go to \
                127.0.0.2:7000; no connection is taken at 127.0.0.9:7000";
    assert_eq!(said.matches(note).count(), 1, "{said}");
    let changes = result["target_changes"].as_array().expect("it is a list");
    assert_eq!(changes.len(), 1, "{changes:#?}");
    assert_eq!(changes[0]["target"], "moves.test");
    let places = ["before", "after", "left_out"].map(|place| changes[0][place].clone());
    let expected = [["127.0.0.1:7000"], ["127.0.0.2:7000"], ["127.0.0.9:7000"]];
    assert_eq!(places, expected.map(|place| json!(place)));
    assert!(number(&changes[0], "at_ms") > 1_000, "{changes:#?}");

    let why = result["notes"]["target_changes"].as_str().unwrap_or_default();
    assert!(why.contains("of moves.test left its addresses as they were"), "{why}");
    assert_eq!(said.matches("short connections go where they went").count(), 1, "{said}");

    held_and_moved(place, &result);
}

/// Held ones are where they were, and short ones, of which none failed, at both.
fn held_and_moved(place: &Path, result: &Value) {
    let targets = result["targets"].as_array().expect("it is a list");
    assert_eq!((targets.len(), &targets[0]["established"]), (1, &json!(20)), "{targets:#?}");
    let churn = &result["plateaus"][0]["churn"];
    let (started, done) = (number(churn, "started"), number(churn, "completed"));
    assert!(started == done && done > 1_500, "{churn:#}");
    let (first, second) = (accepted(place, 1), accepted(place, 2));
    assert!(first > 200 && second > 700, "{first} and {second} were accepted");
    // One for the look before the run, and one for that at the new address.
    assert_eq!(first + second, 20 + started + 2, "{first} and {second}: {churn:#}");
}

/// The header of the PROXY protocol, the name in the certificate and the upgrade are those of the name, at each address
/// of it.
#[test]
fn in_every_layer_the_server_is_called_by_its_name() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let place = place.path();
    let [certificate, key] = openssl::pair_of(place, "DNS:moves.test");
    let serve = format!(
        "--websocket --proxy-protocol --tls-tickets --tls-cert {certificate} --tls-key {key}"
    );
    let flags = format!(
        "--connections 20 --churn 200/s --hold 12s --resolve-every 1s --proxy-protocol v2 --tls-resume --tls-ca {certificate}"
    );
    let flags: Vec<&str> = flags.split(' ').collect();
    let met = run_to("wss://moves.test:7000/", &serve, SCRIPT, place, &flags);
    let Some((_, result)) = met else { return };
    assert_eq!(result["target_changes"].as_array().map(Vec::len), Some(1), "{result:#}");
    held_and_moved(place, &result);
    let churn = &result["plateaus"][0]["churn"];
    // The second server does not take a ticket of the first.
    assert!(number(&churn["handshakes"], "full") <= 20, "{churn:#}");
}

#[test]
fn an_address_of_a_name_at_which_nothing_listens_is_left_out() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let flags = ["--connections", "50", "--hold", "0s"];
    let Some((said, result)) = run(ONE_FAMILY, place.path(), &flags) else { return };
    let note = "note: --target both.test: nothing listens at [::1]:7000, which is left out";
    assert!(said.contains(note), "{said}");
    assert_eq!((number(&result, "established"), &result["verdict"]["met"]), (50, &json!(true)));
    assert_eq!(result["targets"][0]["address"], "127.0.0.1:7000", "{result:#}");
}
