//! One run from start to end: phases told to the cores, figures read between them, the report.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use glommio::timer::Timer;
use histogram::Histogram;
use megaconn::dump::{Dump, Side};
use megaconn::errno::Errno;
use megaconn::launch::{self, Commands};
use megaconn::limits::{BUFFER_BYTES, BUFFERS_PER_CORE};
use megaconn::memory::{KernelMemory, resident_bytes};
use megaconn::plan;
use megaconn::server::{talk, zip};
use megaconn::signals::{Signals, Stop};
use megaconn::stats::{CoreStats, Figure, LOST_CAUSES, Latency};
use megaconn::uring::{Doorbell, UringConfig, UringDriver};
use serde::Serialize;

use crate::config::{Config, Refusal};
use crate::environment::Environment;
use crate::progress::Progress;
use crate::result::{
    Close, Connect, Cost, Descriptors, Memory, Messages, Percentiles, PerCore, Plateau, RunResult,
    Verdict, per_s,
};
use crate::server_stats::ServerStats;
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
    let run = Run::new(config, signals, stats, dump, environment.topology());
    let (result, stop) = cores.run(async move |commands| run.all(&commands).await)?;
    if let Some(dir) = &config.out {
        write_json(dir, "result.json", &result)?;
    }
    // stdout may be closed by whoever had enough; the report is on disk.
    let _ = std::io::stdout().write_all(result.summary().as_bytes());
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
        let driver = UringDriver::new(driver, bell).map_err(|error| error.to_string())?;
        Ok(Shard::new(driver, shards[core], Arc::clone(&plan), Arc::clone(&stats[core])))
    }
}

/// What a run has in hand while it goes.
struct Run<'a> {
    config: &'a Config,
    signals: Signals,
    stats: Vec<Arc<CoreStats>>,
    dump: Option<Dump>,
    dump_at: Instant,
    server: Option<ServerStats>,
    topology: &'static str,
    started: Instant,
    kernel_before: KernelMemory,
    client_before: Option<u64>,
    server_before: Option<u64>,
    notes: BTreeMap<&'static str, String>,
}

/// A signal asked to stop; the report is made of what there is.
struct Stopped(Stop);

