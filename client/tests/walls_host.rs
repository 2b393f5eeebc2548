//! The walls of the host and of the process, each met on purpose with the real programs: the verdict
//! must name it and its side, and after the fix that the verdict gives the same run must not meet it
//! again. What stands in the way before the first connection is refused by its name.
//! How often each is named right is measured by `verdicts`.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::thread;

use common::{Program, free_ports, refusal, server_binary};
use lab::host::{Cage, ControlGroup, HostWide, skipped, unchanged};
use lab::netns::{Run, Sight};
use lab::scenes::*;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
mod lab;

impl Wall {
    fn is_named(&self, run: &Run) -> bool {
        let expected = (self.id, self.side);
        match run.named() {
            Some(named) => self.costs && named == expected,
            None => !self.costs && run.met().contains(&expected),
        }
    }

    /// Meets the wall, looks at the verdict, does what it says, and does not meet it.
    fn check(&self) {
        let Some(met) = (self.run)(Sight::With, None) else { return };
        let verdict = &met.result["verdict"];
        assert!(self.is_named(&met), "{}: {verdict:#}", self.id);
        assert_eq!(met.finished.code, Some(i32::from(self.costs)), "{met:#?}");
        let Some(lifted) = (self.run)(Sight::With, Some(&met)) else { return };
        assert_eq!(lifted.finished.code, Some(0), "{} is not lifted: {lifted:#?}", self.id);
        // What cost something may be touched still; it costs nothing any more.
        let met = if self.costs { Vec::new() } else { lifted.met() };
        let named: Vec<_> = met.into_iter().chain(lifted.named()).collect();
        assert!(
            named.iter().all(|(id, _)| *id != self.id),
            "{} is met again: {lifted:#?}",
            self.id
        );
    }
}

#[test]
fn memlock() {
    MEMLOCK.check();
}

#[test]
fn nofile() {
    NOFILE.check();
}

#[test]
fn file_max() {
    FILE_MAX.check();
}

#[test]
fn tcp_mem() {
    TCP_MEM.check();
}

#[test]
fn socket_buffers() {
    SOCKET_BUFFERS.check();
}

#[test]
fn memory() {
    MEMORY.check();
}

#[test]
fn cgroup_memory() {
    CGROUP_MEMORY.check();
}

#[test]
fn cgroup_reserve() {
    CGROUP_RESERVE.check();
}

#[test]
fn cpu_quota() {
    CPU_QUOTA.check();
}

#[test]
fn cpu() {
    CPU.check();
}

#[test]
fn softirq_budget() {
    SOFTIRQ_BUDGET.check();
}

/// A wrong name is worse than none.
#[test]
fn what_is_no_wall_has_no_name() {
    STOPPED.check();
    KILLED.check();
}

// ---- before the first connection ----------------------------------------------------------

/// Both programs, ready to start in `cage`; somebody listens where the client would connect to.
fn programs(cage: &Cage, listener: &TcpListener) -> [Command; 2] {
    let target = listener.local_addr().expect("it is bound").to_string();
    let listen = free_ports(Ipv4Addr::LOCALHOST.into(), 1).to_string();
    let client = Path::new(env!("CARGO_BIN_EXE_megaconn-client"));
    let flags = ["run", "--target", &target, "--connections", "10", "--hold", "0s"];
    let server = cage.command(&server_binary(), &["serve", "--listen", &listen]);
    [server, cage.command(client, &flags)]
}

/// In `cage` both programs refuse to start, for `id`.
fn refuses(cage: &Cage, id: &str) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    for mut program in programs(cage, &listener) {
        let line = refusal(&mut program);
        assert!(line.starts_with(&format!("error: {id}: ")), "{program:?} said {line}");
    }
}

/// In `cage` the server starts.
fn starts(cage: &Cage) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    let [mut server, _] = programs(cage, &listener);
    let mut server = Program::start(&mut server);
    assert!(server.says("listening on"), "{:#?}", server.finish());
}

#[test]
fn io_uring_disabled() {
    let cage = Cage::open().without("sys_admin");
    let mut host = HostWide::claim();
    // Root with all its rights does not feel this value, and so nobody else who tests here.
    if !host.set("kernel.io_uring_disabled", "1") {
        return skipped("io-uring-disabled, because kernel.io_uring_disabled cannot be set");
    }
    refuses(&cage, "io-uring-disabled");
    assert!(host.set("kernel.io_uring_disabled", "0"), "what could be set can be set again");
    starts(&cage);
}

#[test]
fn io_uring_seccomp() {
    let _quiet = unchanged();
    for errno in [libc::EPERM, libc::ENOSYS] {
        // The filter holds for the thread that applies it, and for what that thread starts.
        let thread = thread::spawn(move || {
            let rules = [(libc::SYS_io_uring_setup, Vec::new())].into();
            let answer = SeccompAction::Errno(errno.unsigned_abs());
            let architecture = std::env::consts::ARCH.try_into().expect("a filter can be made");
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, architecture);
            let program: BpfProgram = filter.and_then(TryInto::try_into).expect("it is valid");
            seccompiler::apply_filter(&program).expect("a filter may be applied");
            refuses(&Cage::open(), "io-uring-seccomp");
        });
        thread.join().expect("see the panic of the thread");
    }
    starts(&Cage::open());
}

#[test]
fn threads() {
    let _quiet = unchanged();
    for count in [1, 2, 3, 4, 5] {
        let Some(group) = ControlGroup::threads(count) else { return };
        refuses(&Cage::open().group(&group), "threads");
    }
    let Some(group) = ControlGroup::threads(1024) else { return };
    starts(&Cage::open().group(&group));
}

#[test]
fn memlock_at_the_start() {
    let _quiet = unchanged();
    for kib in [0, 8, 64, 512] {
        refuses(&Cage::open().limit('l', kib).without("ipc_lock"), "memlock");
    }
}

#[test]
fn nofile_at_the_start() {
    let _quiet = unchanged();
    for files in [16, 32] {
        refuses(&Cage::open().limit('n', files), "nofile");
    }
}
