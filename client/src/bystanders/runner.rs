//! The panel: its probes, the threads that ask, and the stretches of time that the run's phases took.
//! None of its threads is pinned, and none is a core's.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use megaconn::base::clock::unix_ms;
use megaconn::base::constants::BYSTANDER_SLEEP;
use megaconn::host::counters::{Counters, tells_of_harm};
use megaconn::host::procfs::ProcFs;
use megaconn::results::bystanders::{BystanderSpan, Bystanders, Probe as Named, Probed, SpanPhase};
use megaconn::results::percentiles::Percentiles;

use crate::bystanders::account::{Described, ProbeAccount};
use crate::bystanders::answer::answer;
use crate::bystanders::collector::Collector;
use crate::bystanders::finding::judge;
use crate::bystanders::flags::ProbeTargets;
use crate::bystanders::local::{self, Disk};
use crate::bystanders::network::{self, InFlight};
use crate::bystanders::pressure::Pressure;
use crate::bystanders::probes::Probe;
use crate::bystanders::probes::connect::Connect;
use crate::bystanders::probes::ping::Ping;
use crate::bystanders::probes::request::Request;
use crate::bystanders::probes::udp::Udp;
use crate::bystanders::record::Record;
use crate::bystanders::rounds::Rounds;
use crate::bystanders::sample::Span;

/// Why there is no panel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoProbeRunner {
    #[error("--bystander-service {0}: {1}; fix: serve --bystander {0}, or leave the flag out")]
    Service(SocketAddr, io::Error),
    #[error("--ping {0}: {1}; fix: an address that this host has a route to")]
    Ping(IpAddr, io::Error),
    #[error("bystanders: no thread ({0}); fix: a higher `ulimit -u`, or sysctl kernel.threads-max")]
    Thread(io::Error),
}

/// A running panel.
pub(crate) struct ProbeRunner {
    whom: ProbeTargets,
    described: Vec<Described>,
    not_probed: BTreeMap<&'static str, String>,
    collector: Arc<Collector>,
    threads: Vec<JoinHandle<()>>,
    began_at_ms: u64,
    record: Record,
    spans: Vec<Stretch>,
    /// What is going on, and what the host had counted when it began.
    open: Option<(SpanPhase, u64, u64, Counted)>,
}

/// A stretch that is over, and what the host counted in it.
struct Stretch {
    span: Span,
    counters: BTreeMap<String, u64>,
    pressure: BTreeMap<&'static str, f64>,
}

impl Stretch {
    fn account(self, probes: Vec<ProbeAccount>) -> BystanderSpan {
        BystanderSpan {
            phase: self.span.phase.into(),
            connections: self.span.connections.into(),
            from_ms: (self.span.from_us / 1_000).into(),
            to_ms: (self.span.to_us / 1_000).into(),
            probes: probes.into_iter().map(Probed::from).collect(),
            counters: self.counters.into_iter().collect(),
            pressure: self.pressure.into_iter().collect(),
        }
    }
}

struct Counted {
    counters: Counters,
    pressure: Pressure,
}

impl Counted {
    fn now() -> Counted {
        Counted { counters: Counters::read(&ProcFs::host()), pressure: Pressure::read() }
    }
}

/// What one bystander does.
enum Way {
    Network(Box<dyn Probe>),
    Disk(Disk),
    Schedule,
    Resolve(String),
}

impl ProbeRunner {
    /// Begins to ask; `expected` is how long it may take, for which there will be room from the start.
    pub(crate) fn begin(
        whom: ProbeTargets,
        expected: Duration,
    ) -> Result<ProbeRunner, NoProbeRunner> {
        let (mut ways, mut not_probed) = (Vec::new(), BTreeMap::new());
        of_network(&whom, &mut ways, &mut not_probed)?;
        of_host(&whom, &mut ways, &mut not_probed);
        let samples = ways.len() as f64 * whom.rate_per_s as f64 * expected.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a guess")]
        let collector = Arc::new(Collector::new(samples as usize));
        let began_at_ms = unix_ms();
        let described = ways.iter().map(|(described, _)| described.clone()).collect();
        let threads = start(ways, whom.rate_per_s, &collector).map_err(NoProbeRunner::Thread)?;
        Ok(ProbeRunner {
            record: Record::new(whom.dir.as_deref()),
            whom,
            described,
            not_probed,
            collector,
            threads,
            began_at_ms,
            spans: Vec::new(),
            open: None,
        })
    }

    /// Time for which the idle host is to be watched.
    pub(crate) fn idle(&self) -> Duration {
        self.whom.idle
    }

