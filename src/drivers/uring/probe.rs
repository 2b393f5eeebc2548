//! Whether this host lets us use io_uring, and every operation that the driver asks for.

use std::os::fd::AsRawFd;

use io_uring::{IoUring, Probe, opcode, types};
use socket2::{Domain, Socket, Type};

use crate::base::errno::Errno;
use crate::host::procfs::ProcFs;
use crate::host::rlimit;

/// Why io_uring cannot be used here, and what lifts it.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The kernel has none.
    #[error("io_uring is missing: io_uring_setup says ENOSYS; fix: run Linux 6.1 or newer")]
    Missing,
    /// A filter pretends that the kernel has none, as some container runtimes do.
    #[error(
        "io-uring-seccomp: io_uring is missing (ENOSYS), and this process is filtered; fix: run \
         Linux 6.1 or newer, and allow the io_uring system calls in the container's seccomp profile"
    )]
    Hidden,
    /// The sysctl forbids it.
    #[error(
        "io-uring-disabled: io_uring is forbidden: kernel.io_uring_disabled is {value}; \
         fix: sysctl -w kernel.io_uring_disabled=0{group}"
    )]
    Disabled {
        /// The sysctl's value, 1 or 2.
        value: u64,
        /// The second way out that value 1 leaves.
        group: &'static str,
    },
    /// A seccomp filter forbids it.
    #[error(
        "io-uring-seccomp: io_uring is forbidden by a seccomp filter (EPERM); fix: allow \
         io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile"
    )]
    Filtered,
    /// The user's locked memory is used up.
    #[error(
        "memlock: io_uring got no memory: all rings of a user share RLIMIT_MEMLOCK ({limit_bytes} bytes); \
         fix: ulimit -l unlimited, or end other io_uring programs of this user"
    )]
    Memlock {
        /// The soft limit.
        limit_bytes: u64,
    },
    /// The kernel is too old.
    #[error("the kernel's io_uring lacks {operation}; fix: run Linux 6.1 or newer")]
    Lacks {
        /// The operation that is not there.
        operation: &'static str,
    },
    /// Something else.
    #[error("io_uring cannot be set up: {0}; fix: see `dmesg`, and man 2 io_uring_setup")]
    Other(Errno),
}

/// Makes a small ring as the driver makes them and asks for every operation it needs.
///
/// # Errors
/// The reason and the fix, when this host will not do.
pub fn probe() -> Result<(), ProbeError> {
    let ring: IoUring = IoUring::builder()
        .setup_coop_taskrun()
        .setup_single_issuer()
        .build(8)
        .map_err(|error| refused(Errno::from(&error)))?;
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| ProbeError::Other(Errno::from(&error)))?;
    let needed = [
        (opcode::Accept::CODE, "ACCEPT"),
        (opcode::Connect::CODE, "CONNECT"),
        (opcode::PollAdd::CODE, "POLL_ADD"),
        (opcode::Recv::CODE, "RECV"),
        (opcode::Send::CODE, "SEND"),
        (opcode::Shutdown::CODE, "SHUTDOWN"),
        (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
        (opcode::Close::CODE, "CLOSE"),
    ];
    match needed.into_iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, operation)) => Err(ProbeError::Lacks { operation }),
        None if !ring.params().is_feature_nodrop() => {
            Err(ProbeError::Lacks { operation: "lossless completion queues (NODROP)" })
        }
        None => Ok(()),
    }
}

/// The option by which the kernel keeps silent about a connection from now on, see TCP_REPAIR in tcp(7): it is taken apart
/// without a packet. Its level, its name, its value and how long that is.
pub(super) fn repair() -> (u32, u32, *const libc::c_void, u32) {
    static ON: libc::c_int = 1;
    let bytes = u32::try_from(size_of::<libc::c_int>()).expect("4");
    let [level, name] = [libc::IPPROTO_TCP, libc::TCP_REPAIR].map(libc::c_int::unsigned_abs);
    (level, name, (&raw const ON).cast(), bytes)
}

/// Whether connections can go without a packet: that takes CAP_NET_ADMIN, and Linux 6.7.
///
/// # Errors
/// What the kernel says to it.
pub fn can_vanish() -> Result<(), Errno> {
    let failed = |error: std::io::Error| Errno::from(&error);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(failed)?;
    let mut ring = IoUring::new(1).map_err(failed)?;
    let (level, name, value, bytes) = repair();
    let entry = opcode::SetSockOpt::new(types::Fd(socket.as_raw_fd()), level, name, value, bytes);
    // SAFETY: the entry points to a static value, and the socket outlives the wait.
    unsafe { ring.submission().push(&entry.build()) }.expect("the ring is empty");
    ring.submit_and_wait(1).map_err(failed)?;
    let result = ring.completion().next().map_or(0, |completion| completion.result());
    if result < 0 { Err(Errno(-result)) } else { Ok(()) }
}

/// Whether the kernel's ring gives a direct descriptor a number, as Linux since 6.8 does.
pub(super) fn installs() -> bool {
    let mut probe = Probe::new();
    let ring = IoUring::new(1).and_then(|ring| ring.submitter().register_probe(&mut probe));
    ring.is_ok() && probe.is_supported(opcode::FixedFdInstall::CODE)
}

fn refused(errno: Errno) -> ProbeError {
    let procfs = ProcFs::host();
    let disabled = procfs.number("kernel.io_uring_disabled").unwrap_or(0);
    // 1 does not hold for every process: one that is exempt is forbidden by something else.
    let group = procfs.number("kernel.io_uring_group").and_then(|id| u32::try_from(id).ok());
    let is_exempt = rlimit::passes_file_max() || group.is_some_and(rlimit::is_in_group);
    let is_disabled = disabled > 1 || disabled == 1 && !is_exempt;
    match errno {
        Errno::ENOSYS if is_filtered() => ProbeError::Hidden,
        Errno::ENOSYS => ProbeError::Missing,
        Errno::EPERM if is_disabled => ProbeError::Disabled {
            value: disabled,
            group: if disabled == 1 { ", or join the group kernel.io_uring_group" } else { "" },
        },
        Errno::EPERM | Errno::EACCES => ProbeError::Filtered,
        Errno::EINVAL => ProbeError::Lacks { operation: "COOP_TASKRUN and SINGLE_ISSUER" },
        Errno::ENOMEM => {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock);
            ProbeError::Memlock { limit_bytes: limit.current.unwrap_or(u64::MAX) }
        }
        other => ProbeError::Other(other),
    }
}

/// Whether a seccomp filter is on this process.
fn is_filtered() -> bool {
    let status = ProcFs::host().read("proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Seccomp:") && line.trim_end().ends_with('2'))
}
