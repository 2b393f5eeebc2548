//! A measurement from its start to its end: a server, a client against it, and the end of both.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use megaconn::base::constants::LOOK_EVERY;
use megaconn::base::files::told;
use megaconn::base::stderr::talk;
use megaconn::base::stdout::deliver;
use megaconn::base::units::grouped;
use megaconn::base::wanted;
use megaconn::host::procfs::ProcFs;
use megaconn::host::sockets::Sockstat;
use megaconn::plan::tuples::PortRange;
use megaconn::report;
use megaconn::results::{RESULT, SERVER_DUMPS};
use rustix::process::Signal;

use crate::commands::measure::child::{End, Ended};
use crate::commands::measure::ends::MoreFlags;
use crate::commands::measure::flags::Flags;
use crate::commands::measure::killed::Kills;
use crate::commands::measure::place::{self, SERVER_LOG};
use crate::commands::measure::stopping::{Asked, Stopping, signal_for_server, signal_of};

/// Times that ports are chosen, when something else takes them between the look and the server.
const PORTS_TRIES: u32 = 5;

/// Time that the server has to listen.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Time that the server has to end, once it is told to: it may have a --drain.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// Time that the kernel has to take the sockets of programs that have ended down.
const SOCKETS_TIMEOUT: Duration = Duration::from_secs(120);

/// Sockets more than before the run that may be of other programs.
const OTHER_SOCKETS: u64 = 1_000;

/// Time between two lines that say what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Exit status of a run of which something was not reached.
const MISSED: u8 = 1;
/// Of one that did not begin.
const REFUSED: u8 = 2;

/// A measurement while it goes on.
struct Measurement {
    out: PathBuf,
    stopping: Stopping,
    kills: Kills,
    /// TCP sockets of the host before it.
    sockets_before: Option<u64>,
    server: End,
}

/// Does what `flags` say; the exit status.
///
/// # Errors
/// Why nothing was begun, with the fix.
pub(crate) fn measure(flags: &Flags) -> Result<u8, String> {
    let more = MoreFlags::of(&flags.ends)?;
    let client = place::client()?;
    let mut ports = place::ports(flags.ports, false)?;
    let out = place::directory(flags.out.as_deref())?;
    let stopping = Stopping::install()
        .map_err(|error| format!("signal handlers: {error}; fix: none known, please report it"))?;
    let sockets_before = Sockstat::read(&ProcFs::host()).tcp_allocated;
    let kills = Kills::begin();
    let server = start_server(&out, ports, flags, &more)?;
    let mut measurement = Measurement { out, stopping, kills, sockets_before, server };
    let mut is_listening = measurement.await_server();
    for _ in 1..PORTS_TRIES {
        if flags.ports.is_some() || !measurement.lost_its_port() {
            break;
        }
        ports = place::ports(None, true)?;
        measurement.server = start_server(&measurement.out, ports, flags, &more)?;
        is_listening = measurement.await_server();
    }
    let status = match (is_listening, measurement.stopping.first()) {
        (true, _) => measurement.with_server(&client, ports, flags, &more),
        (false, Some(_)) => MISSED,
        (false, None) => measurement.say_not_started(),
    };
    measurement.end();
    Ok(measurement.stopping.first().map_or(status, |stop| stop.exit_status()))
}

impl Measurement {
    /// A client against the server, which listens; the exit status.
    fn with_server(
        &mut self,
        client: &Path,
        ports: PortRange,
        flags: &Flags,
        more: &MoreFlags,
    ) -> u8 {
        let log = fs::read_to_string(self.out.join(SERVER_LOG)).unwrap_or_default();
        let is_websocket = log.lines().any(|line| line == "websocket=on");
        let scheme = if is_websocket { "ws://" } else { "" };
        let mut command = Command::new(client);
        command.args(["run", "--target", &format!("{scheme}127.0.0.1:{ports}")]);
        command.args(["--connections", &wanted::listed(&flags.connections)]);
        command.args(["--hold", &format!("{}ms", flags.hold.as_millis()), "--out"]).arg(&self.out);
        let bystander = log.lines().find_map(|line| line.strip_prefix("bystander="));
        if let Some(address) = bystander.filter(|_| !flags.no_bystanders) {
            command.args(["--bystanders", "--bystander-service", address]);
        }
        command.args(&more.run).stdin(Stdio::null());
        let status = match End::start("megaconn-client", &mut command) {
            Ok(client) => self.with_client(client),
            Err(error) => {
                talk(&format!("error: {error}"));
                REFUSED
            }
        };
        let status = self.server_after(status);
        self.say_files();
        status
    }

