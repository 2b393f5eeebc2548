//! The facts of a run that is to be diagnosed: what was lost, and what was seen at both ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::base::errno::Errno;
use crate::host::counters::Counters;
use crate::host::cpu::CpuTime;
use crate::host::sockets::Listener;
use crate::observe::snapshot::{CoreSnapshot, Snapshot};
use crate::observe::stats::LostCause;
use crate::plan::demand::Demand;
use crate::walls::host::Host;
use crate::walls::pattern::Pattern;
use crate::walls::place::Place;
use crate::walls::symptom::Symptom;

/// A run that is over, or has come to the end of a plateau.
pub struct RunFacts {
    /// What was wanted.
    pub demand: Demand,
    /// The client's host.
    pub host: Host,
    /// What was lost, and how much; a symptom with 0 is left out.
    pub symptoms: BTreeMap<Symptom, u64>,
    /// Whether both ends are in one network namespace of one host, so that its kernel counts for
    /// both.
    pub shares_kernel: bool,
    /// The client's end.
    pub client: End,
    /// The server's end, when it could be seen.
    pub server: Option<End>,
    /// Lines that the kernel of the client's host logged during the run; `None` when its log may
    /// not be read.
    pub log: Option<Vec<String>>,
    /// What the client knows besides counters.
    pub facts: ClientFacts,
}

/// What is known of one end, from before the run to now.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// The kernel's counters, before and now; `None` when they could not be seen.
    pub counters: Option<(Counters, Counters)>,
    /// By how much each figure of the program rose, over all cores.
    pub figures: BTreeMap<String, u64>,
    /// Operations of the program that failed, by the name of the error.
    pub failed: BTreeMap<String, u64>,
    /// Every core, as it was last.
    pub cores: Vec<CoreSnapshot>,
    /// CPU time of the program while connections were held.
    pub cpu_time: Option<CpuTime>,
    /// Whether it was seen for the last time before the end of the run. What it had not counted by
    /// then it may have counted later.
    pub is_early: bool,
}

/// What the client knows besides counters.
#[derive(Clone, Debug, Default)]
pub struct ClientFacts {
    /// The first target, for commands that look at it.
    pub target: Option<SocketAddr>,
    /// Whether each connection began with a header of the PROXY protocol.
    pub writes_header: bool,
    /// When connections were lost.
    pub lost_when: Option<String>,
    /// Sockets in TIME_WAIT towards the targets, on the client's side.
    pub time_wait: Option<u64>,
    /// The client's own lag at the 99th percentile; it is part of the latency.
    pub lag_p99_us: Option<u64>,
    /// Latency of messages or short connections at the 99th percentile.
    pub latency_p99_us: Option<u64>,
    /// Microseconds until what is said first was answered, at the 99th percentile.
    pub opening_p99_us: Option<u64>,
    /// Microseconds that the half of all connects took at most; the slowest plateau.
    pub connect_p50_us: Option<u64>,
    /// Why the target is gone: asked again after losses, it did not answer or refused.
    pub target_gone: Option<String>,
    /// Whether it did not even refuse: then the path to it may be gone, and not the server.
    pub target_is_silent: bool,
    /// Why this host itself lets nothing go to the target when the run is over, if it does not.
    pub no_way: Option<Errno>,
    /// Why the client stopped opening connections, when it met its memory reserve.
    pub reserve_met: Option<String>,
    /// What ended the opening of as many connections as there can be, where that was no failed connect.
    pub no_more: Option<NoMore>,
    /// The listeners at the target's port with connections that waited to be accepted when all
    /// connects were over; `None` when the target is not of this host and network namespace.
    pub listeners: Option<Vec<Listener>>,
    /// Whether all targets are one address, so that one server's figures are of all of them.
    pub has_one_target_host: bool,
    /// Targets that refused a connect right after the run, of those that had refused some in it; `None`
    /// when they were not all asked.
    pub refusing_targets: Option<Vec<SocketAddr>>,
    /// Messages and pushes that had been received when the hold began: connections had worked.
    pub received_before_hold: u64,
    /// Seconds that a connection had nothing to do in the hold, on average.
    pub idle_seconds: f64,
    /// Connections that had answered, were held, and then were silent.
    pub silent_after_hold: u64,
    /// What losses have in common.
    pub patterns: Vec<Pattern>,
    /// The beginning of the first bytes that were not expected, as text.
    pub unexpected_bytes: Option<String>,
    /// Why the first opening failed that the client gave up.
    pub opening_failure: Option<String>,
    /// The longest time in which messages were out and none was answered, from when after the start and
    /// for how long, when it is worth saying.
    pub unanswered: Option<(Duration, Duration)>,
    /// Seconds that connections were held.
    pub held_seconds: f64,
}

