//! Any bytes as a message: reading never panics, and takes nothing for a message that is damaged.
//!
//! No fuzzer guesses a checksum. So the bytes are read as they are, and then once more as the
//! fields of a message that is whole, which is cut and changed afterwards.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use megaconn::engine::protocol::message::{HEADER_BYTES, Message};

/// Messages up to this length are cut at every place and changed at every byte; of longer ones one
/// place is tried, which the input chooses.
const THOROUGH_BYTES: usize = 128;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Message::read(bytes) {
        check_fields(bytes, message);
    }
    let Some((chosen, fields)) = bytes.split_first_chunk::<4>() else { return };
    let [mask, place_low, place_high, filler] = *chosen;
    let Some(message) = message_of(fields) else { return };
    let mut written = vec![filler; HEADER_BYTES + fields.len() - FIELDS_BYTES];
    message.write(&mut written);
    assert_eq!(Message::read(&written), Ok(message), "what was written is not what is read");
    assert_eq!(Message::due_of(&written), message.due, "the time is at another place");
    check_fields(&written, message);

    let chosen = usize::from(u16::from_le_bytes([place_low, place_high])) % written.len();
    let places =
        if written.len() <= THOROUGH_BYTES { 0..written.len() } else { chosen..chosen + 1 };
    for place in places {
        assert!(Message::read(&written[..place]).is_err(), "cut at {place}, and still a message");
        // At least one bit is another.
        let flip = mask.max(1);
        written[place] ^= flip;
        let read = Message::read(&written);
        assert!(read.is_err(), "byte {place} was changed by {flip:#x}, and still read as {read:?}");
        written[place] ^= flip;
    }
    written.push(filler);
    assert!(Message::read(&written).is_err(), "a byte too many, and still a message");
});

/// Bytes of an input that the fields of a message are made of.
const FIELDS_BYTES: usize = 28;

fn message_of(bytes: &[u8]) -> Option<Message> {
    let (run, rest) = bytes.split_first_chunk()?;
    let (connection, rest) = rest.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (due_ns, _) = rest.split_first_chunk()?;
    Some(Message {
        run: u64::from_le_bytes(*run),
        connection: u64::from_le_bytes(*connection),
        sequence: u32::from_le_bytes(*sequence),
        due: Duration::from_nanos(u64::from_le_bytes(*due_ns)),
    })
}

/// What was read writes back to the same bytes. The filler is the writer's: a checksum says that
/// it came as it was sent, not what it should have been.
fn check_fields(bytes: &[u8], message: Message) {
    let mut again = vec![0; bytes.len()];
    message.write(&mut again);
    if again[HEADER_BYTES..] == bytes[HEADER_BYTES..] {
        assert_eq!(again, bytes, "the message writes back to other bytes");
    }
    assert_eq!(again[..28], bytes[..28], "a field writes back to other bytes");
    assert_eq!(again[32..HEADER_BYTES], bytes[32..HEADER_BYTES], "the time is another");
}
