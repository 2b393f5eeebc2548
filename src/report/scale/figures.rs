//! What a scaling run measures: each figure with its column, its axis, and what it would be if nothing
//! stood in the way of anything.

use crate::base::format;

/// A figure of a run.
pub(crate) struct Figure {
    /// In `scale.csv`.
    pub(crate) column: &'static str,
    pub(crate) name: &'static str,
    /// On an axis.
    pub(crate) unit: &'static str,
    /// How to read its charts; one without is in the table alone.
    pub(crate) caption: Option<&'static str>,
    pub(crate) text: fn(f64) -> String,
    /// With k times the cores: k times as much, the same, or unknown.
    pub(crate) by_cores: Ideal,
    /// With more connections.
    pub(crate) by_connections: Ideal,
}

/// What a figure would be where nothing is lost to anything.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Ideal {
    Times,
    Same,
    None,
}

/// All of them, in the order of the page.
pub(crate) const FIGURES: [Figure; 9] = [
    Figure {
        column: "connect_per_s",
        name: "Connect rate",
        unit: "connects/s",
        caption: Some("Connections a second, from the first connect to the last answer."),
        text: format::per_second,
        by_cores: Ideal::Times,
        by_connections: Ideal::Same,
    },
    Figure {
        column: "messages_per_s",
        name: "Messages",
        unit: "messages/s",
        caption: Some(
            "Messages echoed and verified a second, each connection's next one when its last is \
             verified, 1,024 at once on each core of the client.",
        ),
        text: format::per_second,
        by_cores: Ideal::Times,
        by_connections: Ideal::Same,
    },
    Figure {
        column: "server_cpu_us_per_message",
        name: "Server CPU for a message",
        unit: "us",
        caption: Some(
            "CPU time of the server's core threads, the kernel's work in them with it, for each \
             message. On loopback some of TCP's work for a receiver is done in its sender.",
        ),
        text: cpu_us,
        by_cores: Ideal::Same,
        by_connections: Ideal::Same,
    },
    Figure {
        column: "client_cpu_us_per_message",
        name: "Client CPU for a message",
        unit: "us",
        caption: None,
        text: cpu_us,
        by_cores: Ideal::Same,
        by_connections: Ideal::Same,
    },
    Figure {
        column: "p50_us",
        name: "Message latency p50",
        unit: "us",
        caption: None,
        text: format::microseconds,
        by_cores: Ideal::Same,
        by_connections: Ideal::Same,
    },
    Figure {
        column: "p99_us",
        name: "Message latency p99",
        unit: "us",
        caption: Some(
            "From sending a message to having verified its echo, with 1,024 at once on each core: most \
             of it is the wait for the others. At full load it says how even the service is, not how \
             fast.",
        ),
        text: format::microseconds,
        by_cores: Ideal::Same,
        by_connections: Ideal::Same,
    },
    Figure {
        column: "kernel_bytes_per_connection",
        name: "Kernel memory of a connection",
        unit: "bytes",
        caption: Some(
            "Growth of the kernel's memory while they were opened, divided by them; both sockets. What \
             others did meanwhile is in it, and weighs on small runs.",
        ),
        text: format::bytes,
        by_cores: Ideal::Same,
        by_connections: Ideal::None,
    },
    Figure {
        column: "server_bytes_per_connection",
        name: "Server's memory of a connection",
        unit: "bytes",
        caption: Some(
            "Growth of the server's resident memory, divided by the connections: what each core has \
             once, buffers first, is divided with it.",
        ),
        text: format::bytes,
        by_cores: Ideal::None,
        by_connections: Ideal::None,
    },
    Figure {
        column: "client_bytes_per_connection",
        name: "Client's memory of a connection",
        unit: "bytes",
        caption: None,
        text: format::bytes,
        by_cores: Ideal::None,
        by_connections: Ideal::None,
    },
];

fn cpu_us(us: f64) -> String {
    format!("{us:.2} us")
}
