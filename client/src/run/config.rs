//! From what was typed to what will be done: everything is checked here, before anything starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use megaconn::base::constants::{
    BYSTANDERS_TIME, CONNECT_TIMEOUT, EXPECTED_EVERY_MAX, SEARCH_STEPS, SOURCES_TRIED_MAX,
    TARGETS_TRIED_MAX, TIME_WAIT,
};
use megaconn::drivers::uring::{self};
use megaconn::engine::driver::Cut;
use megaconn::host::rlimit;
use megaconn::observe::dump::Side;
use megaconn::observe::metrics::http;
use megaconn::plan::tuples::{TuplePlan, resolve_sources};
use megaconn::plan::{self, Demand};
use megaconn::runtime::memory_reserve;
use megaconn::walls::host::Host;
use megaconn::walls::reading::{self, Row};

use crate::bystanders::flags::Whom;
use crate::bystanders::keep::Keep;
use crate::measure::evidence;
use crate::output::directory;
use crate::run::flags;
use crate::run::reach::{own_address, reach};
use crate::run::refusal::{Refusal, does_not_fit};
use crate::run::steps;
use megaconn::engine::client::config::{Expect, Schedule, ShardConfig};
use megaconn::engine::client::pushes::Pushes;
use megaconn::engine::client::tuple_allocator::Supply;

/// A run that can be begun.
pub(crate) struct Config {
    pub(crate) cpus: Vec<u16>,
    pub(crate) plan: Arc<TuplePlan>,
    /// Held connections of each plateau, each more than the one before; one 0 for churn alone.
    pub(crate) plateaus: Vec<u64>,
    pub(crate) rate_per_s: Option<u64>,
    pub(crate) connects_in_flight: u32,
    pub(crate) hold: Duration,
    pub(crate) message_bytes: u16,
    pub(crate) message_count: u16,
    pub(crate) schedule: Schedule,
    pub(crate) expect: Expect,
    pub(crate) churn_per_s: Option<u64>,
    pub(crate) demand: Demand,
    pub(crate) host: Host,
    /// The walls as they stood before the run.
    pub(crate) rows: Vec<Row>,
    pub(crate) close: Cut,
    pub(crate) sweep: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) gates: Gates,
    pub(crate) slots_per_segment: u32,
    pub(crate) out: Option<PathBuf>,
    pub(crate) stats: Option<PathBuf>,
    pub(crate) stats_every: Duration,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) server_metrics: Option<SocketAddr>,
    pub(crate) run_id: u64,
    /// With --keep-bystanders: what a search for the safe capacity is to keep.
    pub(crate) keep: Option<Keep>,
    /// With --bystanders.
    pub(crate) bystanders: Option<Whom>,
}

/// What a run must reach besides being done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gates {
    pub(crate) min_established: u64,
    pub(crate) max_lost: u64,
    pub(crate) max_p99: Option<Duration>,
}

impl Config {
    pub(crate) fn new(flags: &flags::Run) -> Result<Config, Refusal> {
        let expect = flags.expectation()?;
        let plateaus = flags.plateaus()?;
        let connections = plateaus.last().copied().unwrap_or(0);
        uring::probe()?;
        let cpus = flags.cores.resolve()?;
        let targets: Vec<_> = flags.target.iter().flat_map(|endpoints| endpoints.each()).collect();
        let range = flags.source_ports.map_or_else(plan::ephemeral_ports, |p| p.low..=p.high);
        let sources = resolve_sources(&flags.source, &targets)?;
        let plan =
            TuplePlan::new(targets.clone(), &sources, plan::usable_ports(range), cpus.len())?;
        let nofile = rlimit::raise_nofile();
        let demand = Demand {
            churn_tuples: flags.churn_tuples(plateaus.len()),
            connects_in_flight: cpus.len() as u64 * u64::from(flags.connects_in_flight),
            ..Demand::of_client(connections, &targets, plan.capacity(), cpus.len() as u64)
        };
        let host = Host::read(nofile, memory_reserve::bytes(Side::Client, flags.memory_reserve));
        let rows = reading::rows(&host, &demand);
        if let Some(row) = rows.iter().find(|row| !row.fits()) {
            return Err(does_not_fit(connections, flags.churn, row));
        }
        plan.addresses_for(connections).take(SOURCES_TRIED_MAX).try_for_each(own_address)?;
        plan.targets().iter().take(TARGETS_TRIED_MAX).try_for_each(|target| reach(*target))?;
        // What a search finds is no miss, however little it is.
        let fewest = if flags.keep_bystanders.is_some() { 0 } else { connections };
        if let Some(dir) = &flags.out {
            directory::create(dir)?;
        }
        Ok(Config {
            cpus,
            plan: Arc::new(plan),
            plateaus,
            rate_per_s: flags.rate,
            connects_in_flight: flags.connects_in_flight,
            hold: flags.hold,
            message_bytes: flags.message_bytes,
            message_count: flags.messages_before_hold(&expect),
            schedule: flags.schedule(),
            expect,
            churn_per_s: flags.churn,
            demand,
            host,
            rows,
            close: match flags.close {
                flags::Close::Fin => Cut::Sending,
                flags::Close::Reset => Cut::Reset,
            },
            sweep: flags.sweep,
            keepalive: flags.keepalive,
            gates: Gates {
                min_established: flags.min_established.unwrap_or(fewest),
                max_lost: flags.max_lost,
                max_p99: flags.max_p99,
            },
            slots_per_segment: rlimit::slots_per_segment(nofile),
            out: flags.out.clone(),
            stats: flags.stats.clone(),
            stats_every: flags.stats_every,
            metrics: flags.metrics,
            server_metrics: flags.server_metrics,
            run_id: fastrand::u64(..),
            keep: flags.keep_bystanders.clone(),
            bystanders: flags.bystanders.then(|| {
                flags.panel.whom(targets.first().map(SocketAddr::ip), flags.out.as_deref())
            }),
        })
    }

