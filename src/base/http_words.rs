//! Words of HTTP as they are typed after a flag.

/// A token: the name of a header, or of a subprotocol (RFC 9110, section 5.6.2).
///
/// # Errors
/// One line, when the text is none.
pub fn token(text: &str) -> Result<String, String> {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_of_token) {
        return Err(format!(
            "`{text}` is no name; fix: write letters, digits and -_. without spaces"
        ));
    }
    Ok(text.to_owned())
}

/// Headers that an upgrade has already.
const OWN: [&str; 8] = [
    "host",
    "upgrade",
    "connection",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "content-length",
];

/// A header of an upgrade: its name, a colon and its value.
///
/// # Errors
/// One line, when the text is none, or one that the upgrade has already.
pub fn header(text: &str) -> Result<String, String> {
    let error = || format!("`{text}` is no header; fix: write 'Name: value' in printable ASCII");
    let (name, value) = text.split_once(':').ok_or_else(error)?;
    let value = value.trim();
    if token(name).is_err() || !value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return Err(error());
    }
    if OWN.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(format!("`{name}` is a header that an upgrade has already; fix: leave it out"));
    }
    Ok(format!("{name}: {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_one_line_with_a_name() {
        assert_eq!(header("Authorization:Bearer x=="), Ok("Authorization: Bearer x==".to_owned()));
        assert_eq!(header("X-Empty:"), Ok("X-Empty: ".to_owned()));
        for text in ["", "a", ": b", "a b: c", "a: b\r\nc: d", "a: \u{e9}", "Host: x", "UPGRADE: x"]
        {
            assert!(header(text).is_err_and(|line| line.contains("fix: ")), "{text}");
        }
        assert_eq!(token("graphql-ws"), Ok("graphql-ws".to_owned()));
        assert!(token("a, b").is_err() && token("").is_err());
    }
}
