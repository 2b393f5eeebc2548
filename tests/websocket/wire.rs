//! Frames as RFC 6455, section 5.2, has them, written and read by the tests' own hand: nothing here
//! uses the code that is tested.

use std::ops::Range;

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// What is taken off the first byte of a frame that is not the last of its message.
pub(crate) const LAST: u8 = 0x80;

/// A frame as it is to be sent, right or wrong.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) first: u8,
    /// The length in the second byte, and what follows that byte.
    length: (u8, Vec<u8>),
    pub(crate) payload: Vec<u8>,
    /// It has a mask where there is to be none, and none where there is to be one.
    is_wrongly_masked: bool,
}

/// A frame with the shortest length that there is for it.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Sent {
    let len = payload.len();
    let wide = (len as u64).to_be_bytes();
    let length = match len {
        0..=125 => (wide[7], Vec::new()),
        126..=65_535 => (126, wide[6..].to_vec()),
        _ => (127, wide.to_vec()),
    };
    Sent { first, length, payload: payload.to_vec(), is_wrongly_masked: false }
}

/// A frame that says its length so.
pub(crate) fn of_length(first: u8, short: u8, long: &[u8], payload: &[u8]) -> Sent {
    Sent { length: (short, long.to_vec()), ..frame(first, payload) }
}

/// A frame of a client without a mask, or of a server with one.
pub(crate) fn wrongly_masked(first: u8, payload: &[u8]) -> Sent {
    Sent { is_wrongly_masked: true, ..frame(first, payload) }
}

impl Sent {
    /// Its bytes: from a client with the mask `key`, from a server with none.
    pub(crate) fn bytes(&self, key: [u8; 4], is_of_client: bool) -> Vec<u8> {
        let is_masked = is_of_client != self.is_wrongly_masked;
        let (short, long) = &self.length;
        let mut bytes = vec![self.first, short | if is_masked { 0x80 } else { 0 }];
        bytes.extend(long);
        if is_masked {
            bytes.extend(key);
            bytes.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }
}

/// A frame as it came.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) first: u8,
    pub(crate) key: Option<[u8; 4]>,
    /// Without the mask.
    pub(crate) payload: Vec<u8>,
}

impl std::fmt::Debug for Came {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let begin = &self.payload[..self.payload.len().min(40)];
        write!(f, "{:#04x}, {} bytes: {begin:x?}", self.first, self.payload.len())
    }
}

/// The whole frames of a stream, and the bytes behind them. Each length is the shortest.
pub(crate) fn read_all(mut bytes: &[u8]) -> (Vec<Came>, &[u8]) {
    let mut frames = Vec::new();
    while let Some((frame, size)) = read(bytes) {
        frames.push(frame);
        bytes = &bytes[size..];
    }
    (frames, bytes)
}

fn read(bytes: &[u8]) -> Option<(Came, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (len, mut at) = match second & 0x7f {
        126 => (number(bytes.get(2..4)?), 4),
        127 => (number(bytes.get(2..10)?), 10),
        len => (len.into(), 2),
    };
    let least = match at {
        2 => 0,
        4 => 126,
        _ => 65_536,
    };
    assert!(len >= least, "a length of {len} in {at} bytes is not the shortest");
    let key: Option<[u8; 4]> = if second & 0x80 == 0 {
        None
    } else {
        at += 4;
        Some(*bytes.get(at - 4..)?.first_chunk()?)
    };
    let mut payload = bytes.get(at..at + len)?.to_vec();
    let keys: [u8; 4] = key.unwrap_or_default();
    payload.iter_mut().zip(keys.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    Some((Came { first, key, payload }, at + len))
}

/// The first byte is the highest.
fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// What a close frame carries.
pub(crate) fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason].concat()
}

/// Where bytes are cut: nowhere, at each place of `range`, and at all of them at once; where those are
/// many, at `random` ones, fifty times.
pub(crate) fn cuts(range: Range<usize>, random: &mut fastrand::Rng) -> Vec<Vec<usize>> {
    const SHORT: usize = 1_000;
    let mut all = vec![Vec::new()];
    if range.len() <= SHORT {
        all.extend(range.clone().map(|cut| vec![cut]));
        all.push(range.collect());
    } else {
        all.extend((0..50).map(|_| {
            let mut cuts: Vec<_> =
                (0..random.usize(1..12)).map(|_| random.usize(range.clone())).collect();
            cuts.sort_unstable();
            cuts
        }));
    }
    all
}

/// The pieces between `cuts`.
pub(crate) fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([bytes.len()]);
    starts.zip(ends).map(|(start, end)| &bytes[start..end]).collect()
}
