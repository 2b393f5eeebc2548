//! As few threads as are counted before the start: with them all ends well, with one less it is refused.
//!
//! A user of the test's own has a limit of its own, which only root may give it. Other users cannot run
//! this, and say so.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use common::Program;
use megaconn::host::procfs::ProcFs;
use megaconn::host::threads::workers_per_core;
use rustix::process::Signal;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// A user that has no other thread.
const USER: u32 = 61_234;

/// A server on one core, whose user may have `most` threads in all.
fn serve(most: u64, address: SocketAddr) -> Program {
    let line = format!(
        "ulimit -u {most} && exec '{}' serve --cores 0 --drain 1s --listen {address}",
        env!("CARGO_BIN_EXE_megaconn")
    );
    Program::start(Command::new("bash").args(["-c", &line]).uid(USER).gid(USER))
}

#[test]
fn the_threads_that_are_counted_are_enough_and_one_less_is_refused() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root may start a program of another user");
        return;
    }
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // The first thread, and those of housekeeping, of its heartbeats, of the dumps, of the metrics and of one core.
    let least = 1 + 4 + 2 + workers_per_core(&ProcFs::host());
    let refused = serve(least - 1, address).finish();
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let line = refused.stderr.last().unwrap();
    assert!(line.starts_with("error: threads: a server on 1 cores needs"), "{line}");

    let mut server = serve(least, address);
    assert!(server.says("listening on"), "it does not start with what was counted");
    for _ in 0..50 {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }
    // Those that are open are shut down by the drain.
    let _open: Vec<_> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
    server.signal(Signal::TERM);
    let finished = server.finish();
    assert_eq!(finished.code, Some(143), "{finished:?}");
}
