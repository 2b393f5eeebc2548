//! The message that client and server exchange: unique, and checkable to the last byte.
//!
//! ```text
//! offset  0  magic "MCN1"       offset 16  connection, its number in the tuple plan
//!         4  length in bytes            24  sequence on that connection
//!         8  run, random per run        28  CRC-32 of all other bytes
//!                                       32  due at, nanoseconds of the sender's clock
//!                                       40  filler, derived from connection and sequence
//! ```
//! All numbers are little-endian. An echo that belongs to another connection, an earlier message
//! or an earlier run differs in a field; one that was damaged differs in its checksum.

use std::time::Duration;

/// Bytes of the header, and so of the shortest message.
pub const HEADER_BYTES: usize = 40;

const MAGIC: u32 = u32::from_le_bytes(*b"MCN1");

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The run that sent it.
    pub run: u64,
    /// The connection it was sent on.
    pub connection: u64,
    /// Which message of that connection it is.
    pub sequence: u32,
    /// When it was to be sent, by the sender's clock to the nanosecond; latency counts from there.
    pub due: Duration,
}

/// Bytes that are no message, or not a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Fewer bytes than a header.
    #[error("{0} bytes are no message; a header has {HEADER_BYTES}")]
    Short(usize),
    /// It does not begin like one.
    #[error("the bytes do not begin with the magic number")]
    Magic,
    /// The length field is not the length of the bytes.
    #[error("the length field says {said} bytes, but there are {are}")]
    Length {
        /// The field.
        said: u32,
        /// The bytes.
        are: usize,
    },
    /// The checksum is another.
    #[error("the checksum does not match")]
    Checksum,
}

impl Message {
    /// Fills `bytes` with this message, filler included.
    ///
    /// # Panics
    /// When `bytes` is shorter than [`HEADER_BYTES`].
    pub fn write(&self, bytes: &mut [u8]) {
        assert!(bytes.len() >= HEADER_BYTES, "a message has at least a header");
        let length = u32::try_from(bytes.len()).expect("a message fits a buffer");
        put(bytes, 0, &MAGIC.to_le_bytes());
        put(bytes, 4, &length.to_le_bytes());
        put(bytes, 8, &self.run.to_le_bytes());
        put(bytes, 16, &self.connection.to_le_bytes());
        put(bytes, 24, &self.sequence.to_le_bytes());
        let due_ns = u64::try_from(self.due.as_nanos()).unwrap_or(u64::MAX);
        put(bytes, 32, &due_ns.to_le_bytes());
        let seed = self.connection.wrapping_mul(31).wrapping_add(u64::from(self.sequence));
        for (word, chunk) in (0..).zip(bytes[HEADER_BYTES..].chunks_mut(8)) {
            chunk.copy_from_slice(&seed.wrapping_add(word).to_le_bytes()[..chunk.len()]);
        }
        let checksum = checksum(bytes);
        put(bytes, 28, &checksum.to_le_bytes());
    }

    /// When the message in `bytes` was to be sent, unchecked: for one that was written here.
    ///
    /// # Panics
    /// When `bytes` is shorter than [`HEADER_BYTES`].
    #[must_use]
    pub fn due_of(bytes: &[u8]) -> Duration {
        Duration::from_nanos(u64_at(bytes, 32))
    }

    /// Whether a message may begin with `bytes`.
    #[must_use]
    pub fn may_begin(bytes: &[u8]) -> bool {
        MAGIC.to_le_bytes().iter().zip(bytes).all(|(expected, byte)| expected == byte)
    }

    /// Reads a whole message back.
    ///
    /// # Errors
    /// The first thing that is wrong with `bytes`.
    pub fn read(bytes: &[u8]) -> Result<Message, WireError> {
        if bytes.len() < HEADER_BYTES {
            return Err(WireError::Short(bytes.len()));
        }
        if u32_at(bytes, 0) != MAGIC {
            return Err(WireError::Magic);
        }
        let said = u32_at(bytes, 4);
        if usize::try_from(said) != Ok(bytes.len()) {
            return Err(WireError::Length { said, are: bytes.len() });
        }
        if u32_at(bytes, 28) != checksum(bytes) {
            return Err(WireError::Checksum);
        }
        Ok(Message {
            run: u64_at(bytes, 8),
            connection: u64_at(bytes, 16),
            sequence: u32_at(bytes, 24),
            due: Message::due_of(bytes),
        })
    }
}

/// CRC-32 (IEEE) of everything but the checksum's own four bytes.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..28]);
    hasher.update(&bytes[32..]);
    hasher.finalize()
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_filler_of_any_connection_can_be_written() {
        let mut bytes = [0; HEADER_BYTES + 24];
        // 31 times the first is 2^64 - 16: with sequence 15 the words of the filler wrap.
        for (connection, sequence) in [(u64::MAX / 31, 15), (u64::MAX, 30), (u64::MAX, 31)] {
            let message = Message { run: 1, connection, sequence, due: Duration::ZERO };
            message.write(&mut bytes);
            assert_eq!(Message::read(&bytes), Ok(message));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(run: u64, connection: u64, sequence: u32, due_ns: u64,
                                   len in HEADER_BYTES..4096) {
            let due = Duration::from_nanos(due_ns);
            let message = Message { run, connection, sequence, due };
            let mut bytes = vec![0; len];
            message.write(&mut bytes);
            prop_assert_eq!(Message::read(&bytes), Ok(message));
        }

        #[test]
        fn any_flipped_bit_is_found(connection: u64, len in HEADER_BYTES..200, at: prop::sample::Index,
                                    bit in 0..8_u8) {
            let mut bytes = vec![0; len];
            Message { run: 1, connection, sequence: 2, due: Duration::from_nanos(3) }.write(&mut bytes);
            let at = at.index(len);
            bytes[at] ^= 1 << bit;
            prop_assert!(Message::read(&bytes).is_err());
        }

        #[test]
        fn a_part_of_a_message_is_none(connection: u64, len in HEADER_BYTES..200, cut: prop::sample::Index) {
            let mut bytes = vec![0; len];
            Message { run: 1, connection, sequence: 2, due: Duration::from_nanos(3) }.write(&mut bytes);
            prop_assert!(Message::read(&bytes[..cut.index(len)]).is_err());
        }

        #[test]
        fn noise_is_no_message(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Message::read(&bytes).is_err());
        }
    }
}
