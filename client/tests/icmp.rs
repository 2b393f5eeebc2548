//! A connect that something between rejects by ICMP has failed, also where the ring reports it as done: it is
//! neither established nor lost. Every type of ICMP and ICMPv6 that a firewall sends, in namespaces.

use common::{number, sum};
use lab::netns::{Build, Lab};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
mod lab;

const CONNECTIONS: u64 = 900;

/// Rejects one of three SYNs so, and looks at what a run of connections that say nothing makes of it.
fn rejects(lab: &Lab, family: &str, target: &str, with: &str) {
    let server = &lab.server;
    server.run(&format!(
        "nft add table {family} t && \
         nft 'add chain {family} t i {{ type filter hook input priority 0 ; }}' && \
         nft add rule {family} t i tcp dport 7000 'tcp flags & (syn|ack) == syn' \
         numgen inc mod 3 1 reject with {with}"
    ));
    let count = CONNECTIONS.to_string();
    // The first look at the target may be rejected as well.
    let run = (0..4).find_map(|_| {
        let flags = ["--target", target, "--connections", &count, "--expect", "nothing"];
        let mut client = lab.client(&[&flags[..], &["--hold", "500ms"]].concat());
        let finished = client.finish();
        (finished.code != Some(2)).then_some(finished)
    });
    let finished = run.unwrap_or_else(|| panic!("{with}: it was refused each time"));
    let result = lab.result();
    let (established, failed) = (number(&result, "established"), sum(&result["failed"]));
    assert_eq!(finished.code, Some(1), "{with}: {finished:#?}");
    assert_eq!(result["lost"], serde_json::json!({}), "{with}: {:#}", result["verdict"]);
    assert_eq!(established + failed, CONNECTIONS, "{with}: {:#}", result["failed"]);
    assert!(failed >= 20, "{with}: only {failed} were rejected");
    server.run(&format!("nft delete table {family} t"));
}

#[test]
fn a_connect_that_icmp_rejects_has_failed() {
    let Some(mut lab) = Lab::new(Build::Link) else { return };
    if !lab.has_nft() {
        return;
    }
    lab.server.run("sysctl -qw net.ipv4.icmp_ratelimit=0");
    lab.serve(&[]);
    for with in [
        "icmp type net-unreachable",
        "icmp type host-unreachable",
        "icmp type prot-unreachable",
        "icmp type port-unreachable",
        "icmp type net-prohibited",
        "icmp type host-prohibited",
        "icmp type admin-prohibited",
    ] {
        rejects(&lab, "ip", "10.77.0.1:7000", with);
    }
}

#[test]
fn a_connect_that_icmpv6_rejects_has_failed() {
    let Some(mut lab) = Lab::new(Build::Link) else { return };
    if !lab.has_nft() {
        return;
    }
    lab.server.run("sysctl -qw net.ipv6.icmp.ratelimit=0");
    lab.server.run("ip addr add fd77::1/64 dev link0 nodad");
    lab.client.run("ip addr add fd77::2/64 dev link0 nodad");
    lab.serve_at("[fd77::1]:7000", &[]);
    for with in [
        "icmpv6 type no-route",
        "icmpv6 type admin-prohibited",
        "icmpv6 type addr-unreachable",
        "icmpv6 type port-unreachable",
        "icmpv6 type policy-fail",
        "icmpv6 type reject-route",
    ] {
        rejects(&lab, "ip6", "[fd77::1]:7000", with);
    }
}
