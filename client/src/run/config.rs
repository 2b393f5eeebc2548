//! From what was typed to what the run is to do: the flags are checked against each other. Nothing
//! here asks the host, opens a file or makes a connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use megaconn::base::constants::{
    BUFFER_BYTES, BYSTANDERS_TIME, CONNECT_TIMEOUT, SEARCH_STEPS, TIME_WAIT,
};
use megaconn::base::endpoints::Endpoints;
use megaconn::base::layers::{Kinds, Layers};
use megaconn::base::wanted::Wanted;
use megaconn::engine::client::config::{Lifetime, Readers, Reconnect, Schedule};
use megaconn::engine::driver::ShutdownMode;
use megaconn::engine::protocol::broadcasts::Broadcasts;
use megaconn::engine::protocol::echo::Echoed;
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::protocol::proxy::header::{LINE_BYTES_MAX, Version};
use megaconn::engine::protocol::push::Pushes;
use megaconn::engine::protocol::script::Script;
use megaconn::engine::protocol::tls::config::{ClientTls, ServerName};
use megaconn::engine::storm::{Storm, Way};
use megaconn::plan::parts::RunPart;

use crate::bystanders::flags::ProbeTargets;
use crate::bystanders::slo::Slo;
use crate::run::conflicts;
use crate::run::cut::Cut;
use crate::run::flags::{self, Flags, GateFlags, LoadFlags, Outputs, Targets, TrafficFlags};
use crate::run::part::PartTyped;
use crate::run::plateaus::hold_at_least;
use crate::run::websocket::WebSocket;

/// What a run is to do.
pub(crate) struct Config {
    pub(crate) targets: Targets,
    /// What each item of the targets comes to.
    pub(crate) endpoints: Vec<Vec<Endpoints>>,
    pub(crate) load: Load,
    pub(crate) traffic: Traffic,
    /// Bytes of memory that are left to other programs; `None` is by what there is.
    pub(crate) memory_reserve: Option<u64>,
    pub(crate) gates: Gates,
    pub(crate) outputs: Outputs,
    /// What random choices come from.
    pub(crate) seed: u64,
    /// With --bystanders.
    pub(crate) bystanders: Option<BystanderPlan>,
    /// Which part of a run this is.
    pub(crate) cut: Cut,
    /// What the whole of it must reach.
    pub(crate) whole_gates: Gates,
}

/// How many connections, how fast, and for how long.
#[derive(Debug, PartialEq)]
pub(crate) struct Load {
    /// Held connections of each plateau, each another number than the one before; one 0 for churn alone.
    pub(crate) plateaus: Vec<u64>,
    /// Whether as many as there can be are held after them.
    pub(crate) to_max: bool,
    pub(crate) rate_per_s: Option<f64>,
    /// Of each core.
    pub(crate) connects_in_flight: u32,
    /// How long each plateau is held.
    pub(crate) hold: Duration,
}

/// What connections carry, and how they end.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) message_bytes: u16,
    /// Messages on each connection before the hold.
    pub(crate) message_count: u16,
    /// Of messages in the hold.
    pub(crate) schedule: Schedule,
    pub(crate) expect: Expect,
    /// Of connections that speak WebSocket.
    pub(crate) websocket: Option<WebSocket>,
    /// Of connections that speak TLS, with the name of each server.
    pub(crate) tls: Option<(ClientTls, HashMap<SocketAddr, ServerName<'static>>)>,
    /// How the header of the PROXY protocol is written that each connection begins with.
    pub(crate) proxy_protocol: Option<Version>,
    /// What is said in place of our messages. An answer to it is an echo as others.
    pub(crate) script: Option<Script>,
    pub(crate) churn: Option<Churn>,
    /// When held connections that are lost come back.
    pub(crate) reconnect: Option<Reconnect>,
    /// When held connections are dropped on purpose.
    pub(crate) storms: Vec<Storm>,
    /// Which held connections read slowly, or not at all.
    pub(crate) readers: Option<Readers>,
    /// How long held connections live.
    pub(crate) lifetime: Option<Lifetime>,
    /// Tuples that are used for their places until the first one may be used again.
    pub(crate) lifetime_tuples: u64,
    pub(crate) close: ShutdownMode,
    pub(crate) sweep: bool,
    pub(crate) keepalive: Option<Duration>,
}

