//! What is tried with ordinary sockets before a run, so that it is not a million failures.

use std::collections::HashSet;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use megaconn::base::constants::{REACH_END_TIMEOUT, REACH_TIMEOUT, TARGETS_TRIED_AT_ONCE};
use megaconn::base::errno::Errno;
use megaconn::host::ports;
use megaconn::host::procfs::ProcFs;
use megaconn::plan::route;
use socket2::{Domain, Protocol, Socket, Type};

use crate::run::refusal::Refusal;

/// One ordinary connect to each target, some of them at a time, within [`REACH_TIMEOUT`] over all. A target
/// that had no turn in that time is not refused: the run will tell. None comes from a port of the plan, where
/// another is free: each ends by FIN, and its tuple is in TIME_WAIT afterwards.
pub(crate) fn reach_all(targets: &[SocketAddr], ports_of_plan: &[u16]) -> Result<(), Refusal> {
    refusal_of(dead(targets, ports_of_plan), targets.len())
}

/// The targets that do not take the connection of such a look, and why.
pub(crate) fn dead(targets: &[SocketAddr], ports_of_plan: &[u16]) -> Vec<(SocketAddr, Refusal)> {
    let planned: HashSet<u16> = ports_of_plan.iter().copied().collect();
    // A reserved port is somebody's: of this program's own metrics, as likely as not.
    let mut others = ports::usable(&ProcFs::host(), 1024..=u16::MAX);
    others.retain(|port| !planned.contains(port));
    let (next, until) = (AtomicUsize::new(0), Instant::now() + REACH_TIMEOUT);
    let dead = Mutex::new(Vec::new());
    let ask = || {
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if let Err(refusal) = reach(*target, &others, left) {
                dead.lock().unwrap_or_else(PoisonError::into_inner).push((*target, refusal));
            }
        }
    };
    thread::scope(|scope| {
        // This thread asks as well: a host may be short of threads.
        for _ in 1..TARGETS_TRIED_AT_ONCE.min(targets.len()) {
            if thread::Builder::new().spawn_scoped(scope, ask).is_err() {
                break;
            }
        }
        ask();
    });
    dead.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Says why the first of the dead is, and how many others there are.
fn refusal_of(mut dead: Vec<(SocketAddr, Refusal)>, of: usize) -> Result<(), Refusal> {
    dead.sort_by_key(|(target, _)| *target);
    let names: Vec<String> = dead.iter().take(8).map(|(target, _)| target.to_string()).collect();
    let (count, more) = (dead.len(), if dead.len() > names.len() { ", ..." } else { "" });
    let Some((_, first)) = dead.into_iter().next() else { return Ok(()) };
    if of == 1 {
        return Err(first);
    }
    let names = names.join(", ") + more;
    Err(Refusal::SomeTargets { first: Box::new(first), dead: count, of, names })
}

/// One ordinary connect.
fn reach(target: SocketAddr, ports: &[u16], patience: Duration) -> Result<(), Refusal> {
    let connected = socket(target, ports).and_then(|(socket, is_bound)| {
        // The tuple is one of the plan, and must not be in TIME_WAIT: it ends by RST.
        let linger = (!is_bound).then_some(Duration::ZERO);
        socket.set_linger(linger)?;
        socket.connect_timeout(&target.into(), patience)?;
        Ok(TcpStream::from(socket))
    });
    match connected {
        Ok(stream) => {
            end(stream);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(Refusal::Refused(target, Errno::from(&error)))
        }
        // A server is there and refuses the connection: why it does is for the verdict.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) if Errno::from(&error) == Errno::EADDRNOTAVAIL => Err(Refusal::NoPort(target)),
        Err(error) => Err(Refusal::Unreachable(target, error.to_string())),
    }
}

/// A socket towards `target`, bound to one of `ports` if one of some is free.
fn socket(target: SocketAddr, ports: &[u16]) -> io::Result<(Socket, bool)> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    let any = route::any_address(target);
    let mut tries = (0..8).filter_map(|_| fastrand::choice(ports));
    let is_bound = tries.any(|port| socket.bind(&SocketAddr::new(any, *port).into()).is_ok());
    Ok((socket, is_bound))
}

/// Ends a connection by FIN, and reads what the server has to say until its own: a close with unread
/// bytes would be an RST, which ends a simple server.
fn end(mut stream: TcpStream) {
    let until = Instant::now() + REACH_END_TIMEOUT;
    // What fails here has ended already.
    let _ = stream.shutdown(Shutdown::Write);
    let mut bytes = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return;
        }
        if !matches!(stream.read(&mut bytes), Ok(1..)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn every_target_is_asked_and_the_dead_are_named() {
        let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
        let mut listeners: Vec<TcpListener> = (0..40).map(listen).collect();
        let targets: Vec<SocketAddr> =
            listeners.iter().map(|l| l.local_addr().expect("it is bound")).collect();
        assert!(reach_all(&targets, &[]).is_ok());
        // Far behind the first of them.
        listeners.truncate(37);
        let refusal = reach_all(&targets, &[]).expect_err("three are dead").to_string();
        assert!(refusal.contains("3 of 40 targets"), "{refusal}");
        assert!(targets[37..].iter().all(|dead| refusal.contains(&dead.to_string())), "{refusal}");
        let one = reach_all(&targets[39..], &[]).expect_err("it is dead").to_string();
        assert!(one.starts_with("refused: --target") && !one.contains("targets"), "{one}");
    }

    /// A server that speaks first sees FIN and no RST, and no tuple of the plan is used.
    #[test]
    fn a_server_that_speaks_first_is_left_in_order() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
        let target = listener.local_addr().expect("it is bound");
        let planned: Vec<u16> = (1024..=u16::MAX).filter(|port| port % 100 != 0).collect();
        let ends = thread::spawn(move || {
            let (mut stream, from) = listener.accept().expect("the look comes");
            stream.write_all(b"220 ready\r\n").expect("it is there");
            let left = stream.read(&mut [0; 16]).expect("no RST");
            (left, from.port())
        });
        assert!(reach_all(&[target], &planned).is_ok());
        let (left, port) = ends.join().expect("it saw the end");
        assert_eq!((left, port % 100), (0, 0), "from port {port}");
    }
}
