//! What a record is made of, and what it turns out to be.

use std::ops::Range;

pub use rustls::AlertDescription;
use rustls::ContentType;

/// Records in a row without data, after which a peer is taken for one that wants to keep us busy.
pub(super) const FRUITLESS_MAX: u8 = 32;

/// What a sealed record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Data of the application.
    Data,
    /// An alert: two bytes.
    Alert,
    /// A handshake message.
    Handshake,
}

/// A record that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Bytes that it has taken, from the first of the buffer on.
    pub bytes: usize,
    /// What it held.
    pub opened: Opened,
}

/// What a record held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Data of the application: these bytes of the buffer.
    Data(Range<usize>),
    /// The peer sends with a new key from now on.
    KeyUpdate {
        /// Whether it waits for [`seal_key_update`], which goes out before any other data.
        ///
        /// [`seal_key_update`]: crate::engine::protocol::tls::secrets::Session::seal_key_update
        must_answer: bool,
    },
    /// To a client: tickets, as these bytes of the buffer, for [`Tickets::take`](crate::engine::protocol::tls::handshake::Tickets::take).
    Ticket(Range<usize>),
    /// The peer would negotiate anew, in TLS 1.2: refuse by an alert, `NoRenegotiation`, and go on.
    Renegotiation,
    /// A record with nothing in it that matters. The next one follows.
    Nothing,
    /// The peer will send nothing more.
    CloseNotify,
    /// The peer has given the connection up.
    Alert(AlertDescription),
    /// The record has as many bytes in all. Nothing was taken.
    NeedMore(usize),
    /// The connection is to be ended with [`Bad::alert`]; nothing more may be opened.
    Bad(Bad),
}

/// Why a connection is ended from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// Its first bytes are none of a record.
    #[error("the bytes are no TLS record")]
    NoRecord,
    /// Its header says so, or its plaintext is.
    #[error("a record is longer than TLS allows")]
    TooLong,
    /// It was changed on its way, or is not of this connection.
    #[error("a record does not authenticate")]
    NotAuthentic,
    /// A kind of record or message that must not come here.
    #[error("a record holds what must not come after the handshake")]
    Unexpected,
    /// Too short, or too long.
    #[error("a message after the handshake is malformed")]
    Malformed,
    /// A KeyUpdate that neither asks nor does not.
    #[error("a KeyUpdate has an illegal value")]
    Illegal,
    /// Empty records, tickets, KeyUpdates, warnings, and never data.
    #[error("{FRUITLESS_MAX} records in a row held no data")]
    Fruitless,
    /// In TLS 1.2, after it had been refused.
    #[error("the peer insists on negotiating anew")]
    Renegotiation,
    /// More records than can be numbered.
    #[error("a key has opened as many records as there are numbers")]
    TooMany,
}

impl Bad {
    /// The alert that tells the peer.
    #[must_use]
    pub fn alert(self) -> AlertDescription {
        match self {
            Bad::NoRecord | Bad::Unexpected | Bad::Fruitless => AlertDescription::UnexpectedMessage,
            Bad::TooLong => AlertDescription::RecordOverflow,
            Bad::NotAuthentic => AlertDescription::BadRecordMac,
            Bad::Malformed => AlertDescription::DecodeError,
            Bad::Illegal => AlertDescription::IllegalParameter,
            Bad::Renegotiation => AlertDescription::HandshakeFailure,
            Bad::TooMany => AlertDescription::InternalError,
        }
    }
}

impl Kind {
    pub(super) fn number(self) -> u8 {
        u8::from(match self {
            Kind::Data => ContentType::ApplicationData,
            Kind::Alert => ContentType::Alert,
            Kind::Handshake => ContentType::Handshake,
        })
    }
}