/// Short connections in the hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Churn {
    pub(crate) per_s: f64,
    /// Tuples that are used until the first one may be used again.
    pub(crate) tuples: u64,
}

/// What a run must reach besides being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gates {
    pub(crate) min_established: u64,
    /// That is as many as are asked for.
    pub(crate) wants_all: bool,
    pub(crate) max_lost: u64,
    pub(crate) max_p99: Option<Duration>,
    /// How long one of them may be broken until the run ends.
    pub(crate) stop_on_miss: Option<Duration>,
}

/// What bystanders are asked, and what they are to keep.
#[derive(Debug)]
pub(crate) struct BystanderPlan {
    pub(crate) whom: ProbeTargets,
    /// With --keep-bystanders: what a search for the safe capacity is to keep.
    pub(crate) keep: Option<Slo>,
}

/// Flags that contradict each other, with the fix.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub(crate) struct FlagError(pub(crate) String);

impl Config {
    /// What `flags` mean together; their targets are `endpoints`, which requests call by their `hosts`.
    ///
    /// # Errors
    /// The first two of them that contradict each other.
    pub(crate) fn new(
        mut flags: Flags,
        endpoints: Vec<Vec<Endpoints>>,
        hosts: HashMap<SocketAddr, Box<str>>,
        script: Option<Script>,
        tls: Option<(ClientTls, HashMap<SocketAddr, ServerName<'static>>)>,
        part: PartTyped,
    ) -> Result<Config, FlagError> {
        if let Some((what, fix)) = conflicts::first(&flags) {
            return Err(FlagError(format!("{what}; fix: {fix}")));
        }
        let room = first_bytes_max(&flags);
        let hello = script.as_ref().and_then(|script| script.hello.as_ref());
        if hello.is_some_and(|hello| hello.size() > room) {
            let error = format!("--hello is too long behind a header; fix: {room} bytes at most");
            return Err(FlagError(error));
        }
        if flags.targets.is_tls().is_none() {
            let error = "--target: some speak TLS and some do not; fix: one scheme for all of them";
            return Err(FlagError(error.to_owned()));
        }
        let websocket = WebSocket::of(&flags, hosts, script.as_ref(), room).map_err(FlagError)?;
        let (whole, to_max) = plateaus(&flags.load.connections)?;
        let cut = Cut::new(part, &mut flags, &whole, to_max).map_err(FlagError)?;
        let plateaus: Vec<u64> = whole.iter().map(|connections| cut.share(*connections)).collect();
        let most = plateaus.iter().copied().max().unwrap_or(0);
        let whole_most = whole.iter().copied().max().unwrap_or(0);
        let reused =
            reused_after(&flags.load, &flags.traffic, plateaus.len() + usize::from(to_max));
        let churn = churn(&flags.traffic, reused);
        let lifetime = flags.lifetime.told();
        let lifetime_tuples = flags.lifetime.tuples(most, reused);
        let bystanders = flags.bystanders.then(|| {
            let target = endpoints.iter().flatten().next().map(|endpoints| endpoints.address);
            let whom = flags.panel.whom(target, flags.outputs.out.as_deref());
            BystanderPlan { whom, keep: flags.keep_bystanders }
        });
        let keeps = bystanders.as_ref().and_then(|plan| Some((plan.keep.as_ref()?, &plan.whom)));
        let hold_least = keeps.map(|(keep, whom)| hold_at_least(keep, whom.rate_per_s));
        let whole_gates = Gates::new(&flags.gates, whole_most, to_max, keeps.is_some());
        let gates = match cut.part {
            Some(_) => whole_gates.of_part(most, whole_most),
            None => whole_gates,
        };
        if whole_gates.min_established > whole_most && !to_max {
            return Err(FlagError(format!(
                "--min-established {} is more than --connections {whole_most}; fix: --min-established {whole_most}, \
                 or more --connections",
                whole_gates.min_established
            )));
        }
        Ok(Config {
            targets: flags.targets,
            endpoints,
            load: Load {
                plateaus,
                to_max,
                rate_per_s: flags.load.rate,
                connects_in_flight: flags.load.connects_in_flight,
                hold: flags.load.hold.max(hold_least.unwrap_or_default()),
            },
            traffic: Traffic {
                websocket,
                tls,
                reconnect: flags.reconnect.told(),
                storms: flags.reconnect.storms(),
                readers: flags.readers.told(),
                lifetime,
                lifetime_tuples,
                ..Traffic::new(flags.traffic, script, churn, to_max)
            },
            memory_reserve: flags.memory_reserve,
            gates,
            outputs: flags.outputs,
            seed: flags.lifetime.seed(cut.run_id.as_deref()),
            cut,
            whole_gates,
            bystanders,
        })
    }

    /// Held connections of the highest plateau that has a number.
    pub(crate) fn connections(&self) -> u64 {
        self.load.plateaus.iter().copied().max().unwrap_or(0)
    }

    /// Every address and port of a server.
    pub(crate) fn targets(&self) -> Vec<SocketAddr> {
        self.endpoints.iter().flatten().flat_map(|endpoints| endpoints.each()).collect()
    }

    /// What a search for the safe capacity is to keep.
    pub(crate) fn keep(&self) -> Option<&Slo> {
        self.bystanders.as_ref()?.keep.as_ref()
    }

    /// About how long the run may take, for a buffer that is to hold all of it.
    pub(crate) fn expected_time(&self) -> Duration {
        let plateaus = self.load.plateaus.len() + usize::from(self.load.to_max);
        let steps = if self.keep().is_some() { SEARCH_STEPS } else { plateaus };
        (self.load.hold + BYSTANDERS_TIME) * u32::try_from(steps).unwrap_or(u32::MAX)
    }
}

impl Traffic {
    /// What connections speak.
    pub(crate) fn layers(&self) -> Layers {
        Layers {
            header: self.proxy_protocol.is_some(),
            tls: self.tls.is_some(),
            websocket: self.websocket.is_some(),
            script: self.script.is_some(),
        }
    }

