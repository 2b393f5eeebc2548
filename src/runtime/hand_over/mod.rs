//! A server hands its listening sockets over to a newer one of this host, while connections arrive: the sockets
//! themselves, by a Unix socket at the path of `--take-over`, so that no queue of theirs is lost and no connect
//! is refused.
//!
//! The newer one asks (`take`), the older one gives (`give`):
//!
//! ```text
//! newer: megaconn take-over 1
//! older: {"version":1,"pid":77,...,"sockets":[...]} and the sockets, in this order
//! newer: ready                        its accepts are with the kernel, on every core
//! older: yours                        it has let go of them: no accept of its own is left
//! ```
//!
//! Then the same stream carries texts to all (`texts`), while the older one drains.
//!
//! Until `ready` the older one serves as if nothing were asked; a newer one that ends before is forgotten. After
//! it the sockets are the newer one's, also when the older one ends without a word. The Unix socket is handed
//! over as well: the file at the path stays what it is, and whoever asks next waits in the same queue.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socket2::Socket;

use crate::observe::control::socket_file::SocketFile;

pub mod give;
pub mod take;
pub mod texts;

/// What a newer server says first: the number is that of the protocol.
const ASK: &str = "megaconn take-over 1\n";

/// What it says when it accepts.
const READY: &str = "ready\n";

/// What it is told when nobody else does.
const YOURS: &str = "yours\n";

/// The number of the protocol.
const VERSION: u32 = 1;

/// Time that either end has for one step of the other, but for the start of the newer server.
const STEP_TIME: Duration = Duration::from_secs(10);

/// Descriptors in one message: the kernel takes 253.
const SOCKETS_PER_MESSAGE: usize = 64;

/// Bytes of the inventory at most: of 65,536 sockets.
const INVENTORY_BYTES_MAX: usize = 8 << 20;

/// The place where the next server asks: its socket and the file.
pub type Place = (Socket, SocketFile);

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Connections arrive at it; of one that the server has opened.
    Listen,
    /// The same, of one that was given to the server by the process that started it.
    ListenGiven,
    /// Scrapers ask at it.
    Metrics,
    /// The bystander answers streams there.
    BystanderStream,
    /// And datagrams.
    BystanderDatagram,
    /// Texts to all are ordered there.
    Broadcast,
    /// The next server asks at it.
    TakeOver,
    /// Something of another version of this program.
    #[serde(other)]
    Unknown,
}

/// One socket, as the older server tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is for.
    pub r#use: Use,
    /// Where it is; none of one at a path.
    pub address: Option<SocketAddr>,
}

/// What the older server tells of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Inventory {
    version: u32,
    /// Why nothing is handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    pid: u32,
    /// Of the program.
    program: String,
    /// The file of its statistics.
    #[serde(default)]
    stats: Option<PathBuf>,
    /// The path at which texts to all are ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    broadcast_on: Option<PathBuf>,
    /// In the order in which they come; those of one address in the order of their group.
    #[serde(default)]
    sockets: Vec<Entry>,
}
