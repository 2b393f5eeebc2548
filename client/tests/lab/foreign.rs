//! Foreign servers: listeners in a namespace of a lab that treat connections by a rule of their own,
//! written as data. All end with their listener, and each connection with its client.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, SockRef, Socket, Type};

use super::netns::Namespace;
use crate::common::PATIENCE;

/// What a foreign server does.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// What it answers.
    pub(crate) says: Says,
    /// When it ends a connection, and how.
    pub(crate) ends: Option<(When, End)>,
    /// Which connections it ends as soon as it has accepted them, and how.
    pub(crate) unwelcome: Option<(Whom, End)>,
    /// So many are accepted, and no more.
    pub(crate) accepts: u64,
    /// Milliseconds after each accept until the next one.
    pub(crate) rest: u64,
    /// Length of its accept queue.
    pub(crate) backlog: i32,
    /// Listeners on the port, of which the first accepts.
    pub(crate) listeners: u32,
}

/// A plain echo server.
pub(crate) const ECHO: Manner = Manner {
    says: Says::Echo,
    ends: None,
    unwelcome: None,
    accepts: u64::MAX,
    rest: 0,
    backlog: 4096,
    listeners: 1,
};

#[derive(Clone, Copy)]
pub(crate) enum Says {
    Echo,
    /// After so many milliseconds.
    EchoAfter(u64),
    /// In many small writes.
    EchoInBytes,
    /// With one bit changed.
    EchoFlipped,
    /// But not from one time after the server's start on, for a time, in milliseconds.
    EchoBut(u64, u64),
    /// This in place of the echo.
    Text(&'static [u8]),
    /// This before anything was asked, and then the echo.
    First(&'static [u8]),
    Nothing,
    /// What a server behind it says, after so many milliseconds each way.
    Behind(&'static str, u64),
}

#[derive(Clone, Copy)]
pub(crate) enum When {
    /// Nothing came for so many milliseconds.
    Idle(u64),
    /// So many milliseconds after the accept.
    Age(u64),
    /// So many messages were answered.
    Messages(u32),
}

#[derive(Clone, Copy)]
pub(crate) enum Whom {
    All,
    /// Beyond so many at once.
    Beyond(u64),
    /// Beyond so many at once of one source address.
    BeyondOfSource(u64),
    EveryNth(u64),
}

#[derive(Clone, Copy)]
pub(crate) enum End {
    Fin,
    Reset,
}

/// A foreign server, which stops listening when dropped.
pub(crate) struct Foreign {
    listeners: Vec<TcpListener>,
    held: Arc<Held>,
}

/// The connections that a server has.
#[derive(Default)]
struct Held {
    by_source: Mutex<HashMap<IpAddr, u64>>,
    streams: Mutex<HashMap<u64, TcpStream>>,
    accepted: AtomicU64,
}

impl Foreign {
    /// A server at `address` in `namespace`.
    pub(crate) fn start(namespace: &Namespace, address: SocketAddr, manner: Manner) -> Foreign {
        let (path, held) = (namespace.path(), Arc::<Held>::default());
        let (tell, told) = mpsc::channel();
        let of_thread = Arc::clone(&held);
        // A thread is in the namespace that it enters, and so is all that it starts.
        thread::spawn(move || {
            enter(&path);
            let listeners: Vec<TcpListener> =
                (0..manner.listeners).map(|_| listener(address, manner.backlog)).collect();
            let first = listeners.first().map(TcpListener::try_clone);
            tell.send(listeners).expect("its starter waits");
            if let Some(first) = first {
                accept(&first.expect("a descriptor is free"), manner, &of_thread);
            }
        });
        let listeners = told.recv_timeout(PATIENCE).expect("a foreign server listens");
        Foreign { listeners, held }
    }

    /// How many it has accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.held.accepted.load(Ordering::Relaxed)
    }

    /// Ends all connections at this moment, in order, and listens on.
    pub(crate) fn end_all(&self) {
        for stream in lock(&self.held.streams).values() {
            // Its peer may have ended it.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends all, and does not listen any more.
    pub(crate) fn die(&mut self) {
        self.stop_listening();
        self.end_all();
    }

    fn stop_listening(&mut self) {
        for listener in self.listeners.drain(..) {
            // What waits in accept ends by it.
            let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.die();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn enter(path: &str) {
    let file = File::open(path).expect("the namespace has a file");
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("a namespace of ours can be entered");
}

fn listener(address: SocketAddr, backlog: i32) -> TcpListener {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, None).expect("a descriptor is free");
    socket.set_reuse_address(true).expect("a TCP socket has this option");
    rustix::net::sockopt::set_socket_reuseport(&socket, true).expect("a TCP socket has it");
    socket.bind(&address.into()).expect("the port of a lab is free");
    socket.listen(backlog).expect("it is bound");
    socket.into()
}

fn accept(listener: &TcpListener, manner: Manner, held: &Arc<Held>) {
    let began = Instant::now();
    for number in 0.. {
        if number == manner.accepts {
            return thread::sleep(PATIENCE);
        }
        let Ok((stream, from)) = listener.accept() else { return };
        held.accepted.fetch_add(1, Ordering::Relaxed);
        if is_unwelcome(manner, number, from.ip(), held) {
            let (_, end) = manner.unwelcome.expect("it has a rule");
            finish(&stream, end);
            continue;
        }
        let held = Arc::clone(held);
        *lock(&held.by_source).entry(from.ip()).or_insert(0) += 1;
        // Some hundreds at most; what each keeps is small.
        let small = thread::Builder::new().stack_size(128 << 10);
        let serve = move || {
            if let Ok(copy) = stream.try_clone() {
                lock(&held.streams).insert(number, copy);
            }
            treat(&stream, manner, began);
            lock(&held.streams).remove(&number);
            *lock(&held.by_source).entry(from.ip()).or_insert(1) -= 1;
        };
        small.spawn(serve).expect("a thread can be started");
        thread::sleep(Duration::from_millis(manner.rest));
    }
}

fn is_unwelcome(manner: Manner, number: u64, from: IpAddr, held: &Held) -> bool {
    let by_source = lock(&held.by_source);
    match manner.unwelcome {
        None => false,
        // The client's look at its target is the first one.
        Some((Whom::All, _)) => number > 0,
        Some((Whom::Beyond(most), _)) => by_source.values().sum::<u64>() >= most,
        Some((Whom::BeyondOfSource(most), _)) => {
            by_source.get(&from).is_some_and(|count| *count >= most)
        }
        Some((Whom::EveryNth(n), _)) => number.is_multiple_of(n),
    }
}

fn finish(stream: &TcpStream, end: End) {
    // Its peer may have ended it; a reset comes with the last descriptor.
    let _ = match end {
        End::Fin => stream.shutdown(Shutdown::Write),
        End::Reset => SockRef::from(stream).set_linger(Some(Duration::ZERO)),
    };
}

/// Answers until the client ends it, or the rule does.
fn treat(stream: &TcpStream, manner: Manner, began: Instant) {
    let born = Instant::now();
    let (mut bytes, mut messages) = ([0; 4096], 0);
    let _ = stream.set_nodelay(true);
    if let Says::Behind(server, delay) = manner.says {
        return pass_on(stream, server, delay, manner.ends);
    }
    if let Says::First(text) = manner.says {
        let _ = (&mut &*stream).write_all(text);
    }
    loop {
        let patience = match manner.ends {
            Some((When::Idle(ms), _)) => Duration::from_millis(ms),
            Some((When::Age(ms), _)) => Duration::from_millis(ms).saturating_sub(born.elapsed()),
            _ => PATIENCE,
        };
        if !is_readable(stream, patience) {
            break;
        }
        let Ok(n @ 1..) = (&mut &*stream).read(&mut bytes) else { return };
        messages += 1;
        if answer(stream, manner.says, &mut bytes[..n], began).is_err() {
            return;
        }
        if matches!(manner.ends, Some((When::Messages(most), _)) if messages >= most) {
            break;
        }
    }
    if let Some((_, end)) = manner.ends {
        finish(stream, end);
    }
}

/// Whether something came in time. A read with a time of its own would be late by up to an eighth of it.
fn is_readable(stream: &TcpStream, patience: Duration) -> bool {
    let time = Timespec::try_from(patience).expect("no time is so long");
    poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&time)) != Ok(0)
}

fn answer(stream: &TcpStream, says: Says, bytes: &mut [u8], began: Instant) -> std::io::Result<()> {
    let mut stream = stream;
    match says {
        Says::Echo | Says::First(_) | Says::Behind(..) => stream.write_all(bytes),
        Says::EchoAfter(ms) => {
            thread::sleep(Duration::from_millis(ms));
            stream.write_all(bytes)
        }
        Says::EchoInBytes => bytes.chunks(8).try_for_each(|part| {
            thread::sleep(Duration::from_micros(500));
            stream.write_all(part)
        }),
        Says::EchoFlipped => {
            bytes[bytes.len() - 2] ^= 1;
            stream.write_all(bytes)
        }
        Says::EchoBut(from, ms) => {
            let (from, time) = (Duration::from_millis(from), Duration::from_millis(ms));
            if let Some(since) = began.elapsed().checked_sub(from) {
                thread::sleep(time.saturating_sub(since));
            }
            stream.write_all(bytes)
        }
        Says::Text(text) => stream.write_all(text),
        Says::Nothing => Ok(()),
    }
}

/// A proxy: both ways, until either end ends it or nothing came for too long.
fn pass_on(stream: &TcpStream, server: &str, delay: u64, ends: Option<(When, End)>) {
    let Ok(behind) = TcpStream::connect(server) else { return };
    let _ = behind.set_nodelay(true);
    if let Some((When::Idle(ms), _)) = ends {
        let patience = Some(Duration::from_millis(ms));
        let _ = (stream.set_read_timeout(patience), behind.set_read_timeout(patience));
    }
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            thread::sleep(Duration::from_millis(delay));
            if to.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    };
    thread::scope(|scope| {
        scope.spawn(|| copy(&behind, stream));
        copy(stream, &behind);
    });
}