/// Why no more connections were opened, of as many as there can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoMore {
    /// The memory reserve was met.
    Memory,
    /// Few files are left for others; in words.
    Files(String),
    /// Each tuple is in use; their number.
    Tuples(u64),
}

/// Timeouts that any busy host may have.
const TIMEOUTS_LEAST: u64 = 20;

impl RunFacts {
    /// How much of `symptom` there was.
    #[must_use]
    pub fn count(&self, symptom: Symptom) -> u64 {
        self.symptoms.get(&symptom).copied().unwrap_or(0)
    }

    /// Connections that were lost because nothing came any more.
    #[must_use]
    pub fn silent(&self) -> u64 {
        let causes = [LostCause::Silent, LostCause::Timeout];
        causes.iter().map(|cause| self.count(Symptom::Lost(*cause))).sum()
    }

    /// Whether what was sent on connections that are silent was not even acknowledged: the kernel sent it
    /// again and again. `None` when it was not measured.
    #[must_use]
    pub fn is_unacknowledged(&self) -> Option<bool> {
        let rise = |counter| self.client.rise(counter);
        let timeouts = rise("TcpExt.TCPTimeouts")?;
        let after_timeouts = timeouts.saturating_sub(rise("TcpExt.TCPSynRetrans")?);
        Some(after_timeouts >= (2 * self.silent()).max(TIMEOUTS_LEAST))
    }

    /// What is known of a side. What lies between the ends shows at the client.
    #[must_use]
    pub fn end(&self, side: Place) -> Option<&End> {
        match side {
            Place::Client | Place::Between => Some(&self.client),
            Place::Server => self.server.as_ref(),
        }
    }

    /// Lines that the kernel of a side logged during the run; `None` when that log could not be
    /// read. The log of a server's host is the client's only when both share a kernel.
    #[must_use]
    pub fn log_of(&self, side: Place) -> Option<&[String]> {
        let is_seen = side != Place::Server || self.shares_kernel;
        self.log.as_deref().filter(|_| is_seen)
    }

    /// Connects that failed with `errno`.
    #[must_use]
    pub fn failed(&self, errno: Errno) -> u64 {
        self.count(Symptom::Failed(errno))
    }
}

impl End {
    /// A server, from what was seen of it before the run and last.
    #[must_use]
    pub fn of_server(before: Option<&Snapshot>, last: &Snapshot) -> End {
        let counters = before.and_then(|before| before.host.clone()).zip(last.host.clone());
        let rise = |pick: fn(&Snapshot) -> &BTreeMap<String, u64>| {
            let each = pick(last).iter().map(|(name, n)| {
                let was = before.and_then(|before| pick(before).get(name).copied());
                (name.clone(), n.saturating_sub(was.unwrap_or(0)))
            });
            each.collect()
        };
        End {
            counters,
            figures: rise(|view| &view.figures),
            failed: rise(|view| &view.failed),
            cores: last.cores.clone(),
            cpu_time: None,
            is_early: false,
        }
    }

    /// The same end, for which another process has answered than before the run: what all that there were have
    /// counted is not known.
    #[must_use]
    pub fn of_others(mut self) -> End {
        self.figures.clear();
        self.failed.clear();
        self
    }

    /// The same end, seen for the last time before the end of the run. A counter that had not risen
    /// by then may have risen later, so it was not measured.
    #[must_use]
    pub fn seen_early(mut self) -> End {
        if let Some((before, now)) = &mut self.counters {
            now.retain(|name, value| before.get(name).is_some_and(|was| value > was));
        }
        self.figures.retain(|_, rise| *rise > 0);
        self.is_early = true;
        self
    }

    /// By how much a counter of the kernel rose; `None` when it was not measured.
    #[must_use]
    pub fn rise(&self, counter: &str) -> Option<u64> {
        let (before, now) = self.counters.as_ref()?;
        now.rise(before, counter)
    }

    /// Whether the figures of the program are known, up to the end of the run.
    #[must_use]
    pub fn has_figures(&self) -> bool {
        !self.is_early && !self.figures.is_empty()
    }

    /// Whether the kernel's counters are known, up to the end of the run.
    #[must_use]
    pub fn has_counters(&self) -> bool {
        let is_any = |counters: &Counters| counters.iter().next().is_some();
        !self.is_early && self.counters.as_ref().is_some_and(|(was, is)| is_any(was) && is_any(is))
    }

    /// By how much a figure of the program rose.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<u64> {
        self.figures.get(name).copied()
    }
}
