//! The rows: each key, when its values are bad, why, and what to write instead.

use crate::walls::obsolete::setting::Kind;

/// What of the plan decides whether a value is bad.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Ports on which connections of the plan arrive at this host.
    pub ports_here: Vec<u16>,
    /// Whether connections of the plan leave this host.
    pub connects_away: bool,
}

/// All that decides whether a value is bad.
pub(super) struct Facts<'a> {
    pub(super) plan: &'a Plan,
    pub(super) memory_bytes: Option<u64>,
    pub(super) ehash_entries: Option<u64>,
}

/// One row: a key, when its values are bad, and what to say then.
pub(super) struct Rule {
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    /// Whether these values are bad.
    pub(super) is_bad: fn(&[u64], &Facts<'_>) -> bool,
    /// Whether the value of the running kernel is examined too. It is not where the kernel's own
    /// default would be reported.
    pub(super) also_running: bool,
    pub(super) reason: &'static str,
    pub(super) instead: &'static str,
    pub(super) source: &'static str,
}

/// Every obsolete, mistaken or harmful setting that is looked for.
pub(super) const RULES: &[Rule] = &[
    gone(
        "net.ipv4.tcp_tw_recycle",
        "removed in Linux 4.12, because it broke clients behind address translation",
        "delete the line",
        "Linux 4.12: tcp: remove tcp_tw_recycle",
    ),
    gone(
        "net.ipv4.tcp_low_latency",
        "has no effect any more",
        "delete the line",
        "ip-sysctl: tcp_low_latency",
    ),
    gone("net.ipv4.tcp_fack", "has no effect any more", "delete the line", "ip-sysctl: tcp_fack"),
    gone(
        "net.ipv4.route.max_size",
        "bounds the IPv4 route cache, which there has not been since Linux 3.6",
        "delete the line",
        "ip-sysctl: route/max_size",
    ),
    gone(
        "net.ipv4.ip_conntrack_max",
        "an old name, removed in Linux 4.9: the limit that it means is not raised",
        "write net.netfilter.nf_conntrack_max",
        "Linux 4.9: netfilter: remove ip_conntrack* sysctl compat code",
    ),
    gone(
        "net.ipv4.netfilter.ip_conntrack_*",
        "an old name, removed in Linux 4.9: what it means is not set",
        "write net.netfilter.nf_conntrack_...",
        "Linux 4.9: netfilter: remove ip_conntrack* sysctl compat code",
    ),
    Rule {
        key: "net.ipv4.tcp_fin_timeout",
        kind: Kind::Mistaken,
        is_bad: |values, _| matches!(values, [seconds] if *seconds != 60),
        also_running: false,
        reason: "is not the length of TIME_WAIT, which is 60 s and cannot be set, but of FIN_WAIT_2 \
                 of connections that are gone",
        instead: "delete the line, unless FIN_WAIT_2 is what is meant",
        source: "ip-sysctl: tcp_fin_timeout",
    },
    Rule {
        key: "net.ipv4.tcp_tw_reuse",
        kind: Kind::Mistaken,
        is_bad: |values, facts| values == [1] && !facts.plan.connects_away,
        also_running: true,
        reason: "is for outgoing connections alone: it does nothing for the TIME_WAIT of a server, \
                 and for loopback 2, the default, is enough",
        instead: "net.ipv4.tcp_tw_reuse = 2",
        source: "ip-sysctl: tcp_tw_reuse",
    },
    Rule {
        key: "net.core.somaxconn",
        kind: Kind::Harmful,
        is_bad: |values, _| matches!(values, [length] if *length < 4096),
        also_running: true,
        reason: "caps every accept queue below the kernel's own 4096 (128 is the default of before \
                 Linux 5.4): a burst of connects waits for SYNs sent again, in steps of 1 s",
        instead: "net.core.somaxconn = 4096 or more",
        source: "ip-sysctl: somaxconn",
    },
    Rule {
        key: "net.ipv4.tcp_abort_on_overflow",
        kind: Kind::Harmful,
        is_bad: |values, _| matches!(values, [on] if *on > 0),
        also_running: true,
        reason: "resets connections that find the accept queue full, so that a burst becomes failures instead \
                 of a delay",
        instead: "net.ipv4.tcp_abort_on_overflow = 0",
        source: "ip-sysctl: tcp_abort_on_overflow",
    },
    Rule {
        key: "net.ipv4.tcp_syncookies",
        kind: Kind::Harmful,
        is_bad: |values, _| values == [0],
        also_running: true,
        reason: "without cookies a SYN that finds the queue full is dropped, and a quarter of \
                 tcp_max_syn_backlog is kept for peers that are known",
        instead: "net.ipv4.tcp_syncookies = 1",
        source: "ip-sysctl: tcp_syncookies; tcp_conn_request()",
    },
    Rule {
        key: "net.ipv4.tcp_syncookies",
        kind: Kind::Harmful,
        is_bad: |values, _| values == [2],
        also_running: true,
        reason: "is for tests: cookies always, which take TCP options from every connection",
        instead: "net.ipv4.tcp_syncookies = 1",
        source: "ip-sysctl: tcp_syncookies",
    },
    Rule {
        key: "net.ipv4.tcp_timestamps",
        kind: Kind::Harmful,
        is_bad: |values, _| values == [0],
        also_running: true,
        reason: "without timestamps no tuple in TIME_WAIT is used again, old segments are not told \
                 from new ones (PAWS), and SYN cookies lose window scaling and SACK",
        instead: "net.ipv4.tcp_timestamps = 1",
        source: "ip-sysctl: tcp_timestamps; tcp_twsk_unique()",
    },
    Rule {
        key: "net.ipv4.tcp_max_tw_buckets",
        kind: Kind::Harmful,
        is_bad: |values, facts| is_below_half_of(facts.ehash_entries, values),
        also_running: true,
        reason: "is below the kernel's own value (half of tcp_ehash_entries): TIME_WAIT ends at \
                 once above it, and with it the protection from old segments",
        instead: "delete the line: the kernel's documentation says to raise it, never to lower it",
        source: "ip-sysctl: tcp_max_tw_buckets",
    },
    Rule {
        key: "net.ipv4.tcp_max_orphans",
        kind: Kind::Harmful,
        is_bad: |values, facts| is_below_half_of(facts.ehash_entries, values),
        also_running: true,
        reason: "is below the kernel's own value (half of tcp_ehash_entries): when many \
                 connections are closed at once, those above it are reset",
        instead: "delete the line: the kernel's documentation says to raise it, never to lower it",
        source: "ip-sysctl: tcp_max_orphans",
    },
    Rule {
        key: "net.ipv4.tcp_mem",
        kind: Kind::Harmful,
        is_bad: |values, facts| match (values, facts.memory_bytes) {
            ([.., pages], Some(memory)) => pages.saturating_mul(page_bytes()) > memory,
            _ => false,
        },
        also_running: true,
        reason: "counts pages, not bytes, and allows more than there is memory: the kernel kills \
                 processes before it holds TCP back",
        instead: "delete the line, or write pages",
        source: "ip-sysctl: tcp_mem",
    },
    Rule {
        key: "net.ipv4.tcp_rmem",
        kind: Kind::Mistaken,
        is_bad: has_huge_minimum,
        also_running: true,
        reason: "its first figure is not allocated for a connection, but allowed to it even when \
                 memory is short: a large one gains nothing and takes the brake away",
        instead: "write 4096 as the first figure",
        source: "ip-sysctl: tcp_rmem",
    },
    Rule {
        key: "net.ipv4.tcp_wmem",
        kind: Kind::Mistaken,
        is_bad: has_huge_minimum,
        also_running: true,
        reason: "its first figure is not allocated for a connection, but allowed to it even when \
                 memory is short: a large one gains nothing and takes the brake away",
        instead: "write 4096 as the first figure",
        source: "ip-sysctl: tcp_wmem",
    },
    Rule {
        key: "net.ipv4.tcp_rmem",
        kind: Kind::Harmful,
        is_bad: has_huge_default,
        also_running: true,
        reason: "so much may queue on each connection that is not read, before any tuning by the \
                 kernel; an idle one costs nothing",
        instead: "write 131072 as the second figure: the third is what a fast connection grows to",
        source: "ip-sysctl: tcp_rmem",
    },
    Rule {
        key: "net.ipv4.tcp_wmem",
        kind: Kind::Harmful,
        is_bad: has_huge_default,
        also_running: true,
        reason: "so much may queue for each peer that does not read, before any tuning by the \
                 kernel; an idle one costs nothing",
        instead: "write 16384 as the second figure: the third is what a fast connection grows to",
        source: "ip-sysctl: tcp_wmem",
    },
    Rule {
        key: "net.ipv4.tcp_retries2",
        kind: Kind::Harmful,
        is_bad: |values, _| matches!(values, [times] if *times < 8),
        also_running: true,
        reason: "gives a connection up after less than the 100 s of RFC 1122: a pause of the other \
                 side or of the network ends those with data on the way",
        instead: "net.ipv4.tcp_retries2 = 8 or more",
        source: "ip-sysctl: tcp_retries2",
    },
    Rule {
        key: "net.ipv4.ip_local_port_range",
        kind: Kind::Harmful,
        is_bad: |values, facts| match values {
            [low, high] => {
                facts.plan.ports_here.iter().any(|port| (low..=high).contains(&&u64::from(*port)))
            }
            _ => false,
        },
        also_running: true,
        reason: "covers ports that are listened on: an outgoing connection may hold one of them, \
                 and then the server cannot start",
        instead: "listen below the range, or add the ports to net.ipv4.ip_local_reserved_ports",
        source: "ip-sysctl: ip_local_reserved_ports",
    },
    Rule {
        key: "net.netfilter.nf_conntrack_tcp_timeout_established",
        kind: Kind::Harmful,
        is_bad: |values, _| matches!(values, [seconds] if *seconds < 7_440),
        also_running: true,
        reason: "forgets a connection that is silent for less than the 2 h 4 min of RFC 5382: a firewall may \
                 then drop what an idle connection sends",
        instead: "7440 s or more, or keepalive probes more often than it",
        source: "RFC 5382, REQ-5",
    },
];

/// What is said of a key that the running kernel does not have.
pub(super) const MISSING: Rule = gone(
    "",
    "the running kernel has no such key: the line does nothing",
    "delete the line",
    "/proc/sys",
);

const fn gone(
    key: &'static str,
    reason: &'static str,
    instead: &'static str,
    source: &'static str,
) -> Rule {
    let is_bad = |_: &[u64], _: &Facts<'_>| true;
    Rule { key, kind: Kind::Obsolete, is_bad, also_running: false, reason, instead, source }
}

/// The largest first figure of tcp_rmem or tcp_wmem that is still a minimum: 16 times the kernel's
/// own.
const MINIMUM_BYTES_MAX: u64 = 64 * 1024;

/// The largest second figure that is still a start: 8 times the kernel's own for receiving.
const DEFAULT_BYTES_MAX: u64 = 1024 * 1024;

fn has_huge_minimum(values: &[u64], _: &Facts<'_>) -> bool {
    matches!(values, [minimum, _, _] if *minimum > MINIMUM_BYTES_MAX)
}

fn has_huge_default(values: &[u64], _: &Facts<'_>) -> bool {
    matches!(values, [_, default, _] if *default > DEFAULT_BYTES_MAX)
}

fn is_below_half_of(entries: Option<u64>, values: &[u64]) -> bool {
    matches!((values, entries), ([most], Some(entries)) if *most < entries / 2)
}

fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}
