//! Whether stdout was open when the process began. The standard library opens `/dev/null` in place of
//! what is closed, before `main`, and then a lost answer is no error any more.

use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Called by the loader, before the standard library looks.
#[used]
#[expect(unsafe_code, reason = "a place in the file that the loader reads")]
// SAFETY: the section holds pointers to functions of this type, each called once, on the first thread,
// after the C library is ready; `look` neither panics nor needs anything of the standard library's
// start. Exercised by `tests/outputs.rs`.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    #[expect(unsafe_code, reason = "no safe call looks at a descriptor that may be closed")]
    // SAFETY: F_GETFD takes a number and changes nothing; a closed descriptor is its error EBADF.
    // Exercised as above.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    STDOUT_WAS_CLOSED.store(flags == -1, Ordering::Relaxed);
}

/// Whether stdout was closed.
#[must_use]
pub fn stdout_was_closed() -> bool {
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}
