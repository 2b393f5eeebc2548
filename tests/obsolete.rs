//! Obsolete, mistaken and harmful settings: each is found in a file and, where it counts, in the
//! running kernel. A setting that is right, hidden or no number is not reported.

use fake_host::FakeHost;
use megaconn::walls::obsolete::rules::Plan;
use megaconn::walls::obsolete::setting::{Kind, Setting};
use megaconn::walls::obsolete::settings;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod fake_host;

/// A kernel as it is by default, on a host with 8 GiB.
fn host() -> FakeHost {
    let host = FakeHost::empty();
    host.write("proc/meminfo", "MemTotal:        8388608 kB\n");
    for (key, value) in [
        ("fs.file-max", "800000"),
        ("net.core.somaxconn", "4096"),
        ("net.ipv4.ip_local_port_range", "32768\t60999"),
        ("net.ipv4.tcp_abort_on_overflow", "0"),
        ("net.ipv4.tcp_ehash_entries", "65536"),
        ("net.ipv4.tcp_fack", "0"),
        ("net.ipv4.tcp_fin_timeout", "60"),
        ("net.ipv4.tcp_low_latency", "0"),
        ("net.ipv4.tcp_max_orphans", "32768"),
        ("net.ipv4.tcp_max_tw_buckets", "32768"),
        ("net.ipv4.tcp_mem", "95000\t127000\t190000"),
        ("net.ipv4.tcp_retries2", "15"),
        ("net.ipv4.tcp_rmem", "4096\t131072\t6291456"),
        ("net.ipv4.tcp_syncookies", "1"),
        ("net.ipv4.tcp_timestamps", "1"),
        ("net.ipv4.tcp_tw_reuse", "2"),
        ("net.ipv4.tcp_wmem", "4096\t16384\t4194304"),
        ("net.netfilter.nf_conntrack_tcp_timeout_established", "432000"),
    ] {
        host.sysctl(key, value);
    }
    host
}

/// Connections that arrive at port 7000 here, from here.
fn plan() -> Plan {
    Plan { ports_here: (7000..=7003).collect(), connects_away: false }
}

fn found(host: &FakeHost) -> Vec<Setting> {
    settings(&host.procfs(), &plan())
}

/// Key, a bad value of it, a good one.
const BAD_AND_GOOD: &[(&str, &str, &str)] = &[
    ("net.core.somaxconn", "128", "65535"),
    ("net.ipv4.ip_local_port_range", "1024 65535", "7004 65535"),
    ("net.ipv4.ip_local_port_range", "6000 7000", "1024 6999"),
    ("net.ipv4.tcp_abort_on_overflow", "1", "0"),
    ("net.ipv4.tcp_max_orphans", "32767", "262144"),
    ("net.ipv4.tcp_max_tw_buckets", "5000", "2000000"),
    ("net.ipv4.tcp_mem", "786432 1048576 26777216", "786432 1048576 2097152"),
    ("net.ipv4.tcp_retries2", "5", "8"),
    ("net.ipv4.tcp_rmem", "1048576 1048576 16777216", "4096 131072 16777216"),
    ("net.ipv4.tcp_rmem", "4096 12582912 16777216", "4096 87380 16777216"),
    ("net.ipv4.tcp_syncookies", "0", "1"),
    ("net.ipv4.tcp_syncookies", "2", "1"),
    ("net.ipv4.tcp_timestamps", "0", "2"),
    ("net.ipv4.tcp_tw_reuse", "1", "0"),
    ("net.ipv4.tcp_wmem", "262144 262144 16777216", "8192 65536 16777216"),
    ("net.ipv4.tcp_wmem", "4096 16777216 16777216", "4096 16384 16777216"),
    ("net.netfilter.nf_conntrack_tcp_timeout_established", "600", "86400"),
];

#[test]
fn a_bad_value_is_found_in_a_file_and_in_the_kernel_and_a_good_one_in_neither() {
    assert_eq!(found(&host()), [], "a default kernel is blamed");
    for (key, bad, good) in BAD_AND_GOOD {
        let host = host();
        host.write("etc/sysctl.conf", &format!("# old advice\n{key} = {bad}\n"));
        let [setting] = found(&host).try_into().unwrap();
        assert_eq!((setting.key.as_str(), setting.value.as_str()), (*key, *bad));
        assert_eq!(setting.places, ["/etc/sysctl.conf:2"], "{key}");
        host.sysctl(key, &bad.replace(' ', "\t"));
        let [setting] = found(&host).try_into().unwrap();
        assert_eq!(setting.places, ["/etc/sysctl.conf:2", "running kernel"], "{key}");
        assert!(setting.kind != Kind::Obsolete, "{key}");
        host.write("etc/sysctl.conf", &format!("{key} = {good}\n"));
        let [setting] = found(&host).try_into().unwrap();
        assert_eq!(setting.places, ["running kernel"], "{key}");
        host.sysctl(key, good);
        assert_eq!(found(&host), [], "{key} = {good} is blamed");
        for garbage in ["", "many", "1 2 three", "-1", "99999999999999999999999"] {
            host.write("etc/sysctl.conf", &format!("{key} = {garbage}\n"));
            host.sysctl(key, garbage);
            assert_eq!(found(&host), [], "{key} = {garbage} is judged");
        }
    }
}

