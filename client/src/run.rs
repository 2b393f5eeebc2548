//! One run from start to end: phases told to the cores, figures read between them, the report.

use std::fs;
use std::io::{BufWriter, Write, stdout};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use glommio::timer::Timer;
use megaconn::dump::{Dump, Side};
use megaconn::launch::{self, Commands};
use megaconn::limits::{
    BUFFER_BYTES, BUFFERS_PER_CORE, LOOK_EVERY, SERVER_EMPTY_TIMEOUT, SERVER_TICK_TIMEOUT,
};
use megaconn::plan;
use megaconn::signals::{Signals, Stop};
use megaconn::stats::CoreStats;
use megaconn::talk::talk;
use megaconn::units::grouped;
use megaconn::uring::{Doorbell, UringConfig, UringDriver};
use serde::Serialize;

use crate::config::{Config, Refusal};
use crate::environment::Environment;
use crate::figures::{Figures, unix_ms};
use crate::notes;
use crate::phase::Phase;
use crate::progress::Progress;
use crate::result::{Close, Plateau, RunResult, Verdict, per_s};
use crate::shard::{Shard, ShardConfig};

/// How a run ended.
pub(crate) enum Outcome {
    Met,
    Missed,
    Stopped(Stop),
}

/// Time between two lines of a core in `client.ndjson`.
const DUMP_EVERY: Duration = Duration::from_secs(1);

/// Does what `config` says and leaves the run directory behind.
pub(crate) fn run(config: &Config) -> Result<Outcome, Refusal> {
    let signals = Signals::install().map_err(Refusal::Signals)?;
    config.lines().iter().for_each(|line| talk(line));
    let stats: Vec<Arc<CoreStats>> = config.cpus.iter().map(|_| Arc::default()).collect();
    let dump = config.out.as_deref().map(|dir| open_dump(dir, config, &stats)).transpose()?;
    let environment = Environment::read(config.plan.targets(), config.ends_here);
    if let Some(dir) = &config.out {
        write_json(dir, "environment.json", &environment)?;
    }
    let cores = launch::start(&config.cpus, make_core(config, &stats))?;
    let run = Run {
        config,
        signals,
        figures: Figures::new(&config.cpus, &stats, config.out.as_deref()),
        dump,
        dump_at: Instant::now(),
    };
    let topology = environment.topology();
    let ((mut result, stop), died) =
        cores.run(async move |commands| run.all(&commands, topology).await)?;
    if let Some(died) = died {
        result.verdict.met = false;
        result.verdict.missed.push(died.to_string());
    }
    // stdout may be closed by whoever had enough; the report goes to disk as well.
    let _ = stdout().write_all(result.summary().as_bytes());
    let written =
        config.out.as_deref().map_or(Ok(()), |dir| write_json(dir, "result.json", &result));
    if let Err(error) = &written {
        talk(&format!("error: {error}"));
    }
    Ok(match stop {
        Some(stop) => Outcome::Stopped(stop),
        None if result.verdict.met && written.is_ok() => Outcome::Met,
        None => Outcome::Missed,
    })
}

type MakeCore = Result<Shard<UringDriver>, String>;

fn make_core(
    config: &Config,
    stats: &[Arc<CoreStats>],
) -> impl Fn(usize, &Doorbell) -> MakeCore + Clone + Send + use<> {
    let cores = config.cpus.len() as f64;
    let shards: Vec<ShardConfig> = (0..config.cpus.len())
        .map(|core| ShardConfig {
            core,
            connections: config.share(core),
            slots_per_segment: config.slots_per_segment,
            rate_per_s: config.rate_per_s.map(|rate| rate as f64 / cores),
            message_bytes: config.message_bytes,
            message_count: config.message_count,
            run: config.run_id,
        })
        .collect();
    let (plan, stats) = (Arc::clone(&config.plan), stats.to_vec());
    move |core, bell| {
        let driver = UringConfig {
            listeners: Vec::new(),
            targets: plan.targets().to_vec(),
            ephemeral_ports: plan::ephemeral_ports(),
            buffers: (BUFFERS_PER_CORE, BUFFER_BYTES),
            keepalive: None,
        };
        let driver =
            UringDriver::new(driver, bell).map_err(|error| launch::short_of_something(&error))?;
        Ok(Shard::new(driver, shards[core], Arc::clone(&plan), Arc::clone(&stats[core])))
    }
}

/// What a run has in hand while it goes.
struct Run<'a> {
    config: &'a Config,
    signals: Signals,
    figures: Figures,
    dump: Option<Dump>,
    dump_at: Instant,
}

