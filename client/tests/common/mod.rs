//! Runs the real client against the real server: the helpers of the root package's tests, and what
//! a run directory is made of.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[path = "../../../tests/common/mod.rs"]
mod programs;

pub(crate) use programs::*;

/// The server's binary, which is built beside the client's.
pub(crate) fn server_binary() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_megaconn-client")).with_file_name("megaconn");
    let missing = "is missing; fix: cargo test --workspace, which builds both programs";
    assert!(path.is_file(), "{} {missing}", path.display());
    path
}

pub(crate) fn client(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_megaconn-client"));
    // Help is wrapped at the width of the terminal, if there is one.
    command.args(flags).env("COLUMNS", "80");
    command
}

/// A server and the run directory that it shares with a client.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) cores: String,
}

impl World {
    /// A server on `ports` ports of `ip` that writes its statistics so often.
    pub(crate) fn new(ip: IpAddr, ports: u16, stats_every: &str) -> World {
        World::with(ip, ports, stats_every, &[])
    }

    /// The same, with more flags for the server.
    pub(crate) fn with(ip: IpAddr, ports: u16, stats_every: &str, more: &[&str]) -> World {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let stats = directory.path().join("server.ndjson");
        let stats = stats.to_str().expect("temporary names are plain");
        let cores = cores(2);
        let flags = ["--cores", &cores, "--stats", stats, "--stats-every", stats_every];
        let flags = [&flags[..], more].concat();
        let server = Server::start(&server_binary(), ip, ports, &flags);
        World { server, directory, cores }
    }

    /// One port of 127.0.0.1.
    pub(crate) fn on_loopback() -> World {
        World::new(Ipv4Addr::LOCALHOST.into(), 1, "100ms")
    }

    pub(crate) fn stats(&self) -> PathBuf {
        self.directory.path().join("server.ndjson")
    }

    /// A client that runs with `flags` against the server's first port.
    pub(crate) fn client(&self, flags: &[&str]) -> Program {
        self.client_to(&self.server.address.to_string(), flags)
    }

    pub(crate) fn client_to(&self, target: &str, flags: &[&str]) -> Program {
        let out = self.directory.path().to_str().expect("temporary names are plain");
        let always = ["run", "--target", target, "--cores", &self.cores, "--out", out];
        Program::start(&mut client(&[&always, flags].concat()))
    }

    pub(crate) fn result(&self) -> Value {
        result_in(self.directory.path())
    }
}

/// `result.json`, with every key that the contract promises.
pub(crate) fn result_in(directory: &Path) -> Value {
    let text = fs::read_to_string(directory.join("result.json")).expect("a run writes its result");
    let result: Value = serde_json::from_str(&text).expect("the result is JSON");
    for key in PROMISED {
        assert!(result.pointer(key).is_some(), "result.json lacks {key}: {text}");
    }
    assert_eq!(result["schema"], "megaconn.result/1");
    result
}

/// Keys of `result.json` that a script may rely on, whatever became of the run.
const PROMISED: [&str; 29] = [
    "/version",
    "/commit",
    "/started_at",
    "/seconds",
    "/target_connections",
    "/established",
    "/failed",
    "/lost",
    "/close",
    "/plateaus/0/connections",
    "/plateaus/0/established",
    "/plateaus/0/lost",
    "/plateaus/0/connect/seconds",
    "/plateaus/0/connect/rate_per_s",
    "/plateaus/0/messages/sent",
    "/plateaus/0/messages/received",
    "/plateaus/0/messages/mismatched",
    "/memory_before/kernel_bytes",
    "/plateaus/0/memory/kernel_bytes",
    "/plateaus/0/memory/by_layer",
    "/plateaus/0/memory/by_slab",
    "/plateaus/0/memory/sockstat/tcp_allocated",
    "/cost_per_connection/kernel_bytes",
    "/cost_per_connection/by_slab",
    "/cost_per_connection/stderr_bytes",
    "/cost_per_connection/fit",
    "/per_core/0/connections_peak",
    "/verdict/met",
    "/notes",
];

/// The sum of an object of counts, as `failed` and `lost` are.
pub(crate) fn sum(counts: &Value) -> u64 {
    let counts = counts.as_object().expect("counts by name are an object");
    counts.values().map(|n| n.as_u64().expect("a count is a whole number")).sum()
}
