//! The example of a service on the library, run as a program: it greets, answers lines cut anywhere,
//! and ends by a signal.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connect(address: &str) -> TcpStream {
    let began = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(20), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn expect(stream: &mut TcpStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

#[test]
fn the_example_holds_connections() {
    // Examples are built beside tests, but not for a test that is run by itself.
    let test = std::env::current_exe().unwrap();
    let built = test.parent().unwrap().parent().unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--locked", "--quiet", "--example", "presence"]);
    build.args(built.ends_with("release").then_some("--release"));
    assert!(build.status().unwrap().success(), "the example is not built");
    let program = built.join("examples/presence");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut service = Service(Command::new(program).arg(&address).spawn().unwrap());
    let mut held: Vec<TcpStream> = (0..100).map(|_| connect(&address)).collect();
    for stream in &mut held {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        expect(stream, "welcome\n");
        stream.write_all(b"one line\nand a ").unwrap();
    }
    for stream in &mut held {
        expect(stream, "ONE LINE\n");
        stream.write_all(b"half\n").unwrap();
        expect(stream, "AND A HALF\n");
    }
    // Every ten seconds it says that it is there, also to a connection that is never silent.
    let began = Instant::now();
    let mut heard = String::new();
    while !heard.contains("still here\n") {
        assert!(
            began.elapsed() < Duration::from_secs(11),
            "a busy connection heard {} bytes",
            heard.len()
        );
        held[1].write_all(b"x\n").unwrap();
        let mut bytes = [0; 64];
        let count = held[1].read(&mut bytes).unwrap();
        heard.push_str(str::from_utf8(&bytes[..count]).unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    expect(&mut held[0], "still here\n");
    let id = rustix::process::Pid::from_child(&service.0);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert!(service.0.wait().unwrap().success());
}