    /// What is kept beside the slots of connections.
    pub(crate) fn kinds(&self) -> Kinds {
        Kinds {
            has_lifetime: self.lifetime.is_some(),
            thinks: matches!(self.schedule, Schedule::Exponential(_)),
            may_live_again: self.lifetime.is_some() || self.reconnect.is_some(),
        }
    }

    fn new(
        flags: TrafficFlags,
        script: Option<Script>,
        churn: Option<Churn>,
        to_max: bool,
    ) -> Traffic {
        let per_s = flags.message_rate.map_or(Schedule::None, Schedule::PerSecond);
        let every = flags.message_every.map(|every| every.0);
        let schedule = every.or(flags.ping_every.map(Schedule::Every)).unwrap_or(per_s);
        let is_unanswered = script.as_ref().is_some_and(|script| script.answer.is_none());
        let expect = match flags.expect {
            flags::Expect::Echo if is_unanswered => Expect::Nothing,
            flags::Expect::Echo => Expect::Echo(Echoed { message_bytes: flags.message_bytes }),
            flags::Expect::Nothing => Expect::Nothing,
            flags::Expect::Broadcast => Expect::Broadcast(Broadcasts),
            flags::Expect::Push => Expect::Push(Pushes {
                banner: flags.banner,
                text: flags.push_text.unwrap_or_default(),
                every: flags.push_every,
            }),
        };
        // One message proves each connection, when nothing else does. As many as there can be are those
        // that were proven before they are held.
        let has_no_other = schedule == Schedule::None || to_max || flags.ping_every.is_some();
        let proves = matches!(expect, Expect::Echo(_)) && has_no_other;
        Traffic {
            message_bytes: flags.message_bytes,
            message_count: flags.message_count.unwrap_or(u16::from(proves)),
            schedule,
            expect,
            websocket: None,
            tls: None,
            proxy_protocol: flags.proxy_protocol,
            script,
            churn,
            reconnect: None,
            storms: Vec::new(),
            readers: None,
            lifetime: None,
            lifetime_tuples: 0,
            close: match flags.close {
                flags::Close::Fin => ShutdownMode::Sending,
                flags::Close::Reset => ShutdownMode::Reset,
            },
            sweep: flags.sweep,
            keepalive: flags.keepalive,
        }
    }

