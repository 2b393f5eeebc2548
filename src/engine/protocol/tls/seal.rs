//! Records behind each other, as they are sent.

use std::ops::Range;

use crate::engine::protocol::tls::cipher::Kept;
use crate::engine::protocol::tls::content::{AlertDescription, Kind, Record};
use crate::engine::protocol::tls::key_update::Wear;
use crate::engine::protocol::tls::record::{OWN_BYTES_MAX, PLAIN_BYTES_MAX};
use crate::engine::protocol::tls::secrets::Session;
use crate::engine::protocol::tls::suite::{ROOM_BEFORE, ROOM_BEHIND};

/// A connection whose handshake is done, and what is made of its secrets.
pub(super) struct Open<'a> {
    pub(super) session: &'a mut Session,
    pub(super) kept: &'a mut Kept,
}

impl Open<'_> {
    /// Opens the record with which the buffer begins, in place.
    pub(super) fn open(&mut self, buffer: &mut [u8]) -> Record {
        self.session.open_kept(self.kept, buffer)
    }

    /// Seals `plain` behind what stands in `out`, and a KeyUpdate where one is due; whether the key is still good
    /// for more.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        for plain in plain.chunks(PLAIN_BYTES_MAX) {
            let begin = out.len();
            out.resize(begin + ROOM_BEFORE + plain.len() + ROOM_BEHIND, 0);
            let range = ROOM_BEFORE..ROOM_BEFORE + plain.len();
            out[begin..][range.clone()].copy_from_slice(plain);
            let sealed = self.session.seal_kept(self.kept, Kind::Data, &mut out[begin..], range);
            let Ok(record) = sealed else {
                out.truncate(begin);
                return false;
            };
            move_up(out, begin, record);
            match self.session.wear() {
                Wear::Good => {}
                Wear::UpdateIsDue => self.append_key_update(out),
                Wear::CloseIsDue => return false,
            }
        }
        true
    }

    /// Seals an alert behind what stands in `out`.
    pub(super) fn append_alert(&mut self, alert: AlertDescription, out: &mut Vec<u8>) {
        self.append(out, |session, room| session.seal_alert(alert, room));
    }

    /// Seals a KeyUpdate behind what stands in `out`.
    pub(super) fn append_key_update(&mut self, out: &mut Vec<u8>) {
        self.append(out, |session, room| session.seal_key_update(false, room));
    }

    fn append(
        &mut self,
        out: &mut Vec<u8>,
        seal: impl FnOnce(&mut Session, &mut [u8]) -> Range<usize>,
    ) {
        let begin = out.len();
        out.resize(begin + OWN_BYTES_MAX, 0);
        let record = seal(self.session, &mut out[begin..]);
        move_up(out, begin, record);
    }
}

/// A record stands in a part of what was made room for from `begin` on.
fn move_up(out: &mut Vec<u8>, begin: usize, record: Range<usize>) {
    out.copy_within(begin + record.start..begin + record.end, begin);
    out.truncate(begin + record.len());
}
