//! What records hold after the handshake: data, tickets, KeyUpdate, alerts, and what must not come.

use std::ops::Range;

use rustls::AlertDescription;

use crate::engine::protocol::tls::content::{Bad, FRUITLESS_MAX, Opened};
use crate::engine::protocol::tls::joiner::Message;
use crate::engine::protocol::tls::secrets::Session;

impl Session {
    /// What an authentic record is good for.
    pub(super) fn content(&mut self, kind: u8, record: &[u8], plain: Range<usize>) -> Opened {
        let bytes = &record[plain.clone()];
        let is_data = kind == 23;
        if kind != 22 && self.joiner.is_amid() {
            return Opened::Bad(Bad::Unexpected);
        }
        if is_data && !bytes.is_empty() {
            self.fruitless = 0;
            return Opened::Data(plain);
        }
        self.fruitless += 1;
        if self.fruitless > FRUITLESS_MAX {
            return Opened::Bad(Bad::Fruitless);
        }
        match kind {
            _ if is_data => Opened::Nothing,
            21 => self.alert(bytes),
            22 => self.handshake(bytes, plain.clone()).unwrap_or_else(Opened::Bad),
            _ => Opened::Bad(Bad::Unexpected),
        }
    }

    fn alert(&self, bytes: &[u8]) -> Opened {
        let &[level, number] = bytes else { return Opened::Bad(Bad::Malformed) };
        let is_warning = level == 1 && !self.suite.is_tls13();
        match AlertDescription::from(number) {
            AlertDescription::CloseNotify => Opened::CloseNotify,
            AlertDescription::UserCanceled => Opened::Nothing,
            _ if is_warning => Opened::Nothing,
            alert => Opened::Alert(alert),
        }
    }

    fn handshake(&mut self, bytes: &[u8], plain: Range<usize>) -> Result<Opened, Bad> {
        if bytes.is_empty() {
            return Err(Bad::Unexpected);
        }
        let was_amid = self.joiner.is_amid();
        let mut found = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            let message = self.joiner.message(&mut rest, self.suite.is_tls13(), self.side)?;
            if matches!(message, Some(Message::KeyUpdate { .. })) && !rest.is_empty() {
                return Err(Bad::Unexpected);
            }
            found = found.max(message);
        }
        let is_whole = !was_amid && !self.joiner.is_amid();
        Ok(match found {
            Some(Message::KeyUpdate { must_answer }) => {
                self.receive.update(self.suite);
                Opened::KeyUpdate { must_answer }
            }
            Some(Message::Renegotiation) if self.has_refused => return Err(Bad::Renegotiation),
            Some(Message::Renegotiation) => {
                self.has_refused = true;
                Opened::Renegotiation
            }
            Some(Message::Ticket) if is_whole => Opened::Ticket(plain),
            Some(Message::Ticket) | None => Opened::Nothing,
        })
    }
}
