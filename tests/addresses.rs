//! Which addresses a plan takes, asked of the program in network namespaces of its own: those that the
//! kernel's table of its own addresses has, and no others.

use namespaces::{in_namespaces, text, without_rights};
use serde_json::Value;

mod namespaces;

/// What `megaconn plan` says in a namespace that `before` has set up: the status, both outputs.
#[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
fn plan(before: &str, flags: &str) -> Option<(i32, String, String)> {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let script =
        format!("set -e\n{before}\nexec \"$1\" plan --connections 10 --format json {flags}");
    match in_namespaces(&script, place.path()) {
        Ok(output) => {
            let code = output.status.code().expect("it ends by itself");
            Some((code, text(&output.stdout), text(&output.stderr)))
        }
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            None
        }
    }
}

/// The row of source ports in a plan.
fn source_ports(stdout: &str) -> Value {
    let json: Value =
        serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    let rows = json["rows"].as_array().expect("rows are a list").clone();
    rows.into_iter().find(|row| row["id"] == "source-ports").expect("there is such a row")
}

/// Tuples that a plan counts, after it fits.
fn tuples(before: &str, flags: &str) -> Option<(u64, String)> {
    let (code, stdout, stderr) = plan(before, flags)?;
    assert_eq!(code, 0, "{stdout}{stderr}");
    Some((source_ports(&stdout)["have"].as_u64().expect("a number"), stderr))
}

const CABLE: &str = "ip link set lo up; ip link add a0 type veth peer name a1; ip link set a0 up; \
    ip link set a1 up; ip addr add 10.9.0.1/24 dev a0; ";

const PORTS: &str = " --source-ports 40000-40009";

#[test]
fn labels_are_no_interfaces() {
    let before = format!("{CABLE} ip addr add 10.9.0.7/24 dev a0 label a0:1");
    let flags = format!("--target 10.9.0.2:7000{PORTS}");
    let Some((have, _)) = tuples(&before, &flags) else { return };
    assert_eq!(have, 20, "two addresses");
}

#[test]
fn no_loopback_address_is_a_source_towards_others() {
    // As with routing on the host: the preferred source is on lo, beside 127.0.0.1.
    let before = format!(
        "{CABLE} ip addr add 10.6.6.6/32 dev lo; ip route add 10.8.0.0/16 via 10.9.0.2 src 10.6.6.6"
    );
    let flags = format!("--target 10.8.0.2:7000{PORTS}");
    let Some((have, _)) = tuples(&before, &flags) else { return };
    assert_eq!(have, 10, "10.6.6.6 alone");
    // Beside a target on loopback, whose sources are loopback addresses.
    let flags = format!("--target 10.8.0.2:7000 --target 127.0.0.1:7000{PORTS}");
    let Some((have, _)) = tuples(&before, &flags) else { return };
    let loopback = (1 << 24) - 3;
    assert_eq!(have, 10 + (loopback + 1) * 10, "10.6.6.6 leads to both, 127.0.0.0/8 to one");
    let flags = format!("--target 10.8.0.2:7000 --source 127.0.0.2{PORTS}");
    let Some((code, _, stderr)) = plan(&before, &flags) else { return };
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("--source 127.0.0.2: a loopback address") && stderr.contains("fix: "));
}

#[test]
fn loopback_that_is_down_or_bare_does_not_fit_and_says_how_it_will() {
    for before in ["true", "ip link set lo up; ip addr del 127.0.0.1/8 dev lo"] {
        let Some((code, stdout, stderr)) = plan(before, "--target 127.0.0.1:7000") else { return };
        assert_eq!(code, 1, "{stdout}{stderr}");
        let row = source_ports(&stdout);
        assert_eq!((&row["have"], &row["fits"]), (&0.into(), &false.into()), "{row}");
        assert!(row["fix"].as_str().is_some_and(|fix| fix.contains("ip link set lo up")), "{row}");
    }
    // Addresses and routes stay when it goes down again.
    let before = "ip link set lo up; ip link set lo down";
    let Some((code, stdout, _)) = plan(before, "--target 127.0.0.1:7000") else { return };
    assert_eq!((code, &source_ports(&stdout)["have"]), (1, &0.into()), "{stdout}");
}

#[test]
fn one_address_on_loopback_is_enough() {
    let before =
        "ip link set lo up; ip addr del 127.0.0.1/8 dev lo; ip addr add 127.0.0.1/32 dev lo";
    let flags = format!("--target 127.0.0.1:7000{PORTS}");
    let Some((have, _)) = tuples(before, &flags) else { return };
    assert_eq!(have, 10);
}

