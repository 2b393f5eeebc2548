//! Handshake messages that come after the handshake, put together from records.
//!
//! A message may span records. Of one that does, its head is kept and its body is counted, so that no buffer waits
//! for the rest: a ticket in pieces is passed over.

use rustls::Side;

use crate::engine::protocol::tls::content::Bad;

/// Bytes of a handshake message, at most, as rustls has it.
const MESSAGE_BYTES_MAX: usize = 0xffff;

const HEAD_BYTES: u8 = 4;

/// A handshake message in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Joiner {
    /// Type and length.
    head: [u8; HEAD_BYTES as usize],
    /// Bytes of the head that are there.
    has: u8,
    /// Bytes of the body that are not.
    missing: u16,
}

/// Handshake messages that may come after the handshake.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Message {
    Ticket,
    Renegotiation,
    KeyUpdate { must_answer: bool },
}

impl Joiner {
    /// Whether a message has begun whose rest has not come.
    pub(super) fn is_amid(&self) -> bool {
        self.has > 0
    }

    /// Takes the rest of a message, or as much of it as there is. Says what it was when it is whole.
    pub(super) fn message(
        &mut self,
        rest: &mut &[u8],
        is_tls13: bool,
        side: Side,
    ) -> Result<Option<Message>, Bad> {
        while self.has < HEAD_BYTES {
            let Some((byte, behind)) = rest.split_first() else { return Ok(None) };
            *rest = behind;
            self.head[usize::from(self.has)] = *byte;
            self.has += 1;
            if self.has == HEAD_BYTES {
                self.missing = self.may_come(is_tls13, side)?;
            }
        }
        let taken = rest.len().min(usize::from(self.missing));
        let (body, behind) = rest.split_at(taken);
        *rest = behind;
        self.missing -= u16::try_from(taken).expect("it is at most what is missing");
        if self.missing > 0 {
            return Ok(None);
        }
        self.has = 0;
        Ok(Some(match (self.head[0], body.last()) {
            (24, Some(0)) => Message::KeyUpdate { must_answer: false },
            (24, Some(1)) => Message::KeyUpdate { must_answer: true },
            (24, _) => return Err(Bad::Illegal),
            (4, _) => Message::Ticket,
            _ => Message::Renegotiation,
        }))
    }

    /// The bytes of the body, of a message that may come.
    fn may_come(&self, is_tls13: bool, side: Side) -> Result<u16, Bad> {
        let [kind, length @ ..] = self.head;
        let [high, middle, low] = length.map(usize::from);
        let bytes = high << 16 | middle << 8 | low;
        let most = match (is_tls13, side, kind) {
            (true, Side::Client, 4) => MESSAGE_BYTES_MAX,
            (true, _, 24) if bytes == 1 => 1,
            (true, _, 24) => return Err(Bad::Malformed),
            (false, Side::Client, 0) => 0,
            (false, Side::Server, 1) => MESSAGE_BYTES_MAX,
            _ => return Err(Bad::Unexpected),
        };
        if bytes > most {
            return Err(Bad::Malformed);
        }
        Ok(u16::try_from(bytes).expect("the most is less than 64 KiB"))
    }
}
