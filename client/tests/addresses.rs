//! Addresses at both ends, with the real programs in a network namespace of their own: those of a link
//! with its interface, any address of both families, and IPv4 in the form of IPv6.

use std::path::Path;
use std::process::Command;

use common::{cores, server_binary};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// Starts a server in a namespace that `before` has set up, and runs a client against each target.
const SCRIPT: &str = r#"
    ip link set lo up && ip link add a0 type veth peer name a1 || exit 77
    ip link set a0 up; ip link set a1 up
    ip -6 addr add fe80::77/64 dev a0 nodad || exit 77
    ip addr add 10.5.5.5/24 dev a0; ip addr add 10.5.5.6/24 dev a0 label a0:1
    printf '127.0.0.1 both.test\n::1 both.test\n192.0.2.9 both.test\n192.0.2.9 away.test\n' >"$TMP/hosts"
    mount --bind "$TMP/hosts" /etc/hosts || exit 77
    server=$1 client=$2 cores=$3 listen=$4; shift 4
    mkfifo "$TMP/said"
    "$server" serve --listen "$listen" --cores "$cores" 2> "$TMP/said" &
    id=$!
    trap 'kill $id; wait $id' EXIT
    (read -r first && echo "$first"; cat) < "$TMP/said" > "$TMP/lines" &
    for _ in $(seq 100); do grep -q 'listening on' "$TMP/lines" && break; sleep 0.05; done
    for target in "$@"; do
        # A target may have flags behind it.
        "$client" run --cores "$cores" --connections 20 --hold 0s --out "$TMP/run" --target $target || exit 1
        grep -A99 '"targets"' "$TMP/run/result.json" | grep -E '"(address|established)"'
    done
"#;

/// A server at `listen` serves every one of `targets`; what was said.
fn serves(listen: &str, targets: &[&str]) -> Option<String> {
    let (is_done, said) = run(listen, targets)?;
    assert!(is_done, "{listen}, {targets:?}: {said}");
    Some(said)
}

/// Whether a server at `listen` serves every one of `targets`, and what was said.
#[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
fn run(listen: &str, targets: &[&str]) -> Option<(bool, String)> {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let client = Path::new(env!("CARGO_BIN_EXE_megaconn-client"));
    let mut command = Command::new("unshare");
    command.args(["-Urnm", "sh", "-c", SCRIPT, "sh"]).arg(server_binary()).arg(client);
    command.args([cores(1).as_str(), listen]).args(targets).env("TMP", place.path());
    let output = command.output().expect("unshare can be run");
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat();
    let is_denied = output.status.code() == Some(77) || said.contains("unshare failed");
    if is_denied {
        eprintln!("SKIPPED: a namespace with a link, because {said}");
        return None;
    }
    Some((output.status.success(), said))
}

#[test]
fn a_link_local_address_works_with_its_interface() {
    serves("[fe80::77%a0]:7000", &["[fe80::77%a0]:7000"]);
}

#[test]
fn any_address_of_ipv6_is_any_of_both_families() {
    serves("[::]:7000", &["[::1]:7000", "127.0.0.1:7000", "[::ffff:127.0.0.1]:7000"]);
    serves("[::ffff:127.0.0.1]:7000", &["127.0.0.1:7000"]);
}

#[test]
fn a_name_is_every_address_that_a_route_leads_to() {
    let Some(said) = serves("[::]:7000", &["both.test:7000"]) else { return };
    let note = "note: --target both.test: 127.0.0.1, ::1; without a route, and not used: 192.0.2.9";
    assert!(said.lines().any(|line| line == note), "{said}");
    for target in ["127.0.0.1:7000", "[::1]:7000"] {
        assert!(said.contains(target), "{said}");
    }
    assert_eq!(said.matches("\"established\": 10").count(), 2, "not dealt out evenly: {said}");
    let (is_done, said) = run("[::]:7000", &["away.test:7000"]).expect("it could be made above");
    assert!(
        !is_done && said.contains("no route leads to any of its addresses (192.0.2.9)"),
        "{said}"
    );
}

#[test]
fn lists_ranges_and_interfaces() {
    serves(
        "0.0.0.0:7000",
        &[
            "127.0.0.1-127.0.0.5:7000",
            "127.0.0.1,10.5.5.5:7000",
            "tcp://10.5.5.5:7000 --source a0",
            "10.5.5.5:7000 --source a0:1",
            "127.0.0.1:7000 --source lo",
        ],
    );
    let Some((is_done, said)) = run("0.0.0.0:7000", &["127.0.0.1:7000 --source a1"]) else {
        return;
    };
    assert!(!is_done && said.contains("--source a1: it has no address of the family"), "{said}");
}