    /// Short connections per second, with --churn.
    pub(crate) fn churn_per_s(&self) -> Option<f64> {
        self.churn.map(|churn| churn.per_s)
    }

    /// Whether something is said and heard on a connection before it counts.
    pub(crate) fn opens(&self) -> bool {
        let layers = self.websocket.is_some() || self.tls.is_some() || self.script.is_some();
        layers || self.proxy_protocol.is_some()
    }

    /// Whether connections go without a packet.
    pub(crate) fn vanishes(&self) -> bool {
        self.storms.iter().any(|storm| storm.drop.by == Way::Vanishing)
    }

    /// Whether connections carry anything in the hold, or come and go.
    pub(crate) fn is_any(&self) -> bool {
        let pushes = matches!(self.expect, Expect::Push(_) | Expect::Broadcast(_));
        let comes_and_goes = self.churn.is_some() || self.lifetime.is_some();
        self.schedule != Schedule::None || comes_and_goes || pushes
    }
}

impl Gates {
    /// Those of a part that holds `most` of `whole`: it misses what the whole is sure to miss.
    fn of_part(self, most: u64, whole: u64) -> Gates {
        Gates { min_established: RunPart::least(most, self.min_established, whole), ..self }
    }

    fn new(flags: &GateFlags, most: u64, to_max: bool, searches: bool) -> Gates {
        // Whatever number a search finds is an answer, however small it is.
        let fewest = if searches { 0 } else { most };
        let fewest = fewest.max(to_max.into());
        Gates {
            min_established: flags.min_established.unwrap_or(fewest),
            wants_all: flags.min_established.is_none() && !searches && !to_max,
            max_lost: flags.max_lost,
            max_p99: flags.max_p99,
            stop_on_miss: flags.stop_on_miss,
        }
    }
}

/// Bytes of a hello or an upgrade at most: a header of the PROXY protocol goes out with it in one buffer.
fn first_bytes_max(flags: &Flags) -> usize {
    let header = flags.traffic.proxy_protocol.map_or(0, |_| LINE_BYTES_MAX);
    usize::from(BUFFER_BYTES) - header
}

/// Plateaus, no two alike in turn, and whether as many as there can be come after them.
fn plateaus(wanted: &[Wanted]) -> Result<(Vec<u64>, bool), FlagError> {
    let to_max = wanted.last() == Some(&Wanted::Max);
    let numbers = &wanted[..wanted.len() - usize::from(to_max)];
    let number = |wanted: &Wanted| match wanted {
        Wanted::Count(count) => Some(*count),
        Wanted::Max => None,
    };
    let Some(connections) = numbers.iter().map(number).collect::<Option<Vec<u64>>>() else {
        let error = "--connections: max is followed by another plateau; fix: write max last";
        return Err(FlagError(error.into()));
    };
    if let Some(pair) = connections.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(FlagError(format!(
            "--connections: {} is followed by {0}; fix: write plateaus that differ, or a longer --hold",
            pair[0]
        )));
    }
    let is_churn_alone = connections.is_empty() && !to_max;
    Ok((if is_churn_alone { vec![0] } else { connections }, to_max))
}

/// After which time a tuple may be used again, at most all holds together; and a second more.
fn reused_after(load: &LoadFlags, traffic: &TrafficFlags, plateaus: usize) -> Duration {
    let is_over_after = match traffic.close {
        flags::Close::Fin => TIME_WAIT,
        // A reset leaves no TIME_WAIT; some are on their way.
        flags::Close::Reset => CONNECT_TIMEOUT,
    };
    let churns = load.hold * u32::try_from(plateaus).unwrap_or(u32::MAX);
    Duration::from_secs(is_over_after.min(churns).as_secs() + 1)
}

fn churn(traffic: &TrafficFlags, reused: Duration) -> Option<Churn> {
    traffic.churn.map(|per_s| {
        // A rate is far below 2^64 a second, and a product that is not is capped.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above")]
        let tuples = (per_s * reused.as_secs_f64()).ceil() as u64;
        Churn { per_s, tuples }
    })
}

#[cfg(test)]
mod tests;
