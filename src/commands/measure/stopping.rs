//! Signals that ask the measurement to stop. They are counted: the first one ends both ends in order, a
//! second one at once.

use std::io;

use megaconn::host::procfs::ProcFs;
use megaconn::runtime::signals::{Stop, is_ignored};
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

/// What signals have asked for so far.
pub(crate) struct Stopping {
    signals: Signals,
    first: Option<Stop>,
}

/// What came since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To stop.
    Stop(Stop),
    /// To stop, once more.
    StopAtOnce(Stop),
    /// For a dump of the statistics.
    Dump,
}

impl Stopping {
    /// Installs the handlers.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub(crate) fn install() -> io::Result<Stopping> {
        let stops = [SIGINT, SIGTERM, SIGUSR1].into_iter();
        // `nohup` has it ignored.
        let hang_up = Some(SIGHUP).filter(|signal| !is_ignored(&ProcFs::host(), *signal));
        Ok(Stopping { signals: Signals::new(stops.chain(hang_up))?, first: None })
    }

    /// What has come since the last look.
    pub(crate) fn asked(&mut self) -> Option<Asked> {
        let signal = self.signals.pending().next()?;
        let stop = match signal {
            SIGUSR1 => return Some(Asked::Dump),
            SIGHUP => Stop::HangUp,
            SIGINT => Stop::Interrupt,
            _ => Stop::Terminate,
        };
        if self.first.is_some() {
            return Some(Asked::StopAtOnce(stop));
        }
        self.first = Some(stop);
        Some(Asked::Stop(stop))
    }

    /// The first signal that asked to stop.
    pub(crate) fn first(&self) -> Option<Stop> {
        self.first
    }
}

/// The signal that ends a server after `stop`. SIGHUP has one with certificates in files load them anew.
pub(crate) fn signal_for_server(stop: Option<Stop>) -> Signal {
    match stop {
        None | Some(Stop::HangUp) => Signal::TERM,
        Some(stop) => signal_of(stop),
    }
}

/// The signal that `stop` came by.
pub(crate) fn signal_of(stop: Stop) -> Signal {
    match stop {
        Stop::Interrupt => Signal::INT,
        Stop::Terminate => Signal::TERM,
        Stop::HangUp => Signal::HUP,
    }
}
