//! The head of a frame (RFC 6455, section 5.2), masks, and the codes of a close.

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message that has begun.
    Continuation,
    /// The beginning of a text, in UTF-8.
    Text,
    /// The beginning of a message of bytes.
    Binary,
    /// The last frame of a direction.
    Close,
    /// It is answered by a pong of the same bytes.
    Ping,
    /// The answer to a ping, or a sign of life.
    Pong,
}

impl Opcode {
    const ALL: [(Opcode, u8); 6] = [
        (Opcode::Continuation, 0),
        (Opcode::Text, 1),
        (Opcode::Binary, 2),
        (Opcode::Close, 8),
        (Opcode::Ping, 9),
        (Opcode::Pong, 10),
    ];

    fn from_bits(bits: u8) -> Option<Opcode> {
        Opcode::ALL.into_iter().find_map(|(opcode, its)| (its == bits).then_some(opcode))
    }

    fn bits(self) -> u8 {
        match self {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        }
    }

    /// Whether it is about the connection, and no part of a message.
    #[must_use]
    pub fn is_control(self) -> bool {
        self.bits() & 8 != 0
    }
}

/// The longest head: two bytes, eight of a length, four of a mask.
pub const HEAD_MAX: usize = 14;

/// The most bytes that a control frame carries.
pub const CONTROL_MAX: u16 = 125;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whether it is the last frame of its message.
    pub is_last: bool,
    /// What it is.
    pub opcode: Opcode,
    /// The key of its mask, the first byte lowest; `None` when it has none.
    pub mask: Option<u32>,
    /// Bytes that it carries.
    pub len: u64,
}

/// Bytes that are no head of a frame, by what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A bit is set that an extension may define, and none is in use.
    #[error("a reserved bit is set")]
    ReservedBit,
    /// An opcode that is not defined.
    #[error("an opcode is not defined")]
    Opcode,
    /// A control frame that is not the whole of it.
    #[error("a control frame is in parts")]
    ControlInParts,
    /// A control frame of more than [`CONTROL_MAX`] bytes.
    #[error("a control frame is too long")]
    ControlTooLong,
    /// A length in more bytes than it needs, or with its highest bit set.
    #[error("a length is not minimal")]
    Length,
}

impl Head {
    /// Reads the head at the beginning of `bytes`, with its size; `None` when it is not whole. What is
    /// wrong is told by the first byte that shows it.
    ///
    /// # Errors
    /// When it is no head.
    pub fn read(bytes: &[u8]) -> Result<Option<(Head, usize)>, Malformed> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Malformed::ReservedBit);
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(Malformed::Opcode)?;
        let is_last = first & 0x80 != 0;
        if opcode.is_control() && !is_last {
            return Err(Malformed::ControlInParts);
        }
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        let short = second & 0x7f;
        if opcode.is_control() && u16::from(short) > CONTROL_MAX {
            return Err(Malformed::ControlTooLong);
        }
        let (len, rest) = match short {
            126 => {
                let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*len)), rest)
            }
            127 => {
                let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*len), rest)
            }
            len => (u64::from(len), rest),
        };
        let is_minimal = match short {
            126 => len > 125,
            127 => len > u64::from(u16::MAX) && len >> 63 == 0,
            _ => true,
        };
        if !is_minimal {
            return Err(Malformed::Length);
        }
        let (mask, rest) = if second & 0x80 == 0 {
            (None, rest)
        } else {
            let Some((key, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (Some(u32::from_le_bytes(*key)), rest)
        };
        Ok(Some((Head { is_last, opcode, mask, len }, bytes.len() - rest.len())))
    }

    /// Its size when it is written.
    #[must_use]
    pub fn size(&self) -> usize {
        let length = match self.len {
            0..=125 => 0,
            126..=0xffff => 2,
            _ => 8,
        };
        2 + length + if self.mask.is_some() { 4 } else { 0 }
    }

    /// Writes it at the beginning of `out`; its size.
    ///
    /// # Panics
    /// When `out` is shorter.
    pub fn write(&self, out: &mut [u8]) -> usize {
        let size = self.size();
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        out[0] = self.opcode.bits() | if self.is_last { 0x80 } else { 0 };
        out[1] = masked
            | match self.len {
                0..=125 => self.len.to_le_bytes()[0],
                126..=0xffff => 126,
                _ => 127,
            };
        let end = size - if self.mask.is_some() { 4 } else { 0 };
        let length = &mut out[2..end];
        let bytes = self.len.to_be_bytes();
        length.copy_from_slice(&bytes[bytes.len() - length.len()..]);
        if let Some(key) = self.mask {
            out[end..size].copy_from_slice(&key.to_le_bytes());
        }
        size
    }
}

/// Applies the mask of `key` to `bytes`, which puts it on or takes it off; the key for the bytes behind them.
#[must_use]
pub fn mask(bytes: &mut [u8], key: u32) -> u32 {
    let wide = u64::from(key) | u64::from(key) << 32;
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_le_bytes(*word) ^ wide).to_le_bytes();
    }
    for (byte, of_key) in rest.iter_mut().zip(wide.to_le_bytes()) {
        *byte ^= of_key;
    }
    // Words leave the key as it is.
    key.rotate_right([0, 8, 16, 24][rest.len() % 4])
}

/// Codes of a close (RFC 6455, section 7.4.1).
pub mod code {
    /// All is done.
    pub const NORMAL: u16 = 1000;
    /// The server goes away.
    pub const GOING_AWAY: u16 = 1001;
    /// What came is no frame that may come here.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// A text is not in UTF-8.
    pub const INVALID_TEXT: u16 = 1007;
    /// A message is longer than can be taken.
    pub const TOO_LONG: u16 = 1009;

