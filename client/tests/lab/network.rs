//! The walls of addresses, handshake and network: how each is met on purpose in network namespaces,
//! and how the fix that the verdict gives is followed.

use super::host::skipped;
use super::netns::{Build, Lab, Namespace, Run};
use crate::common::cores;

/// A wall and how to meet it. Each part is `None` where this host does not permit it.
pub(crate) struct Case {
    pub(crate) id: &'static str,
    pub(crate) side: &'static str,
    /// Whether anything is lost to it.
    pub(crate) costs: bool,
    pub(crate) build: Build,
    /// The run that meets it.
    pub(crate) meet: fn(&mut Lab) -> Option<Run>,
    /// The same run after the fix that the verdict on the first one gives.
    pub(crate) lift: fn(&mut Lab, &Run) -> Option<Run>,
}

const BLANK: Case = Case {
    id: "",
    side: "server",
    costs: true,
    build: Build::Link,
    meet: |_| None,
    lift: |_, _| None,
};

pub(crate) const SOURCE_PORTS: Case = Case {
    id: "source-ports",
    side: "client",
    meet: |lab| {
        lab.serve(&[]);
        lab.client.run("sysctl -qw net.ipv4.ip_local_port_range='40000 40499'");
        Some(beside_300_others(lab, &[]))
    },
    lift: |lab, run| {
        run.fix("source-ports", "--source with more addresses");
        lab.client.run("ip addr add 10.77.0.3/24 dev link0");
        Some(beside_300_others(lab, &["--source", "10.77.0.2-10.77.0.3"]))
    },
    ..BLANK
};

/// A run of 400 connections from 500 ports while somebody else has 300 of them.
fn beside_300_others(lab: &Lab, flags: &[&str]) -> Run {
    let other = ["--connections", "300", "--hold", "2s", "--close", "reset"];
    let mut other = lab.client_elsewhere(&other);
    assert!(other.says("holding 300"), "{:#?}", other.finish());
    let run =
        lab.run(&[&["--connections", "400", "--hold", "0s", "--close", "reset"], flags].concat());
    assert_eq!(other.finish().code, Some(0));
    run
}

pub(crate) const TIME_WAIT: Case = Case {
    id: "time-wait",
    side: "client",
    meet: |lab| Some(one_run_after_the_other(lab, &[])),
    lift: |_, run| {
        let flags = run.flags("time-wait", "--close reset, in the run before");
        let mut lab = Lab::new(Build::Link)?;
        Some(one_run_after_the_other(&mut lab, &["--close", flags[1].trim_end_matches(',')]))
    },
    ..BLANK
};

/// Two runs, each of which needs most of the ports that there are; the first has `flags`.
fn one_run_after_the_other(lab: &mut Lab, flags: &[&str]) -> Run {
    lab.serve(&[]);
    lab.client.run("sysctl -qw net.ipv4.ip_local_port_range='40000 40499'");
    let always = ["--connections", "400", "--hold", "0s"];
    let first = lab.run(&[&always, flags].concat());
    assert_eq!(first.finished.code, Some(0), "{first:#?}");
    lab.run(&always)
}

pub(crate) const ACCEPT_QUEUE: Case = Case {
    id: "accept-queue",
    meet: |lab| {
        lab.serve(&["--backlog", "8"]);
        Some(lab.run(&MANY_AT_ONCE))
    },
    lift: |lab, run| {
        lab.serve(&run.flags("accept-queue", "serve --backlog"));
        Some(lab.run(&MANY_AT_ONCE))
    },
    ..BLANK
};

const MANY_AT_ONCE: [&str; 6] =
    ["--connections", "1k", "--connects-in-flight", "1k", "--hold", "0s"];

/// On a slow line the last acknowledgement of a handshake comes late, so that many have begun.
fn slow_line(lab: &Lab) {
    lab.server.run("tc qdisc add dev link0 root tbf rate 1mbit burst 3000 limit 2000000");
}

pub(crate) const SYN_QUEUE: Case = Case {
    id: "syn-queue",
    meet: |lab| {
        slow_line(lab);
        lab.server.run("sysctl -qw net.ipv4.tcp_syncookies=0 net.core.somaxconn=64");
        lab.serve(&[]);
        Some(lab.run(&MANY_AT_ONCE))
    },
    lift: |lab, run| {
        lab.server.run(run.fix("syn-queue", "sysctl -w net.core.somaxconn"));
        lab.serve(&run.flags("syn-queue", "serve --backlog"));
        Some(lab.run(&MANY_AT_ONCE))
    },
    ..BLANK
};

