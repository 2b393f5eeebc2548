//! Texts that people type and connections carry: banners and pushes, with escapes for bytes that no key
//! has.

use std::sync::Arc;

use crate::base::constants::BUFFER_BYTES;

/// Bytes that are sent as they stand, at least one and no more than a buffer takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Arc<[u8]>);

impl Text {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> u16 {
        u16::try_from(self.0.len()).expect("a text fits a buffer")
    }

    /// Never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// `ok\n`, what the seed of this project pushes.
impl Default for Text {
    fn default() -> Text {
        Text(Arc::from(*b"ok\n"))
    }
}

/// As it was typed: `ok\n` is three bytes. `\n`, `\r`, `\t`, `\0`, `\\` and `\xHH` stand for one
/// byte each.
impl std::str::FromStr for Text {
    type Err = String;

    fn from_str(text: &str) -> Result<Text, String> {
        let bytes = unescaped(text).ok_or_else(|| {
            format!("`{text}` has an unknown escape; fix: write \\n, \\r, \\t, \\0, \\\\ or \\xHH")
        })?;
        if bytes.is_empty() || bytes.len() > usize::from(BUFFER_BYTES) {
            let n = bytes.len();
            return Err(format!("a text of {n} bytes; fix: write 1 to {BUFFER_BYTES} bytes"));
        }
        Ok(Text(bytes.into()))
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for &byte in self.0.iter() {
            match byte {
                // Quotes belong to a shell; here they are bytes like others.
                b'\'' | b'"' => write!(f, "{}", char::from(byte))?,
                byte => write!(f, "{}", byte.escape_ascii())?,
            }
        }
        Ok(())
    }
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'\\' { escaped(&mut rest)? } else { byte });
    }
    Some(bytes)
}

/// The byte that an escape stands for, from behind its backslash.
fn escaped(rest: &mut std::str::Bytes<'_>) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(match rest.next()? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'0' => 0,
        b'\\' => b'\\',
        b'x' => digit(rest.next()?)? * 16 + digit(rest.next()?)?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bytes() {
        let bytes = |text: &str| text.parse::<Text>().map(|text| text.bytes().to_vec());
        assert_eq!(bytes(r"ok\n"), Ok(b"ok\n".to_vec()));
        assert_eq!(bytes(r"\x41\0\\\r\t"), Ok(b"A\0\\\r\t".to_vec()));
        assert_eq!(bytes("\u{e9}"), Ok("\u{e9}".as_bytes().to_vec()));
        let long = "x".repeat(usize::from(BUFFER_BYTES) + 1);
        for bad in ["", r"\", r"\q", r"\x4", r"\xg0", long.as_str()] {
            assert!(bytes(bad).is_err(), "{bad:?} was taken for a text");
        }
        for typed in [r"ok\n", r#"it's "fine""#] {
            assert_eq!(typed.parse::<Text>().unwrap().to_string(), typed);
        }
        let all: Vec<String> = (0..=u8::MAX).map(|byte| format!("\\x{byte:02x}")).collect();
        let all: Text = all.concat().parse().unwrap();
        assert_eq!(all.to_string().parse(), Ok(all), "a text is not what it prints as");
    }
}
