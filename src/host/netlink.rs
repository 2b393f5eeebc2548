//! Questions to the kernel by netlink(7) that are answered with a list. It owns the messages around
//! question and answers, and knows the content of neither. `sock_diag`, `links` and
//! `neighbour_tables` ask through it.

use std::io;
use std::time::Duration;

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt,
};

/// Largest answer in bytes. The kernel makes a message of a dump no longer than this.
const ANSWER_BYTES: usize = 32 * 1024;

/// Time after which the kernel is taken not to answer. It answers within the call that asks.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

const HEADER_BYTES: usize = 16;
const KIND_ERROR: u16 = 2;
const KIND_DONE: u16 = 3;
const FLAGS_DUMP: u16 = 0x301;
/// One answer, and its end.
const FLAGS_ONE: u16 = 0x5;

/// A question and the kind of its answers, both by the protocol's numbers.
pub(super) struct Question<'a> {
    /// `None` is protocol 0: links, routes and neighbours.
    pub(super) protocol: Option<Protocol>,
    pub(super) kind: u16,
    pub(super) answer_kind: u16,
    pub(super) payload: &'a [u8],
    /// Whether it is about all that there are, and not about one.
    pub(super) is_dump: bool,
}

/// Passes every answer to `show`, in this thread's network namespace.
pub(super) fn dump(question: &Question<'_>, mut show: impl FnMut(&[u8])) -> io::Result<()> {
    let (family, protocol) = (AddressFamily::NETLINK, question.protocol);
    let socket = rustix::net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_TIMEOUT))?;
    rustix::net::send(&socket, &request(question), SendFlags::empty())?;
    let mut answer = vec![0; ANSWER_BYTES];
    loop {
        let (_, length) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&socket, &mut answer[..], RecvFlags::TRUNC)
        })?;
        let whole = answer.get(..length).ok_or_else(|| io::Error::other("an answer was cut"))?;
        if let Some(end) = show_all(whole, question.answer_kind, &mut show) {
            return end;
        }
    }
}

/// Passes every message of one answer to `show`; the outcome, when the answer is the last.
fn show_all(
    mut answer: &[u8],
    answer_kind: u16,
    show: &mut impl FnMut(&[u8]),
) -> Option<io::Result<()>> {
    while let Some(header) = answer.first_chunk::<HEADER_BYTES>() {
        let length = usize::try_from(word(header, 0)?).ok()?;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let Some(payload) = answer.get(HEADER_BYTES..length) else {
            return Some(Err(io::Error::other("an answer has no whole message")));
        };
        match kind {
            KIND_DONE | KIND_ERROR => return Some(outcome(payload)),
            kind if kind == answer_kind => show(payload),
            _ => {}
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

/// The outcome of a dump from the number that ends it: a negative error number, or 0 for success.
fn outcome(payload: &[u8]) -> io::Result<()> {
    match payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) {
        None | Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(number.saturating_neg())),
    }
}

fn request(question: &Question<'_>) -> Vec<u8> {
    let length = HEADER_BYTES + question.payload.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend(question.kind.to_ne_bytes());
    let flags = if question.is_dump { FLAGS_DUMP } else { FLAGS_ONE };
    bytes.extend(flags.to_ne_bytes());
    // The sequence number and the port. A socket asks one question, so both may be 0.
    bytes.extend([0; 8]);
    bytes.extend(question.payload);
    bytes
}

/// The four bytes from `at`, as a number.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The attributes in `bytes`: the kind and the value of each.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = bytes.get(4..length)?;
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_is_an_error_and_no_count() {
        let mut seen = 0;
        let mut show = |_: &[u8]| seen += 1;
        let short = [200_u32.to_ne_bytes(), [20, 0, 0, 0], [0; 4], [0; 4]].concat();
        assert!(show_all(&short, 20, &mut show).unwrap().is_err(), "longer than what came");
        let zero = [0_u32.to_ne_bytes(), [20, 0, 0, 0], [0; 4], [0; 4]].concat();
        assert!(show_all(&zero, 20, &mut show).unwrap().is_err(), "shorter than its header");
        let refused = [20_u32.to_ne_bytes(), [2, 0, 0, 0], [0; 4], [0; 4]].concat();
        let refused = [refused, (-libc::ENOENT).to_ne_bytes().to_vec()].concat();
        let error = show_all(&refused, 20, &mut show).unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        assert_eq!(seen, 0);
    }

    #[test]
    fn a_row_of_attributes_ends_where_it_is_none() {
        let row = [5, 0, 1, 0, b'a', 0, 0, 0, 8, 0, 7, 0, 1, 2, 3, 4];
        let found: Vec<_> = attributes(&row).collect();
        assert_eq!(found, [(1, &b"a"[..]), (7, &[1, 2, 3, 4][..])]);
        assert_eq!(attributes(&row[..14]).count(), 1, "the second is cut");
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0, "shorter than its own head");
        assert_eq!(attributes(&[0; 8]).count(), 0);
    }
}
