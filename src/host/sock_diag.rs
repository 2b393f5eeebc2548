//! The kernel's list of TCP sockets, read by netlink as in sock_diag(7) and filtered within the
//! kernel. It owns the layouts of a request and of a record. `sockets` asks through it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::AddressFamily;
use rustix::net::netlink::SOCK_DIAG;

use crate::host::netlink::{self, Question, word};

/// States by the kernel's numbers, as bits of [`Query::states`].
pub(super) const ESTABLISHED: u32 = 1 << 1;
pub(super) const TIME_WAIT: u32 = 1 << 6;
pub(super) const LISTEN: u32 = 1 << 10;

const REQUEST_BYTES: usize = 56;
const RECORD_BYTES: usize = 72;

const KIND_SOCKETS: u16 = 20;
const ATTRIBUTE_FILTER: u16 = 1;

const JUMP: u8 = 1;
const REMOTE_PORT_AT_LEAST: u8 = 4;
const REMOTE_PORT_AT_MOST: u8 = 5;
const REMOTE_ADDRESS: u8 = 8;

/// Most parts of one filter. A jump is at most 64 KiB long.
const PARTS_MAX: usize = 1000;

/// One kind of socket to ask for.
pub(super) struct Query {
    pub(super) family: AddressFamily,
    pub(super) states: u32,
    /// The port at this end; 0 is for any.
    pub(super) local_port: u16,
    /// A program of [`filters`]; every socket passes an empty one.
    pub(super) filter: Vec<u8>,
}

/// One socket, as far as it is needed here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// Of a listener: connections that wait to be accepted; else bytes that wait to be read.
    pub(super) receive_queue: u32,
    /// Of a listener: how many may wait; else bytes that are not yet acknowledged.
    pub(super) send_queue: u32,
    pub(super) user: u32,
}

/// Passes every socket that the query asks for to `show`, in this thread's network namespace.
pub(super) fn dump(query: &Query, mut show: impl FnMut(&Record)) -> io::Result<()> {
    let question = Question {
        protocol: Some(SOCK_DIAG),
        kind: KIND_SOCKETS,
        answer_kind: KIND_SOCKETS,
        payload: &request(query),
        is_dump: true,
    };
    netlink::dump(&question, |answer| record(answer).iter().for_each(&mut show))
}

/// The socket that connects exactly these two ends, in this thread's network namespace.
pub(super) fn one(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Record>> {
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => [&address.octets()[..], &[0; 12]].concat(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mut payload = Vec::with_capacity(REQUEST_BYTES);
    payload.extend([family_byte(family), libc::IPPROTO_TCP.to_le_bytes()[0], 0, 0]);
    payload.extend(u32::MAX.to_ne_bytes());
    payload.extend(local.port().to_be_bytes());
    payload.extend(remote.port().to_be_bytes());
    payload.extend([octets(local.ip()), octets(remote.ip())].concat());
    // Any interface, and no cookie.
    payload.extend([0; 4]);
    payload.extend([0xff; 8]);
    let question = Question {
        protocol: Some(SOCK_DIAG),
        kind: KIND_SOCKETS,
        answer_kind: KIND_SOCKETS,
        payload: &payload,
        is_dump: false,
    };
    let mut found = None;
    netlink::dump(&question, |answer| found = record(answer))?;
    Ok(found)
}

fn request(query: &Query) -> Vec<u8> {
    let attribute = if query.filter.is_empty() { 0 } else { 4 + query.filter.len() };
    let mut bytes = Vec::with_capacity(REQUEST_BYTES + attribute);
    bytes.extend([family_byte(query.family), libc::IPPROTO_TCP.to_le_bytes()[0], 0, 0]);
    bytes.extend(query.states.to_ne_bytes());
    // The identity of the sockets, which begins with the port. Zeros stand for any.
    bytes.extend(query.local_port.to_be_bytes());
    bytes.extend([0; 46]);
    if attribute > 0 {
        bytes.extend(u16::try_from(attribute).unwrap_or(u16::MAX).to_ne_bytes());
        bytes.extend(ATTRIBUTE_FILTER.to_ne_bytes());
        bytes.extend(&query.filter);
    }
    bytes
}

fn record(payload: &[u8]) -> Option<Record> {
    let payload = payload.first_chunk::<RECORD_BYTES>()?;
    let port = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    let address = |at: usize| -> Option<IpAddr> {
        let family = AddressFamily::from_raw(u16::from(payload[0]));
        if family == AddressFamily::INET6 {
            let octets: [u8; 16] = payload.get(at..at + 16)?.try_into().ok()?;
            return Some(Ipv6Addr::from(octets).into());
        }
        let octets: [u8; 4] = payload.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets).into())
    };
    Some(Record {
        local: SocketAddr::new(address(8)?, port(4)),
        remote: SocketAddr::new(address(24)?, port(6)),
        receive_queue: word(payload, 56)?,
        send_queue: word(payload, 60)?,
        user: word(payload, 64)?,
    })
}

