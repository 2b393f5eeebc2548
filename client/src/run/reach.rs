//! What is tried with ordinary sockets before a run, so that it is not a million failures.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use megaconn::base::constants::{REACH_TIMEOUT, TARGETS_TRIED_AT_ONCE};
use megaconn::base::errno::Errno;
use rustix::net::sockopt::set_socket_linger;

use crate::run::refusal::Refusal;

/// One ordinary connect to each target, some of them at a time, within [`REACH_TIMEOUT`] over all. A target
/// that had no turn in that time is not refused: the run will tell.
pub(crate) fn reach_all(targets: &[SocketAddr]) -> Result<(), Refusal> {
    let (next, until) = (AtomicUsize::new(0), Instant::now() + REACH_TIMEOUT);
    let dead = Mutex::new(Vec::new());
    let ask = || {
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if let Err(refusal) = reach(*target, left) {
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
    refusal_of(dead.into_inner().unwrap_or_else(PoisonError::into_inner), targets.len())
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
fn reach(target: SocketAddr, patience: Duration) -> Result<(), Refusal> {
    match TcpStream::connect_timeout(&target, patience) {
        // A reset: the tuple of an ordinary close would be in TIME_WAIT, and missing in the plan.
        Ok(stream) => set_socket_linger(&stream, Some(Duration::ZERO))
            .map_err(|error| Refusal::Unreachable(target, error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(Refusal::Refused(target, Errno::from(&error)))
        }
        // A server is there and refuses the connection: why it does is for the verdict.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) if Errno::from(&error) == Errno::EADDRNOTAVAIL => Err(Refusal::NoPort(target)),
        Err(error) => Err(Refusal::Unreachable(target, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn every_target_is_asked_and_the_dead_are_named() {
        let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
        let mut listeners: Vec<TcpListener> = (0..40).map(listen).collect();
        let targets: Vec<SocketAddr> =
            listeners.iter().map(|l| l.local_addr().expect("it is bound")).collect();
        assert!(reach_all(&targets).is_ok());
        // Far behind the first of them.
        listeners.truncate(37);
        let refusal = reach_all(&targets).expect_err("three are dead").to_string();
        assert!(refusal.contains("3 of 40 targets"), "{refusal}");
        assert!(targets[37..].iter().all(|dead| refusal.contains(&dead.to_string())), "{refusal}");
        let one = reach_all(&targets[39..]).expect_err("it is dead").to_string();
        assert!(one.starts_with("refused: --target") && !one.contains("targets"), "{one}");
    }
}
