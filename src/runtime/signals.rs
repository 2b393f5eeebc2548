//! SIGINT, SIGTERM and SIGHUP stop, a second one at once; SIGUSR1 asks for a dump. A SIGHUP that was
//! ignored when the program began, as `nohup` has it, is ignored from then on. A program that has something
//! to load anew does so on SIGHUP, and is not stopped by it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

use crate::host::procfs::ProcFs;

/// Which signal asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT: exit status 130.
    Interrupt,
    /// SIGTERM: exit status 143.
    Terminate,
    /// SIGHUP: exit status 129. The terminal is gone.
    HangUp,
}

impl Stop {
    /// 128 plus the signal's number.
    #[must_use]
    pub fn exit_status(self) -> u8 {
        match self {
            Stop::Interrupt => 130,
            Stop::Terminate => 143,
            Stop::HangUp => 129,
        }
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stop::Interrupt => "SIGINT",
            Stop::Terminate => "SIGTERM",
            Stop::HangUp => "SIGHUP",
        })
    }
}

/// What SIGHUP asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// To stop, unless it was ignored when the program began.
    Stops,
    /// To load files anew, also where it was ignored.
    Reloads,
}

/// What has been asked by signals so far.
pub struct Signals {
    stop: Arc<AtomicUsize>,
    dump: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn install(hang_up: HangUp) -> io::Result<Signals> {
        let stop = Arc::new(AtomicUsize::new(0));
        let [dump, reload] = [0; 2].map(|_| Arc::new(AtomicBool::new(false)));
        // In this order: the second signal, whichever, finds the flag of the first and ends the
        // process at once.
        let again = Arc::new(AtomicBool::new(false));
        let stops = [(SIGINT, Stop::Interrupt), (SIGTERM, Stop::Terminate), (SIGHUP, Stop::HangUp)];
        for (signal, stop_by) in stops {
            if signal == SIGHUP && hang_up == HangUp::Reloads {
                flag::register(SIGHUP, Arc::clone(&reload))?;
                continue;
            }
            if signal == SIGHUP && is_ignored(&ProcFs::host(), SIGHUP) {
                continue;
            }
            let status = i32::from(stop_by.exit_status());
            flag::register_conditional_shutdown(signal, status, Arc::clone(&again))?;
            flag::register(signal, Arc::clone(&again))?;
            flag::register_usize(signal, Arc::clone(&stop), stop_by.exit_status().into())?;
        }
        flag::register(SIGUSR1, Arc::clone(&dump))?;
        Ok(Signals { stop, dump, reload })
    }

    /// The signal that asked to stop.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        match self.stop.load(Ordering::Relaxed) {
            0 => None,
            129 => Some(Stop::HangUp),
            130 => Some(Stop::Interrupt),
            _ => Some(Stop::Terminate),
        }
    }

    /// Whether a dump was asked for since the last time.
    #[must_use]
    pub fn take_dump_request(&self) -> bool {
        self.dump.swap(false, Ordering::Relaxed)
    }

    /// Whether files are to be loaded anew, asked since the last time.
    #[must_use]
    pub fn take_reload_request(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }
}

/// Whether this process ignores `signal`; not, where that cannot be read.
#[must_use]
pub fn is_ignored(procfs: &ProcFs, signal: i32) -> bool {
    let status = procfs.read("proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_signal_that_is_ignored_is_left_so() {
        let root = tempfile::tempdir().unwrap();
        let ignored = |mask: &str| {
            fs::create_dir_all(root.path().join("proc/self")).unwrap();
            let text = format!("Name:\tx\nSigIgn:\t{mask}\nSigCgt:\tffffffffffffffff\n");
            fs::write(root.path().join("proc/self/status"), text).unwrap();
            is_ignored(&ProcFs::at(root.path()), SIGHUP)
        };
        assert!(!is_ignored(&ProcFs::at(root.path()), SIGHUP), "nothing can be read");
        assert!(ignored("0000000000001001") && !ignored("0000000000001000") && !ignored("x"));
    }
}
