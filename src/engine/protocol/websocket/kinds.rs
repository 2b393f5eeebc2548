//! Text or binary: what a client's messages go out as.

use crate::engine::protocol::websocket::frame::Opcode;

/// What messages go out as.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kinds {
    /// What is said first.
    pub hello: MessageKind,
    /// Messages.
    pub messages: MessageKind,
    /// What keeps a connection alive.
    pub keepalives: MessageKind,
}

/// What a message goes out as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8.
    Text,
    /// Any bytes.
    #[default]
    Binary,
}

impl MessageKind {
    pub(super) fn opcode(self) -> Opcode {
        match self {
            MessageKind::Text => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
        }
    }
}
