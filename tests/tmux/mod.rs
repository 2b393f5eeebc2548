//! A real terminal for the tests: a tmux server of its own with one window, which is ended when
//! dropped.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Time that anything may take; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(40);

/// What is said where there is no tmux.
pub(crate) const MISSING: &str =
    "SKIPPED: there is no tmux to play a terminal (apt-get install tmux)";

pub(crate) fn is_there() -> bool {
    Command::new("tmux").arg("-V").output().is_ok_and(|output| output.status.success())
}

/// A window with a shell command in it.
pub(crate) struct Tmux {
    /// Has the socket that tells our server from others.
    directory: tempfile::TempDir,
    /// How the terminal was set when the command began, and is to be when it has ended.
    settings: String,
}

impl Tmux {
    pub(crate) fn start(width: u16, height: u16, command: &str) -> Tmux {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let mut tmux = Tmux { directory, settings: String::new() };
        let (width, height) = (width.to_string(), height.to_string());
        let size = ["-x", &width, "-y", &height];
        let new = ["-f", "/dev/null", "new-session", "-d"];
        // A shell that waits until its settings have been read.
        let command = format!("echo waits for enter; read -r _; {command}");
        tmux.run(&[&new[..], &size, &[&command]].concat());
        tmux.until("it waits", |screen| screen.contains("waits for enter"));
        tmux.settings = tmux.terminal();
        assert!(tmux.settings.contains(" icanon") && tmux.settings.contains(" echo"));
        tmux.press("Enter");
        tmux
    }

    pub(crate) fn press(&self, key: &str) {
        self.run(&["send-keys", key]);
    }

    pub(crate) fn resize(&self, width: u16, height: u16) {
        self.run(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    pub(crate) fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return;
            }
            assert!(Instant::now() < deadline, "waited in vain until {what}: {screen}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The settings of the terminal are those of before, it shows its first screen, and a cursor.
    pub(crate) fn is_as_before(&self) {
        assert_eq!(self.terminal(), self.settings, "the terminal is set otherwise");
        let flags = self.run(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(flags.trim(), "0 1", "it is on its other screen, or without a cursor");
    }

    fn terminal(&self) -> String {
        let tty = self.run(&["display-message", "-p", "#{pane_tty}"]);
        let stty = Command::new("stty").args(["-F", tty.trim(), "-a"]).output().expect("stty runs");
        assert!(stty.status.success(), "{stty:?}");
        let settings = String::from_utf8(stty.stdout).expect("settings are text");
        // The first line has the size, which a test may change.
        settings.lines().skip(1).collect::<Vec<_>>().join("\n")
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.directory.path().join("socket"));
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().expect("tmux was there a moment ago");
        assert!(output.status.success(), "tmux {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("a screen is text")
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // With it ends what runs in its window.
        let _ = self.command().arg("kill-server").output();
    }
}
