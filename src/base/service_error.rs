//! Why a small service of a process, which its housekeeping offers beside the cores, could not be
//! begun: the flag that asked for it, and the fix.

use std::io;
use std::net::SocketAddr;

use crate::base::errno::Errno;

/// Why a small service cannot be offered at its address.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {address}: {what}; fix: {fix}")]
pub struct ServiceError {
    flag: &'static str,
    address: SocketAddr,
    what: String,
    fix: &'static str,
}

impl ServiceError {
    /// What `error` means for the address that `flag` was given.
    pub fn new(flag: &'static str, address: SocketAddr, error: &io::Error) -> ServiceError {
        let (what, fix) = match Errno::from(error) {
            Errno::EADDRINUSE => {
                ("the port is in use".into(), "choose another port, or see `ss -ltnp`")
            }
            Errno::EADDRNOTAVAIL => {
                ("this host has no such address".into(), "see `ip addr`, or use 127.0.0.1")
            }
            Errno::EACCES => ("permission denied".into(), "a port above 1023"),
            Errno::EMFILE => ("too many open files".into(), "a higher `ulimit -n`"),
            Errno::EAGAIN => {
                ("no thread for it".into(), "a higher `ulimit -u`, or sysctl kernel.threads-max")
            }
            _ => (error.to_string(), "see man 7 socket"),
        };
        ServiceError { flag, address, what, fix }
    }
}