    /// From now on `phase` goes on, with `connections`; what went on until now is over.
    pub(crate) fn enter(&mut self, phase: SpanPhase, connections: u64) {
        let now_us = self.collector.now_us();
        let counted = Counted::now();
        if let Some((phase, connections, from_us, before)) = self.open.take() {
            self.spans.push(Stretch {
                span: Span { phase, connections, from_us, to_us: now_us },
                counters: harm(&before.counters, &counted.counters),
                pressure: counted.pressure.since(&before.pressure, now_us - from_us),
            });
        }
        // What was due since the panel began is of what goes on first.
        let from_us = if self.spans.is_empty() { 0 } else { now_us };
        self.open = Some((phase, connections, from_us, counted));
        self.write_down();
    }

    /// What goes on came to so many connections: as many as there can be were asked for.
    pub(crate) fn came_to(&mut self, connections: u64) {
        if let Some((_, open, ..)) = &mut self.open {
            *open = connections;
        }
    }

    /// What became of each bystander in the stretches that are over, the last of them last.
    pub(crate) fn rows(&self) -> Vec<Vec<ProbeAccount>> {
        let spans: Vec<Span> = self.spans.iter().map(|stretch| stretch.span).collect();
        judge(&self.described, &self.collector.samples_from(0), &spans)
    }

    /// What became of each bystander since the last stretch began.
    pub(crate) fn so_far(&self) -> Vec<ProbeAccount> {
        let Some((phase, connections, from_us, _)) = self.open else { return Vec::new() };
        let span = Span { phase, connections, from_us, to_us: self.collector.now_us() };
        let rows = judge(&self.described, &self.collector.samples_from(0), &[span]);
        rows.into_iter().next().unwrap_or_default()
    }

    /// Whether a bystander of this kind is asked.
    pub(crate) fn asks(&self, kind: &str) -> bool {
        self.described.iter().any(|described| described.kind == kind)
    }

    /// Why no bystander of this kind is asked.
    pub(crate) fn why_not(&self, kind: &str) -> String {
        self.not_probed.get(kind).cloned().unwrap_or_default()
    }

    /// The stretches that are over.
    fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        self.spans.iter().map(|stretch| stretch.span)
    }

    /// From these stretches is told what became of all, whatever was entered; their times are in
    /// milliseconds since 1970. What the host counted in them is not known.
    pub(crate) fn retell(&mut self, spans: &[(SpanPhase, u64, u64, u64)]) {
        let us = |at_ms: u64| at_ms.saturating_sub(self.began_at_ms) * 1_000;
        let stretch =
            |&(phase, connections, from_ms, to_ms): &(SpanPhase, u64, u64, u64)| Stretch {
                span: Span { phase, connections, from_us: us(from_ms), to_us: us(to_ms) },
                counters: BTreeMap::new(),
                pressure: BTreeMap::new(),
            };
        self.spans = spans.iter().map(stretch).collect();
    }

    /// Begins nothing more and hears the last answers.
    pub(crate) fn stop(&mut self) {
        self.collector.stop();
        for thread in self.threads.drain(..) {
            // One that panicked has said so on stderr, and what it had collected is there.
            let _ = thread.join();
        }
        if self.open.is_some() {
            // It ends what goes on; nothing belongs to what begins now.
            self.enter(SpanPhase::Recovery, 0);
        }
    }

    /// What became of all.
    pub(crate) fn account(mut self) -> Bystanders {
        let rows = self.rows();
        let spans: Vec<Span> = self.spans().collect();
        let counters: Vec<_> = self.spans.iter().map(|stretch| stretch.counters.clone()).collect();
        let answer = answer(&self.described, &spans, &rows, &counters);
        let stretches = std::mem::take(&mut self.spans).into_iter().zip(rows);
        Bystanders {
            began_at_ms: self.began_at_ms.into(),
            rate_per_s: (self.whom.rate_per_s as f64).into(),
            probes: self.described.into_iter().map(Named::from).collect(),
            not_probed: self.not_probed.into_iter().collect(),
            lag_us: Percentiles::of(&self.collector.lag_us.durations()).into(),
            samples_dropped: self.collector.collected().dropped.into(),
            spans: stretches.map(|(stretch, probes)| stretch.account(probes)).collect(),
            answer: answer.into(),
        }
    }

    /// Adds to `bystanders.ndjson` what has come since it was last done.
    fn write_down(&mut self) {
        let names: Vec<&str> = self.described.iter().map(|probe| probe.name.as_str()).collect();
        let samples = self.collector.samples_from(self.record.written());
        let lines = self.record.lines(&samples, &names, self.began_at_ms);
        self.record.write(&lines);
    }
}

/// Counters that rose and tell of something that went wrong.
fn harm(before: &Counters, now: &Counters) -> BTreeMap<String, u64> {
    let rises = now.iter().filter(|(name, _)| tells_of_harm(name));
    let rises = rises.filter_map(|(name, _)| Some((name.to_owned(), now.rise(before, name)?)));
    rises.filter(|(_, rise)| *rise > 0).collect()
}

type Ways = Vec<(Described, Way)>;

fn describe(kind: &'static str, name: String, target: String) -> Described {
    Described { name, kind, target }
}

