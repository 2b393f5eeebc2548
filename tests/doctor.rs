//! The doctor on hosts that are directories: each wall short, enough, hidden and garbled; its
//! screen and its JSON as they are.

use fake_host::{FakeHost, demand};
use megaconn::plan::demand::{Demand, Ends};
use megaconn::walls::doctor::text::text;
use megaconn::walls::doctor::{Bound, Report, report};
use megaconn::walls::have::Have;
use megaconn::walls::host::{Host, RingTried};
use megaconn::walls::reading::{Row, Verdict};
use megaconn::walls::table::all;
use namespaces::{in_namespaces, text as words};
use serde_json::Value;

mod fake_host;
mod namespaces;

fn examine(host: &Host, demand: &Demand) -> Report {
    report(host, demand, &["127.0.0.1:7000".parse().expect("this is an address")])
}

fn row(host: &FakeHost, id: &str) -> Row {
    let report = examine(&host.host(), &demand());
    report.rows.into_iter().find(|row| row.id == id).unwrap_or_else(|| panic!("no row {id}"))
}

/// The text with which a file says a number.
type Text = fn(u64) -> String;

/// A wall, its file, the text of that file for a number, and the verdict when there is less than
/// the need.
const READ: &[(&str, &str, Text, Verdict)] = &[
    ("accept-queue", "proc/sys/net/core/somaxconn", plain, Verdict::Warn),
    ("conntrack", "proc/sys/net/netfilter/nf_conntrack_max", |n| plain(n + 12), Verdict::Fail),
    ("ehash", "proc/sys/net/ipv4/tcp_ehash_entries", plain, Verdict::Warn),
    // In a namespace that shares the host's.
    ("ehash", "proc/sys/net/ipv4/tcp_ehash_entries", |n| format!("-{n}\n"), Verdict::Warn),
    ("file-max", "proc/sys/fs/file-nr", |n| format!("1000\t0\t{}\n", n + 1000), Verdict::Fail),
    ("memory", "proc/meminfo", |n| format!("MemAvailable: {} kB\n", n / 1024), Verdict::Fail),
    ("neighbours", "proc/sys/net/ipv4/neigh/default/gc_thresh3", plain, Verdict::Fail),
    ("netdev-backlog", "proc/sys/net/core/netdev_max_backlog", plain, Verdict::Warn),
    ("nr-open", "proc/sys/fs/nr_open", plain, Verdict::Warn),
    ("orphans", "proc/sys/net/ipv4/tcp_max_orphans", plain, Verdict::Warn),
    ("syn-queue", "proc/sys/net/ipv4/tcp_max_syn_backlog", plain, Verdict::Warn),
    ("tcp-mem", "proc/sys/net/ipv4/tcp_mem", |n| format!("1\t{n}\t9999999\n"), Verdict::Warn),
    // Of which 100 are there already.
    ("threads", "proc/sys/kernel/threads-max", |n| plain(n + 100), Verdict::Fail),
    ("threads", "proc/sys/kernel/pid_max", |n| plain(n + 100), Verdict::Fail),
    ("tw-buckets", "proc/sys/net/ipv4/tcp_max_tw_buckets", plain, Verdict::Warn),
];

fn plain(n: u64) -> String {
    format!("{n}\n")
}

#[test]
fn a_wall_is_short_by_one_and_enough_at_its_need() {
    for (id, file, text, short) in READ {
        let host = FakeHost::plentiful();
        let need = row(&host, id).need.unwrap_or_else(|| panic!("{id} needs nothing"));
        // Of memory there are whole KiB.
        let step = if *id == "memory" { 1024 } else { 1 };
        host.write(file, &text(need.next_multiple_of(step)));
        let enough = row(&host, id);
        assert_eq!((enough.verdict, enough.fix.len()), (Verdict::Ok, 0), "{enough:?}");
        host.write(file, &text(need - 1));
        let row = row(&host, id);
        assert_eq!(row.verdict, *short, "{row:?}");
        assert!(row.have.is_some_and(|have| have < need && have + step >= need), "{row:?}");
        assert!(!row.fix.is_empty() && row.fix.len() == row.lasts.len(), "{row:?}");
    }
}

