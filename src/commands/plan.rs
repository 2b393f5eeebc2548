//! `megaconn plan`: its flags, and the plan as a table or as JSON.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use megaconn::base::cli_support;
use megaconn::base::constants::KERNEL_BYTES_PER_SOCKET;
use megaconn::base::endpoints::Endpoints;
use megaconn::base::layers::{Layers, UserMemory};
use megaconn::base::side::Side;
use megaconn::base::stderr::talk;
use megaconn::base::units::{self, grouped};
use megaconn::drivers::uring::{self, ProbeError};
use megaconn::host::rlimit;
use megaconn::plan::demand::Demand;
use megaconn::plan::named::{self, Targets};
use megaconn::plan::sources::{self, Typed};
use megaconn::plan::tuples::{PortRange, Sources};
use megaconn::runtime::topology::CoreList;
use megaconn::runtime::{footprint, memory_reserve};
use megaconn::walls::doctor::text::wrapped;
use megaconn::walls::host::{Host, RingTried};
use megaconn::walls::reading::{self, Row, Verdict};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::commands::answer::{Format, as_json};

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn plan --connections 1M --target 127.0.0.1:7000\n  \
    megaconn plan --connections 100k --target 10.0.0.2:7000-7003 --source 10.0.0.0/28 --format json")]
pub(crate) struct Flags {
    /// Connections to plan for
    #[arg(long, value_name = "N", value_parser = units::positive_count)]
    pub(crate) connections: u64,
    /// Where they go; repeatable
    #[arg(long, value_name = "HOST:PORT[-PORT]", required = true)]
    pub(crate) target: Vec<Targets>,
    #[command(flatten)]
    pub(crate) ways: Ways,
}

/// How connections are made, and how the answer is given.
#[derive(Args)]
pub(crate) struct Ways {
    /// Where they come from: auto, an address, a CIDR block, a range A-B or an interface; repeatable
    #[arg(long, value_name = "auto|ADDR|CIDR|A-B|INTERFACE", default_value = "auto")]
    pub(crate) source: Vec<Sources>,
    /// Source ports to use [default: net.ipv4.ip_local_port_range]
    #[arg(long, value_name = "LO-HI")]
    pub(crate) source_ports: Option<PortRange>,
    /// What connections speak, as the scheme of a target says it: tcp, ws, tls or wss
    #[arg(
        long,
        value_enum,
        default_value = "tcp",
        hide_possible_values = true,
        value_name = "tcp|ws|tls|wss"
    )]
    pub(crate) protocol: Spoken,
    /// Connections begin with a header of the PROXY protocol
    #[arg(long)]
    pub(crate) proxy_protocol: bool,
    /// CPUs of each end
    #[arg(long, value_name = "all|LIST", default_value = "all")]
    pub(crate) cores: CoreList,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

/// What connections speak above TCP.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Spoken {
    /// Bytes
    Tcp,
    /// WebSocket
    Ws,
    /// TLS
    Tls,
    /// WebSocket in TLS
    Wss,
}

impl Ways {
    /// What connections speak.
    pub(crate) fn layers(&self) -> Layers {
        Layers {
            header: self.proxy_protocol,
            tls: matches!(self.protocol, Spoken::Tls | Spoken::Wss),
            websocket: matches!(self.protocol, Spoken::Ws | Spoken::Wss),
            script: false,
        }
    }
}

/// The answer of `megaconn plan`.
#[derive(serde::Serialize)]
struct Plan {
    /// `megaconn.plan/1`.
    schema: &'static str,
    connections: u64,
    fits: bool,
    slots_per_segment: u64,
    /// Segments of one end.
    segments: u64,
    memory: Memory,
    /// Limits that can be reckoned, the one that binds first at the top.
    #[serde(serialize_with = "in_plan")]
    rows: Vec<Row>,
}