fn family_byte(family: AddressFamily) -> u8 {
    family.as_raw().to_le_bytes()[0]
}

/// Programs that together pass the sockets whose remote end is one of `targets`, all of one
/// family. One is enough for a thousand ranges of ports.
///
/// Such a program is a row of tests. Each has the distance to go on when it holds, and the distance
/// when it does not. A socket passes when its way ends exactly at the end. The kernel verifies a
/// program before it runs it: from a failed test a socket may only go to where a test begins, or
/// beyond the end.
pub(super) fn filters(targets: &[SocketAddr]) -> Vec<Vec<u8>> {
    let mut ranges: Vec<(IpAddr, u16, u16)> = Vec::new();
    let mut sorted = targets.to_vec();
    sorted.sort_unstable();
    for target in sorted {
        match ranges.last_mut() {
            Some((address, _, last))
                if *address == target.ip() && target.port() <= last.saturating_add(1) =>
            {
                *last = target.port();
            }
            _ => ranges.push((target.ip(), target.port(), target.port())),
        }
    }
    ranges.chunks(PARTS_MAX).map(filter).collect()
}

fn filter(ranges: &[(IpAddr, u16, u16)]) -> Vec<u8> {
    let octets = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let part_bytes = |address: &IpAddr| 12 + octets(address).len() + 8 + 8 + 4;
    let end: usize = ranges.iter().map(|(address, ..)| part_bytes(address)).sum();
    let mut code = Vec::with_capacity(end);
    for (address, first, last) in ranges {
        let octets = octets(address);
        let next = code.len() + part_bytes(address);
        let missed = if next < end { next } else { end + 4 };
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        test(&mut code, REMOTE_ADDRESS, 12 + octets.len(), missed);
        code.extend([family_byte(family), byte(octets.len() * 8), 0, 0]);
        // Any port. This test could compare with a single port only.
        code.extend((-1_i32).to_ne_bytes());
        code.extend(octets);
        for (what, port) in [(REMOTE_PORT_AT_LEAST, first), (REMOTE_PORT_AT_MOST, last)] {
            test(&mut code, what, 8, missed);
            code.extend([0, 0]);
            code.extend(port.to_ne_bytes());
        }
        test(&mut code, JUMP, 4, end);
    }
    assert_eq!(code.len(), end, "a part of a filter is as long as was reckoned");
    code
}

/// One test: it is `length` bytes long, and goes to `missed` when it does not hold.
fn test(code: &mut Vec<u8>, what: u8, length: usize, missed: usize) {
    let distance = u16::try_from(missed - code.len()).unwrap_or(u16::MAX);
    code.extend([what, byte(length)]);
    code.extend(distance.to_ne_bytes());
}

fn byte(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn neighbouring_ports_are_one_part() {
        let targets =
            ["127.0.0.1:7001", "127.0.0.1:7000", "127.0.0.1:7003", "127.0.0.1:7000"].map(target);
        let filters = filters(&targets);
        assert_eq!(filters.len(), 1);
        assert_eq!(filters[0].len(), 2 * 36, "7000 to 7001, and 7003");
    }

    #[test]
    fn many_targets_are_several_programs() {
        let one = |n: u16| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), n * 2);
        let targets: Vec<SocketAddr> = (1..=1500).map(one).collect();
        let lengths: Vec<usize> = filters(&targets).iter().map(Vec::len).collect();
        assert_eq!(lengths, [36_000, 18_000]);
        assert!(filters(&[]).is_empty());
    }
}
