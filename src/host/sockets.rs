//! How many sockets there are: from the kernel's sums where those are enough, and from its list of
//! sockets where states or ports matter. Never from `/proc/net/tcp`, which writes a line of text
//! for every socket.
//!
//! The sums cost the same at any number of connections. For the list the kernel walks over all
//! sockets, however few the answer has. Listeners are an exception: they have a table of their own.
//! See `notes/results/counting.txt` for what each takes at a million.

use std::net::SocketAddr;

use rustix::net::AddressFamily;
use serde::{Deserialize, Serialize};

use crate::host::procfs::ProcFs;
use crate::host::sock_diag::{self, Query};

/// The sums of `/proc/net/sockstat` and `sockstat6`; `None` was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sockstat {
    /// TCP sockets over IPv4 that have a port. A connection with both ends in this network
    /// namespace counts twice.
    pub tcp_in_use: Option<u64>,
    /// The same over IPv6.
    pub tcp6_in_use: Option<u64>,
    /// Connections in TIME_WAIT in this network namespace, IPv4 and IPv6.
    pub tcp_time_wait: Option<u64>,
    /// Sockets of the whole host that no program holds any more and that have bytes to send.
    pub tcp_orphans: Option<u64>,
    /// All TCP sockets of the host, IPv4 and IPv6, with those that have no port yet.
    pub tcp_allocated: Option<u64>,
    /// Pages of the host that hold bytes of TCP, as `net.ipv4.tcp_mem` limits them.
    pub tcp_memory_pages: Option<u64>,
}

impl Sockstat {
    /// The sums now.
    #[must_use]
    pub fn read(procfs: &ProcFs) -> Sockstat {
        let text = |path: &str| procfs.read(path).unwrap_or_default();
        Sockstat::parse(&text("proc/net/sockstat"), &text("proc/net/sockstat6"))
    }

    /// From the texts of both files.
    #[must_use]
    pub fn parse(sockstat: &str, sockstat6: &str) -> Sockstat {
        let tcp = |name| field(sockstat, "TCP:", name);
        Sockstat {
            tcp_in_use: tcp("inuse"),
            tcp6_in_use: field(sockstat6, "TCP6:", "inuse"),
            tcp_time_wait: tcp("tw"),
            tcp_orphans: tcp("orphan"),
            tcp_allocated: tcp_allocated(sockstat),
            tcp_memory_pages: tcp("mem"),
        }
    }
}

/// All TCP sockets of the host, by the text of `/proc/net/sockstat`.
pub(super) fn tcp_allocated(sockstat: &str) -> Option<u64> {
    field(sockstat, "TCP:", "alloc")
}

/// The number behind `name` in the line that begins with `head`.
fn field(text: &str, head: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(head))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != name);
    words.nth(1)?.parse().ok()
}

/// A listening socket and its queue of connections that wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections that wait now.
    pub waiting: u32,
    /// How many may wait: the argument of listen(2), capped by `net.core.somaxconn` at that time.
    /// The kernel lets one more in before it takes the queue to be full.
    pub backlog: u32,
    /// Id of the user that created it.
    pub user: u32,
}

/// Every listening socket of this network namespace with a wanted port; `None` when the kernel does
/// not say. A port that is shared by SO_REUSEPORT has one for each core.
///
/// The port of a listener is lost to a client as a source port: connect(2) skips a port that a
/// listener holds on any address, because its bind bucket is not for sharing.
#[must_use]
pub fn listeners(is_wanted: impl Fn(u16) -> bool) -> Option<Vec<Listener>> {
    let mut found = Vec::new();
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        let query = Query { family, states: sock_diag::LISTEN, local_port: 0, filter: Vec::new() };
        let all = sock_diag::dump(&query, |record| {
            if is_wanted(record.local.port()) {
                found.push(Listener {
                    address: record.local,
                    waiting: record.receive_queue,
                    backlog: record.send_queue,
                    user: record.user,
                });
            }
        });
        // A host without IPv6 has no such sockets.
        if all.is_err() && family == AddressFamily::INET {
            return None;
        }
    }
    Some(found)
}

/// How many sockets of this network namespace are in TIME_WAIT towards one of `targets`; `None`
/// when the kernel does not say. Each keeps its source port from being used again for that target.
///
/// It takes 0.4 s at a million connections, unless no socket at all is in that state. So it is for
/// explaining a failure, not for a clock.
#[must_use]
pub fn time_wait_to(targets: &[SocketAddr]) -> Option<u64> {
    if Sockstat::read(&ProcFs::host()).tcp_time_wait == Some(0) {
        return Some(0);
    }
    let (v4, v6): (Vec<_>, Vec<_>) = targets.iter().partition(|target| target.is_ipv4());
    let mut sockets = 0;
    for (family, targets) in [(AddressFamily::INET, v4), (AddressFamily::INET6, v6)] {
        for filter in sock_diag::filters(&targets) {
            let query = Query { family, states: sock_diag::TIME_WAIT, local_port: 0, filter };
            sock_diag::dump(&query, |_| sockets += 1).ok()?;
        }
    }
    Some(sockets)
}

/// How many connections of this network namespace are established at a local port, or at any;
/// `None` when the kernel does not say. It takes 0.4 to 1.4 s at a million.
#[must_use]
pub fn established_at(local_port: Option<u16>) -> Option<u64> {
    let local_port = local_port.unwrap_or(0);
    let mut sockets = 0;
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        let states = sock_diag::ESTABLISHED;
        let query = Query { family, states, local_port, filter: Vec::new() };
        sock_diag::dump(&query, |_| sockets += 1).ok()?;
    }
    Some(sockets)
}