/// The run ends here; the report is made of what there is.
enum Stopped {
    BySignal(Stop),
    /// A core died.
    ByDeath,
}

impl Run<'_> {
    async fn all(
        mut self,
        commands: &Commands<Phase>,
        topology: &'static str,
    ) -> (RunResult, Option<Stop>) {
        let started = Instant::now();
        let mut result = RunResult::new(self.config.connections, topology);
        let stop = match self.phases(commands, &mut result).await {
            Err(Stopped::BySignal(stop)) => Some(stop),
            Err(Stopped::ByDeath) | Ok(()) => None,
        };
        self.tick();
        result.seconds = started.elapsed().as_secs_f64();
        self.finish(&mut result, stop);
        (result, stop)
    }

    async fn phases(
        &mut self,
        commands: &Commands<Phase>,
        result: &mut RunResult,
    ) -> Result<(), Stopped> {
        self.figures.mark_empty();
        result.plateaus.push(Plateau::new(self.config.connections));
        let plateau = &mut result.plateaus[0];

        let began = Instant::now();
        let connected = self.phase(commands, Phase::Connect, self.config.connections).await;
        let took = connected.as_ref().map_or_else(|_| began.elapsed(), |took| *took);
        plateau.connect.took(self.figures.sum(|s| &s.connected_total), took);
        plateau.connect.latency_us = self.figures.percentiles(|s| &s.connect_latency_us);
        connected?;

        let messages = self.figures.sum(|s| &s.connections) * u64::from(self.config.message_count);
        let took = self.phase(commands, Phase::Messages, messages).await?;
        plateau.messages.seconds = (messages > 0).then_some(took.as_secs_f64());

        let (began, began_ms) = (Instant::now(), unix_ms());
        commands.tell(Phase::Hold).await;
        let open = grouped(self.figures.sum(|s| &s.connections));
        talk(&format!("holding {open} for {} s", self.config.hold.as_secs_f64()));
        let held = self.hold(commands, began).await;
        plateau.hold_seconds = Some(began.elapsed().as_secs_f64());
        if held.is_ok() {
            self.await_server_tick(commands, began_ms).await?;
        }
        let open = self.figures.sum(|s| &s.connections);
        (plateau.memory, result.cost_per_connection) = self.figures.memory(open, began_ms);
        result.file_descriptors = self.figures.descriptors();
        held?;

        let (close, began_ms) = self.close(commands).await?;
        let close = result.close.insert(close);
        if open > 0 {
            close.server_seconds = self.server_emptied(commands, began_ms).await?;
        }
        Ok(())
    }

    /// Tells the cores and waits until all have finished; how long the slowest took.
    async fn phase(
        &mut self,
        commands: &Commands<Phase>,
        phase: Phase,
        total: u64,
    ) -> Result<Duration, Stopped> {
        let mut progress = Progress::new(phase.verb(), total);
        commands.tell(phase).await;
        loop {
            let done = match phase {
                Phase::Connect => self.figures.sum(|s| &s.connected_total),
                Phase::Messages => self.figures.sum(|s| &s.messages_total),
                Phase::Close | Phase::Hold => {
                    total.saturating_sub(self.figures.sum(|s| &s.connections))
                }
            };
            progress.at(done);
            if let Some(took) = self.figures.took(phase) {
                progress.done(done, took);
                return Ok(took);
            }
            self.look(commands).await?;
        }
    }

    /// Holds until the time is up, or nothing is left to hold.
    async fn hold(&mut self, commands: &Commands<Phase>, since: Instant) -> Result<(), Stopped> {
        while since.elapsed() < self.config.hold && self.figures.sum(|s| &s.connections) > 0 {
            self.look(commands).await?;
        }
        Ok(())
    }

    /// Waits for a dump of the server that shows what is held, if it dumps at all.
    async fn await_server_tick(
        &mut self,
        commands: &Commands<Phase>,
        since_ms: u64,
    ) -> Result<(), Stopped> {
        let began = Instant::now();
        while began.elapsed() < SERVER_TICK_TIMEOUT {
            self.figures.refresh_server();
            let server = self.figures.server.as_ref().filter(|s| s.at_ms().is_some());
            if server.is_none_or(|server| server.is_of(since_ms)) {
                break;
            }
            self.look(commands).await?;
        }
        Ok(())
    }

    /// Closes all; with the figures comes when it began.
    async fn close(&mut self, commands: &Commands<Phase>) -> Result<(Close, u64), Stopped> {
        let open = self.figures.sum(|s| &s.connections);
        let began_ms = unix_ms();
        let took = self.phase(commands, Phase::Close, open).await?;
        let close = Close {
            seconds: took.as_secs_f64(),
            rate_per_s: per_s(open, took),
            server_seconds: None,
            timeouts: self.figures.sum(|s| &s.close_timeout_total),
        };
        Ok((close, began_ms))
    }

    /// Seconds from `began_ms` to the first dump since in which the server has no connection.
    async fn server_emptied(
        &mut self,
        commands: &Commands<Phase>,
        began_ms: u64,
    ) -> Result<Option<f64>, Stopped> {
        let began = Instant::now();
        while began.elapsed() < SERVER_EMPTY_TIMEOUT {
            self.figures.refresh_server();
            let Some(server) = self.figures.server.as_ref().filter(|s| s.at_ms().is_some()) else {
                break;
            };
            if server.is_of(began_ms) && server.connections() == Some(0) {
                let ms = server.at_ms().unwrap_or(began_ms) - began_ms;
                return Ok(Some(ms as f64 / 1e3));
            }
            self.look(commands).await?;
        }
        Ok(None)
    }

    /// Waits a moment; ticks the dumps; sees to signals, and to the cores' health.
    async fn look(&mut self, commands: &Commands<Phase>) -> Result<(), Stopped> {
        Timer::new(LOOK_EVERY).await;
        if self.signals.take_dump_request() || Instant::now() >= self.dump_at {
            self.tick();
        }
        match self.signals.stop() {
            Some(stop) => Err(Stopped::BySignal(stop)),
            None if !commands.all_run() => Err(Stopped::ByDeath),
            None => Ok(()),
        }
    }

    fn tick(&mut self) {
        self.dump_at = Instant::now() + DUMP_EVERY;
        Dump::tick_or_drop(&mut self.dump, "client.ndjson");
    }

    // ---- the report -----------------------------------------------------------------------

    fn finish(mut self, result: &mut RunResult, stop: Option<Stop>) {
        self.figures.refresh_server();
        result.failed = self.figures.failed();
        result.lost = self.figures.lost();
        result.tuples_skipped = self.figures.sum(|s| &s.tuples_skipped_total);
        result.per_core = self.figures.per_core();
        let failed: u64 = result.failed.values().sum();
        let lost: u64 = result.lost.values().sum();
        result.established = self.figures.sum(|s| &s.connected_total) - lost;
        let (sent, received) =
            (self.figures.sum(|s| &s.messages_sent_total), self.figures.sum(|s| &s.messages_total));
        if let Some(plateau) = result.plateaus.first_mut() {
            plateau.established = result.established;
            plateau.lost = result.lost.clone();
            (plateau.messages.sent, plateau.messages.received) = (sent, received);
            plateau.messages.mismatched = self.figures.sum(|s| &s.messages_mismatched_total);
            plateau.messages.latency_us = self.figures.percentiles(|s| &s.message_latency_us);
        }
        let mut missed = Vec::new();
        if let Some(stop) = stop {
            missed.push(format!("stopped by {stop}, the report is partial"));
        }
        if result.established < self.config.connections {
            let unopened = self.config.connections - result.established - failed - lost;
            missed.push(format!(
                "{failed} connects failed, {lost} connections lost, {unopened} not tried"
            ));
        }
        if sent != received {
            missed.push(format!("{received} of {sent} messages verified"));
        }
        let timeouts = result.close.as_ref().map_or(0, |close| close.timeouts);
        if timeouts > 0 {
            missed.push(format!("{timeouts} connections not ended by the server in time"));
        }
        result.verdict = Verdict { met: missed.is_empty(), missed, ..Verdict::default() };
        result.notes = notes::of(result, self.config.ends_here);
    }
}

fn open_dump(dir: &Path, config: &Config, stats: &[Arc<CoreStats>]) -> Result<Dump, Refusal> {
    let path = dir.join("client.ndjson");
    let file = fs::File::create(&path).map_err(|error| Refusal::Out(path, error))?;
    Ok(Dump::new(Side::Client, &config.cpus, stats, Box::new(BufWriter::new(file))))
}

fn write_json(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), Refusal> {
    let path = dir.join(name);
    let text = serde_json::to_string_pretty(value).expect("our own types are plain data");
    fs::write(&path, text + "\n").map_err(|error| Refusal::Out(path, error))
}
