//! A service that holds connections, on the library: it greets, gives each line back in capitals, and
//! says every ten seconds that it is there. `cargo run --example presence -- 127.0.0.1:7100`

use std::sync::Arc;
use std::time::Duration;

use glommio::timer::Timer;
use megaconn::base::constants::BACKLOG_DEFAULT;
use megaconn::drivers::uring::{UringConfig, UringDriver};
use megaconn::engine::protocol::{Action, Protocol};
use megaconn::engine::server::{Server, ServerConfig};
use megaconn::host::rlimit;
use megaconn::observe::stats::ServerStats;
use megaconn::runtime::listeners::{self, Settings, Steer};
use megaconn::runtime::process::{Controls, Dumps, Process};
use megaconn::runtime::start_error::CoreStartError;
use megaconn::runtime::topology::CoreList;
use megaconn::sys::doorbell::Doorbell;

struct Presence;

impl Protocol for Presence {
    type State = ();

    fn speaks_first(&self) -> bool {
        true
    }

    fn timer_every(&self) -> Option<Duration> {
        Some(Duration::from_secs(10))
    }

    fn on_open(&self, (): &mut (), out: &mut [u8]) -> Action {
        say(b"welcome\n", out)
    }

    fn on_bytes(&self, (): &mut (), buffer: &mut [u8], filled: u16) -> Action {
        let lines = buffer[..filled.into()].iter().rposition(|byte| *byte == b'\n');
        let end = lines.map_or(0, |last| u16::try_from(last + 1).expect("a buffer has 16 bits"));
        buffer[..end.into()].make_ascii_uppercase();
        Action::send(0..end).keeping(end..filled)
    }

    fn on_timer(&self, (): &mut (), out: &mut [u8]) -> Action {
        say(b"still here\n", out)
    }
}

fn say(text: &[u8], out: &mut [u8]) -> Action {
    out[..text.len()].copy_from_slice(text);
    Action::send(0..u16::try_from(text.len()).expect("it fits a buffer"))
}

fn core(
    (driver, server): (UringConfig, ServerConfig),
    stats: Arc<ServerStats>,
    bell: &Doorbell,
) -> Result<Server<UringDriver, Presence>, CoreStartError> {
    let driver = UringDriver::new(driver, bell).map_err(|error| CoreStartError::driver(&error))?;
    Server::new(driver, server, Presence, stats).map_err(CoreStartError::first_segment)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7100".into()).parse()?;
    let cpus = CoreList::All.resolve()?;
    let slots = rlimit::slots_per_segment(rlimit::raise_nofile());
    let (backlog, steer) = (BACKLOG_DEFAULT, Steer::Hash);
    let settings = Settings { backlog, steer, keepalive: None, sends_at_once: false };
    let (groups, _) = listeners::open(&[address], &cpus, &settings)?;
    let seed = |of_core| (UringConfig::listening(of_core), ServerConfig::new(1, slots));
    let seeds = listeners::deal(groups, cpus.len())?.into_iter().map(seed).collect();
    let dumps = Dumps { out: None, every: Duration::from_secs(1) };
    let until_a_signal = async |controls: Controls<_>| {
        while controls.signals.stop().is_none() && controls.commands.all_run() {
            Timer::new(Duration::from_millis(20)).await;
        }
        controls.dumps.end();
    };
    let ((), died) = Process::begin(&cpus)?.run(seeds, core, dumps, until_a_signal)?;
    died.map_or(Ok(()), |error| Err(error.into()))
}