impl<'a> Run<'a> {
    fn new(
        config: &'a Config,
        signals: Signals,
        stats: Vec<Arc<CoreStats>>,
        dump: Option<Dump>,
        topology: &'static str,
    ) -> Run<'a> {
        Run {
            config,
            signals,
            stats,
            dump,
            dump_at: Instant::now(),
            server: config.out.as_deref().map(ServerStats::of),
            topology,
            started: Instant::now(),
            kernel_before: KernelMemory::read(),
            client_before: None,
            server_before: None,
            notes: BTreeMap::new(),
        }
    }

    async fn all(mut self, commands: &Commands<Phase>) -> (RunResult, Option<Stop>) {
        let started_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut result = self.empty_result(started_at.as_secs());
        let stop = self.phases(commands, &mut result).await.err().map(|Stopped(stop)| stop);
        self.tick();
        self.finish(&mut result, stop);
        (result, stop)
    }

    async fn phases(&mut self, commands: &Commands<Phase>, result: &mut RunResult) -> Result<(), Stopped> {
        self.refresh_server();
        self.kernel_before = KernelMemory::read();
        self.client_before = resident_bytes();
        self.server_before = self.server.as_ref().and_then(ServerStats::resident_bytes);

        let connecting = self.phase(commands, Phase::Connect, "opening", self.config.connections);
        let connect = connecting.await;
        result.plateaus.push(self.plateau(&connect));
        let connect = connect?;
        result.plateaus[0].connect.seconds = connect.as_secs_f64();

        if self.config.message_count > 0 {
            let count = u64::from(self.config.message_count);
            let messages = self.sum(|s| &s.connections) * count;
            let took = self.phase(commands, Phase::Messages, "verifying", messages).await;
            self.update_plateau(&mut result.plateaus[0]);
            result.plateaus[0].messages.seconds = took?.as_secs_f64();
        }

        commands.tell(Phase::Hold).await;
        let held = Instant::now();
        talk(&format!("holding {} for {:?}", self.sum(|s| &s.connections), self.config.hold));
        let hold = self.hold(held).await;
        self.update_plateau(&mut result.plateaus[0]);
        result.plateaus[0].hold_seconds = held.elapsed().as_secs_f64();
        self.measure(result);
        hold?;

        result.close = Some(self.close(commands).await?);
        Ok(())
    }

    /// Tells the cores and waits until all have finished; how long it took.
    async fn phase(
        &mut self,
        commands: &Commands<Phase>,
        phase: Phase,
        what: &'static str,
        total: u64,
    ) -> Result<Duration, Stopped> {
        let mut progress = Progress::new(what, total);
        commands.tell(phase).await;
        loop {
            let done = match phase {
                Phase::Connect => self.sum(|s| &s.connected_total),
                Phase::Messages => self.sum(|s| &s.messages_total),
                Phase::Close | Phase::Hold => total.saturating_sub(self.sum(|s| &s.connections)),
            };
            progress.at(done);
            if self.stats.iter().all(|s| s.phase_finished.get() == phase as u64) {
                return Ok(progress.done(done));
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
        let open = self.sum(|s| &s.connections);
        let (began, began_ms) = (Instant::now(), unix_ms());
        let took = self.phase(commands, Phase::Close, "closing", open).await?;
        let mut server_seconds = None;
        while self.server.as_ref().is_some_and(|s| s.connections().is_some())
            && began.elapsed() < took + SERVER_EMPTY_TIMEOUT
        {
            self.look().await?;
            self.refresh_server();
            let server = self.server.as_ref().expect("the loop is for a server with dumps");
            if server.connections() == Some(0) {
                let ms = server.at_ms().unwrap_or(0).saturating_sub(began_ms);
                server_seconds = Some(ms as f64 / 1e3);
                break;
            }
        }
        if server_seconds.is_none() {
            let why = "no dump of the server in the run directory showed it empty";
            self.notes.insert("close.server_seconds", why.into());
        }
        Ok(Close {
            seconds: took.as_secs_f64(),
            rate_per_s: per_s(open, took),
            server_seconds,
            timeouts: self.sum(|s| &s.close_timeout_total),
        })
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

    fn refresh_server(&mut self) {
        if let Some(server) = &mut self.server {
            server.refresh();
        }
    }

    fn sum(&self, figure: impl Fn(&CoreStats) -> &Figure) -> u64 {
        self.stats.iter().map(|stats| figure(stats).get()).sum()
    }

    fn lost(&self) -> BTreeMap<&'static str, u64> {
        let total = |cause: usize| self.sum(|s| &s.lost[cause]);
        let all = LOST_CAUSES.iter().enumerate().map(|(cause, name)| (*name, total(cause)));
        all.filter(|(_, n)| *n > 0).collect()
    }

    fn percentiles(&self, latency: impl Fn(&CoreStats) -> &Latency) -> Option<Percentiles> {
        let all: Vec<Histogram> = self.stats.iter().map(|stats| latency(stats).load()).collect();
        Percentiles::of(&all)
    }

    // ---- the report -----------------------------------------------------------------------

    fn plateau(&self, connect: &Result<Duration, Stopped>) -> Plateau {
        let took = connect.as_ref().copied().unwrap_or_else(|_| self.started.elapsed());
        let mut plateau = Plateau {
            connections: self.config.connections,
            established: 0,
            lost: BTreeMap::new(),
            connect: Connect {
                seconds: took.as_secs_f64(),
                rate_per_s: per_s(self.sum(|s| &s.connected_total), took),
                latency_us: self.percentiles(|s| &s.connect_latency_us),
            },
            messages: Messages { seconds: 0.0, sent: 0, received: 0, mismatched: 0, latency_us: None },
            hold_seconds: 0.0,
            memory: Memory::default(),
        };
        self.update_plateau(&mut plateau);
        plateau
    }

    fn update_plateau(&self, plateau: &mut Plateau) {
        plateau.lost = self.lost();
        plateau.established = self.sum(|s| &s.connected_total) - plateau.lost.values().sum::<u64>();
        plateau.messages.sent = self.sum(|s| &s.messages_sent_total);
        plateau.messages.received = self.sum(|s| &s.messages_total);
        plateau.messages.mismatched = self.sum(|s| &s.messages_mismatched_total);
        plateau.messages.latency_us = self.percentiles(|s| &s.message_latency_us);
    }

    /// What the connections that are held cost: growth over the empty state.
    fn measure(&mut self, result: &mut RunResult) {
        self.refresh_server();
        let kernel = KernelMemory::read();
        let memory = Memory {
            kernel_bytes: kernel.grown_since(&self.kernel_before),
            server_user_bytes: grown(
                self.server_before,
                self.server.as_ref().and_then(ServerStats::resident_bytes),
            ),
            client_user_bytes: grown(self.client_before, resident_bytes()),
        };
        let held = self.sum(|s| &s.connections);
        let each = |bytes: Option<i64>| bytes.filter(|_| held > 0).map(|b| b as f64 / held as f64);
        let by_slab = kernel.slabs_grown_since(&self.kernel_before).filter(|_| held > 0);
        result.plateaus[0].memory = memory;
        result.cost_per_connection = Cost {
            kernel_bytes: each(memory.kernel_bytes),
            server_user_bytes: each(memory.server_user_bytes),
            client_user_bytes: each(memory.client_user_bytes),
            stderr_bytes: None,
            by_slab: by_slab.map(|slabs| {
                let each = slabs.into_iter().map(|(name, bytes)| (name, bytes as f64 / held as f64));
                each.filter(|(_, bytes)| *bytes >= 1.0).collect()
            }),
        };
        result.file_descriptors.client = fs::read_dir("/proc/self/fd").ok().map(|d| d.count() as u64);
        self.explain(&result.cost_per_connection);
    }

    fn explain(&mut self, cost: &Cost) {
        let mut note = |key, text: &str| self.notes.insert(key, text.to_owned());
        let ends = if self.config.ends_here > 1 { "both sockets" } else { "the client's socket" };
        note("cost_per_connection.kernel_bytes", &format!("growth of slab and other kernel memory of the whole host, {ends} of a connection"));
        note("cost_per_connection.stderr_bytes", "needs plateaus: one count of connections gives no regression");
        if cost.by_slab.is_none() {
            note("cost_per_connection.by_slab", "/proc/slabinfo may be read by root alone; the total is from /proc/meminfo");
        }
        if cost.server_user_bytes.is_none() {
            note("cost_per_connection.server_user_bytes", "no server.ndjson in the run directory; start the server with --stats DIR/server.ndjson");
        }
    }

    fn empty_result(&self, started_at: u64) -> RunResult {
        RunResult {
            schema: "megaconn.result/1",
            version: megaconn::VERSION,
            commit: megaconn::COMMIT,
            started_at,
            seconds: 0.0,
            topology: self.topology,
            target_connections: self.config.connections,
            established: 0,
            failed: BTreeMap::new(),
            lost: BTreeMap::new(),
            tuples_skipped: 0,
            plateaus: Vec::new(),
            close: None,
            cost_per_connection: Cost::default(),
            file_descriptors: Descriptors { client: None },
            per_core: Vec::new(),
            verdict: Verdict { met: false, missed: Vec::new() },
            notes: BTreeMap::new(),
        }
    }

    fn finish(mut self, result: &mut RunResult, stop: Option<Stop>) {
        self.refresh_server();
        result.seconds = self.started.elapsed().as_secs_f64();
        result.lost = self.lost();
        let lost: u64 = result.lost.values().sum();
        result.established = self.sum(|s| &s.connected_total) - lost;
        result.tuples_skipped = self.sum(|s| &s.tuples_skipped_total);
        for number in 0..Errno::LIMIT {
            let failed = self.sum(|s| &s.failed[number]);
            if failed > 0 {
                let errno = Errno(i32::try_from(number).unwrap_or(0));
                result.failed.insert(errno.to_string(), failed);
            }
        }
        result.per_core = self.per_core();
        let failed: u64 = result.failed.values().sum();
        let mut missed = Vec::new();
        if let Some(stop) = stop {
            missed.push(format!("stopped by {stop:?}, the report is partial"));
        }
        if result.established < self.config.connections {
            missed.push(format!("{failed} connects failed and {lost} connections were lost"));
        }
        let messages = result.plateaus.first().map_or((0, 0), |p| (p.messages.sent, p.messages.received));
        if messages.0 != messages.1 {
            missed.push(format!("{} of {} messages verified", messages.1, messages.0));
        }
        result.verdict = Verdict { met: missed.is_empty(), missed };
        result.notes = self.notes;
    }

    fn per_core(&self) -> Vec<PerCore> {
        let ours = (0..).zip(self.config.cpus.iter().zip(&self.stats)).map(|(core, (cpu, stats))| {
            PerCore {
                side: Side::Client.name(),
                core,
                cpu: *cpu,
                connections_peak: stats.connections_peak.get(),
                messages_total: stats.messages_total.get(),
            }
        });
        let theirs = self.server.iter().flat_map(ServerStats::cores).map(|(core, line)| PerCore {
            side: Side::Server.name(),
            core,
            cpu: line.cpu,
            connections_peak: line.connections_peak,
            messages_total: line.messages_total,
        });
        ours.chain(theirs).collect()
    }
}

fn grown(before: Option<u64>, now: Option<u64>) -> Option<i64> {
    Some(i64::try_from(now?).ok()? - i64::try_from(before?).ok()?)
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn open_dump(dir: &Path, config: &Config, stats: &[Arc<CoreStats>]) -> Result<Dump, Refusal> {
    let path = dir.join("client.ndjson");
    let file = fs::File::create(&path).map_err(|error| Refusal::Out(path, error))?;
    Ok(Dump::new(Side::Client, zip(&config.cpus, stats), Box::new(std::io::BufWriter::new(file))))
}

fn write_json(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), Refusal> {
    let path = dir.join(name);
    let text = serde_json::to_string_pretty(value).expect("our own types are plain data");
    fs::write(&path, text + "\n").map_err(|error| Refusal::Out(path, error))
}
