//! Every fix is held against what is there: it raises what it says it raises, and asks for no core that
//! there is no CPU for.

#[path = "../fake_host/mod.rs"]
#[expect(dead_code, reason = "this file needs only a part of it")]
mod fake_host;

use megaconn::base::errno::Errno;
use megaconn::base::layers::Layers;
use megaconn::host::sockets::Listener;
use megaconn::observe::stats::LostCause;
use megaconn::plan::demand::{Demand, Ends};
use megaconn::runtime::footprint;
use megaconn::walls::diagnosis::diagnose;
use megaconn::walls::fix::Fix;
use megaconn::walls::have::Have;
use megaconn::walls::host::Host;
use megaconn::walls::present::Present;
use megaconn::walls::reading::rows;
use megaconn::walls::symptom::Symptom::{Failed, Lost};
use megaconn::walls::table;

use self::fake_host::FakeHost;
use super::{lost, rises, run_facts, server};

const SYSCTLS: [&str; 12] = [
    "fs.file-max",
    "fs.nr_open",
    "kernel.pid_max",
    "kernel.threads-max",
    "net.core.netdev_max_backlog",
    "net.core.somaxconn",
    "net.ipv4.neigh.default.gc_thresh3",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.netfilter.nf_conntrack_max",
    "kernel.io_uring_disabled",
];

/// Hosts that have little, enough, and more than any plan asks for, each with its CPUs.
fn hosts() -> Vec<(FakeHost, Host)> {
    let with = |value: Option<&str>, cpus: &str, memlock: Have, nofile: u64| {
        let fake = FakeHost::plentiful();
        for name in SYSCTLS.iter().filter(|_| value.is_some()) {
            fake.sysctl(name, value.unwrap_or_default());
        }
        fake.write("proc/self/status", &format!("Seccomp:\t0\nCpus_allowed_list:\t{cpus}\n"));
        fake.write("proc/stat", "cpu  1 1 1 1 1\ncpu0 1 1 1 1 1\ncpu1 1 1 1 1 1\n");
        let host = Host { memlock, nofile, ..fake.host() };
        (fake, host)
    };
    let quota = with(None, "0-7", Have::Some(900 << 10), 20_000);
    quota.0.write("proc/self/cgroup", "0::/box\n");
    quota.0.write("proc/self/mountinfo", "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 none rw\n");
    quota.0.write("sys/fs/cgroup/box/cpu.max", "50000 100000\n");
    let wide = with(Some("2000000000"), "0-7", Have::Unlimited, 1 << 20);
    wide.0.sysctl("net.ipv4.ip_local_port_range", "1000 65535");
    wide.0.sysctl("net.ipv4.tcp_mem", "100000000 200000000 300000000");
    vec![
        with(Some("1"), "0", Have::Some(64 << 10), 64),
        with(Some("4096"), "0-1", Have::Some(900 << 10), 1024),
        with(None, "0,2-5", Have::Some(8 << 20), 20_000),
        quota,
        wide,
    ]
}