    /// Whether a close frame may carry it: those that are defined for it, and those that libraries and
    /// programs define.
    #[must_use]
    pub fn may_be_sent(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// What a close frame says: its code, or none. An error is the code that answers it.
///
/// # Errors
/// When it is cut, its code may not be sent, or its reason is not in UTF-8.
pub fn close_code(payload: &[u8]) -> Result<Option<u16>, u16> {
    if payload.is_empty() {
        return Ok(None);
    }
    let Some((code, reason)) = payload.split_first_chunk() else {
        return Err(code::PROTOCOL_ERROR);
    };
    let code = u16::from_be_bytes(*code);
    if !code::may_be_sent(code) {
        return Err(code::PROTOCOL_ERROR);
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(code::INVALID_TEXT);
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // Section 5.7.
        let hello = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        let head = Head { is_last: true, opcode: Opcode::Text, mask: None, len: 5 };
        assert_eq!(Head::read(&hello), Ok(Some((head, 2))));
        let mut masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let (head, size) = Head::read(&masked).expect("it is one").expect("it is whole");
        assert_eq!((head.len, size), (5, 6));
        let _ = mask(&mut masked[size..], head.mask.expect("it has one"));
        assert_eq!(&masked[size..], b"Hello");
        let long = Head::read(&[0x82, 0x7e, 0x01, 0x00]).map(|read| read.map(|(head, _)| head.len));
        assert_eq!(long, Ok(Some(256)));
        let longer = Head::read(&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(longer.map(|read| read.map(|(head, _)| head.len)), Ok(Some(65_536)));
    }

    #[test]
    fn what_is_no_head_is_told_by_its_first_wrong_byte() {
        let wrong: [(&[u8], Malformed); 12] = [
            (&[0xc1], Malformed::ReservedBit),
            (&[0xa1], Malformed::ReservedBit),
            (&[0x91], Malformed::ReservedBit),
            (&[0x83], Malformed::Opcode),
            (&[0x87], Malformed::Opcode),
            (&[0x8b], Malformed::Opcode),
            (&[0x8f], Malformed::Opcode),
            (&[0x09], Malformed::ControlInParts),
            (&[0x89, 0x7e], Malformed::ControlTooLong),
            (&[0x82, 0x7e, 0, 125], Malformed::Length),
            (&[0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Malformed::Length),
            (&[0x82, 0x7f, 0x80, 0, 0, 0, 0, 1, 0, 0], Malformed::Length),
        ];
        for (bytes, expected) in wrong {
            assert_eq!(Head::read(bytes), Err(expected), "{bytes:x?}");
            for cut in 0..bytes.len() - 1 {
                assert_eq!(Head::read(&bytes[..cut]), Ok(None), "{bytes:x?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_close_says_what_it_may() {
        assert_eq!(close_code(&[]), Ok(None));
        assert_eq!(close_code(&[3]), Err(code::PROTOCOL_ERROR));
        for (code, may) in [
            (999, false),
            (1000, true),
            (1004, false),
            (1005, false),
            (1006, false),
            (1011, true),
            (1015, false),
            (2999, false),
            (3000, true),
            (4999, true),
            (5000, false),
        ] {
            let bytes = u16::to_be_bytes(code);
            let expected = if may { Ok(Some(code)) } else { Err(code::PROTOCOL_ERROR) };
            assert_eq!(close_code(&bytes), expected, "{code}");
        }
        assert_eq!(close_code(b"\x03\xe8\xff"), Err(code::INVALID_TEXT));
        assert_eq!(close_code(b"\x03\xe8bye"), Ok(Some(1000)));
    }

    proptest! {
        #[test]
        fn a_head_is_read_as_it_was_written(
            is_last: bool, which in 0..6_usize, key: Option<u32>, len in 0..1_u64 << 63,
            shift in 0..64_u32, behind: [u8; 3],
        ) {
            let opcode = Opcode::ALL[which].0;
            let control = opcode.is_control();
            let len = if control { len % 126 } else { len >> shift };
            let head = Head { is_last: is_last || control, opcode, mask: key, len };
            let mut bytes = [0; HEAD_MAX + 3];
            let size = head.write(&mut bytes);
            prop_assert_eq!(size, head.size());
            bytes[size..size + 3].copy_from_slice(&behind);
            prop_assert_eq!(Head::read(&bytes[..size + 3]), Ok(Some((head, size))));
            for cut in 0..size {
                prop_assert_eq!(Head::read(&bytes[..cut]), Ok(None));
            }
        }

        #[test]
        fn a_mask_goes_on_where_it_was_cut(
            bytes in proptest::collection::vec(any::<u8>(), 0..100), key: u32, cut in 0..100_usize,
        ) {
            let cut = cut.min(bytes.len());
            let (mut whole, mut parts) = (bytes.clone(), bytes.clone());
            let _ = mask(&mut whole, key);
            let (first, second) = parts.split_at_mut(cut);
            let next = mask(first, key);
            let _ = mask(second, next);
            prop_assert_eq!(&whole, &parts);
            let plain = bytes.iter().zip(key.to_le_bytes().into_iter().cycle());
            prop_assert!(whole.iter().copied().eq(plain.map(|(byte, of_key)| byte ^ of_key)));
            let _ = mask(&mut whole, key);
            prop_assert_eq!(whole, bytes);
        }

        #[test]
        fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(Some((head, size))) = Head::read(&bytes) {
                let mut again = [0; HEAD_MAX];
                prop_assert_eq!(head.write(&mut again), size);
                prop_assert_eq!(&again[..size], &bytes[..size]);
            }
        }
    }
}