/// Without cookies a part of the queue is kept for whoever was met before.
pub(crate) const SYN_QUEUE_FOR_STRANGERS: Case = Case {
    id: "syn-queue",
    meet: |lab| {
        slow_line(lab);
        lab.server.run("sysctl -qw net.ipv4.tcp_syncookies=0 net.ipv4.tcp_max_syn_backlog=64");
        lab.serve(&[]);
        Some(run_of_a_stranger(lab, "10.77.0.3"))
    },
    lift: |lab, run| {
        lab.server.run(run.fix("syn-queue", "sysctl -w net.ipv4.tcp_max_syn_backlog"));
        Some(run_of_a_stranger(lab, "10.77.0.4"))
    },
    ..BLANK
};

fn run_of_a_stranger(lab: &Lab, address: &str) -> Run {
    lab.client.run(&format!("ip addr add {address}/24 dev link0"));
    lab.run(&[&MANY_AT_ONCE[..], &["--source", address]].concat())
}

pub(crate) const SYNCOOKIES: Case = Case {
    id: "syncookies",
    costs: false,
    meet: |lab| {
        slow_line(lab);
        lab.server.run("sysctl -qw net.ipv4.tcp_syncookies=1 net.core.somaxconn=64");
        lab.serve(&[]);
        Some(lab.run(&MANY_AT_ONCE))
    },
    lift: |lab, run| {
        lab.server.run(run.fix("syncookies", "sysctl -w net.core.somaxconn"));
        lab.serve(&run.flags("syncookies", "serve --backlog"));
        Some(lab.run(&MANY_AT_ONCE))
    },
    ..BLANK
};

pub(crate) const TW_BUCKETS: Case = Case {
    id: "tw-buckets",
    side: "client",
    costs: false,
    meet: |lab| {
        lab.client.run("sysctl -qw net.ipv4.tcp_max_tw_buckets=10");
        lab.serve(&[]);
        Some(lab.run(&["--connections", "500", "--hold", "0s"]))
    },
    lift: |lab, run| {
        lab.client.run(run.fix("tw-buckets", "sysctl -w net.ipv4.tcp_max_tw_buckets"));
        Some(lab.run(&["--connections", "500", "--hold", "0s"]))
    },
    ..BLANK
};

/// Sockets that the server has closed wait for acknowledgements that come late.
pub(crate) const ORPHANS: Case = Case {
    id: "orphans",
    costs: false,
    build: Build::HostWide,
    meet: |lab| {
        lab.host_wide("net.ipv4.tcp_max_orphans", "16").then_some(())?;
        slow_line(lab);
        lab.serve(&[]);
        Some(lab.run(&["--connections", "2k", "--message-count", "0", "--hold", "0s"]))
    },
    lift: |lab, run| {
        lab.host_wide_fix(run.fix("orphans", "sysctl")).then_some(())?;
        Some(lab.run(&["--connections", "2k", "--message-count", "0", "--hold", "0s"]))
    },
    ..BLANK
};

/// A hundred clients on the server's own link.
pub(crate) const NEIGHBOURS: Case = Case {
    id: "neighbours",
    side: "between",
    build: Build::HostWide,
    meet: |lab| {
        for (threshold, entries) in [("1", "0"), ("2", "8"), ("3", "16")] {
            let name = format!("net.ipv4.neigh.default.gc_thresh{threshold}");
            lab.host_wide(&name, entries).then_some(())?;
        }
        let add = "ip addr add 10.77.0.$host/24 dev link0";
        lab.client.run(&format!("for host in $(seq 10 109); do {add}; done"));
        lab.serve(&[]);
        Some(run_of_a_hundred(lab))
    },
    lift: |lab, run| {
        lab.host_wide_fix(run.fix("neighbours", "sysctl")).then_some(())?;
        Some(run_of_a_hundred(lab))
    },
    ..BLANK
};

fn run_of_a_hundred(lab: &Lab) -> Run {
    let sources = ["--source", "10.77.0.10-10.77.0.109", "--source-ports", "40000-40003"];
    lab.run(&[&sources[..], &["--connections", "400", "--hold", "0s", "--close", "reset"]].concat())
}

pub(crate) const CONNTRACK: Case = Case {
    id: "conntrack",
    build: Build::HostWide,
    meet: |lab| tracked(lab, |lab| &lab.server),
    lift: |lab, run| untracked(lab, run),
    ..BLANK
};

