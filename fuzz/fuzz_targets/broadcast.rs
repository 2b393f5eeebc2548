//! Any bytes as a text to all: reading never panics, and takes nothing for a text that is damaged.
//!
//! No fuzzer guesses a checksum. So the bytes are read as they are, and then as the text of an order that is written, cut at
//! a place and changed at a byte.

#![no_main]

use libfuzzer_sys::fuzz_target;
use megaconn::base::constants::{BROADCAST_TEXT_MAX, BUFFER_BYTES};
use megaconn::engine::protocol::broadcast::{Moment, Numbers, Receipt};

fuzz_target!(|bytes: &[u8]| {
    let _ = Receipt::read(&mut 0, bytes);
    let Some((chosen, text)) = bytes.split_first_chunk::<4>() else { return };
    let [mask, place_low, place_high, boot] = *chosen;
    let text = &text[..text.len().min(BROADCAST_TEXT_MAX.into())];
    let moment = Moment { monotonic_ns: u64::MAX, unix_ns: 1, boot: boot.into() };
    let order = Numbers::new(1, false).order(None, text, moment);
    let mut written = vec![0; BUFFER_BYTES.into()];
    let size = usize::from(order.said(0).write(&mut written));
    written.truncate(size);
    let read = Receipt::read(&mut 0, &written);
    let receipt = Receipt { number: 1, moment, missed: 0 };
    assert_eq!(read, Ok(Some((receipt, size))), "what was written is not what is read");

    let chosen = usize::from(u16::from_le_bytes([place_low, place_high])) % size;
    assert_eq!(Receipt::read(&mut 0, &written[..chosen]), Ok(None), "a part of a text is one");
    if mask != 0 {
        written[chosen] ^= mask;
        assert!(!matches!(Receipt::read(&mut 0, &written), Ok(Some(_))), "a change at {chosen}");
    }
});
