//! UTF-8 across cuts: a text comes in pieces, which end anywhere, also within a character.

/// How far a text has come: between two characters, or within one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Utf8 {
    /// Between two characters.
    #[default]
    Whole,
    /// One more byte from 80 to BF.
    One,
    /// Two of them.
    Two,
    /// Three of them.
    Three,
    /// A byte from A0 to BF, and one more: a shorter form would do for less.
    TwoHigh,
    /// A byte from 80 to 9F, and one more: halves of UTF-16 pairs are no characters.
    TwoLow,
    /// A byte from 90 to BF, and two more: a shorter form would do for less.
    ThreeHigh,
    /// A byte from 80 to 8F, and two more: there are no characters beyond.
    ThreeLow,
}

impl Utf8 {
    /// How far it has come after `bytes`; `None` when they are not UTF-8.
    #[must_use]
    pub fn after(self, bytes: &[u8]) -> Option<Utf8> {
        let (mut state, mut rest) = (self, bytes);
        // The rest of a character that was cut.
        while state != Utf8::Whole {
            let Some((&byte, behind)) = rest.split_first() else { return Some(state) };
            (state, rest) = (state.step(byte)?, behind);
        }
        match std::str::from_utf8(rest) {
            Ok(_) => Some(Utf8::Whole),
            Err(error) if error.error_len().is_some() => None,
            Err(error) => {
                let cut = &rest[error.valid_up_to()..];
                cut.iter().try_fold(Utf8::Whole, |state, byte| state.step(*byte))
            }
        }
    }

    /// See the table 3-7 of the Unicode standard, "well-formed UTF-8 byte sequences".
    fn step(self, byte: u8) -> Option<Utf8> {
        Some(match (self, byte) {
            (Utf8::Whole, 0..=0x7f) | (Utf8::One, 0x80..=0xbf) => Utf8::Whole,
            (Utf8::Whole, 0xc2..=0xdf)
            | (Utf8::Two, 0x80..=0xbf)
            | (Utf8::TwoHigh, 0xa0..=0xbf)
            | (Utf8::TwoLow, 0x80..=0x9f) => Utf8::One,
            (Utf8::Whole, 0xe0) => Utf8::TwoHigh,
            (Utf8::Whole, 0xed) => Utf8::TwoLow,
            (Utf8::Whole, 0xe1..=0xef)
            | (Utf8::Three, 0x80..=0xbf)
            | (Utf8::ThreeHigh, 0x90..=0xbf)
            | (Utf8::ThreeLow, 0x80..=0x8f) => Utf8::Two,
            (Utf8::Whole, 0xf0) => Utf8::ThreeHigh,
            (Utf8::Whole, 0xf1..=0xf3) => Utf8::Three,
            (Utf8::Whole, 0xf4) => Utf8::ThreeLow,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_byte_that_can_be_none_ends_it() {
        let wrong: [&[u8]; 10] = [
            b"\x80",
            b"\xc0",
            b"\xc1",
            b"\xe0\x9f",
            b"\xed\xa0",
            b"\xf0\x8f",
            b"\xf4\x90",
            b"\xf5",
            b"\xce\xba\xff",
            b"\xe2\x82\x28",
        ];
        for bytes in wrong {
            let (last, before) = bytes.split_last().expect("it has one");
            assert!(Utf8::Whole.after(before).is_some(), "{before:x?}");
            assert_eq!(Utf8::Whole.after(bytes), None, "{bytes:x?}");
            let cut = Utf8::Whole.after(before).expect("as seen");
            assert_eq!(cut.after(&[*last]), None, "{bytes:x?} in two pieces");
        }
    }

    proptest! {
        #[test]
        fn pieces_come_to_what_the_whole_is(
            mut bytes in prop_oneof![
                any::<String>().prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 0..12),
            ],
            spoilt: Option<(usize, u8)>, cuts: [usize; 3],
        ) {
            if let Some((at, byte)) = spoilt && !bytes.is_empty() {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let mut cuts = cuts.map(|cut| cut % (bytes.len() + 1));
            cuts.sort_unstable();
            let [a, b, c] = cuts;
            let pieces = [&bytes[..a], &bytes[a..b], &bytes[b..c], &bytes[c..]];
            let end = pieces.into_iter().try_fold(Utf8::Whole, |state, piece| state.after(piece));
            prop_assert_eq!(end == Some(Utf8::Whole), std::str::from_utf8(&bytes).is_ok());
            prop_assert_eq!(end, Utf8::Whole.after(&bytes));
        }
    }
}
