//! A server of a test's own that does with each connection what the test says. It ends with the test.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Each connection is given to `serve` on a thread of its own, and ends when that returns.
pub(crate) fn server(serve: impl Fn(&TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || {
                // Small writes are segments of their own.
                let _ = stream.set_nodelay(true);
                serve(&stream);
            });
        }
    });
    address
}

/// Calls `answer` with each line that comes, until the client ends or `answer` says that it is over.
pub(crate) fn each_line(
    mut stream: &TcpStream,
    mut answer: impl FnMut(&str, &mut &TcpStream) -> bool,
) {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    for line in lines {
        if !answer(&line, &mut stream) {
            return;
        }
    }
}

/// Writes; a client that is gone does not matter.
pub(crate) fn say(mut stream: &TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}
