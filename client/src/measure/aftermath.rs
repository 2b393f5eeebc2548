//! Whether a target is there still, after connections to it were lost: one ordinary connect, and if it
//! is ended at once some more, since a server that was killed goes away step by step; the same when
//! this host itself is short of something for a moment.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use megaconn::base::constants::REACH_TIMEOUT;
use megaconn::base::units::grouped;
use megaconn::results::result::{LossTimes, TargetNow};
use rustix::net::sockopt::set_socket_linger;

/// Time for which a connection must live to count as taken.
const TAKEN_AFTER: Duration = Duration::from_millis(300);

/// Time between two tries.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// Targets that are asked one by one.
const TARGETS_ASKED: usize = 64;

/// What was seen of a server that went away; `None` when it is there. `target` is what the target says
/// after the run, `losses` when connections were lost.
pub(crate) fn server_gone(target: Option<TargetNow>, losses: Option<LossTimes>) -> Option<String> {
    let is_gone = |target: &TargetNow| matches!(target, TargetNow::Refuses | TargetNow::Silent);
    let (target, losses) = (target.filter(is_gone)?, losses?);
    let (first, most) = (losses.first_ms as f64 / 1e3, grouped(losses.most_in_one_second));
    Some(format!("{most} connections lost within a second, {first:.1} s after the start; {target}"))
}

/// Those of `targets` that refuse now; `None` when they are too many, or could not all be asked within
/// three seconds.
pub(crate) fn refusing(targets: &[SocketAddr]) -> Option<Vec<SocketAddr>> {
    let until = Instant::now() + REACH_TIMEOUT;
    let mut refusing = Vec::new();
    for target in targets.iter().take(TARGETS_ASKED) {
        let left = until.checked_duration_since(Instant::now())?;
        // What refuses some in its name lets one of several pass.
        if (0..TRIES).all(|_| refuses(*target, left.max(TRY_EVERY))) {
            refusing.push(*target);
        }
    }
    (targets.len() <= TARGETS_ASKED || !refusing.is_empty()).then_some(refusing)
}

/// Times that a target is asked that refuses.
const TRIES: u32 = 5;

fn refuses(target: SocketAddr, patience: Duration) -> bool {
    match TcpStream::connect_timeout(&target, patience) {
        Ok(stream) => {
            // A reset leaves no TIME_WAIT behind. Whether it can be had is no matter.
            let _ = set_socket_linger(&stream, Some(Duration::ZERO));
            false
        }
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
    }
}

/// Asks `target`, for three seconds at most.
pub(crate) fn ask(target: SocketAddr) -> TargetNow {
    let until = Instant::now() + REACH_TIMEOUT;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let answer = ask_once(target, left.max(TRY_EVERY));
        let is_clear = !matches!(answer, TargetNow::Ends | TargetNow::Unknown);
        if is_clear || Instant::now() + TRY_EVERY >= until {
            return answer;
        }
        thread::sleep(TRY_EVERY);
    }
}

fn ask_once(target: SocketAddr, patience: Duration) -> TargetNow {
    let connected = TcpStream::connect_timeout(&target, patience);
    let read = connected.and_then(|mut stream| {
        // A reset leaves no TIME_WAIT behind.
        set_socket_linger(&stream, Some(Duration::ZERO))?;
        stream.set_read_timeout(Some(TAKEN_AFTER))?;
        // A server that pushes says something, one that echoes does not.
        Ok(stream
            .read(&mut [0; 1])
            .map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |n| n == 0))
    });
    match read {
        Ok(true) => TargetNow::Ends,
        Ok(false) => TargetNow::Accepts,
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => TargetNow::Refuses,
            ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                TargetNow::Silent
            }
            ErrorKind::ConnectionReset => TargetNow::Ends,
            _ => TargetNow::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        (listener, address)
    }

    #[test]
    fn a_target_that_keeps_connections_is_there() {
        let (_listener, address) = listener();
        assert_eq!(ask(address), TargetNow::Accepts);
    }

    #[test]
    fn a_target_without_a_listener_refuses() {
        let (listener, address) = listener();
        drop(listener);
        assert_eq!(ask(address), TargetNow::Refuses);
    }

    #[test]
    fn of_many_targets_those_that_refuse_are_told() {
        let (_listener, taken) = listener();
        let (gone, refused) = listener();
        drop(gone);
        assert_eq!(refusing(&[taken, refused]), Some(vec![refused]));
        assert_eq!(refusing(&[taken]), Some(Vec::new()));
        assert_eq!(refusing(&[taken; TARGETS_ASKED + 1]), None, "not all were asked");
    }

    #[test]
    fn a_target_that_goes_away_meanwhile_is_gone() {
        let (listener, address) = listener();
        thread::spawn(move || {
            // One is taken and ended; then nothing listens.
            drop(listener.accept());
        });
        assert_eq!(ask(address), TargetNow::Refuses);
    }

    #[test]
    fn a_target_that_ends_everybody_is_told_from_one_that_is_gone() {
        let (listener, address) = listener();
        thread::spawn(move || listener.incoming().for_each(drop));
        let began = Instant::now();
        assert_eq!(ask(address), TargetNow::Ends);
        assert!(began.elapsed() < 2 * REACH_TIMEOUT, "it asks for too long");
    }
}