/// The user whose socket of this network namespace connects `local` to `remote`; `None` when there is
/// none, or the kernel does not say.
#[must_use]
pub fn user_of(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    sock_diag::one(local, remote).ok()?.map(|record| record.user)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn sockstat_has_its_sums_by_name() {
        let text = "sockets: used 10311\nTCP: inuse 8897 orphan 3 tw 6168 alloc 10297 mem 316\n\
            UDP: inuse 5 mem 0\n";
        let expected = Sockstat {
            tcp_in_use: Some(8897),
            tcp6_in_use: Some(12),
            tcp_time_wait: Some(6168),
            tcp_orphans: Some(3),
            tcp_allocated: Some(10297),
            tcp_memory_pages: Some(316),
        };
        assert_eq!(Sockstat::parse(text, "TCP6: inuse 12\nUDP6: inuse 1\n"), expected);
        assert_eq!(Sockstat::parse("", ""), Sockstat::default(), "absent is not 0");
        assert_eq!(Sockstat::parse("TCP: inuse\n", "TCP6: inuse x\n"), Sockstat::default());
    }

    #[test]
    fn this_host_has_sums() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sums = Sockstat::read(&ProcFs::host());
        assert!(sums.tcp_in_use.unwrap() >= 1 && sums.tcp_allocated.unwrap() >= 1);
        drop(listener);
    }

    #[test]
    fn a_listener_shows_what_waits() {
        for (host, backlog) in [("127.0.0.1", 3), ("[::1]", 7)] {
            let socket = socket2::Socket::new(
                socket2::Domain::for_address(format!("{host}:0").parse().unwrap()),
                socket2::Type::STREAM,
                None,
            )
            .unwrap();
            let any: SocketAddr = format!("{host}:0").parse().unwrap();
            if let Err(error) = socket.bind(&any.into()) {
                eprintln!("SKIPPED: {host} because {error}");
                continue;
            }
            socket.listen(backlog).unwrap();
            let listener = TcpListener::from(socket);
            let address = listener.local_addr().unwrap();
            let of_it = || {
                let found = listeners(|port| port == address.port()).unwrap();
                let mut same = found.into_iter().filter(|found| found.address == address);
                (same.next(), same.next())
            };
            let _waits = [(); 2].map(|()| TcpStream::connect(address).unwrap());
            let (Some(found), None) = of_it() else { panic!("one listener at {address}") };
            let user = rustix::process::getuid().as_raw();
            let backlog = u32::try_from(backlog).unwrap();
            assert_eq!(found, Listener { address, waiting: 2, backlog, user });
            let _taken = listener.accept().unwrap();
            assert_eq!(of_it().0.unwrap().waiting, 1);
            // Other programs of this host may use the same port as their source.
            assert!(
                established_at(Some(address.port())) >= Some(2),
                "a connection that waits is established"
            );
            drop(listener);
            assert_eq!(of_it(), (None, None));
        }
    }

    /// Connects and ends the connection from the client's side, which keeps the TIME_WAIT.
    fn leave_time_wait(listener: &TcpListener) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        drop(client);
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0, "the client ended");
    }

    #[test]
    fn time_wait_is_counted_by_target() {
        let procfs = ProcFs::host();
        let most = procfs.number("net.ipv4.tcp_max_tw_buckets").unwrap();
        if Sockstat::read(&procfs).tcp_time_wait.unwrap() + 100 > most {
            eprintln!("SKIPPED: counting TIME_WAIT, because this host's table of it is full");
            return;
        }
        // An address that no other process has used within the last minute.
        let host = Ipv4Addr::from(0x7f40_0000 + std::process::id() % 0x3f_ffff);
        let listeners = [(); 3].map(|()| TcpListener::bind((host, 0)).unwrap());
        for (listener, times) in listeners.iter().zip([3, 2, 1]) {
            (0..times).for_each(|_| leave_time_wait(listener));
        }
        let [a, b, c] = listeners.map(|listener| listener.local_addr().unwrap());
        let elsewhere = SocketAddr::new("127.0.0.9".parse().unwrap(), a.port());
        let none: SocketAddr = "[::1]:9".parse().unwrap();
        assert_eq!(time_wait_to(&[a]), Some(3));
        assert_eq!(time_wait_to(&[b, none, elsewhere, c]), Some(3));
        assert_eq!(time_wait_to(&[c, a, b, a]), Some(6));
        assert_eq!(time_wait_to(&[elsewhere]), Some(0));
        assert_eq!(time_wait_to(&[none]), Some(0));
        assert_eq!(time_wait_to(&[]), Some(0));
    }

    #[test]
    fn time_wait_is_counted_over_ipv6() {
        let listener = match TcpListener::bind("[::1]:0") {
            Ok(listener) => listener,
            Err(error) => return eprintln!("SKIPPED: TIME_WAIT at [::1] because {error}"),
        };
        let target = listener.local_addr().unwrap();
        let next = SocketAddr::new(target.ip(), target.port().saturating_add(1));
        let before = (time_wait_to(&[target]).unwrap(), time_wait_to(&[next]));
        leave_time_wait(&listener);
        assert_eq!(
            (time_wait_to(&[target]).unwrap(), time_wait_to(&[next])),
            (before.0 + 1, before.1)
        );
    }
}