    /// Waits until the server listens; whether it does.
    fn await_server(&mut self) -> bool {
        let began = Instant::now();
        let log = self.out.join(SERVER_LOG);
        loop {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.lines().any(|line| line.starts_with("listening on ")) {
                return true;
            }
            if self.server.ended().is_some() || began.elapsed() > START_TIMEOUT {
                return false;
            }
            if let Some(Asked::Stop(stop) | Asked::StopAtOnce(stop)) = self.stopping.asked() {
                self.server.signal(signal_for_server(Some(stop)));
                return false;
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Whether the server has ended because something else took its port after it was looked at.
    fn lost_its_port(&mut self) -> bool {
        let said = fs::read_to_string(self.out.join(SERVER_LOG)).unwrap_or_default();
        self.server.ended().is_some() && said.contains(": the port is in use;")
    }

    /// Says why the server did not come to listen; the exit status.
    fn say_not_started(&mut self) -> u8 {
        let log = self.out.join(SERVER_LOG);
        let said = fs::read_to_string(&log).unwrap_or_default();
        let why = said.lines().find(|line| line.starts_with("error: "));
        match (why, self.server.ended()) {
            (Some(why), _) => talk(why),
            (None, Some(Ended::By(signal))) => {
                let (name, id) = (self.server.name(), self.server.id());
                talk(&format!("error: {}", self.kills.say(name, id, signal)));
            }
            (None, _) => talk(&format!(
                "error: the server did not listen within {} s; fix: see {}",
                START_TIMEOUT.as_secs(),
                log.display()
            )),
        }
        REFUSED
    }

    /// Waits for the end of the client, and passes signals on to it; the exit status.
    fn with_client(&mut self, mut client: End) -> u8 {
        let ended = loop {
            if let Some(ended) = client.ended() {
                break ended;
            }
            match self.stopping.asked() {
                Some(Asked::Stop(stop)) => client.signal(signal_of(stop)),
                Some(Asked::StopAtOnce(_)) => client.signal(Signal::KILL),
                Some(Asked::Dump) => {
                    client.signal(Signal::USR1);
                    self.server.signal(Signal::USR1);
                }
                None => thread::sleep(LOOK_EVERY),
            }
        };
        match ended {
            Ended::With(status) => status,
            Ended::By(signal) => {
                if self.stopping.first().is_none() {
                    let said = self.kills.say(client.name(), client.id(), signal);
                    talk(&format!("error: {said}"));
                }
                // The page of what it had written until then.
                if let Err(error) =
                    report::write(std::slice::from_ref(&self.out), &self.out.join(report::FILE))
                {
                    talk(&format!("warning: no report: {error}"));
                }
                MISSED
            }
        }
    }

    /// The exit status, when the server did not outlive the client; that is told.
    fn server_after(&mut self, status: u8) -> u8 {
        let Some(ended) = self.server.ended() else { return status };
        match ended {
            Ended::By(signal) => {
                let (name, id) = (self.server.name(), self.server.id());
                talk(&format!("error: {}", self.kills.say(name, id, signal)));
            }
            Ended::With(status) => {
                let log = self.out.join(SERVER_LOG);
                let log = log.display();
                talk(&format!("error: the server ended by itself with status {status}, see {log}"));
            }
        }
        status.max(MISSED)
    }

    /// Says where the run's files are.
    fn say_files(&self) {
        let has = |name: &str| self.out.join(name).exists();
        let mut lines = String::new();
        if has(RESULT.name) {
            lines += &format!("   run directory  {}\n", self.out.display());
        }
        if has(report::FILE) {
            lines += &format!("          report  {}\n", self.out.join(report::FILE).display());
        }
        if let Err(error) = deliver(lines.as_bytes()) {
            talk(&format!("warning: {error}"));
        }
    }

    /// Ends the server, also one that is stopped, and waits until the kernel has taken the sockets down, so
    /// that a next run finds them free.
    fn end(&mut self) {
        self.server.signal(signal_for_server(self.stopping.first()));
        self.server.signal(Signal::CONT);
        let has_ended = |it: &mut Measurement| it.server.ended().is_some();
        if !self.await_within(END_TIMEOUT, "the server to end", has_ended) {
            self.server.signal(Signal::KILL);
            self.await_within(END_TIMEOUT, "the server to end", has_ended);
        }
        let are_down = |it: &mut Measurement| it.sockets_left() == 0;
        self.await_within(SOCKETS_TIMEOUT, "the kernel to take the sockets down", are_down);
    }

    /// Sockets that are there and were not before the run, beyond what others may have opened.
    fn sockets_left(&self) -> u64 {
        let now = Sockstat::read(&ProcFs::host()).tcp_allocated;
        let more = now.zip(self.sockets_before).map(|(now, before)| now.saturating_sub(before));
        more.filter(|more| *more > OTHER_SOCKETS).unwrap_or(0)
    }

    /// Waits until something is so, a second signal comes, or the time is up; whether it is so.
    fn await_within(
        &mut self,
        time: Duration,
        what: &str,
        is_so: fn(&mut Measurement) -> bool,
    ) -> bool {
        let began = Instant::now();
        let mut said_at = began;
        while began.elapsed() < time {
            if is_so(self) {
                return true;
            }
            if let Some(Asked::StopAtOnce(_)) = self.stopping.asked() {
                return false;
            }
            if said_at.elapsed() >= SAY_EVERY {
                said_at = Instant::now();
                let sockets = grouped(self.sockets_left());
                talk(&format!("waiting for {what}, {sockets} sockets are left"));
            }
            thread::sleep(LOOK_EVERY);
        }
        false
    }
}

fn start_server(
    out: &Path,
    ports: PortRange,
    flags: &Flags,
    more: &MoreFlags,
) -> Result<End, String> {
    let own = std::env::current_exe().map_err(|error| {
        format!("this program's own file is not found: {error}; fix: mount /proc")
    })?;
    let log = out.join(SERVER_LOG);
    let says = File::create(&log).map_err(|error| {
        format!("{}: {}", log.display(), told(&error, "a directory that you may write"))
    })?;
    let mut command = Command::new(own);
    command.args(["serve", "--listen", &format!("127.0.0.1:{ports}"), "--stats"]);
    command.arg(out.join(SERVER_DUMPS));
    if !flags.no_bystanders {
        command.args(["--bystander", "127.0.0.1:0"]);
    }
    command.args(&more.serve).stdin(Stdio::null()).stdout(Stdio::null()).stderr(says);
    End::start("megaconn", &mut command)
}