    /// What the verdict depends on.
    pub(crate) fn asked(&self) -> evidence::Asked {
        evidence::Asked {
            host: self.host.clone(),
            demand: self.demand,
            targets: self.plan.targets().to_vec(),
            max_p99: self.gates.max_p99,
        }
    }

    /// Held connections of the last plateau.
    pub(crate) fn connections(&self) -> u64 {
        self.plateaus.last().copied().unwrap_or(0)
    }

    /// How long each plateau is held.
    pub(crate) fn hold_each(&self) -> Duration {
        let keep = self.keep.as_ref().zip(self.bystanders.as_ref());
        let least = keep.map(|(keep, whom)| steps::hold_at_least(keep, whom.rate_per_s));
        self.hold.max(least.unwrap_or_default())
    }

    /// Whether connections carry anything in the hold, or others come and go beside them.
    pub(crate) fn has_traffic(&self) -> bool {
        self.schedule != Schedule::None
            || self.churn_per_s.is_some()
            || matches!(self.expect, Expect::Push(_))
    }

    /// About how long the run may take, for whoever keeps room for it.
    pub(crate) fn expected_time(&self) -> Duration {
        let steps = if self.keep.is_some() { SEARCH_STEPS } else { self.plateaus.len() };
        (self.hold_each() + BYSTANDERS_TIME) * u32::try_from(steps).unwrap_or(u32::MAX)
    }

    /// What `core` is told.
    pub(crate) fn of_core(&self) -> ShardConfig {
        let cores = self.cpus.len() as f64;
        ShardConfig {
            slots_per_segment: self.slots_per_segment,
            connects_in_flight: self.connects_in_flight,
            connects_per_s: self.rate_per_s.map(|rate| rate as f64 / cores),
            message_bytes: self.message_bytes,
            message_count: self.message_count,
            schedule: self.schedule,
            expect: self.expect.clone(),
            churn_per_s: self.churn_per_s.unwrap_or(0) as f64 / cores,
            close: self.close,
            run: self.run_id,
        }
    }

    /// The tuples of `core`, which has its even share of the connections.
    pub(crate) fn supply(&self, core: usize) -> Supply {
        let cores = self.cpus.len();
        let share = plan::share(self.connections(), cores, core);
        let churn = self.demand.churn_tuples.div_ceil(cores as u64);
        Supply::new(Arc::clone(&self.plan), core, share, churn, self.run_id)
    }

    /// The effective configuration, one `key=value` a line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let cores: Vec<String> = self.cpus.iter().map(u16::to_string).collect();
        let targets = self.plan.targets();
        let addresses = self.connections().div_ceil(self.plan.per_source().max(1));
        let per_s = |rate: Option<u64>, none: &str| {
            rate.map_or(none.to_owned(), |rate| format!("{rate}/s"))
        };
        let plateaus: Vec<String> = self.plateaus.iter().map(u64::to_string).collect();
        let schedule = match self.schedule {
            Schedule::None => "none".to_owned(),
            Schedule::Every(interval) => format!("every {interval:?} on each connection"),
            Schedule::PerSecond(rate) => format!("{rate}/s over all connections"),
        };
        let expect = match &self.expect {
            Expect::Echo => "echo".to_owned(),
            Expect::Push(pushes) => pushes.to_string(),
            Expect::Nothing => "nothing".to_owned(),
        };
        let span = |time: Option<Duration>| time.map_or("off".to_owned(), |t| format!("{t:?}"));
        vec![
            format!("version={}", megaconn::VERSION),
            format!("targets={} (first {})", targets.len(), targets[0]),
            format!("cores={}", cores.join(",")),
            format!("connections={}", plateaus.join(",")),
            format!("source_addresses={addresses} ({} tuples each)", self.plan.per_source()),
            format!("tuples={}", self.plan.capacity()),
            format!("rate={}", per_s(self.rate_per_s, "unlimited")),
            format!("connects_in_flight={}", self.connects_in_flight),
            format!("message_bytes={}", self.message_bytes),
            format!("message_count={}", self.message_count),
            format!("message_schedule={schedule}"),
            format!("expect={expect}"),
            format!("churn={}", per_s(self.churn_per_s, "off")),
            format!("close={}", if self.close == Cut::Reset { "reset" } else { "fin" }),
            format!("sweep={}", self.sweep),
            format!("keepalive={}", span(self.keepalive)),
            format!("hold={:?}", self.hold_each()),
            format!("min_established={}", self.gates.min_established),
            format!("max_lost={}", self.gates.max_lost),
            format!("max_p99={}", span(self.gates.max_p99)),
            format!("memory_reserve={}", self.host.reserve_bytes),
            format!("slots_per_segment={}", self.slots_per_segment),
            format!("server_metrics={}", http::url(self.server_metrics)),
            format!(
                "bystanders={}",
                self.bystanders.as_ref().map_or("off".into(), Whom::to_string)
            ),
        ]
    }
}