#[test]
fn what_is_here_of_a_source_counts_and_the_rest_is_named() {
    let before =
        format!("{CABLE} ip addr add 10.9.0.3/24 dev a0; sysctl -qw net.ipv4.ip_nonlocal_bind=1");
    let flags = format!("--target 10.9.0.2:7000 --source 10.9.0.0-10.9.0.255{PORTS}");
    let Some((have, stderr)) = tuples(&before, &flags) else { return };
    assert_eq!(have, 20, "10.9.0.1 and 10.9.0.3");
    let names = "10.9.0.0, 10.9.0.2, 10.9.0.4-10.9.0.255";
    assert!(stderr.contains(names), "{stderr}");
    for (source, why) in [
        ("10.9.0.255", "broadcast"),
        ("255.255.255.255", "broadcast"),
        ("224.0.0.1", "multicast"),
        ("0.0.0.0", "any address"),
        ("10.9.0.77", "no such address"),
    ] {
        let flags = format!("--target 10.9.0.2:7000 --source {source}{PORTS}");
        let Some((code, _, stderr)) = plan(&before, &flags) else { return };
        assert_eq!(code, 2, "{source}: {stderr}");
        for word in [&format!("--source {source}: "), why, "fix: "] {
            assert!(stderr.contains(word), "no `{word}`: {stderr}");
        }
    }
    // A prefix that is routed to this host is of this host.
    let before = format!("{CABLE} ip route add local 10.1.0.0/24 dev lo");
    let flags = format!("--target 10.9.0.1:7000 --source 10.1.0.0-10.1.0.255{PORTS}");
    let Some((have, _)) = tuples(&before, &flags) else { return };
    assert_eq!(have, 2560);
}

#[test]
fn a_connection_to_itself_is_not_planned() {
    let flags = "--target 127.0.0.1:40000-40009 --source 127.0.0.1-127.0.0.2";
    let Some((have, _)) = tuples("ip link set lo up", &format!("{flags}{PORTS}")) else { return };
    assert_eq!(have, 2 * 10 * 10 - 10);
    let flags = "--target [::1]:40003 --source ::1 --source-ports 40000-40010";
    let Some((have, _)) = tuples("ip link set lo up", flags) else { return };
    assert_eq!(have, 10);
}

#[test]
fn where_no_route_leads_the_fix_is_the_route() {
    for flags in ["", " --source 10.9.0.1"] {
        let flags = format!("--target 192.0.2.9:7000{flags}");
        let Some((code, _, stderr)) = plan(CABLE, &flags) else { return };
        assert_eq!(code, 2, "{stderr}");
        for word in
            ["--target 192.0.2.9:7000: no route", "ENETUNREACH", "fix: ip route add 192.0.2.9"]
        {
            assert!(stderr.contains(word), "no `{word}`: {stderr}");
        }
        assert!(!stderr.contains("--source"), "{stderr}");
    }
}

#[test]
fn a_target_that_no_connection_can_go_to_is_refused() {
    for (target, why) in [
        ("0.0.0.0:7000", "write one, such as 127.0.0.1"),
        ("[::]:7000", "write one, such as ::1"),
        ("224.0.0.1:7000", "multicast"),
        ("10.9.0.255:7000", "broadcast"),
        ("[fe80::1]:7000", "[fe80::1%eth0]"),
    ] {
        let Some((code, _, stderr)) = plan(CABLE, &format!("--target {target}")) else { return };
        assert_eq!(code, 2, "{target}: {stderr}");
        assert!(stderr.contains("--target ") && stderr.contains(target), "{stderr}");
        assert!(stderr.contains(why) && stderr.contains("fix: "), "{stderr}");
    }
}

#[test]
fn low_ports_are_not_for_every_user() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let mut command = without_rights(env!("CARGO_BIN_EXE_megaconn"), place.path());
    let flags = ["--target", "127.0.0.1:7000", "--source-ports", "900-1023"];
    let output = command.args(["plan", "--connections", "10"]).args(flags).output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return eprintln!("SKIPPED: no program without rights: {error}"),
    };
    let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if start.is_ok_and(|start| start.trim() != "1024") {
        return eprintln!("SKIPPED: low ports are for every user here");
    }
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in ["--source-ports: port 900", "net.ipv4.ip_unprivileged_port_start (1024)", "fix: "]
    {
        assert!(said.contains(word), "no `{word}`: {said}");
    }
    // As root of a namespace they are.
    let Some((have, _)) = tuples(
        "ip link set lo up",
        "--target 127.0.0.1:7000 --source 127.0.0.2 --source-ports 900-1023",
    ) else {
        return;
    };
    assert_eq!(have, 124);
}

#[test]
fn a_listener_on_an_address_of_many_hosts_is_refused() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    for (listen, why) in [
        ("224.0.0.1:7000", "224.0.0.1 is a multicast address"),
        ("[ff02::1]:7000", "ff02::1 is a multicast address"),
        ("255.255.255.255:7000", "is the broadcast address"),
        ("10.9.0.255:7000", "a broadcast address has no TCP"),
        ("[fe80::1]:7000", "[fe80::1%eth0]:7000"),
        ("10.9.0.3:7000", "no such address"),
    ] {
        let script = format!("{CABLE} exec timeout 20 \"$1\" serve --listen '{listen}' --cores 0");
        let output = match in_namespaces(&script, place.path()) {
            Ok(output) => output,
            Err(why) => return eprintln!("SKIPPED: {why}"),
        };
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{listen}: {said}");
        for word in ["--listen ", listen, why, "fix: "] {
            assert!(said.contains(word), "no `{word}`: {said}");
        }
    }
}