/// Whether a fix changes something on `host`, asked of the host itself and not of [`Present`].
fn changes(host: &Host, cpus: u64, cores: u64, fix: &Fix) -> bool {
    let words = |text: &str| -> Vec<u64> {
        text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    match fix {
        Fix::Sysctl(name, value) => {
            let (have, want) = (host.procfs.sysctl(name), words(value));
            let Some(have) = have.map(|have| words(&have)) else { return true };
            if *name == "net.ipv4.ip_local_port_range" {
                return want[0] < have[0] || want[1] > have[1];
            }
            let is_choice = *name == "kernel.io_uring_disabled";
            is_choice && have != want || have.iter().zip(&want).any(|(have, want)| want > have)
        }
        Fix::Limit("memlock", kib) => host.memlock.number().is_some_and(|have| kib * 1024 > have),
        Fix::Limit("nofile", files) => *files > host.nofile,
        Fix::Limit(..) | Fix::Raise(..) | Fix::Flag(_) | Fix::Command(_) | Fix::Advice(_) => true,
        Fix::Cores(_) => cores < cpus,
    }
}

#[test]
fn every_fix_raises_what_it_says_it_raises() {
    let cpus = [1, 2, 5, 1, 8];
    for (index, (_fake, host)) in hosts().into_iter().enumerate() {
        for cores in [1, 2, 5] {
            let demand = Demand { cores, ends: Ends::Both, ..of_client(100_000, cores) };
            let present = Present::of_plan(&host, &demand);
            for wall in table::all() {
                let all = (wall.fix)(&host, &demand);
                let useful = present.useful(&all);
                assert_eq!(useful.is_empty(), all.is_empty(), "{}: no fix is left", wall.id);
                for fix in useful {
                    let is_one = changes(&host, cpus[index], cores, &fix);
                    assert!(is_one, "{} on host {index}: {fix} changes nothing", wall.id);
                }
            }
            for fix in rows(&host, &demand).into_iter().flat_map(|row| row.fix) {
                assert!(changes(&host, cpus[index], cores, &fix), "host {index}: {fix}");
            }
        }
    }
}

/// The cases of the report, in the words of the verdict.
#[test]
fn a_fix_is_above_what_was_met() {
    let (_fake, host) = hosts().remove(3);
    let mut run = run_facts();
    run.host = host;
    run.demand.ends = Ends::Both;
    run.shares_kernel = true;
    // A ring was refused with 900 KiB of locked memory, where the plan says that 760 are enough.
    lost(&mut run, &[(Failed(Errno::ENOMEM), 5)]);
    run.client.figures = [("grow_failed_total".to_owned(), 1)].into();
    run.client.failed = [(Errno::ENOMEM.to_string(), 5)].into();
    let fix = diagnose(&run).walls.remove(0).fix.remove(0);
    let kib: u64 = fix.strip_prefix("ulimit -l ").unwrap().parse().unwrap();
    assert!(kib > 900, "{fix}");
    // A server that held 500 was told to hold 500.
    lost(&mut run, &[(Lost(LostCause::Reset), 20)]);
    run.demand.connections = 500;
    let figures = [("refused_total".to_owned(), 20), ("grow_failed_total".to_owned(), 0)];
    server(&mut run).figures = figures.into();
    server(&mut run).cores = vec![super::run_facts::core(0, 500, 0)];
    assert_eq!(diagnose(&run).walls[0].fix, ["serve --max-connections 520"]);
}

/// The sysctl caps the flag, so it comes first; a flag that is set already does not come at all.
#[test]
fn a_longer_accept_queue_begins_with_what_caps_it() {
    let (_fake, host) = hosts().remove(0);
    let mut run = run_facts();
    run.host = host;
    (run.demand.ends, run.shares_kernel) = (Ends::Both, true);
    lost(&mut run, &[(Lost(LostCause::Silent), 20)]);
    rises(server(&mut run), "TcpExt.ListenOverflows", 0, 20);
    let fixes = |run: &megaconn::walls::run_facts::RunFacts| diagnose(run).walls.remove(0).fix;
    assert!(fixes(&run)[0].starts_with("sysctl -w net.core.somaxconn="), "{:?}", fixes(&run));
    assert!(fixes(&run)[1].starts_with("serve --backlog "), "{:?}", fixes(&run));
    let address = "127.0.0.1:7000".parse().unwrap();
    run.facts.listeners = Some(vec![Listener { address, waiting: 0, backlog: 4096, user: 0 }]);
    let (_enough, host) = hosts().remove(1);
    run.host = host;
    let all = fixes(&run);
    assert!(!all.iter().any(|fix| fix == "serve --backlog 4096"), "{all:?}");
    assert!(!all.iter().any(|fix| fix == "sysctl -w net.core.somaxconn=4096"), "{all:?}");
}

/// Under a quota or in a set of CPUs that is used up, more cores make it worse.
fn of_client(connections: u64, cores: u64) -> Demand {
    let memory = footprint::of(Layers::default());
    let target = "127.0.0.1:7000".parse().unwrap();
    Demand::of_client(connections, &[target], 1 << 20, cores, memory)
}

#[test]
fn no_more_cores_than_there_are_cpus() {
    let demand = of_client(1000, 2);
    for (index, (_fake, host)) in hosts().into_iter().enumerate() {
        let has_more = [false, false, true, false, true][index];
        for id in ["client-lag", "cpu"] {
            let wall = table::find(id).unwrap();
            let fixes = Present::of_plan(&host, &demand).useful(&(wall.fix)(&host, &demand));
            let is_asked = fixes.iter().any(|fix| matches!(fix, Fix::Cores(_)));
            assert_eq!(is_asked, has_more, "{id} on host {index}: {fixes:?}");
        }
    }
}