/// What connections take of memory, and of what it is made.
#[derive(serde::Serialize)]
struct Memory {
    /// As the scheme of a target.
    protocol: &'static str,
    proxy_protocol: bool,
    /// Of the kernel, for each socket.
    kernel_bytes_per_socket: u64,
    /// Of the server for an idle connection.
    server_bytes_per_connection: u64,
    /// Of the client.
    client_bytes_per_connection: u64,
    buffer_bytes: u64,
    /// Of the buffers that stay with the cores of the ends here.
    buffers_bytes: u64,
    /// Of the ciphers of TLS that these cores keep for busy connections.
    ciphers_bytes: u64,
    /// Of a handshake of TLS under way at one end, without its buffer.
    handshake_bytes: u64,
    /// Those under way at once, at most.
    handshakes: u64,
    /// Of these at the ends here, with a buffer for each.
    handshakes_bytes: u64,
}

impl Memory {
    fn of(layers: Layers, demand: &Demand) -> Memory {
        let UserMemory { server_bytes, client_bytes, buffer_bytes, handshake_bytes, .. } =
            demand.memory;
        Memory {
            protocol: layers.scheme(),
            proxy_protocol: layers.header,
            kernel_bytes_per_socket: KERNEL_BYTES_PER_SOCKET,
            server_bytes_per_connection: server_bytes,
            client_bytes_per_connection: client_bytes,
            buffer_bytes,
            buffers_bytes: demand.buffers_bytes(),
            ciphers_bytes: demand.ciphers_bytes(),
            handshake_bytes,
            handshakes: demand.handshakes(),
            handshakes_bytes: demand.handshakes_bytes(),
        }
    }

    fn as_text(&self) -> String {
        let header = if self.proxy_protocol { " behind a PROXY header" } else { "" };
        let mut text = format!(
            "\nmemory of {}{header}:\n  \
             connection  {} bytes at the server, {} at the client, and of the kernel {} for each socket\n  \
             buffers     {} bytes each; {} bytes stay with the cores here\n",
            self.protocol,
            grouped(self.server_bytes_per_connection),
            grouped(self.client_bytes_per_connection),
            grouped(self.kernel_bytes_per_socket),
            grouped(self.buffer_bytes),
            grouped(self.buffers_bytes),
        );
        if self.handshakes > 0 {
            text += &format!(
                "  ciphers     {} bytes at most, of busy connections\n  \
                 handshakes  {} bytes and a buffer each; {} at once are {} bytes here\n",
                grouped(self.ciphers_bytes),
                grouped(self.handshake_bytes),
                grouped(self.handshakes),
                grouped(self.handshakes_bytes)
            );
        }
        text
    }
}

/// Rows as `megaconn.plan/1` has them.
fn in_plan<S: Serializer>(rows: &[Row], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(rows.iter().map(InPlan))
}

struct InPlan<'a>(&'a Row);

impl Serialize for InPlan<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(row) = self;
        let mut fields = serializer.serialize_struct("Row", 7)?;
        fields.serialize_field("id", row.id)?;
        fields.serialize_field("unit", row.unit)?;
        fields.serialize_field("have", &row.have)?;
        fields.serialize_field("need", &row.need)?;
        fields.serialize_field("allows_connections", &row.allows_connections)?;
        fields.serialize_field("fits", &row.fits())?;
        fields.serialize_field("fix", &row.fixes())?;
        fields.end()
    }
}