pub(crate) const CONNTRACK_OF_THE_CLIENT: Case = Case {
    id: "conntrack",
    side: "client",
    build: Build::HostWide,
    meet: |lab| tracked(lab, |lab| &lab.client),
    lift: |lab, run| untracked(lab, run),
    ..BLANK
};

/// A run with a firewall that keeps state of all but the server's figures.
fn tracked(lab: &mut Lab, side: fn(&Lab) -> &Namespace) -> Option<Run> {
    let rules = "chain kept { type filter hook input priority 0; ct state established accept; }
        chain arriving { type filter hook prerouting priority -300; iifname figures0 notrack; }
        chain leaving { type filter hook output priority -300; oifname figures0 notrack; }";
    lab.has_nft().then_some(())?;
    side(lab).nft(rules);
    lab.host_wide("net.netfilter.nf_conntrack_max", "200").then_some(())?;
    lab.serve(&[]);
    Some(lab.run(&["--connections", "500", "--hold", "0s", "--close", "reset"]))
}

fn untracked(lab: &mut Lab, run: &Run) -> Option<Run> {
    lab.host_wide_fix(run.fix("conntrack", "sysctl")).then_some(())?;
    Some(lab.run(&["--connections", "500", "--hold", "0s", "--close", "reset"]))
}

/// What arrives on one CPU is handed to another one, whose queue is short.
pub(crate) const NETDEV_BACKLOG: Case = Case {
    id: "netdev-backlog",
    side: "client",
    build: Build::HostWide,
    meet: |lab| {
        if !cores(2).contains(',') {
            skipped("with one CPU no packet waits for another");
            return None;
        }
        for (side, cpu) in [(&lab.server, 2), (&lab.client, 1)] {
            side.run(&format!("echo {cpu} > /sys/class/net/link0/queues/rx-0/rps_cpus"));
        }
        lab.serve(&[]);
        lab.host_wide("net.core.netdev_max_backlog", "1").then_some(())?;
        let mut client = lab.seeing_client(&HANDSHAKES);
        assert!(client.says("holding"), "{:#?}", client.finish());
        // Else the ends of the connections are lost as well, and waited for.
        lab.host_wide("net.core.netdev_max_backlog", "10000").then_some(())?;
        Some(lab.end(client))
    },
    lift: |lab, run| {
        lab.host_wide_fix(run.fix("netdev-backlog", "sysctl")).then_some(())?;
        Some(lab.run(&HANDSHAKES))
    },
    ..BLANK
};

const HANDSHAKES: [&str; 8] =
    ["--connections", "2k", "--connects-in-flight", "1k", "--message-count", "0", "--hold", "1s"];

pub(crate) const REFUSED: Case = Case {
    id: "refused",
    meet: |lab| {
        lab.has_nft().then_some(())?;
        lab.serve_ports("7000-7017", &[]);
        // The look before the run finds a listener at the last two ports; the run finds what is
        // there once it has ended: a reset.
        lab.server.nft(
            "chain gone {
                type filter hook input priority 0
                tcp dport 7016-7017 tcp flags & (syn|ack) == syn \
                    limit rate over 1/hour burst 2 packets reject with tcp reset
            }",
        );
        Some(lab.run(&TO_18_PORTS))
    },
    lift: |lab, run| {
        run.fix("refused", "start the server");
        lab.server.run("nft delete table ip lab");
        Some(lab.run(&TO_18_PORTS))
    },
    ..BLANK
};

const TO_18_PORTS: [&str; 6] =
    ["--target", "10.77.0.1:7000-7017", "--connections", "900", "--hold", "0s"];

pub(crate) const UNANSWERED: Case = Case {
    id: "unanswered",
    side: "between",
    meet: |lab| {
        lab.serve(&[]);
        lab.client.run("ip addr add 10.77.0.3/24 dev link0");
        lab.server.run("ip route add blackhole 10.77.0.3/32");
        Some(lab.run(&FROM_TWO))
    },
    lift: |lab, run| {
        run.fix("unanswered", "check the route");
        lab.server.run("ip route del blackhole 10.77.0.3/32");
        Some(lab.run(&FROM_TWO))
    },
    ..BLANK
};

const FROM_TWO: [&str; 10] = [
    "--source",
    "10.77.0.2-10.77.0.3",
    "--source-ports",
    "40000-40149",
    "--connections",
    "300",
    "--hold",
    "0s",
    "--close",
    "reset",
];

