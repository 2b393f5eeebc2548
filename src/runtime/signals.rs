//! SIGINT and SIGTERM stop, a second one at once; SIGUSR1 asks for a dump.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// Which signal asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT: exit status 130.
    Interrupt,
    /// SIGTERM: exit status 143.
    Terminate,
}

impl Stop {
    /// 128 plus the signal's number.
    #[must_use]
    pub fn exit_status(self) -> u8 {
        match self {
            Stop::Interrupt => 130,
            Stop::Terminate => 143,
        }
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stop::Interrupt => "SIGINT",
            Stop::Terminate => "SIGTERM",
        })
    }
}

/// What has been asked by signals so far.
pub struct Signals {
    stop: Arc<AtomicUsize>,
    dump: Arc<AtomicBool>,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn install() -> io::Result<Signals> {
        let stop = Arc::new(AtomicUsize::new(0));
        let dump = Arc::new(AtomicBool::new(false));
        // In this order: the second signal, whichever, finds the flag of the first and ends the
        // process at once.
        let again = Arc::new(AtomicBool::new(false));
        for (signal, stop_by) in [(SIGINT, Stop::Interrupt), (SIGTERM, Stop::Terminate)] {
            let status = i32::from(stop_by.exit_status());
            flag::register_conditional_shutdown(signal, status, Arc::clone(&again))?;
            flag::register(signal, Arc::clone(&again))?;
            flag::register_usize(signal, Arc::clone(&stop), stop_by.exit_status().into())?;
        }
        flag::register(SIGUSR1, Arc::clone(&dump))?;
        Ok(Signals { stop, dump })
    }

    /// The signal that asked to stop.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        match self.stop.load(Ordering::Relaxed) {
            0 => None,
            130 => Some(Stop::Interrupt),
            _ => Some(Stop::Terminate),
        }
    }

    /// Whether a dump was asked for since the last time.
    #[must_use]
    pub fn take_dump_request(&self) -> bool {
        self.dump.swap(false, Ordering::Relaxed)
    }
}
