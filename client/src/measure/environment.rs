//! `environment.json` and `doctor.json`: what the figures were taken on, and what was short of it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use megaconn::host::links;
use megaconn::host::meminfo::MemInfo;
use megaconn::plan::demand::Demand;
use megaconn::plan::route;
use megaconn::walls::doctor::{self, Report};
use megaconn::walls::host::Host;
use serde::Serialize;

/// The host, its limits and how we were called.
#[derive(Serialize)]
pub(crate) struct Environment {
    schema: &'static str,
    version: &'static str,
    commit: Option<&'static str>,
    kernel: String,
    machine: String,
    cpu_model: Option<String>,
    cpus: usize,
    memory_bytes: Option<u64>,
    memory_available_bytes: Option<u64>,
    /// `/proc/self/limits`, soft and hard limit by name.
    limits: BTreeMap<String, String>,
    /// Sysctls that bear on many connections; one that is not there is `null`.
    sysctls: BTreeMap<&'static str, Option<String>>,
    command_line: Vec<String>,
    user_id: u32,
    topology: &'static str,
}

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

impl Environment {
    pub(crate) fn read(targets: &[SocketAddr], ends_here: u64) -> Environment {
        let uname = rustix::system::uname();
        let memory = MemInfo::read();
        Environment {
            schema: "megaconn.environment/1",
            version: megaconn::VERSION,
            commit: megaconn::COMMIT,
            kernel: uname.release().to_string_lossy().into_owned(),
            machine: uname.machine().to_string_lossy().into_owned(),
            cpu_model: cpu_model(),
            cpus: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            memory_bytes: memory.get("MemTotal"),
            memory_available_bytes: memory.get("MemAvailable"),
            limits: limits(),
            sysctls: SYSCTLS.iter().map(|name| (*name, sysctl(name))).collect(),
            command_line: std::env::args().collect(),
            user_id: rustix::process::getuid().as_raw(),
            topology: topology(targets, ends_here),
        }
    }
}

impl Environment {
    pub(crate) fn topology(&self) -> &'static str {
        self.topology
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
    let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn limits() -> BTreeMap<String, String> {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let row = |line: &str| {
        // Names are padded to 26 columns, see proc_pid_limits(5).
        let (name, values) = line.split_at_checked(26)?;
        let both: Vec<&str> = values.split_whitespace().take(2).collect();
        Some((name.trim().to_owned(), both.join(" ")))
    };
    text.lines().skip(1).filter_map(row).collect()
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_written_as_it_was_stored() {
        let environment = Environment {
            schema: "megaconn.environment/1",
            version: "0.1.0",
            commit: None,
            kernel: "6.18.44".into(),
            machine: "x86_64".into(),
            cpu_model: Some("AMD EPYC".into()),
            cpus: 2,
            memory_bytes: Some(25_276_514_304),
            memory_available_bytes: None,
            limits: BTreeMap::from([("Max open files".into(), "20000 20000".into())]),
            sysctls: BTreeMap::from([
                ("net/ipv4/tcp_mem", Some("1 2 3".into())),
                ("fs/nr_open", None),
            ]),
            command_line: vec!["megaconn-client".into(), "it's".into()],
            user_id: 1_000,
            topology: "loopback",
        };
        let text = serde_json::to_string_pretty(&environment).expect("plain data") + "\n";
        assert_eq!(text, include_str!("../../../tests/run_directory/environment.json"));
    }
}
