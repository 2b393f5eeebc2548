//! `environment.json` and `doctor.json`: what the figures were taken on, and what was short of it.

use std::net::SocketAddr;

use megaconn::host::links;
use megaconn::host::meminfo::MemInfo;
use megaconn::host::procfs::ProcFs;
use megaconn::plan::demand::Demand;
use megaconn::plan::route;
use megaconn::results::ENVIRONMENT;
use megaconn::results::environment::Environment;
use megaconn::results::lenient::{Map, Maybe};
use megaconn::walls::doctor::{self, Report};
use megaconn::walls::host::Host;

const SYSCTLS: [&str; 16] = [
    "fs/file-max",
    "fs/nr_open",
    "kernel/io_uring_disabled",
    "net/core/netdev_max_backlog",
    "net/core/somaxconn",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/ip_local_reserved_ports",
    "net/ipv4/tcp_ehash_entries",
    "net/ipv4/tcp_max_orphans",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/tcp_max_tw_buckets",
    "net/ipv4/tcp_mem",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_syncookies",
    "net/ipv4/tcp_tw_reuse",
    "net/ipv4/tcp_wmem",
];

/// The host, its limits and how the client was called.
pub(crate) fn read(targets: &[SocketAddr], ends_here: u64) -> Environment {
    let uname = rustix::system::uname();
    let memory = MemInfo::read();
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    Environment {
        schema: ENVIRONMENT.schema.into(),
        version: megaconn::VERSION.into(),
        commit: Maybe(megaconn::COMMIT.map(str::to_owned)),
        kernel: uname.release().to_string_lossy().into_owned().into(),
        machine: uname.machine().to_string_lossy().into_owned().into(),
        cpu_model: cpu_model().into(),
        cpus: (cpus as u64).into(),
        memory_bytes: memory.get("MemTotal").into(),
        memory_available_bytes: memory.get("MemAvailable").into(),
        limits: limits(),
        sysctls: SYSCTLS.iter().map(|name| (*name, sysctl(name).into())).collect(),
        command_line: std::env::args().collect(),
        user_id: u64::from(rustix::process::getuid().as_raw()).into(),
        topology: topology(targets, ends_here).into(),
    }
}

/// The doctor's report of `host` for what a run is to do.
pub(crate) fn examine(host: &Host, demand: &Demand, targets: &[SocketAddr]) -> Report {
    doctor::report(&host.clone().with_tracking(demand.ends), demand, targets)
}

/// Where the server is, as far as addresses tell.
fn topology(targets: &[SocketAddr], ends_here: u64) -> &'static str {
    let is_loopback = targets.iter().all(|target| target.ip().is_loopback());
    let is_in_namespace = |target: &SocketAddr| {
        // The other end of a cable of the kernel's, with no router between: a namespace of this host, as
        // a rule. A bridge may lead further, which nothing here can see.
        route::on_link(*target).and_then(|link| links::kind(&link)).is_some_and(|k| k == "veth")
    };
    match targets {
        _ if is_loopback || ends_here > 1 => "loopback",
        [first, ..] if is_in_namespace(first) => "netns",
        _ => "remote",
    }
}

fn sysctl(name: &str) -> Option<String> {
    ProcFs::host().sysctl(&name.replace('/', "."))
}

fn limits() -> Map<String> {
    let text = ProcFs::host().read("proc/self/limits").unwrap_or_default();
    let row = |line: &str| {
        // Names are padded to 26 columns, see proc_pid_limits(5).
        let (name, values) = line.split_at_checked(26)?;
        let both: Vec<&str> = values.split_whitespace().take(2).collect();
        Some((name.trim().to_owned(), both.join(" ")))
    };
    text.lines().skip(1).filter_map(row).collect()
}

fn cpu_model() -> Option<String> {
    let text = ProcFs::host().read("proc/cpuinfo")?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