/// Exit status 0 when the plan fits, 1 when it does not, 2 when it cannot be made.
pub(crate) fn run(flags: &Flags) -> ExitCode {
    match make(flags) {
        Ok(plan) => {
            let text = match flags.ways.format {
                Format::Text => as_table(&plan),
                Format::Json => match as_json(&plan) {
                    Ok(json) => json,
                    Err(error) => return cli_support::refused(&error),
                },
            };
            let status = if plan.fits { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            cli_support::answered(&text, status)
        }
        Err(reason) => cli_support::refused(&reason),
    }
}

/// What a target's scheme says, where it has one, is what is planned.
fn check_schemes(targets: &[Targets], layers: Layers) -> Result<(), String> {
    let scheme = |target: &Targets| {
        let (tls, websocket) = (target.is_tls(), target.websocket().is_some());
        Layers { tls, websocket, ..layers }.scheme()
    };
    let is_another = |said: &&str| *said != Layers::default().scheme() && *said != layers.scheme();
    match targets.iter().map(scheme).find(is_another) {
        None => Ok(()),
        Some(scheme) => Err(format!(
            "--target of {scheme}://, and another --protocol; fix: --protocol {scheme}"
        )),
    }
}

fn make(flags: &Flags) -> Result<Plan, String> {
    check_schemes(&flags.target, flags.ways.layers())?;
    let (demand, unused) = demand(flags.connections, &endpoints(&flags.target)?, &flags.ways)?;
    unused.iter().for_each(|words| talk(&format!("note: {words}")));
    let host = Host::read(rlimit::raise_nofile(), memory_reserve::bytes(Side::Client, None));
    let host = Host { ring: ring(), ..host };
    let mut rows = reading::rows(&host, &demand);
    rows.retain(|row| row.need.is_some());
    Ok(Plan {
        schema: "megaconn.plan/1",
        connections: demand.connections,
        fits: rows.iter().all(Row::fits),
        slots_per_segment: host.slots_per_segment,
        segments: host.segments(&demand),
        memory: Memory::of(flags.ways.layers(), &demand),
        rows,
    })
}

/// What comes of a ring that is tried here and now.
pub(crate) fn ring() -> RingTried {
    match uring::probe() {
        Ok(()) => RingTried::Works,
        Err(ProbeError::Disabled { .. }) => RingTried::Disabled,
        Err(ProbeError::Filtered | ProbeError::Hidden) => RingTried::Filtered,
        Err(ProbeError::Missing | ProbeError::Lacks { .. }) => RingTried::TooOld,
        // Locked memory is a wall by itself.
        Err(ProbeError::Memlock { .. } | ProbeError::Other(_)) => RingTried::Not,
    }
}

/// Where `targets` are; what each name stands for is told.
pub(crate) fn endpoints(targets: &[Targets]) -> Result<Vec<Endpoints>, String> {
    let resolved = named::resolve(targets).map_err(|error| error.to_string())?;
    resolved.notes.iter().for_each(|words| talk(&format!("note: {words}")));
    Ok(resolved.endpoints.concat())
}

/// What `connections` to `target` take, and what is left out, in words; or why they cannot be made.
pub(crate) fn demand(
    connections: u64,
    target: &[Endpoints],
    ways: &Ways,
) -> Result<(Demand, Option<String>), String> {
    let cores = ways.cores.resolve().map_err(|error| error.to_string())?.len();
    let targets: Vec<_> = target.iter().flat_map(|endpoints| endpoints.each()).collect();
    let typed = Typed { sources: &ways.source, ports: ways.source_ports, part: None };
    let planned =
        sources::plan(&typed, targets.clone(), cores).map_err(|error| error.to_string())?;
    let capacity = planned.tuples.capacity();
    let memory = footprint::of(ways.layers());
    let demand = Demand::of_client(connections, &targets, capacity, cores as u64, memory);
    Ok((demand, planned.unused_in_words()))
}

fn as_table(plan: &Plan) -> String {
    let number = |n: Option<u64>| n.map_or("no limit".to_owned(), grouped);
    let mut text = format!(
        "{} connections: {} segments of {} slots on each end here\n\n\
         {:<4}  {:<17} {:>20} {:>20} {:>20}  unit\n",
        grouped(plan.connections),
        plan.segments,
        grouped(plan.slots_per_segment),
        "",
        "limit",
        "have",
        "need",
        "allows connections"
    );
    for row in &plan.rows {
        let (verdict, have) = match row.verdict {
            Verdict::Fail => ("FAIL", number(row.have)),
            Verdict::Warn => ("WARN", number(row.have)),
            Verdict::Unknown => ("?", "unknown".to_owned()),
            Verdict::Ok | Verdict::NotApplicable => ("ok", number(row.have)),
        };
        text += &format!(
            "{verdict:<4}  {:<17} {have:>20} {:>20} {:>20}  {}\n",
            row.id,
            row.need.map_or(String::new(), grouped),
            number(row.allows_connections),
            row.unit
        );
        if !row.fits() {
            text += &wrapped("      fix: ", &row.fixes());
        }
    }
    let mut binding = plan.rows.iter().filter_map(|row| Some((row.id, row.allows_connections?)));
    if let Some((id, n)) = binding.next() {
        text += &format!("\nbinds first: {id} at {} connections\n", grouped(n));
    }
    if let Some((id, n)) = binding.next() {
        text += &format!("binds next:  {id} at {} connections\n", grouped(n));
    }
    text + &plan.memory.as_text()
}
