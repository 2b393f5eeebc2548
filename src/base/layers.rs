//! What connections speak, in layers, and what memory of the programs that takes. The bytes come from the types of the
//! data path, see `runtime::footprint`.

use crate::base::constants::{BUFFER_BYTES, TLS_BUFFER_BYTES};

/// The layers of a connection, the lowest first. Without any it is plain TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// A header of the PROXY protocol.
    pub header: bool,
    /// TLS.
    pub tls: bool,
    /// WebSocket.
    pub websocket: bool,
    /// A script of the user's, at the client alone and without WebSocket.
    pub script: bool,
}

impl Layers {
    /// Bytes of one buffer.
    #[must_use]
    pub fn buffer_bytes(self) -> u16 {
        if self.tls { TLS_BUFFER_BYTES } else { BUFFER_BYTES }
    }

    /// The scheme of a target that speaks so.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match (self.tls, self.websocket) {
            (false, false) => "tcp",
            (false, true) => "ws",
            (true, false) => "tls",
            (true, true) => "wss",
        }
    }
}

/// Memory of the programs, for connections of some layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserMemory {
    /// Bytes of an idle connection at the server.
    pub server_bytes: u64,
    /// Bytes of an idle connection at the client.
    pub client_bytes: u64,
    /// Bytes of one buffer.
    pub buffer_bytes: u64,
    /// Bytes of the ciphers that a core keeps for busy connections, at most; 0 without TLS.
    pub ciphers_bytes: u64,
    /// Bytes of a handshake of TLS under way, at one end and without its buffer; 0 without TLS.
    pub handshake_bytes: u64,
}
