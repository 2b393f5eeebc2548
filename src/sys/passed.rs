//! Descriptors that the process which started this one has passed to it, by the protocol of sd_listen_fds(3):
//! from number 3 on, as many as `LISTEN_FDS` says.

use std::ffi::OsString;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The number of the first one.
pub const FIRST: RawFd = 3;

/// The variables of the protocol: whose they are, how many, and their names.
pub const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// What the variables say. They are gone then, so that no process that this one starts takes them for its own.
/// To be called on the first thread, before there is another one.
#[must_use]
pub fn take_variables() -> [Option<OsString>; 3] {
    VARIABLES.map(|name| {
        let value = std::env::var_os(name);
        if value.is_some() {
            #[expect(unsafe_code, reason = "no safe call takes a variable out of the environment")]
            // SAFETY: nothing else reads or writes the environment: the process has one thread yet, as the
            // caller sees to. Exercised by `client/tests/take_over.rs`.
            unsafe {
                std::env::remove_var(name);
            }
        }
        value
    })
}

/// The first `count` of them that are open, each to be closed when it is dropped; `None` for one that is not.
/// To be called once, before the process has opened anything.
#[must_use]
pub fn take(count: u16) -> Vec<Option<OwnedFd>> {
    let numbers = FIRST..FIRST + RawFd::from(count);
    numbers.map(|number| is_open(number).then(|| own(number))).collect()
}

fn is_open(number: RawFd) -> bool {
    #[expect(unsafe_code, reason = "no safe call looks at a descriptor that may be closed")]
    // SAFETY: F_SETFD takes a number and a flag and touches no memory; a closed descriptor is its error EBADF.
    // Exercised as above.
    let set = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    set != -1
}

fn own(number: RawFd) -> OwnedFd {
    #[expect(unsafe_code, reason = "the number is all that a process is told of it")]
    // SAFETY: it is open, and by the protocol it is passed to this process, in which nothing else has it: the
    // caller asks once, before anything is opened. Exercised as above.
    unsafe {
        OwnedFd::from_raw_fd(number)
    }
}
