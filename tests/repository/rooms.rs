//! The arrows of the house. A room is a folder of modules: of the library by its name, of the
//! binary below `main`, of the client below `client`. `lib` is the root of the library.
//!
//! A module is in the longest room that its name begins with. It may use its own room, and what the
//! list gives that room; nothing is inherited and nothing implied. An entry is one of
//!
//! - `x`: the modules at and below `x` that are in no longer room;
//! - `x::*`: all modules at and below `x`;
//! - `=x`: the file of `x` alone.
//!
//! A row `x::*` holds for every room at and below `x`, beside that room's own row.
//!
//! To add a folder: give it a row here with what it may use, then name it in the rows of the rooms
//! that may use it. To split a room: add a row with the longer name, and name it in the old room's
//! row if the rest of the room may use it.

use crate::arrows::List;

/// Who may use whom.
pub(crate) const ARROWS: List = &[
    // What everything stands on.
    ("base", &[]),
    ("lib", &[]),
    ("sys", &["base"]),
    ("host", &["base", "sys"]),
    ("observe", &["lib", "base", "host"]),
    ("plan", &["base", "host"]),
    // The data path of both ends. The two ends never meet, and a protocol knows neither.
    ("engine", &["base", "observe::stats", "engine::protocol"]),
    ("engine::server", &["base", "observe::stats", "engine", "engine::protocol"]),
    ("engine::client", &["base", "observe::stats", "plan::tuples", "engine", "engine::protocol"]),
    (
        "engine::protocol",
        &[
            "base",
            "=sys::undumped",
            "engine::token",
            "engine::slot",
            "engine::driver",
            "engine::close_reason",
        ],
    ),
    // A driver serves the engine of either end and knows neither. The simulator is for tests alone.
    ("drivers", &["base", "sys", "engine", "engine::protocol", "drivers::uring::probe"]),
    // It tells which setting of the host forbids the ring.
    ("drivers::uring::probe", &["base", "host", "drivers"]),
    ("drivers::sim", &["base", "sys", "engine", "engine::protocol", "drivers"]),
    ("runtime", &["lib", "base", "sys", "host", "observe", "engine::*"]),
    ("walls", &["base", "host", "observe", "plan"]),
    ("results", &["base", "host", "observe", "plan"]),
    // Presenters. The law of scaling is arithmetic.
    ("report", &["lib", "base", "observe", "results", "report::*"]),
    ("report::scale::law", &[]),
    // It ends by signals as the programs do, and marks the counters of the kernel that tell of harm.
    ("top", &["base", "observe", "=host::counters", "=runtime::signals"]),
    (
        "commands",
        &[
            "lib",
            "base",
            "sys",
            "host",
            "observe",
            "plan",
            "engine::*",
            "drivers",
            "drivers::uring::probe",
            "runtime",
            "walls",
            "results",
            "report::*",
            "top",
        ],
    ),
    (
        "main",
        &[
            "lib",
            "base",
            "sys",
            "host",
            "observe",
            "plan",
            "engine::*",
            "drivers",
            "drivers::uring::probe",
            "runtime",
            "walls",
            "results",
            "report::*",
            "top",
            "commands",
        ],
    ),
    // The client: of the library all but its commands, the inside of its report, and the simulator.
    (
        "client::*",
        &[
            "lib",
            "base",
            "sys",
            "host",
            "observe",
            "plan",
            "engine::*",
            "drivers",
            "drivers::uring::probe",
            "runtime",
            "walls",
            "results",
            "=report",
            "top",
        ],
    ),
    ("client::main", &["client::run", "client::watch", "client::output"]),
    ("client::run", &["client::measure", "client::bystanders", "client::output"]),
    ("client::watch", &["client::run", "client::bystanders", "client::output"]),
    ("client::output", &["client::measure", "client::bystanders"]),
    ("client::measure", &[]),
    ("client::bystanders", &[]),
];

/// What a folder must never use of other crates.
pub(crate) const OUTSIDE: List = &[
    ("engine", &["glommio", "clap", "std::fs", "std::net"]),
    // TLS is a protocol's matter: the ends know a session, and no library.
    ("engine::server", TLS),
    ("engine::client", TLS),
    ("engine::endpoint", TLS),
    ("drivers", TLS),
    ("host", &["glommio"]),
    ("observe", &["glommio"]),
    ("observe::stats", &["std::fs", "std::net"]),
    ("observe::dump::merge", &["std::fs", "std::net", "std::time"]),
    ("plan", &["glommio"]),
    ("walls", &["glommio"]),
    ("report", &["glommio", "std::net"]),
    ("report::scale::law", &["std::fs", "std::net", "std::time"]),
    ("top::rows", &["ratatui", "std::fs", "std::net", "std::time::Instant"]),
    ("top::state", &["ratatui", "std::fs", "std::net", "std::time::Instant"]),
    ("top::render", &["std::fs", "std::net", "std::io", "std::time::Instant"]),
    ("main::commands::serve::config", HOST),
    ("client::run::config", HOST),
    ("client::run::websocket", HOST),
];

/// What makes TLS, of other crates.
const TLS: &[&str] = &["rustls", "ring", "rcgen", "rustls_native_certs"];

/// What asks the host, of other crates.
const HOST: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "glommio",
    "libc",
    "rustix",
];

/// Modules that are made of what was typed alone: all that they may use, whatever their room may.
pub(crate) const OF_FLAGS_ALONE: List = &[
    (
        "main::commands::serve::config",
        &[
            "base",
            "engine::protocol",
            "engine::server",
            "engine::storm",
            "observe::control::place",
            "main::commands::serve::flags",
        ],
    ),
    (
        "client::run::config",
        &[
            "base",
            "engine::client::config",
            "engine::protocol",
            "engine::driver",
            "engine::storm",
            "client::bystanders::flags",
            "client::bystanders::slo",
            "plan::parts",
            "client::run::conflicts",
            "client::run::cut",
            "client::run::flags",
            "client::run::part",
            "client::run::plateaus",
            "client::run::websocket",
        ],
    ),
    ("client::run::conflicts", &["base", "client::run::flags"]),
    ("client::run::cut", &["base", "plan", "client::run::flags", "client::run::part"]),
    ("client::run::websocket", &["base", "engine::protocol", "client::run::flags"]),
];

/// Types of `std::net` that hold an address and do nothing: free for all.
pub(crate) const ADDRESSES: &[&str] = &[
    "std::net::IpAddr",
    "std::net::Ipv4Addr",
    "std::net::Ipv6Addr",
    "std::net::SocketAddr",
    "std::net::SocketAddrV4",
    "std::net::SocketAddrV6",
];
