//! Records behind each other, as they are sent.

use std::ops::Range;

use crate::engine::protocol::tls::content::{AlertDescription, Kind};
use crate::engine::protocol::tls::record::OWN_BYTES_MAX;
use crate::engine::protocol::tls::secrets::Session;
use crate::engine::protocol::tls::suite::{ROOM_BEFORE, ROOM_BEHIND};

/// Seals `plain` behind what stands in `out`; whether its key is still good for it.
pub(super) fn seal(session: &mut Session, plain: &[u8], out: &mut Vec<u8>) -> bool {
    let begin = out.len();
    out.resize(begin + ROOM_BEFORE + plain.len() + ROOM_BEHIND, 0);
    let range = ROOM_BEFORE..ROOM_BEFORE + plain.len();
    out[begin..][range.clone()].copy_from_slice(plain);
    let Ok(record) = session.seal(Kind::Data, &mut out[begin..], range) else {
        out.truncate(begin);
        return false;
    };
    move_up(out, begin, record);
    true
}

/// Seals an alert behind what stands in `out`.
pub(super) fn append_alert(session: &mut Session, alert: AlertDescription, out: &mut Vec<u8>) {
    let begin = out.len();
    out.resize(begin + OWN_BYTES_MAX, 0);
    let record = session.seal_alert(alert, &mut out[begin..]);
    move_up(out, begin, record);
}

/// Seals a KeyUpdate behind what stands in `out`.
pub(super) fn append_key_update(session: &mut Session, out: &mut Vec<u8>) {
    let begin = out.len();
    out.resize(begin + OWN_BYTES_MAX, 0);
    let record = session.seal_key_update(false, &mut out[begin..]);
    move_up(out, begin, record);
}

/// A record stands in a part of what was made room for from `begin` on.
fn move_up(out: &mut Vec<u8>, begin: usize, record: Range<usize>) {
    out.copy_within(begin + record.start..begin + record.end, begin);
    out.truncate(begin + record.len());
}