#[test]
fn a_wall_that_is_hidden_or_garbled_is_unknown_and_never_0() {
    for (id, file, ..) in READ {
        for garbage in ["", "many\n", "-\n", "99999999999999999999999\n", "\0\n"] {
            let host = FakeHost::plentiful();
            host.write(file, garbage);
            let row = row(&host, id);
            assert_eq!((row.have, row.verdict), (None, Verdict::Unknown), "{garbage:?}: {row:?}");
        }
        let host = FakeHost::plentiful();
        std::fs::remove_file(host.root().join(file)).expect("it was written");
        let row = row(&host, id);
        // Without the module nothing is tracked, and the other sysctls of net are there.
        let expected = if *id == "conntrack" { Verdict::Ok } else { Verdict::Unknown };
        assert_eq!((row.have, row.verdict), (None, expected), "{row:?}");
    }
}

#[test]
fn entries_that_cannot_be_counted_are_not_taken_for_none() {
    let host = FakeHost::plentiful();
    host.sysctl("net.netfilter.nf_conntrack_count", "some");
    let row = row(&host, "conntrack");
    assert_eq!((row.have, row.verdict), (None, Verdict::Unknown), "{row:?}");
}

#[test]
fn what_cannot_be_seen_is_not_taken_for_what_is_not_there() {
    let host = FakeHost::plentiful();
    std::fs::remove_dir_all(host.root().join("proc/sys")).expect("it was written");
    // /proc with subset=pid shows the files of processes alone.
    for id in ["conntrack", "io-uring-disabled", "threads", "somaxconn"] {
        let report = examine(&host.host(), &demand());
        let rows = report.rows.into_iter().filter(|row| row.id == id);
        rows.for_each(|row| assert_eq!(row.verdict, Verdict::Unknown, "{row:?}"));
    }
    let host = FakeHost::plentiful();
    assert_eq!(row(&host, "cgroup-memory").verdict, Verdict::Ok, "this kernel has no groups");
    host.write("proc/self/cgroup", "4:memory:/a\n0::/a\n");
    assert_eq!(row(&host, "cgroup-memory").verdict, Verdict::Unknown, "no mount shows the group");
    host.write("proc/self/cgroup", "");
    assert_eq!(row(&host, "cgroup-memory").verdict, Verdict::Unknown);
}

#[test]
fn a_ring_that_was_tried_says_more_than_any_file() {
    let fake = FakeHost::plentiful();
    fake.write("proc/self/status", "Seccomp:\t2\n");
    let verdicts = |ring: RingTried| {
        let report = examine(&Host { ring, ..fake.host() }, &demand());
        ["io-uring-disabled", "io-uring-seccomp"].map(|id| {
            let row = report.rows.iter().find(|row| row.id == id).expect("there is such a row");
            assert_eq!(row.fix.is_empty(), row.fits(), "{row:?}");
            row.verdict
        })
    };
    assert_eq!(verdicts(RingTried::Not), [Verdict::Ok, Verdict::Unknown]);
    assert_eq!(verdicts(RingTried::Works), [Verdict::Ok, Verdict::Ok]);
    assert_eq!(verdicts(RingTried::Filtered), [Verdict::Ok, Verdict::Fail]);
    assert_eq!(verdicts(RingTried::Disabled), [Verdict::Fail, Verdict::Unknown]);
    assert_eq!(verdicts(RingTried::TooOld), [Verdict::Fail, Verdict::Unknown]);
}

