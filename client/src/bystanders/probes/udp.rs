//! `udp`: a datagram to the service of `serve --bystander`, which gives it back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::event::{PollFd, PollFlags};

use crate::bystanders::probes::{Answer, Probe, TAG_BYTES, Tag};

/// One socket, whose port is the same for all tries.
pub(crate) struct Udp {
    socket: UdpSocket,
    tag: Tag,
}

impl Udp {
    pub(crate) fn new(target: SocketAddr) -> io::Result<Udp> {
        let any: IpAddr = match target {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(target)?;
        socket.set_nonblocking(true)?;
        Ok(Udp { socket, tag: Tag::new() })
    }
}

impl Probe for Udp {
    fn begin(&mut self, number: u64) -> io::Result<()> {
        self.socket.send(&self.tag.of(number)).map(drop)
    }

    fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.push(PollFd::new(&self.socket, PollFlags::IN));
    }

    fn answers(&mut self, answers: &mut Vec<Answer>) {
        let mut bytes = [0; 2 * TAG_BYTES];
        // An error is of an earlier datagram, and says not of which: that one will have no answer.
        while let Ok(n) = self.socket.recv(&mut bytes) {
            let number = self.tag.number(&bytes[..n]);
            answers.extend(number.map(|number| Answer { number, is_good: true }));
        }
    }

    fn give_up(&mut self, _number: u64) {}
}

#[cfg(test)]
mod tests {
    use crate::bystanders::probes::tests::await_answers;

    use super::*;

    fn pair() -> (Udp, UdpSocket) {
        let far = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
        let near = Udp::new(far.local_addr().expect("it is bound")).expect("it can be reached");
        (near, far)
    }

    #[test]
    fn answers_are_told_in_the_order_in_which_they_come_and_what_is_lost_is_not() {
        let (mut near, far) = pair();
        for number in 0..4 {
            near.begin(number).expect("it can be sent");
        }
        let mut came = Vec::new();
        let mut from = None;
        for _ in 0..4 {
            let mut bytes = [0; 64];
            let (n, sender) = far.recv_from(&mut bytes).expect("it comes");
            came.push(bytes[..n].to_vec());
            from = Some(sender);
        }
        let near_address = from.expect("four came");
        // Loses 1; gives 3 before 2; a stranger's and a piece of one come between.
        for bytes in [&came[0][..], b"stranger's datagram", &came[3][..9], &came[3], &came[2]] {
            far.send_to(bytes, near_address).expect("it can be sent");
        }
        assert_eq!(await_answers(&mut near, 3), [(0, true), (3, true), (2, true)]);
    }

    #[test]
    fn a_closed_port_refuses_some_try_and_answers_none() {
        let (mut near, far) = pair();
        drop(far);
        let tries: Vec<bool> = (0..10)
            .map(|number| {
                std::thread::sleep(std::time::Duration::from_millis(1));
                near.begin(number).is_ok()
            })
            .collect();
        assert!(tries.contains(&false), "the kernel tells of a refusal at the next try");
        let mut answers = Vec::new();
        near.answers(&mut answers);
        assert_eq!(answers, []);
    }
}