#[test]
fn what_does_nothing_is_named_wherever_it_stands_in_a_file() {
    for (key, kind) in [
        ("net.ipv4.tcp_tw_recycle", Kind::Obsolete),
        ("net.ipv4.tcp_low_latency", Kind::Obsolete),
        ("net.ipv4.tcp_fack", Kind::Obsolete),
        ("net.ipv4.route.max_size", Kind::Obsolete),
        ("net.ipv4.ip_conntrack_max", Kind::Obsolete),
        ("net.ipv4.netfilter.ip_conntrack_tcp_timeout_established", Kind::Obsolete),
        ("net.ipv4.tcp_max_ssthresh", Kind::Obsolete),
        ("net.core.no_such_key", Kind::Obsolete),
        ("fs.no-such-key", Kind::Obsolete),
        ("net.ipv4.tcp_fin_timeout", Kind::Mistaken),
    ] {
        let host = host();
        host.write("usr/lib/sysctl.d/10-vendor.conf", &format!("{key}=15\n"));
        let [setting] = found(&host).try_into().unwrap();
        assert_eq!((setting.key.as_str(), setting.kind), (key, kind));
        assert_eq!(setting.places, ["/usr/lib/sysctl.d/10-vendor.conf:1"]);
        // In the kernel it is a default that nobody chose.
        host.sysctl(key, "15").write("usr/lib/sysctl.d/10-vendor.conf", "");
        assert_eq!(found(&host), [], "{key} of the running kernel is blamed");
    }
}

#[test]
fn a_harmful_line_that_a_later_one_undoes_is_passed_over_and_a_useless_one_is_not() {
    let host = host();
    host.write("etc/sysctl.d/10-a.conf", "net.core.somaxconn=128\nnet.ipv4.tcp_tw_recycle=1\n");
    host.write("etc/sysctl.d/20-b.conf", "net.core.somaxconn=8192\nnet.ipv4.tcp_tw_recycle=1\n");
    let [setting] = found(&host).try_into().unwrap();
    assert_eq!(setting.key, "net.ipv4.tcp_tw_recycle");
    assert_eq!(setting.places, ["/etc/sysctl.d/10-a.conf:2", "/etc/sysctl.d/20-b.conf:2"]);
}

#[test]
fn what_a_namespace_hides_or_a_module_or_an_interface_brings_is_not_called_missing() {
    let host = host();
    host.write(
        "etc/sysctl.conf",
        "net.bridge.bridge-nf-call-iptables=1\nnet.ipv4.conf.eth9.rp_filter=1\n\
         net.netfilter.nf_conntrack_max=1000000\nnet.ipv4.neigh.*.gc_thresh3=9\nkernel.x=1\n",
    );
    assert_eq!(found(&host), []);
    host.write("etc/sysctl.conf", "net.ipv4.no_such=1\nnet.core.no_such=1\n");
    assert_eq!(found(&host).len(), 2);
    // A namespace other than the first has no tcp_mem.
    std::fs::remove_file(host.root().join("proc/sys/net/ipv4/tcp_mem")).unwrap();
    assert_eq!(found(&host), []);
}

#[test]
fn a_value_is_judged_by_the_plan_and_by_the_host_it_is_for() {
    let host = host();
    host.sysctl("net.ipv4.tcp_tw_reuse", "1").sysctl("net.ipv4.ip_local_port_range", "1024 65535");
    assert_eq!(found(&host).len(), 2);
    assert_eq!(settings(&host.procfs(), &Plan { ports_here: vec![], connects_away: true }), []);
    // Shared with the host, as a namespace has it, and unknown, as before Linux 6.1.
    host.sysctl("net.ipv4.tcp_max_tw_buckets", "100")
        .sysctl("net.ipv4.tcp_ehash_entries", "-65536");
    assert_eq!(found(&host).len(), 3);
    std::fs::remove_file(host.root().join("proc/sys/net/ipv4/tcp_ehash_entries")).unwrap();
    assert_eq!(found(&host).len(), 2, "tcp_max_tw_buckets is judged by an unknown");
}

#[test]
fn what_hurts_comes_first_and_every_reason_has_its_source() {
    let host = host();
    let lines = BAD_AND_GOOD.iter().map(|(key, bad, _)| format!("{key} = {bad}\n"));
    let old = ["net.ipv4.tcp_fack=1\n".to_owned(), "net.ipv4.tcp_fin_timeout=9\n".to_owned()];
    for (index, line) in old.into_iter().chain(lines).enumerate() {
        host.write("etc/sysctl.conf", &line);
        let found = found(&host);
        assert_eq!(found.len(), 1, "{index}: {line}");
        let Setting { reason, instead, source, .. } = &found[0];
        assert!(![*reason, *instead, *source].contains(&""), "{line}");
    }
    host.write(
        "etc/sysctl.conf",
        "net.ipv4.tcp_fack=1\nnet.ipv4.tcp_fin_timeout=9\nnet.core.somaxconn=9\n",
    );
    let kinds: Vec<Kind> = found(&host).iter().map(|setting| setting.kind).collect();
    assert_eq!(kinds, [Kind::Harmful, Kind::Mistaken, Kind::Obsolete]);
}

#[test]
fn this_host_is_read_without_harm() {
    let procfs = megaconn::host::procfs::ProcFs::host();
    for setting in settings(&procfs, &plan()) {
        println!("{setting:?}");
        assert!(!setting.places.is_empty());
    }
}
