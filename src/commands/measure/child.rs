//! One end of a measurement, as a process of its own.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};

use megaconn::runtime::process::PARENT;
use rustix::process::{Pid, Signal, kill_process};

/// A process that was started here, until it has ended.
pub(crate) struct End {
    name: &'static str,
    child: Child,
    ended: Option<ExitStatus>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With an exit status.
    With(u8),
    /// By a signal that it did not catch.
    By(i32),
}

impl End {
    /// Starts `command`, which is called `name` in messages. It has a process group of its own: a Ctrl-C
    /// is for this process, which passes it on in order. It has no session of its own, by which the
    /// scheduler would group it. When this process is killed, it ends too.
    ///
    /// # Errors
    /// When it cannot be started, with the fix.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<End, String> {
        let command = command.process_group(0).env(PARENT, std::process::id().to_string());
        let started = command.spawn();
        let child = started.map_err(|error| not_started(name, &error))?;
        Ok(End { name, child, ended: None })
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn ended(&mut self) -> Option<Ended> {
        if self.ended.is_none() {
            // A child of ours that was not waited for can be waited for.
            self.ended = self.child.try_wait().unwrap_or_default();
        }
        let status = self.ended?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Some(code.map_or_else(|| Ended::By(status.signal().unwrap_or_default()), Ended::With))
    }

    /// Sends it a signal, if it still runs.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            // It may end between the two.
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }
}

/// What is still there when the measurement fails is ended at once.
impl Drop for End {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn not_started(name: &str, error: &io::Error) -> String {
    let fix = match error.kind() {
        io::ErrorKind::PermissionDenied => "chmod +x on its file",
        _ => "fewer processes, or more memory",
    };
    format!("{name} cannot be started: {error}; fix: {fix}")
}
