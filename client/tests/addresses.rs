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
    server=$1 client=$2 cores=$3 listen=$4; shift 4
    mkfifo "$TMP/said"
    "$server" serve --listen "$listen" --cores "$cores" 2> "$TMP/said" &
    id=$!
    trap 'kill $id; wait $id' EXIT
    (read -r first && echo "$first"; cat) < "$TMP/said" > "$TMP/lines" &
    for _ in $(seq 100); do grep -q 'listening on' "$TMP/lines" && break; sleep 0.05; done
    for target in "$@"; do
        "$client" run --target "$target" --cores "$cores" --connections 20 --hold 0s || exit 1
    done
"#;

/// Whether a server at `listen` serves every one of `targets`; what it said if not.
#[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
fn serves(listen: &str, targets: &[&str]) {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let client = Path::new(env!("CARGO_BIN_EXE_megaconn-client"));
    let mut command = Command::new("unshare");
    command.args(["-Urn", "sh", "-c", SCRIPT, "sh"]).arg(server_binary()).arg(client);
    command.args([cores(1).as_str(), listen]).args(targets).env("TMP", place.path());
    let output = command.output().expect("unshare can be run");
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat();
    let is_denied = output.status.code() == Some(77) || said.contains("unshare failed");
    if is_denied {
        return eprintln!("SKIPPED: a namespace with a link, because {said}");
    }
    assert!(output.status.success(), "{listen}, {targets:?}: {said}");
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
