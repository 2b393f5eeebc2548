//! Texts to all while an older server drains: over the stream by which the sockets were taken, the newer one passes each
//! order on, and the older one tells what became of them.
//!
//! ```text
//! older: {"last_number":4,"connections":700,"orders":[...]}        at once, whenever an order changes, and at its end
//! newer: {"number":5,"topic":null,...,"bytes":6} and the text
//! ```
//!
//! A stream that ends is a server that has ended: what it said last counts.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde::{Deserialize, Serialize};
use socket2::Socket;

use crate::base::constants::{BROADCAST_TEXT_MAX, HTTP_TEXT_EVERY};
use crate::base::until::Until;
use crate::engine::protocol::broadcast::Moment;
use crate::observe::control::broadcasts::Ordered;
use crate::runtime::hand_over::STEP_TIME;

/// Longest line before a text, and some more.
const LINE_BYTES_MAX: usize = 512;

/// What an older server tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// The number of the last order of all servers so far.
    pub last_number: u64,
    /// Connections that it has, and those that it has been told of by one that it took over itself.
    pub connections: u64,
    /// The last orders, and what became of each.
    pub orders: Vec<Ordered>,
}

/// An order as it is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Its number, which is the same in each server.
    pub number: u64,
    /// To whom; `None` is all.
    pub topic: Option<u16>,
    /// When it was given.
    pub moment: Moment,
    /// What goes out.
    pub text: Vec<u8>,
}

/// The line before a text.
#[derive(Serialize, Deserialize)]
struct Head {
    number: u64,
    topic: Option<u16>,
    monotonic_ns: u64,
    unix_ns: u64,
    boot: u32,
    bytes: usize,
}

impl Passed {
    fn bytes(&self) -> io::Result<Vec<u8>> {
        let Passed { number, topic, moment, text } = self;
        let Moment { monotonic_ns, unix_ns, boot } = *moment;
        let (number, topic, bytes) = (*number, *topic, text.len());
        let head = Head { number, topic, monotonic_ns, unix_ns, boot, bytes };
        let mut all = serde_json::to_vec(&head)?;
        all.push(b'\n');
        all.extend_from_slice(text);
        Ok(all)
    }

    /// The first of those in `bytes`, which it is taken from; `None` while it is not whole.
    fn take(bytes: &mut Vec<u8>) -> io::Result<Option<Passed>> {
        let invalid = |why: &str| io::Error::new(ErrorKind::InvalidData, why.to_owned());
        let Some(line) = bytes.iter().position(|byte| *byte == b'\n') else {
            let is_too_long = bytes.len() > LINE_BYTES_MAX;
            return if is_too_long { Err(invalid("a line without end")) } else { Ok(None) };
        };
        let Head { number, topic, monotonic_ns, unix_ns, boot, bytes: size } =
            serde_json::from_slice(&bytes[..line])?;
        if size > BROADCAST_TEXT_MAX.into() {
            return Err(invalid("a text that no buffer holds"));
        }
        let end = line + 1 + size;
        if bytes.len() < end {
            return Ok(None);
        }
        let text = bytes[line + 1..end].to_vec();
        bytes.drain(..end);
        let moment = Moment { monotonic_ns, unix_ns, boot };
        Ok(Some(Passed { number, topic, moment, text }))
    }
}

/// The older server, as the newer one has it.
#[derive(Debug)]
pub struct Older {
    stream: Socket,
    told: Arc<Mutex<Told>>,
    /// Whether it takes no more orders.
    is_stuck: AtomicBool,
}

/// What it has said last, and whether it has ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// What it has said last.
    pub account: Account,
    /// Whether nothing more comes from it.
    pub is_over: bool,
}

impl Older {
    /// Hears what the older server at the other end tells from now on, on a thread of its own; its first account is
    /// there then.
    ///
    /// # Errors
    /// When it gives none, or there is no thread for it.
    pub fn hear(stream: Socket) -> io::Result<Older> {
        stream.set_read_timeout(Some(STEP_TIME))?;
        let mut lines = BufReader::new(stream.try_clone()?);
        let account = next_account(&mut lines)?;
        stream.set_read_timeout(None)?;
        let told = Arc::new(Mutex::new(Told { account, is_over: false }));
        let heard = Arc::clone(&told);
        let hear = move || {
            while let Ok(account) = next_account(&mut lines) {
                lock(&heard).account = account;
            }
            lock(&heard).is_over = true;
        };
        thread::Builder::new().name("older server".into()).spawn(hear)?;
        Ok(Older { stream, told, is_stuck: AtomicBool::new(false) })
    }

    /// What it has told so far.
    #[must_use]
    pub fn told(&self) -> Told {
        lock(&self.told).clone()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        lock(&self.told).is_over
    }

    /// Passes an order on; whether it is on its way.
    pub fn pass_on(&self, order: &Passed) -> bool {
        if self.is_stuck.load(Ordering::Relaxed) {
            return false;
        }
        let passed = order.bytes().and_then(|bytes| {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            let sent = self.stream.send_with_flags(&bytes, flags)?;
            if sent == bytes.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
        });
        // A part of an order may be there: what came behind it would not be understood.
        self.is_stuck.store(passed.is_err(), Ordering::Relaxed);
        passed.is_ok()
    }
}