/// The probes of the network, or why there are none.
fn of_network(
    whom: &ProbeTargets,
    ways: &mut Ways,
    not_probed: &mut BTreeMap<&'static str, String>,
) -> Result<(), NoProbeRunner> {
    for (number, host) in whom.ping.iter().enumerate() {
        let name = if number == 0 { "ping".to_owned() } else { format!("ping {host}") };
        match Ping::new(*host) {
            Ok(ping) => {
                let way = Way::Network(Box::new(ping));
                ways.push((describe("ping", name, host.to_string()), way));
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                not_probed.insert("ping", NO_PING.to_owned());
            }
            Err(error) => return Err(NoProbeRunner::Ping(*host, error)),
        }
    }
    for host in &whom.connect {
        let way = Way::Network(Box::new(Connect::new(*host)));
        ways.push((describe("connect", format!("connect {host}"), host.to_string()), way));
    }
    let Some(service) = whom.service else {
        let why = "no --bystander-service ADDR:PORT was named, see `serve --bystander`";
        let missing = ["connect", "request", "udp"].into_iter();
        let missing = missing.filter(|kind| *kind != "connect" || whom.connect.is_empty());
        not_probed.extend(missing.map(|kind| (kind, why.to_owned())));
        return Ok(());
    };
    let failed = |error| NoProbeRunner::Service(service, error);
    let request = Request::new(service).map_err(failed)?;
    let probes: [(&'static str, Box<dyn Probe>); 3] = [
        ("connect", Box::new(Connect::new(service))),
        ("request", Box::new(request)),
        ("udp", Box::new(Udp::new(service).map_err(failed)?)),
    ];
    let target = service.to_string();
    ways.extend(probes.map(|(kind, probe)| {
        (describe(kind, kind.to_owned(), target.clone()), Way::Network(probe))
    }));
    Ok(())
}

const NO_PING: &str = "neither an unprivileged ICMP socket nor a raw one is permitted; \
                       fix: sysctl -w net.ipv4.ping_group_range='0 2147483647', or CAP_NET_RAW";

/// What is tried on the host itself.
fn of_host(whom: &ProbeTargets, ways: &mut Ways, not_probed: &mut BTreeMap<&'static str, String>) {
    match &whom.resolve {
        Some(name) => {
            let described = describe("resolve", "resolve".to_owned(), name.clone());
            ways.push((described, Way::Resolve(name.clone())));
        }
        None => {
            not_probed.insert("resolve", "no --resolve NAME was given".to_owned());
        }
    }
    match whom.dir.as_deref().map(|dir| (dir, Disk::new(dir))) {
        Some((dir, Ok(disk))) => {
            let described = describe("disk", "disk".to_owned(), dir.display().to_string());
            ways.push((described, Way::Disk(disk)));
        }
        Some((dir, Err(error))) => {
            not_probed.insert("disk", format!("{}: {error}", dir.display()));
        }
        None => {
            not_probed.insert("disk", "there is no run directory, see --out".to_owned());
        }
    }
    let sleep = format!("a sleep of {BYSTANDER_SLEEP:?}");
    ways.push((describe("schedule", "schedule".to_owned(), sleep), Way::Schedule));
}

/// The threads: one for the network, and one for each that waits.
fn start(
    ways: Ways,
    rate_per_s: u64,
    collector: &Arc<Collector>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let every = Duration::from_secs(1) / u32::try_from(rate_per_s).unwrap_or(1);
    let count = u32::try_from(ways.len()).unwrap_or(1).max(1);
    let (mut tracks, mut threads) = (Vec::new(), Vec::new());
    let mut begin = |name: String, run: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name).spawn(run).map(|thread| threads.push(thread))
    };
    for (place, (described, way)) in (0_u8..).zip(ways) {
        // Spread over the interval, so that they do not meet each other.
        let first = every * u32::from(place) / count;
        let first_us = first.as_micros().try_into().unwrap_or(0);
        let rounds = Rounds::new(first_us, every);
        let collector = Arc::clone(collector);
        let run: Box<dyn FnOnce() + Send> = match way {
            Way::Network(probe) => {
                tracks.push(InFlight::new(place, probe, rounds));
                continue;
            }
            Way::Disk(mut disk) => {
                Box::new(move || local::run(place, rounds, &collector, || disk.try_it()))
            }
            Way::Schedule => {
                // A sleep may not begin before the one before it has ended.
                let rounds = Rounds::new(first_us, every.max(2 * BYSTANDER_SLEEP));
                Box::new(move || local::run(place, rounds, &collector, local::schedule))
            }
            Way::Resolve(name) => {
                Box::new(move || local::run(place, rounds, &collector, || local::resolve(&name)))
            }
        };
        begin(described.kind.to_owned(), run)?;
    }
    let collector = Arc::clone(collector);
    begin("bystanders".to_owned(), Box::new(move || network::run(tracks, &collector)))?;
    Ok(threads)
}