pub(crate) const SERVER_FULL: Case = Case {
    id: "server-full",
    meet: |lab| {
        lab.serve(&["--max-connections", "100"]);
        Some(lab.run(&["--connections", "300", "--hold", "0s", "--close", "reset"]))
    },
    lift: |lab, run| {
        lab.serve(&run.flags("server-full", "serve --max-connections"));
        Some(lab.run(&["--connections", "300", "--hold", "0s", "--close", "reset"]))
    },
    ..BLANK
};

/// A firewall on the way forgets who is silent for two seconds, and drops what it does not know.
pub(crate) const MIDDLEBOX_IDLE: Case = Case {
    id: "middlebox-idle",
    side: "between",
    build: Build::Router,
    meet: |lab| {
        lab.has_nft().then_some(())?;
        let router = lab.between.as_ref()?;
        router.run(
            "sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0 \
             net.netfilter.nf_conntrack_tcp_timeout_established=2",
        );
        router.nft(
            "chain kept { type filter hook forward priority 0; ct state invalid drop; \
             tcp flags & (fin|syn|rst|ack) != syn ct state new drop; }",
        );
        lab.serve(&[]);
        Some(lab.run(&SILENT))
    },
    lift: |lab, run| {
        run.fix("middlebox-idle", "--keepalive with less than that time");
        // The first one still holds what the client has given up.
        lab.serve(&[]);
        Some(lab.run(&[&SILENT[..], &["--keepalive", "1s"]].concat()))
    },
    ..BLANK
};

const SILENT: [&str; 5] = ["--connections", "200", "--hold", "4s", "--sweep"];

/// A firewall at the server drops one packet of twenty. Nothing is lost, and it is slow.
pub(crate) const PACKET_LOSS: Case = Case {
    id: "packet-loss",
    side: "between",
    costs: false,
    meet: |lab| {
        lab.has_nft().then_some(())?;
        lab.client.run("sysctl -qw net.ipv4.tcp_syn_retries=6");
        lab.server.nft(
            "chain lossy { type filter hook input priority 0; \
             iifname link0 meta l4proto tcp numgen inc mod 20 0 drop; }",
        );
        lab.serve(&[]);
        // A reset that is lost is not sent again, so these end in order.
        Some(lab.run(&["--connections", "500", "--hold", "0s"]))
    },
    lift: |lab, run| {
        run.fix("packet-loss", "nft list ruleset");
        lab.server.run("nft flush ruleset");
        Some(lab.run(&["--connections", "500", "--hold", "0s"]))
    },
    ..BLANK
};

/// The way to the server goes while connections are held; its figures go on by their own cable.
pub(crate) const PATH_GONE: Case = Case {
    id: "path-gone",
    side: "between",
    meet: |lab| {
        lab.has_nft().then_some(())?;
        lab.serve(&[]);
        let mut client = lab.seeing_client(&EACH_SECOND);
        assert!(client.says("holding"), "{:#?}", client.finish());
        lab.server.nft("chain cut { type filter hook input priority 0; iifname link0 drop; }");
        Some(lab.end(client))
    },
    lift: |lab, run| {
        run.fix("path-gone", "ip route get 10.77.0.1");
        lab.server.run("nft flush ruleset");
        lab.serve(&[]);
        Some(lab.run(&["--connections", "100", "--hold", "0s", "--close", "reset"]))
    },
    ..BLANK
};

const EACH_SECOND: [&str; 8] =
    ["--connections", "100", "--message-every", "1s", "--hold", "13s", "--close", "reset"];

/// A firewall resets some connects in the server's name, and lets others pass.
pub(crate) const REFUSED_BETWEEN: Case = Case {
    id: "refused-between",
    side: "between",
    meet: |lab| {
        lab.has_nft().then_some(())?;
        lab.server.nft(
            "chain limited { type filter hook input priority 0; iifname link0 \
             tcp flags & (syn|ack) == syn limit rate over 10/second burst 200 packets \
             reject with tcp reset; }",
        );
        lab.serve(&[]);
        let run = lab.run(&["--connections", "400", "--hold", "2s", "--close", "reset"]);
        Some(run)
    },
    lift: |lab, run| {
        run.fix("refused-between", "nft list ruleset");
        lab.server.run("nft flush ruleset");
        Some(lab.run(&["--connections", "400", "--hold", "0s", "--close", "reset"]))
    },
    ..BLANK
};