#[test]
fn nothing_at_all_is_known_of_an_empty_host() {
    let report = examine(&FakeHost::empty().host(), &demand());
    for row in &report.rows {
        let is_ours = ["source-ports", "memlock", "fixed-files", "nofile"].contains(&row.id);
        assert!(is_ours || row.have.is_none(), "{row:?}");
        assert!(is_ours || row.allows_connections.is_none(), "{row:?}");
        assert!(is_ours || row.verdict >= Verdict::Unknown, "{row:?}");
        assert!(is_ours || row.verdict != Verdict::Ok, "{row:?}");
    }
    assert!(report.fits, "an unknown was held against the plan");
}

#[test]
fn what_the_process_itself_may_have_is_short_and_enough() {
    let plentiful = FakeHost::plentiful();
    let host = plentiful.host();
    let find = |host: &Host, demand: &Demand, id: &str| {
        let report = examine(host, demand);
        report.rows.into_iter().find(|row| row.id == id).unwrap_or_else(|| panic!("no row {id}"))
    };
    let needs =
        |id| find(&host, &demand(), id).need.unwrap_or_else(|| panic!("{id} needs nothing"));
    for id in ["memlock", "nofile", "source-ports", "fixed-files"] {
        let need = needs(id);
        let with = |have: u64| match id {
            "memlock" => find(&Host { memlock: Have::Some(have), ..host.clone() }, &demand(), id),
            "nofile" => find(&Host { nofile: have, ..host.clone() }, &demand(), id),
            "source-ports" => find(&host, &Demand { tuples: Some(have), ..demand() }, id),
            // The slots of all segments that there can be.
            _ => find(&host, &Demand { connections: 2_621_400_000 + need - have, ..demand() }, id),
        };
        assert_eq!(with(need).verdict, Verdict::Ok, "{id}");
        assert_eq!(with(need - 1).verdict, Verdict::Fail, "{id}");
    }
    let unlimited = Host { memlock: Have::Unlimited, passes_file_max: true, ..host };
    for id in ["memlock", "file-max"] {
        let row = find(&unlimited, &demand(), id);
        assert_eq!((row.have, row.verdict), (None, Verdict::Ok), "{row:?}");
    }
}

#[test]
fn memory_that_open_sockets_pin_is_not_there() {
    let host = FakeHost::plentiful();
    let have = |sockstat: &str| {
        host.write("proc/meminfo", "MemAvailable: 1000000 kB\nSReclaimable: 500000 kB\n");
        host.write("proc/net/sockstat", sockstat);
        row(&host, "memory").have
    };
    assert_eq!(have("TCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\n"), Some(1_024_000_000));
    let pinned = 100_000 * 1_219;
    let with_sockets = have("TCP: inuse 9 orphan 0 tw 0 alloc 100000 mem 0\n");
    assert_eq!(with_sockets, Some(1_024_000_000 - pinned));
}

#[test]
fn a_container_has_less_memory_than_its_host() {
    let host = FakeHost::plentiful();
    assert_eq!(row(&host, "cgroup-memory").verdict, Verdict::Ok);
    host.write("proc/self/cgroup", "0::/box\n");
    host.write(
        "proc/self/mountinfo",
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n",
    );
    let group = |file: &str, text: &str| {
        host.write(&format!("sys/fs/cgroup/box/{file}"), text);
    };
    group("memory.max", "max\n");
    group("memory.current", "1000\n");
    group("memory.stat", "inactive_file 400\n");
    let unlimited = row(&host, "cgroup-memory");
    assert_eq!((unlimited.have, unlimited.verdict), (None, Verdict::Ok));
    let need = unlimited.need.expect("connections take memory");
    group("memory.max", &plain(need + 600));
    assert_eq!(row(&host, "cgroup-memory").verdict, Verdict::Ok);
    group("memory.max", &plain(need + 599));
    let short = row(&host, "cgroup-memory");
    assert_eq!((short.have, short.verdict), (Some(need - 1), Verdict::Fail));
    assert!(short.allows_connections < Some(100_000), "{short:?}");
}

