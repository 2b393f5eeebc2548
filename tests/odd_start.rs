//! A server that starts on a host of which something is missing: it runs, or it is refused by name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use common::{Program, connect, cores, echo, free_ports};
use rustix::process::Signal;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// A server behind `before`, a line of shell.
fn serve(before: &str, address: SocketAddr) -> Program {
    let binary = Path::new(env!("CARGO_BIN_EXE_megaconn")).display();
    let line = format!("{before} exec '{binary}' serve --cores {} --listen {address}", cores(2));
    Program::start(Command::new("bash").args(["-c", &line]))
}

fn free() -> SocketAddr {
    free_ports(IpAddr::V4(Ipv4Addr::LOCALHOST), 1)
}

/// The exit status when the loader finds no room for the program and its libraries.
const NOT_LOADED: i32 = 127;

#[test]
fn little_address_space_is_its_own_wall() {
    let mut refused = 0;
    for mib in (20..=200).step_by(20) {
        let mut server = serve(&format!("ulimit -v {} &&", mib * 1024), free());
        if server.says("listening on") {
            server.signal(Signal::TERM);
            server.finish();
            continue;
        }
        let finished = server.finish();
        let was_killed = finished.code.is_none() && finished.stderr.is_empty();
        if was_killed || finished.code == Some(NOT_LOADED) {
            // The program has not begun: the loader, or the kernel before it, had no room.
            continue;
        }
        let line = finished.stderr.last().expect("it says why");
        let is_named = line.starts_with("error: address-space: ") && line.contains("ulimit -v");
        assert!(is_named && finished.code == Some(2), "{mib} MiB: {finished:#?}");
        refused += 1;
    }
    assert!(refused > 0, "so little address space is enough for no server");
}

/// glommio looks a CPU up in /sys; where there is nothing, a core pins itself.
#[test]
fn a_host_without_sys_is_served() {
    for path in ["/sys", "/sys/devices/system/cpu"] {
        let hide = format!("mount -t tmpfs none {path} &&");
        let trial = format!("{hide} true");
        let mut can_hide = Command::new("unshare");
        can_hide.args(["-Urm", "bash", "-c", &trial]);
        if !can_hide.status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: {path} cannot be hidden here");
            continue;
        }
        let address = free();
        let binary = Path::new(env!("CARGO_BIN_EXE_megaconn")).display();
        let line = format!("{hide} exec '{binary}' serve --cores {} --listen {address}", cores(2));
        let mut server =
            Program::start(Command::new("unshare").args(["-Urm", "bash", "-c", &line]));
        assert!(server.says("listening on"), "{path}: {:#?}", server.finish());
        let stream: TcpStream = connect(address);
        assert_eq!(echo(&stream, b"here").expect("it answers"), b"here");
        server.signal(Signal::TERM);
        assert_eq!(server.finish().code, Some(143), "{path}");
    }
}
