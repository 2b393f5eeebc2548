//! Whether a firewall of this host tracks its connections: that the module is loaded does not mean
//! that a rule asks for it, so some connections are made and the entries are counted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use socket2::SockRef;

use crate::host::procfs::Tree;
use crate::plan::demand::Ends;

/// Connections that are made, so that what others do meanwhile is not taken for ours.
const CONNECTIONS: u64 = 32;

/// Whether connections with these ends here are tracked; `None` when that cannot be found out.
#[must_use]
pub fn tracks(tree: &Tree, ends: Ends) -> Option<bool> {
    // A firewall that leaves loopback alone may still track what goes over an interface.
    over_loopback(tree).filter(|tracks| *tracks || ends == Ends::Both)
}

fn over_loopback(tree: &Tree) -> Option<bool> {
    let before = count(tree)?;
    let held = connections().ok()?;
    let now = count(tree)?;
    drop(held);
    Some(now.saturating_sub(before) >= CONNECTIONS)
}

fn count(tree: &Tree) -> Option<u64> {
    tree.number("net.netfilter.nf_conntrack_count")
}

/// Connections to ourselves, both ends of each; they end by reset and leave no TIME_WAIT.
fn connections() -> io::Result<Vec<(TcpStream, TcpStream)>> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let pair = |_| {
        let stream = TcpStream::connect(address)?;
        SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?;
        Ok((stream, listener.accept()?.0))
    };
    (0..CONNECTIONS).map(pair).collect()
}
