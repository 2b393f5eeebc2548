//! Frames that the bytes of an input describe: four bytes each, and what they carry.

use crate::wire::{frame, of_length, wrongly_masked};

/// The frames of one end, right but for what the input wants wrong.
pub(crate) fn frames(mut bytes: &[u8], is_of_client: bool) -> Vec<u8> {
    let mut stream = Vec::new();
    while let Some((&[first, how, len, key], rest)) = bytes.split_first_chunk() {
        // Mostly what is short, and now and then what is longer than a buffer.
        let wanted = usize::from(len) * if how & 1 == 0 { 1 } else { 40 };
        let carried: Vec<u8> = rest.iter().copied().cycle().take(wanted).collect();
        let carried = if rest.is_empty() { vec![how; wanted] } else { carried };
        let sent = match how >> 4 {
            0 => wrongly_masked(first, &carried),
            1 => of_length(first, 126, &[0, len], &carried[..wanted.min(len.into())]),
            2 => of_length(first, 127, &[how; 8], &carried),
            _ => frame(first, &carried),
        };
        stream.extend(sent.bytes([key, how, len, first], is_of_client));
        bytes = rest.get(wanted.min(8)..).unwrap_or_default();
    }
    stream
}
