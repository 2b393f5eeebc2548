//! Addresses of made-up tables, and of namespaces of the test's own.

use std::fs;

use super::*;
use crate::host::in_namespace;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn table(rows: &[(&str, u8, bool)]) -> Addresses {
    let prefix = |(low, length, is_ours): &(&str, u8, bool)| Prefix {
        low: ip(low),
        length: *length,
        is_ours: *is_ours,
        is_broadcast: !*is_ours,
    };
    Addresses::new(Vec::new(), rows.iter().map(prefix).collect())
}

#[test]
fn the_longest_prefix_decides() {
    let host = table(&[
        ("127.255.255.255", 32, false),
        ("127.0.0.0", 8, true),
        ("10.9.0.1", 32, true),
        ("10.9.0.255", 32, false),
        ("10.1.0.0", 16, true),
        ("10.1.7.0", 24, false),
        ("10.1.7.7", 32, true),
        ("::1", 128, true),
        ("ff00::", 8, false),
    ]);
    for ours in ["127.0.0.1", "127.9.9.9", "10.9.0.1", "10.1.0.0", "10.1.8.0", "10.1.7.7", "::1"] {
        assert!(host.is_ours(ip(ours)), "{ours}");
    }
    for other in ["127.255.255.255", "10.9.0.255", "10.9.0.2", "10.1.7.6", "::2", "ff02::1"] {
        assert!(!host.is_ours(ip(other)), "{other}");
    }
    let parts = host.ours(ip("10.1.6.250"), ip("10.1.8.3"));
    let expected =
        [("10.1.6.250", "10.1.6.255"), ("10.1.7.7", "10.1.7.7"), ("10.1.8.0", "10.1.8.3")];
    assert_eq!(parts, expected.map(|(low, high)| (ip(low), ip(high))));
    assert_eq!(host.ours(ip("10.2.0.0"), ip("10.8.0.0")), []);
    let all = host.ours(ip("0.0.0.0"), ip("255.255.255.255"));
    assert!(all.contains(&(ip("127.0.0.0"), ip("127.255.255.254"))), "{all:?}");
    assert_eq!(table(&[("0.0.0.0", 0, true), ("255.255.255.255", 32, false)]).ours.len(), 1);
}

#[test]
fn files_say_it_where_netlink_does_not() {
    let root = tempfile::tempdir().unwrap();
    let procfs = ProcFs::at(root.path());
    assert_eq!(Addresses::read(&procfs), None, "nothing is known");
    fs::create_dir_all(root.path().join("proc/net")).unwrap();
    let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
        Local:\n  +-- 127.0.0.0/8 2 0 2\n        |-- 127.0.0.0\n           /8 host LOCAL\n\
        |-- 127.255.255.255\n        /32 link BROADCAST\n     |-- 10.9.0.1\n  /32 host LOCAL\n";
    fs::write(root.path().join("proc/net/fib_trie"), trie).unwrap();
    let sixes = "00000000000000000000000000000001 01 80 10 80       lo\n\
        fe800000000000000000000000000001 02 40 20 40     eth0\n\
        fd000000000000000000000000000002 02 40 00 20     eth0\n";
    fs::write(root.path().join("proc/net/if_inet6"), sixes).unwrap();
    let host = Addresses::read(&procfs).unwrap();
    let ours = ["127.0.0.1", "10.9.0.1", "::1", "fd00::2"].map(ip);
    assert!(ours.into_iter().all(|ip| host.is_ours(ip)), "{host:?}");
    let others = ["127.255.255.255", "10.9.0.2", "fe80::1"].map(ip);
    assert!(!others.into_iter().any(|ip| host.is_ours(ip)), "{host:?}");
    let deprecated: Vec<bool> = host.list.iter().map(|address| address.is_deprecated).collect();
    assert_eq!(deprecated, [false, false, true]);
}

#[test]
fn what_is_no_message_is_passed_over() {
    for length in 0..64 {
        let bytes = vec![0xff; length];
        assert_eq!((address(&bytes), prefix(&bytes)), (None, None));
    }
}

#[test]
fn the_table_of_routes_decides_in_a_namespace() {
    let before = "ip link add odd0 type veth peer name odd1; ip link set lo up; ip link set odd0 up; \
        ip addr add 10.5.0.1/24 dev odd0; ip addr add 10.5.0.2/24 dev odd0 label odd0:1; \
        ip addr add 10.6.6.6/32 dev lo; ip route add local 10.1.0.0/16 dev lo; \
        ip link set odd1 up; ip -6 addr add fd05::1/64 dev odd0 nodad preferred_lft 0; \
        echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind";
    in_namespace::passes("-Urn", before, "host::addresses::tests::of_an_odd_namespace");
}

#[test]
#[ignore = "is run by another test, in a namespace of its own"]
fn of_an_odd_namespace() {
    let by_netlink = Addresses::read(&ProcFs::host()).unwrap();
    for host in [&by_netlink, &of_files(&ProcFs::host()).unwrap()] {
        for ours in ["127.0.0.1", "127.77.0.1", "10.5.0.1", "10.5.0.2", "10.6.6.6", "10.1.9.9"] {
            assert!(host.is_ours(ip(ours)), "{ours}: {host:?}");
        }
        for other in ["10.5.0.3", "10.5.0.255", "127.255.255.255", "224.0.0.1", "192.0.2.1"] {
            assert!(!host.is_ours(ip(other)), "{other}: {host:?}");
        }
        let deprecated = host.list.iter().find(|address| address.ip == ip("fd05::1")).unwrap();
        assert!(deprecated.is_deprecated, "{deprecated:?}");
    }
    let beside: Vec<IpAddr> = by_netlink.beside(ip("10.5.0.1")).map(|address| address.ip).collect();
    assert!(beside.contains(&ip("10.5.0.2")), "a label is no interface: {beside:?}");
    assert!(!beside.contains(&ip("10.6.6.6")) && !by_netlink.is_loopback_down);
}

#[test]
fn loopback_that_is_down_is_seen() {
    in_namespace::passes("-Urn", "true", "host::addresses::tests::of_a_new_namespace");
}

#[test]
#[ignore = "is run by another test, in a namespace of its own"]
fn of_a_new_namespace() {
    let host = Addresses::read(&ProcFs::host()).unwrap();
    assert!(host.is_loopback_down && !host.is_ours(ip("127.0.0.1")), "{host:?}");
}