fn next_account(lines: &mut BufReader<Socket>) -> io::Result<Account> {
    let mut line = Vec::new();
    lines.read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    // Each change of it is whole.
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread of an older server which takes the orders of the newer one.
pub struct Following {
    stream: Socket,
    is_ending: Until,
    over: Receiver<()>,
}

impl Following {
    /// From now on `take` is given each order that comes, and what `account` says is told.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn begin(
        stream: Socket,
        take: impl Fn(Passed) + Send + 'static,
        account: impl Fn() -> Account + Send + 'static,
    ) -> io::Result<Following> {
        stream.set_write_timeout(Some(STEP_TIME))?;
        let (end, over) = mpsc::channel();
        let is_ending = Until::default();
        let (of_thread, until) = (stream.try_clone()?, is_ending.clone());
        let run = move || {
            // The newer server has ended, and orders nothing more.
            let _ = follow(&of_thread, &until, take, account);
            let _ = end.send(());
        };
        thread::Builder::new().name("newer server".into()).spawn(run)?;
        Ok(Following { stream, is_ending, over })
    }

    /// Tells at last what became of the orders: this server has no connection any more.
    pub fn end(self) {
        self.is_ending.end();
        // It waits for an order.
        let _ = self.stream.shutdown(Shutdown::Read);
        let _ = self.over.recv_timeout(STEP_TIME);
    }
}

fn follow(
    mut stream: &Socket,
    until: &Until,
    take: impl Fn(Passed),
    account: impl Fn() -> Account,
) -> io::Result<()> {
    let (mut told, mut bytes) = (None, Vec::new());
    loop {
        while let Some(order) = Passed::take(&mut bytes)? {
            take(order);
        }
        let is_ending = until.is_over();
        let now = account();
        if is_ending || told.as_ref() != Some(&now.orders) {
            let mut line = serde_json::to_vec(&now)?;
            line.push(b'\n');
            stream.write_all(&line)?;
        }
        if is_ending {
            return Ok(());
        }
        let is_under_way = now.orders.iter().any(|order| !order.done);
        told = Some(now.orders);
        stream.set_read_timeout(is_under_way.then_some(HTTP_TEXT_EVERY))?;
        let mut some = [0; 4096];
        match stream.read(&mut some) {
            Ok(0) if until.is_over() => {}
            Ok(0) => return Ok(()),
            Ok(n) => bytes.extend_from_slice(&some[..n]),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => return Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn order(number: u64, text: &[u8]) -> Passed {
        let moment = Moment { monotonic_ns: 1, unix_ns: u64::MAX, boot: 7 };
        Passed { number, topic: Some(3), moment, text: text.to_vec() }
    }

    fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        for _ in 0..1_000 {
            if is_so() {
                return;
            }
            thread::sleep(HTTP_TEXT_EVERY / 10);
        }
        panic!("{what}");
    }

    #[test]
    fn an_order_comes_whole_in_any_pieces() {
        let orders = [order(1, b"one\ntwo"), order(2, b""), order(3, &[b'\n'; 3_747])];
        let all: Vec<u8> = orders.iter().flat_map(|order| order.bytes().unwrap()).collect();
        for piece in [1, 7, 100, all.len()] {
            let (mut bytes, mut came) = (Vec::new(), Vec::new());
            for some in all.chunks(piece) {
                bytes.extend_from_slice(some);
                while let Some(order) = Passed::take(&mut bytes).unwrap() {
                    came.push(order);
                }
            }
            assert_eq!(came, orders, "in pieces of {piece}");
        }
        for bad in [&[b'x'; LINE_BYTES_MAX + 1][..], b"{}\n", b"\n"] {
            assert!(Passed::take(&mut bad.to_vec()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_becomes_of_an_order_is_told_until_the_end() {
        let (newer, older) =
            Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        let last = Arc::new(AtomicU64::new(4));
        let (taken, said) = (Arc::clone(&last), Arc::clone(&last));
        let account = move || {
            let last_number = said.load(Ordering::Acquire);
            let orders = vec![Ordered { number: last_number, done: true, ..Ordered::default() }];
            Account { last_number, connections: 9 - last_number, orders }
        };
        let take = move |order: Passed| taken.store(order.number, Ordering::Release);
        let following = Following::begin(older, take, account).unwrap();
        let older = Older::hear(newer).unwrap();
        assert_eq!(older.told().account.last_number, 4);
        assert!(older.pass_on(&order(5, b"text")));
        until("it is told", || older.told().account.last_number == 5);
        // What changes nothing of an order is told at the end.
        last.store(9, Ordering::Release);
        following.end();
        until("it has ended", || older.is_over());
        let told = older.told().account;
        assert_eq!((told.last_number, told.connections), (9, 0));
        assert!(!older.pass_on(&order(10, b"to nobody")));
        assert_eq!(older.told().account.last_number, 9);
    }
}
