//! Whether a firewall of this host tracks connections. That the module is loaded does not mean that a
//! rule asks for it, so some connections are made and the entries are counted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::host::procfs::ProcFs;

/// Connections that are made. A few that other programs make meanwhile do not reach this number.
const CONNECTIONS: u64 = 32;

/// Whether connections over loopback are tracked; `None` when that cannot be found out.
#[must_use]
pub fn tracks_loopback(procfs: &ProcFs) -> Option<bool> {
    let before = count(procfs)?;
    let held = connections().ok()?;
    let now = count(procfs)?;
    drop(held);
    Some(now.saturating_sub(before) >= CONNECTIONS)
}

fn count(procfs: &ProcFs) -> Option<u64> {
    procfs.number("net.netfilter.nf_conntrack_count")
}

/// Both ends of connections to this process itself. They end by reset and leave no TIME_WAIT.
fn connections() -> io::Result<Vec<(TcpStream, TcpStream)>> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let pair = |_| {
        // Loopback may be down, or a firewall may drop what goes over it.
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Ok((stream, listener.accept()?.0))
    };
    (0..CONNECTIONS).map(pair).collect()
}
