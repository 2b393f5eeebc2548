//! `ping`: ICMP echo, by the kernel's unprivileged socket where net.ipv4.ping_group_range lets us,
//! else by a raw one, which takes CAP_NET_RAW.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};

use rustix::event::{PollFd, PollFlags};
use socket2::{Domain, Protocol, Socket, Type};

use crate::bystanders::probes::{Answer, Probe, TAG_BYTES, Tag};

/// Bytes before the tag: type, code, checksum, identifier, sequence number (RFC 792, RFC 4443).
const HEADER_BYTES: usize = 8;

/// Types of an echo and its reply.
const ECHO: [u8; 2] = [8, 128];
const REPLY: [u8; 2] = [0, 129];

/// A socket that speaks to one host.
pub(crate) struct Ping {
    socket: Socket,
    /// The host's address is one of IPv6.
    is_v6: bool,
    /// What is received begins with the header of IPv4.
    has_ip_header: bool,
    identifier: u16,
    tag: Tag,
}

impl Ping {
    /// Towards `target`; an error of permission when neither socket is permitted.
    pub(crate) fn new(target: IpAddr) -> io::Result<Ping> {
        let address = SocketAddr::new(target, 0);
        let protocol = if target.is_ipv6() { Protocol::ICMPV6 } else { Protocol::ICMPV4 };
        let open = |kind| Socket::new(Domain::for_address(address), kind, Some(protocol));
        let plain = open(Type::DGRAM);
        let has_ip_header = plain.is_err() && target.is_ipv4();
        let socket = plain.or_else(|_| open(Type::RAW))?;
        socket.connect(&address.into())?;
        Ping::over(socket, target.is_ipv6(), has_ip_header)
    }

    fn over(socket: Socket, is_v6: bool, has_ip_header: bool) -> io::Result<Ping> {
        socket.set_nonblocking(true)?;
        Ok(Ping { socket, is_v6, has_ip_header, identifier: fastrand::u16(..), tag: Tag::new() })
    }

    /// The tag of a reply, in what was received.
    fn reply<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let ip_bytes = match (self.has_ip_header, bytes.first()) {
            (true, Some(first)) => usize::from(first & 0x0f) * 4,
            _ => 0,
        };
        let bytes = bytes.get(ip_bytes..)?;
        // A raw socket sees our own echoes as well, on loopback.
        (*bytes.first()? == REPLY[usize::from(self.is_v6)]).then(|| bytes.get(HEADER_BYTES..))?
    }
}

impl Probe for Ping {
    fn begin(&mut self, number: u64) -> io::Result<()> {
        let mut bytes = [0; HEADER_BYTES + TAG_BYTES];
        let [.., high, low] = number.to_be_bytes();
        let [first, second] = self.identifier.to_be_bytes();
        bytes[0] = ECHO[usize::from(self.is_v6)];
        bytes[4..HEADER_BYTES].copy_from_slice(&[first, second, high, low]);
        bytes[HEADER_BYTES..].copy_from_slice(&self.tag.of(number));
        // The kernel does it itself for IPv6, and for its unprivileged socket.
        let sum = checksum(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        self.socket.send(&bytes).map(drop)
    }

    fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.push(PollFd::new(&self.socket, PollFlags::IN));
    }

    fn answers(&mut self, answers: &mut Vec<Answer>) {
        let mut bytes = [0; 512];
        // An error tells of an earlier echo, and not of which: that one will have no answer.
        while let Ok(n) = (&self.socket).read(&mut bytes) {
            let number = self.reply(&bytes[..n]).and_then(|tag| self.tag.number(tag));
            answers.extend(number.map(|number| Answer { number, is_good: true }));
        }
    }

    fn give_up(&mut self, _number: u64) {}
}

/// The Internet's checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("the carries were added until sixteen bits were left")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Ipv4Addr;

    use crate::bystanders::probes::tests::await_answers;

    use super::*;

    /// A ping whose host is the other end of a pair of sockets.
    fn pair(has_ip_header: bool) -> (Ping, Socket) {
        let (near, far) = Socket::pair(Domain::UNIX, Type::DGRAM, None).expect("a pair");
        (Ping::over(near, false, has_ip_header).expect("a socket"), far)
    }

    fn echoes(near: &mut Ping, far: &mut Socket, numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
        let mut taken = Vec::new();
        for number in numbers {
            near.begin(number).expect("it is sent");
            let mut bytes = [0; 64];
            let n = far.read(&mut bytes).expect("it comes");
            assert_eq!(checksum(&bytes[..n]), 0, "with its checksum the sum is nothing");
            assert_eq!(bytes[0], 8, "it is an echo");
            taken.push(bytes[..n].to_vec());
        }
        taken
    }

    #[test]
    fn a_host_may_answer_late_out_of_order_or_not_at_all() {
        for has_ip_header in [false, true] {
            let (mut near, mut far) = pair(has_ip_header);
            let taken = echoes(&mut near, &mut far, 0..4);
            let mut answer = |bytes: &[u8], kind: u8| {
                let header: &[u8] = if has_ip_header { &[0x45; 20] } else { &[] };
                let mut reply = [header, bytes].concat();
                reply[header.len()] = kind;
                far.write_all(&reply).expect("it is sent");
            };
            answer(&taken[2], 0);
            // Our own echo, an unreachable host, a piece: none is an answer.
            answer(&taken[1], 8);
            answer(&taken[1], 3);
            answer(&taken[1][..12], 0);
            answer(&taken[0], 0);
            assert_eq!(await_answers(&mut near, 2), [(2, true), (0, true)]);
        }
    }

    #[test]
    fn this_host_answers_where_a_ping_is_permitted() {
        match Ping::new(Ipv4Addr::LOCALHOST.into()) {
            Ok(mut ping) => {
                ping.begin(70_000).expect("it is sent");
                assert_eq!(await_answers(&mut ping, 1), [(70_000, true)]);
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        }
    }
}
