//! What is asked of the host before a server opens anything: io_uring, the cores, open files, memory,
//! the walls.

use megaconn::base::layers::{Layers, UserMemory};
use megaconn::base::side::Side;
use megaconn::drivers::uring;
use megaconn::engine::protocol::tls::config::ServerTls;
use megaconn::host::headroom::{self, MemoryHeadrooms};
use megaconn::host::procfs::ProcFs;
use megaconn::host::rlimit;
use megaconn::runtime::{footprint, memory_reserve};
use megaconn::walls::host::Host;
use megaconn::walls::of_server::short_at_start;

use crate::commands::serve::config::Config;
use crate::commands::serve::refusal::Refusal;

/// What the host has for the server.
pub(crate) struct Prepared {
    pub(crate) cpus: Vec<u16>,
    /// Open files that this process may have.
    pub(crate) nofile: u64,
    pub(crate) slots_per_segment: u32,
    /// Bytes of memory that are left to other programs.
    pub(crate) memory_reserve: u64,
    /// Buffers of each core, and bytes of each.
    pub(crate) buffers: (u16, u16),
    /// What all connections agree to, with TLS.
    pub(crate) tls: Option<ServerTls>,
    /// What connections take of the server's own memory.
    pub(crate) memory: UserMemory,
    pub(crate) host: Host,
}

/// Asks the host for what `config` needs.
///
/// # Errors
/// The first thing that the host does not have.
pub(crate) fn prepare(config: &Config) -> Result<Prepared, Refusal> {
    let tls = config.tls.read(&names(config), config.traffic.websocket.is_some())?;
    uring::probe()?;
    let cpus = config.places.cores.resolve()?;
    let nofile = rlimit::raise_nofile();
    let memory_reserve = memory_reserve::bytes(Side::Server, config.connections.memory_reserve);
    let headrooms = MemoryHeadrooms::find(&ProcFs::host());
    let is_told = config.connections.memory_reserve.is_some();
    if let Some(limit) = memory_reserve::too_small(&headrooms).filter(|_| !is_told) {
        return Err(Refusal::TooSmall {
            place: headroom::place(&limit.limit),
            total_bytes: limit.total_bytes,
        });
    }
    let layers = Layers {
        header: config.traffic.proxy_protocol,
        tls: tls.is_some(),
        websocket: config.traffic.websocket.is_some(),
        script: false,
    };
    let (memory, buffer_bytes) = (footprint::of(layers), layers.buffer_bytes());
    let total = headrooms.total_bytes();
    let buffers = memory_reserve::buffers_per_core(total, cpus.len(), buffer_bytes);
    let host = Host::read(nofile, memory_reserve);
    if let Some(reason) = short_at_start(&host, cpus.len(), memory) {
        return Err(Refusal::Short(reason));
    }
    let slots_per_segment = rlimit::slots_per_segment(nofile);
    Ok(Prepared {
        cpus,
        nofile,
        slots_per_segment,
        memory_reserve,
        buffers: (buffers, buffer_bytes),
        tls,
        memory,
        host,
    })
}

/// What a certificate that is made is for: this host, and where it listens.
fn names(config: &Config) -> Vec<String> {
    let addresses = config.places.listen.iter().map(|endpoints| endpoints.address);
    let named = addresses.filter(|address| !address.is_unspecified());
    std::iter::once("localhost".to_owned()).chain(named.map(|ip| ip.to_string())).collect()
}
