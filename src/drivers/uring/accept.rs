//! How a connection is accepted: the kernel looks whether there is one before it makes a socket for it.
//!
//! An accept makes its socket and file first, and throws them away when no connection waits. A
//! core asks for the next one as soon as it is answered, so this happens as often as it accepts. Since
//! Linux 6.10 an accept may be asked to look first: in a bare server a fifth less CPU for each connection.

use io_uring::types::{DestinationSlot, Fd};
use io_uring::{IoUring, opcode, squeue};

use crate::base::errno::Errno;

/// IORING_ACCEPT_POLL_FIRST of the kernel's io_uring.h.
pub(super) const LOOK_FIRST: u16 = 4;

/// An accept of `listener` into `slot` of the table; `flags` go into `ioprio`, and the peer's address and its
/// length into `place`.
pub(super) fn entry(
    listener: Fd,
    slot: Option<DestinationSlot>,
    flags: u16,
    place: Option<(*mut libc::sockaddr, *mut libc::socklen_t)>,
) -> squeue::Entry {
    let (address, bytes) = place.unwrap_or((std::ptr::null_mut(), std::ptr::null_mut()));
    let mut entry = opcode::Accept::new(listener, address, bytes).file_index(slot).build();
    let ioprio = (&raw mut entry).cast::<u16>().wrapping_add(1);
    // SAFETY: an entry is the kernel's `io_uring_sqe`, of which `ioprio` is the second 16-bit word; the
    // crate has no name for it in an accept. Exercised by every accept of tests/ring.rs.
    unsafe { ioprio.write(flags) };
    entry
}

/// Whether this kernel can look first, by asking it for an accept on no descriptor at all: it finds fault
/// with a flag that it does not know before it misses the descriptor.
///
/// # Errors
/// When the small ring of the trial cannot be made.
pub(super) fn can_look_first() -> std::io::Result<bool> {
    let mut ring: IoUring = IoUring::new(1)?;
    // SAFETY: the entry holds no pointer. Exercised by every start.
    unsafe { ring.submission().push(&entry(Fd(-1), None, LOOK_FIRST, None)) }.expect("it is empty");
    ring.submit_and_wait(1)?;
    let answer = ring.completion().next().map(|completion| completion.result());
    Ok(answer == Some(-Errno::EBADF.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_since_6_10_look_first() {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut words = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        let version = (words.next().unwrap().unwrap(), words.next().unwrap().unwrap());
        // An older one may have it as well: distributions take io_uring from newer ones.
        assert!(can_look_first().unwrap() || version < (6, 10), "on Linux {release}");
    }
}