impl flags::Run {
    /// Plateaus, which rise.
    fn plateaus(&self) -> Result<Vec<u64>, Refusal> {
        if let Some(pair) = self.connections.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(Refusal::Flags(format!(
                "--connections: {} is followed by {}; fix: write plateaus that rise",
                pair[0], pair[1]
            )));
        }
        Ok(if self.connections.is_empty() { vec![0] } else { self.connections.clone() })
    }

    /// What the server does, and no flag that asks for something else.
    fn expectation(&self) -> Result<Expect, Refusal> {
        let is = |expect| self.expect == expect;
        let (echo, push) = (is(flags::Expect::Echo), is(flags::Expect::Push));
        let sends = self.message_every.is_some()
            || self.message_rate.is_some()
            || self.message_count.is_some_and(|count| count > 0);
        let searches = self.keep_bystanders.is_some();
        let unwatched = !self.bystanders && self.panel.names_somebody();
        let conflicts = [
            (!echo && self.churn.is_some(), "--churn needs an answer", "--expect echo"),
            (!echo && self.sweep, "--sweep needs an answer", "--expect echo"),
            (push && sends, "--expect push sends nothing", "no --message-* flags"),
            (self.connections.is_empty() && sends, "--message-* need connections", "--connections"),
            (!echo && self.max_p99.is_some(), "--max-p99 needs answers", "--expect echo"),
            (!push && self.banner.is_some(), "--banner is for pushes", "--expect push"),
            (!push && self.push_text.is_some(), "--push-text is for pushes", "--expect push"),
            (!push && self.push_every.is_some(), "--push-every is for pushes", "--expect push"),
            (
                self.connections.is_empty() && searches,
                "--keep-bystanders needs connections",
                "--connections",
            ),
            (!self.bystanders && searches, "--keep-bystanders needs them", "--bystanders"),
            (unwatched, "--ping and its like are bystanders", "add --bystanders"),
            (self.push_every > Some(EXPECTED_EVERY_MAX), "--push-every is too long", "30m or less"),
        ];
        if let Some((_, what, fix)) = conflicts.iter().find(|(is_so, ..)| *is_so) {
            return Err(Refusal::Flags(format!("{what}; fix: {fix}")));
        }
        Ok(match self.expect {
            flags::Expect::Echo => Expect::Echo,
            flags::Expect::Nothing => Expect::Nothing,
            flags::Expect::Push => Expect::Push(Pushes {
                banner: self.banner.clone(),
                text: self.push_text.clone().unwrap_or_default(),
                every: self.push_every,
            }),
        })
    }

    fn schedule(&self) -> Schedule {
        let rate =
            self.message_rate.map_or(Schedule::None, |rate| Schedule::PerSecond(rate as f64));
        self.message_every.map_or(rate, Schedule::Every)
    }

    fn messages_before_hold(&self, expect: &Expect) -> u16 {
        let proves = matches!(expect, Expect::Echo) && self.schedule() == Schedule::None;
        self.message_count.unwrap_or(u16::from(proves))
    }

    /// Tuples that short connections use until the first one may be used again.
    fn churn_tuples(&self, plateaus: usize) -> u64 {
        let is_over_after = match self.close {
            flags::Close::Fin => TIME_WAIT,
            // A reset leaves no TIME_WAIT; some are on their way.
            flags::Close::Reset => CONNECT_TIMEOUT,
        };
        let churns = self.hold * u32::try_from(plateaus).unwrap_or(u32::MAX);
        let seconds = is_over_after.min(churns).as_secs() + 1;
        self.churn.map_or(0, |per_s| per_s.saturating_mul(seconds))
    }
}
