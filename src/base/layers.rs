//! What connections speak, in layers, and what memory of the programs that takes. The bytes come from the types of the
//! data path, see `runtime::footprint`.

use crate::base::constants::{BUFFER_BYTES, DUE_BYTES, LIVED_AGAIN_BYTES, TLS_BUFFER_BYTES};

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

/// What a run asks of its connections that is kept beside their slots, at the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Each has a lifetime.
    pub has_lifetime: bool,
    /// Each has think times of its own.
    pub thinks: bool,
    /// Each may come back after a loss, or another may take its place.
    pub may_live_again: bool,
}

impl Kinds {
    /// Bytes of a connection of the client that has lived before; one that has not takes fewer.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        let dues = self.has_lifetime as u64 + self.thinks as u64;
        dues * DUE_BYTES + if self.may_live_again { LIVED_AGAIN_BYTES } else { 0 }
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
