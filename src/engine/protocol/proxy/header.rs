//! The header of a connection, in both versions: it is read from the bytes that came, and written.
//!
//! The format is HAProxy's own, `doc/proxy-protocol.txt` of its sources. What a header of version 2 has behind its
//! addresses (TLVs, a checksum among them) is passed over unread.

use std::fmt;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Bytes of the longest header that is written, and of the longest line of version 1, with its end.
pub const LINE_BYTES_MAX: usize = 107;

const WORD: &[u8] = b"PROXY ";

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes before the block of version 2.
const HEAD_BYTES: usize = SIGNATURE.len() + 4;

/// Version 2, on a connection of the proxy's own.
const LOCAL: u8 = 0x20;

/// Version 2, for a connection that is passed on.
const PROXY: u8 = 0x21;

/// How a header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// The two ends of a connection, as a header has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes to.
    pub target: SocketAddr,
}

/// What stands at the beginning of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The beginning of a header.
    NeedMore,
    /// A header.
    Header {
        /// Its bytes.
        size: usize,
        /// `None` when it has no addresses, or those of Unix sockets.
        ends: Option<Ends>,
    },
    /// No header.
    Malformed,
}

/// Looks for a header, of `most` bytes at most.
#[must_use]
pub fn read(bytes: &[u8], most: usize) -> Found {
    if begins(bytes, SIGNATURE) {
        read_binary(bytes, most)
    } else if begins(bytes, WORD) {
        read_line(bytes)
    } else {
        Found::Malformed
    }
}

fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let both = bytes.len().min(with.len());
    bytes[..both] == with[..both]
}

fn read_line(bytes: &[u8]) -> Found {
    let bytes = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    match bytes.windows(2).position(|pair| pair == b"\r\n") {
        None if bytes.len() < LINE_BYTES_MAX => Found::NeedMore,
        None => Found::Malformed,
        Some(end) if bytes[WORD.len()..end].starts_with(b"UNKNOWN") => {
            Found::Header { size: end + 2, ends: None }
        }
        Some(end) => match ends_of_words(&bytes[WORD.len()..end]) {
            None => Found::Malformed,
            ends => Found::Header { size: end + 2, ends },
        },
    }
}

fn ends_of_words(words: &[u8]) -> Option<Ends> {
    let mut words = str::from_utf8(words).ok()?.split(' ');
    let family = match words.next()? {
        "TCP4" => |word: &str| word.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        "TCP6" => |word: &str| word.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        _ => return None,
    };
    let (source, target) = (family(words.next()?)?, family(words.next()?)?);
    let (source_port, target_port) = (port(words.next()?)?, port(words.next()?)?);
    let ends = Ends { source: (source, source_port).into(), target: (target, target_port).into() };
    words.next().is_none().then_some(ends)
}

/// A number without a sign or a nought before it.
fn port(word: &str) -> Option<u16> {
    let is_plain = word == "0" || word.starts_with(|first| matches!(first, '1'..='9'));
    word.parse().ok().filter(|_| is_plain)
}

fn read_binary(bytes: &[u8], most: usize) -> Found {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Found::NeedMore;
    };
    let [.., command, family, high, low] = *head;
    let block_bytes = usize::from(u16::from_be_bytes([high, low]));
    let size = HEAD_BYTES + block_bytes;
    let address_bytes = match (command, family) {
        // What else it says is not of this connection.
        (LOCAL, _) | (PROXY, 0) => 0,
        // Streams, and datagrams.
        (PROXY, 0x11 | 0x12) => 12,
        (PROXY, 0x21 | 0x22) => 36,
        (PROXY, 0x31 | 0x32) => 216,
        _ => return Found::Malformed,
    };
    if block_bytes < address_bytes || size > most {
        return Found::Malformed;
    }
    let Some(block) = rest.get(..block_bytes) else { return Found::NeedMore };
    let ends = match address_bytes {
        12 => ends_of_block::<4>(block),
        36 => ends_of_block::<16>(block),
        _ => None,
    };
    Found::Header { size, ends }
}

fn ends_of_block<const BYTES: usize>(block: &[u8]) -> Option<Ends>
where
    IpAddr: From<[u8; BYTES]>,
{
    let (source, rest) = block.split_first_chunk::<BYTES>()?;
    let (target, rest) = rest.split_first_chunk::<BYTES>()?;
    let &[a, b, c, d] = rest.first_chunk()?;
    Some(Ends {
        source: (IpAddr::from(*source), u16::from_be_bytes([a, b])).into(),
        target: (IpAddr::from(*target), u16::from_be_bytes([c, d])).into(),
    })
}

impl Version {
    /// Writes the header of a connection; its size. One whose ends are of two families has no addresses in it.
    ///
    /// # Panics
    /// When `out` has less than [`LINE_BYTES_MAX`].
    pub fn write(self, ends: Ends, out: &mut [u8]) -> usize {
        let mut left = &mut *out;
        let written = match self {
            Version::V1 => write_line(ends, &mut left),
            Version::V2 => write_binary(ends, &mut left),
        };
        written.expect("a buffer has room for a header");
        let left = left.len();
        out.len() - left
    }
}

fn write_line(Ends { source, target }: Ends, out: &mut impl Write) -> std::io::Result<()> {
    let family = match (source, target) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
        _ => return out.write_all(b"PROXY UNKNOWN\r\n"),
    };
    let (source_ip, target_ip) = (source.ip(), target.ip());
    write!(out, "PROXY {family} {source_ip} {target_ip} {} {}\r\n", source.port(), target.port())
}

fn write_binary(Ends { source, target }: Ends, out: &mut impl Write) -> std::io::Result<()> {
    out.write_all(SIGNATURE)?;
    match (source.ip(), target.ip()) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            out.write_all(&[PROXY, 0x11, 0, 12])?;
            out.write_all(&[source.octets(), target.octets()].concat())?;
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            out.write_all(&[PROXY, 0x21, 0, 36])?;
            out.write_all(&[source.octets(), target.octets()].concat())?;
        }
        _ => return out.write_all(&[PROXY, 0, 0, 0]),
    }
    out.write_all(&source.port().to_be_bytes())?;
    out.write_all(&target.port().to_be_bytes())
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Version, String> {
        match text {
            "v1" => Ok(Version::V1),
            "v2" => Ok(Version::V2),
            _ => Err(format!("`{text}` is no version of the header; fix: write v1 or v2")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::V1 => "v1",
            Version::V2 => "v2",
        })
    }
}

#[cfg(test)]
mod tests;
