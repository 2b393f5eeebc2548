//! One run from start to end: phases told to the cores, figures read between them, the report.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write, stdout};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use glommio::timer::Timer;
use megaconn::dump::{Dump, Side};
use megaconn::launch::{self, Commands};
use megaconn::limits::{BUFFER_BYTES, BUFFERS_PER_CORE};
use megaconn::plan;
use megaconn::signals::{Signals, Stop};
use megaconn::stats::CoreStats;
use megaconn::talk::talk;
use megaconn::units::grouped;
use megaconn::uring::{Doorbell, UringConfig, UringDriver};
use serde::Serialize;

use crate::config::{Config, Refusal};
use crate::environment::Environment;
use crate::figures::Figures;
use crate::progress::Progress;
use crate::result::{Close, Cost, Plateau, RunResult, Verdict, per_s};
use crate::shard::{Phase, Shard, ShardConfig};

/// How a run ended.
pub(crate) enum Outcome {
    Met,
    Missed,
    Stopped(Stop),
}

/// Time between two looks at the cores' counters.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Time between two lines of a core in `client.ndjson`.
const DUMP_EVERY: Duration = Duration::from_secs(1);

/// Time the server's dumps have to show that it is empty.
const SERVER_EMPTY_TIMEOUT: Duration = Duration::from_secs(60);

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
        notes: BTreeMap::new(),
    };
    let topology = environment.topology();
    let (result, stop) = cores.run(async move |commands| run.all(&commands, topology).await)?;
    // stdout may be closed by whoever had enough; the report goes to disk as well.
    let _ = stdout().write_all(result.summary().as_bytes());
    if let Some(dir) = &config.out {
        write_json(dir, "result.json", &result)?;
    }
    Ok(match stop {
        Some(stop) => Outcome::Stopped(stop),
        None if result.verdict.met => Outcome::Met,
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
    notes: BTreeMap<&'static str, String>,
}

/// A signal asked to stop; the report is made of what there is.
struct Stopped(Stop);

impl Run<'_> {
    async fn all(
        mut self,
        commands: &Commands<Phase>,
        topology: &'static str,
    ) -> (RunResult, Option<Stop>) {
        let started = Instant::now();
        let mut result = RunResult::new(self.config.connections, topology);
        let stop = self.phases(commands, &mut result).await.err().map(|Stopped(stop)| stop);
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
        let connected =
            self.phase(commands, Phase::Connect, "opening", self.config.connections).await;
        plateau.connect.took(self.figures.sum(|s| &s.connected_total), began.elapsed());
        plateau.connect.latency_us = self.figures.percentiles(|s| &s.connect_latency_us);
        connected?;

        let began = Instant::now();
        let messages = self.figures.sum(|s| &s.connections) * u64::from(self.config.message_count);
        let verified = self.phase(commands, Phase::Messages, "verifying", messages).await;
        plateau.messages.seconds = began.elapsed().as_secs_f64();
        verified?;

        let began = Instant::now();
        commands.tell(Phase::Hold).await;
        let open = grouped(self.figures.sum(|s| &s.connections));
        talk(&format!("holding {open} for {} s", self.config.hold.as_secs_f64()));
        let held = self.hold(began).await;
        plateau.hold_seconds = began.elapsed().as_secs_f64();
        let cost;
        (plateau.memory, cost) = self.figures.memory(self.figures.sum(|s| &s.connections));
        self.explain(&cost);
        result.cost_per_connection = cost;
        result.file_descriptors = self.figures.descriptors();
        held?;

        result.close = Some(self.close(commands).await?);
        Ok(())
    }

    /// Tells the cores and waits until all have finished.
    async fn phase(
        &mut self,
        commands: &Commands<Phase>,
        phase: Phase,
        what: &'static str,
        total: u64,
    ) -> Result<(), Stopped> {
        let mut progress = Progress::new(what, total);
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
            if self.figures.have_finished(phase) {
                progress.done(done);
                return Ok(());
            }
            self.look().await?;
        }
    }

    async fn hold(&mut self, since: Instant) -> Result<(), Stopped> {
        while since.elapsed() < self.config.hold {
            self.look().await?;
        }
        Ok(())
    }

    async fn close(&mut self, commands: &Commands<Phase>) -> Result<Close, Stopped> {
        let open = self.figures.sum(|s| &s.connections);
        let (began, began_ms) = (Instant::now(), unix_ms());
        self.phase(commands, Phase::Close, "closing", open).await?;
        let took = began.elapsed();
        // When the server took the connections with it, there is nothing to wait for.
        let server_seconds =
            if open > 0 { self.server_emptied(began_ms, took).await? } else { None };
        if server_seconds.is_none() {
            let why = "no dump of the server in the run directory showed it empty";
            self.notes.insert("close.server_seconds", why.into());
        }
        Ok(Close {
            seconds: took.as_secs_f64(),
            rate_per_s: per_s(open, took),
            server_seconds,
            timeouts: self.figures.sum(|s| &s.close_timeout_total),
        })
    }

    /// Seconds from `began_ms` to the first dump in which the server has no connection.
    async fn server_emptied(
        &mut self,
        began_ms: u64,
        took: Duration,
    ) -> Result<Option<f64>, Stopped> {
        let began = Instant::now();
        while began.elapsed() < took + SERVER_EMPTY_TIMEOUT {
            self.figures.refresh_server();
            let Some(server) = &self.figures.server else { break };
            match server.connections() {
                Some(0) => {
                    let ms = server.at_ms().unwrap_or(0).saturating_sub(began_ms);
                    return Ok(Some(ms as f64 / 1e3));
                }
                Some(_) => self.look().await?,
                None => break,
            }
        }
        Ok(None)
    }

    /// Waits a moment; ticks the dumps; sees to signals.
    async fn look(&mut self) -> Result<(), Stopped> {
        Timer::new(LOOK_EVERY).await;
        if self.signals.take_dump_request() || Instant::now() >= self.dump_at {
            self.tick();
        }
        self.signals.stop().map_or(Ok(()), |stop| Err(Stopped(stop)))
    }

    fn tick(&mut self) {
        self.dump_at = Instant::now() + DUMP_EVERY;
        if let Some(dump) = &mut self.dump
            && let Err(error) = dump.tick()
        {
            talk(&format!("warning: client.ndjson cannot be written any more: {error}"));
        }
    }

    // ---- the report -----------------------------------------------------------------------

    fn explain(&mut self, cost: &Cost) {
        let mut note = |key, text: String| self.notes.insert(key, text);
        let ends = if self.config.ends_here > 1 { "both sockets" } else { "the client's socket" };
        note(
            "cost_per_connection.kernel_bytes",
            format!("growth of slab and other kernel memory of the whole host; {ends}"),
        );
        note(
            "cost_per_connection.stderr_bytes",
            "one number of connections gives no regression".into(),
        );
        if cost.kernel_bytes.is_none() {
            note(
                "cost_per_connection.kernel_bytes",
                "not measured: the host gave back more meanwhile than the connections took".into(),
            );
        }
        if cost.by_slab.is_none() {
            note(
                "cost_per_connection.by_slab",
                "/proc/slabinfo is for root; the total is from /proc/meminfo".into(),
            );
        }
        if cost.server_user_bytes.is_none() {
            note(
                "cost_per_connection.server_user_bytes",
                "start the server with --stats DIR/server.ndjson".into(),
            );
        }
    }

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
        result.verdict = Verdict { met: missed.is_empty(), missed };
        result.notes = self.notes;
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
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
