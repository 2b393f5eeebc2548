//! The socket options and calls that no safe wrapper has.

use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, TcpKeepalive, Type};

use crate::base::errno::Errno;

/// Since Linux 6.3, see ip(7); not yet in the libc crate on every architecture.
const IP_LOCAL_PORT_RANGE: libc::c_int = 51;

/// Steering by CPU was not possible; connections are then spread by hash.
#[derive(Debug, thiserror::Error)]
#[error("SO_ATTACH_REUSEPORT_CBPF: {0}")]
pub struct SteerError(Errno);

/// Whether this kernel can pin a source port without binding it (Linux 6.3 and newer).
#[must_use]
pub fn can_pin_source_port() -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, None)
        .is_ok_and(|socket| pin_source_port(&socket, u16::MAX).is_ok())
}

/// Makes the socket's next connect use exactly `port`, if its 4-tuple is free; a bind before it
/// sets the address alone.
pub(crate) fn pin_source_port(socket: &Socket, port: u16) -> std::io::Result<()> {
    let range = u32::from(port) << 16 | u32::from(port);
    set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1_i32)?;
    set(socket, libc::IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range)
}

/// Has the kernel ask a peer that was silent for `interval` whether it is there, and again after
/// each further one; see tcp(7). Sockets accepted by a listener have its setting.
///
/// # Errors
/// What `setsockopt` says.
pub fn keep_alive(socket: &Socket, interval: Duration) -> std::io::Result<()> {
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(interval).with_interval(interval))
}

/// How long an accept of [`accept_to_reset`] waits at most, when another process or core was faster; a
/// jiffy is the least that there is.
const ACCEPT_WAIT: Duration = Duration::from_millis(1);

/// Accepts up to `limit` waiting connections as ordinary descriptors and resets them; how many. The socket
/// stays one that blocks: those that share it share that as well, and a ring does not wait on one that
/// does not.
pub(crate) fn accept_to_reset(listener: &Socket, limit: usize) -> std::io::Result<usize> {
    listener.set_read_timeout(Some(ACCEPT_WAIT))?;
    let refused = (0..limit)
        .take_while(|_| has_waiting(listener))
        .map_while(|_| listener.accept().ok())
        .map_while(|(socket, _)| socket.set_linger(Some(Duration::ZERO)).ok())
        .count();
    Ok(refused)
}

fn has_waiting(listener: &Socket) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&at_once)).is_ok_and(|ready| ready == 1)
}

/// Spreads the connections of a SO_REUSEPORT group by hash again.
///
/// # Errors
/// What `setsockopt` says; also where they were.
pub fn steer_by_hash(listener: &Socket) -> Result<(), SteerError> {
    set(listener, libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF, &0_i32)
        .map_err(|error| SteerError(Errno::from(&error)))
}

/// Gives a connection to the listener, of a SO_REUSEPORT group, whose core runs on the CPU that
/// received it; `cpus[i]` is the CPU of the group's i-th listener. A CPU outside of the list gives
/// to listener `cpu % listeners`.
///
/// # Errors
/// What the kernel says of the filter.
pub fn steer_by_cpu(listener: &Socket, cpus: &[u16]) -> Result<(), SteerError> {
    let program = steering_program(cpus);
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| SteerError(Errno::EINVAL))?,
        filter: program.as_ptr().cast_mut(),
    };
    set(listener, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &filter)
        .map_err(|error| SteerError(Errno::from(&error)))
}

/// Classic BPF: load the CPU number, compare it with each CPU of the list, return its index.
fn steering_program(cpus: &[u16]) -> Vec<libc::sock_filter> {
    const LOAD_ABSOLUTE: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const CURRENT_CPU: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_CPU).cast_unsigned();
    const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN_VALUE: u32 = libc::BPF_RET | libc::BPF_K;
    const MODULO: u32 = libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K;
    const RETURN_ACCUMULATOR: u32 = libc::BPF_RET | libc::BPF_A;
    let mut program = vec![step(LOAD_ABSOLUTE, 0, CURRENT_CPU)];
    for (index, &cpu) in (0_u32..).zip(cpus) {
        program.push(step(JUMP_IF_EQUAL, 1, u32::from(cpu)));
        program.push(step(RETURN_VALUE, 0, index));
    }
    let listeners = u32::try_from(cpus.len()).expect("a core list is short");
    program.extend([step(MODULO, 0, listeners), step(RETURN_ACCUMULATOR, 0, 0)]);
    program
}

/// One instruction; `skip_unless` instructions are passed over when a comparison fails.
fn step(code: u32, skip_unless: u8, k: u32) -> libc::sock_filter {
    let code = u16::try_from(code).expect("opcodes have 16 bits");
    libc::sock_filter { code, jt: 0, jf: skip_unless, k }
}

fn set<T>(socket: &Socket, level: i32, name: i32, value: &T) -> std::io::Result<()> {
    let bytes = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
    let address = std::ptr::from_ref(value).cast();
    // SAFETY: the kernel reads `bytes` bytes at `address` during the call alone, and `value` is
    // borrowed for it; a filter program it points to is alive in the caller. Exercised by
    // tests/ring.rs and by every run.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, address, bytes) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