#[test]
fn io_uring_is_forbidden_or_not() {
    let host = FakeHost::plentiful();
    let verdict = |value: &str, host: &FakeHost| {
        host.sysctl("kernel.io_uring_disabled", value);
        row(host, "io-uring-disabled").verdict
    };
    assert_eq!(verdict("0", &host), Verdict::Ok);
    assert_eq!(verdict("1", &host), Verdict::Fail);
    assert_eq!(verdict("2", &host), Verdict::Fail);
    assert_eq!(verdict("x", &host), Verdict::Unknown);
    // To the group it is left, and to who may do anything.
    host.sysctl("kernel.io_uring_group", &rustix::process::getegid().as_raw().to_string());
    assert_eq!((verdict("1", &host), verdict("2", &host)), (Verdict::Ok, Verdict::Fail));
    host.sysctl("kernel.io_uring_group", "-1").sysctl("kernel.io_uring_disabled", "1");
    let mighty = Host { passes_file_max: true, ..host.host() };
    assert!(examine(&mighty, &demand()).fits);
    assert!(!examine(&host.host(), &demand()).fits);

    host.sysctl("kernel.io_uring_disabled", "0").write("proc/self/status", "Seccomp:\t2\n");
    assert_eq!(row(&host, "io-uring-seccomp").verdict, Verdict::Unknown);
}

#[test]
fn a_wall_of_the_other_end_is_none_of_this_host() {
    let host = FakeHost::plentiful();
    for (ends, absent, present) in [
        (Ends::Server, ["source-ports", "tw-buckets"], ["accept-queue", "syn-queue"]),
        (Ends::Client, ["accept-queue", "syn-queue"], ["source-ports", "tw-buckets"]),
    ] {
        let report = examine(&host.host(), &Demand { ends, ..demand() });
        let is_read = |id: &&str| {
            let row = report.rows.iter().find(|row| row.id == *id);
            row.is_some_and(|row| row.verdict != Verdict::NotApplicable)
        };
        assert_eq!(absent.iter().find(|id| is_read(id)), None, "{ends:?}");
        assert!(present.iter().all(is_read), "{ends:?}");
        let memory = report.rows.iter().find(|row| row.id == "memory").and_then(|row| row.need);
        assert!(memory < row(&host, "memory").need, "one end needs as much as two");
    }
}

/// A host with a row of each verdict and settings of old advice.
fn troubled() -> FakeHost {
    let host = FakeHost::plentiful();
    host.write("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 1500000 kB\n");
    host.sysctl("fs.file-nr", "1000\t0\t101000").sysctl("fs.file-max", "101000");
    host.sysctl("net.core.somaxconn", "128");
    host.write("proc/sys/net/ipv4/tcp_mem", "many\n");
    host.write(
        "etc/sysctl.conf",
        "net.core.somaxconn = 128\nnet.ipv4.tcp_tw_recycle = 1\nnet.ipv4.tcp_fin_timeout = 15\n",
    );
    host
}

#[test]
fn the_screen_is_as_it_was() {
    let report = examine(&troubled().host(), &demand());
    let screen = text(&report);
    // When it changes for the better, that is the file's new text.
    let expected = include_str!("doctor/screen.txt");
    assert!(screen == expected, "tests/doctor/screen.txt is not what is said now:\n{screen}");
    let widest = screen.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "a line has {widest:?} columns");
    assert!(screen.lines().count() <= 60, "it is no screen any more");
    assert_eq!(report.binds_first, Some(Bound { id: "file-max", at_connections: 50_000 }));
    assert_eq!(report.binds_next.map(|bound| bound.id), Some("memory"));
}

#[test]
fn the_json_has_every_wall_and_the_keys_of_the_contract() {
    let report = examine(&troubled().host(), &demand());
    let json = serde_json::to_value(&report).expect("a report is plain data");
    assert_eq!(json["schema"], "megaconn.doctor/1");
    assert_eq!((&json["connections"], &json["fits"]), (&100_000.into(), &false.into()));
    assert_eq!(json["side"], "both");
    assert_eq!(json["binds_first"]["id"], "file-max");
    assert_eq!(json["binds_first"]["at_connections"], 50_000);
    let rows = json["rows"].as_array().expect("rows are a list");
    assert_eq!(rows.len(), all().count());
    let verdicts: Vec<&Value> = rows.iter().map(|row| &row["verdict"]).collect();
    assert!(verdicts.is_sorted_by_key(|verdict| {
        ["fail", "warn", "unknown", "ok", "n/a"].iter().position(|name| *verdict == name)
    }));
    let first: Vec<&str> = rows[0].as_object().expect("a row").keys().map(String::as_str).collect();
    let keys = ["allows_connections", "fix", "have", "id", "lasts", "limits", "need", "remark"];
    assert_eq!(first, [keys.as_slice(), &["sides", "unit", "verdict"]].concat());
    let fix = rows.iter().find(|row| row["id"] == "file-max").expect("there is such a row");
    assert_eq!(fix["fix"][0], "sysctl -w fs.file-max=262144");
    assert_eq!(fix["lasts"][0], "until reboot; for good in /etc/sysctl.d");
    let settings = json["settings"].as_array().expect("settings are a list");
    let keys: Vec<&Value> = settings.iter().map(|setting| &setting["key"]).collect();
    assert_eq!(keys, ["net.core.somaxconn", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_tw_recycle"]);
    assert_eq!(settings[0]["places"][0], "/etc/sysctl.conf:1");
    assert_eq!(settings[0]["kind"], "harmful");
}

#[test]
fn connections_are_tracked_where_a_rule_asks_for_it_and_not_for_the_module_alone() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let script = r#"
        set -e
        ask() { "$1" doctor --connections 1k --format json > "$2/$3.json" || test $? = 1; }
        ip link set lo up
        sysctl -n net.netfilter.nf_conntrack_count || exit 77
        ask "$1" "$2" loaded
        nft add table ip t || exit 77
        nft add chain ip t c '{ type filter hook input priority 0; }'
        nft add rule ip t c ct state established accept
        ask "$1" "$2" tracked
    "#;
    let output = match in_namespaces(script, place.path()) {
        Ok(output) => output,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let said = words(&output.stdout) + &words(&output.stderr);
    if output.status.code() == Some(77) {
        return eprintln!("SKIPPED: no connection tracking, or no nft here: {said}");
    }
    assert!(output.status.success(), "{said}");
    let row = |name: &str| {
        let json = std::fs::read_to_string(place.path().join(format!("{name}.json")));
        let json: Value = serde_json::from_str(&json.expect("it was written")).expect("it is JSON");
        let rows = json["rows"].as_array().expect("rows are a list").clone();
        rows.into_iter().find(|row| row["id"] == "conntrack").expect("there is such a row")
    };
    assert_eq!((&row("loaded")["have"], &row("loaded")["verdict"]), (&Value::Null, &"ok".into()));
    assert!(row("tracked")["have"].is_u64(), "{}", row("tracked"));
    assert_eq!(row("tracked")["need"], 1000);
}

#[test]
fn root_of_a_container_passes_no_limit_of_the_host() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let script = r#""$1" doctor --format json > "$2/doctor.json" || test $? = 1"#;
    match in_namespaces(script, place.path()) {
        Ok(output) => assert!(output.status.success(), "{}", words(&output.stderr)),
        Err(why) => return eprintln!("SKIPPED: {why}"),
    }
    let json = std::fs::read_to_string(place.path().join("doctor.json")).expect("it was written");
    let json: Value = serde_json::from_str(&json).expect("it is JSON");
    let row = json["rows"].as_array().expect("rows").iter().find(|row| row["id"] == "file-max");
    let have = &row.expect("there is such a row")["have"];
    assert!(have.is_u64(), "file-max is said not to bind: {have}");
}
