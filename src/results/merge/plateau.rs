//! A plateau of all parts: counters are added, histograms are added bucket by bucket, and percentiles are read from the sum.

use std::collections::BTreeMap;

use serde_json::Number;

use crate::observe::stats::Durations;
use crate::results::cost::Memory;
use crate::results::histograms::{PLACES, Recorded};
use crate::results::lenient::{List, Maybe, Part};
use crate::results::merge::sums::{
    add, add_bytes, add_counts, add_real, add_signed, both_rates, lower, raise, take,
};
use crate::results::percentiles::Percentiles;
use crate::results::plateau::{
    Churn, ClosedDown, Connect, Handshakes, Keepalives, Lifetimes, Messages, Plateau, Pushes,
    Reconnects, SlowReaders, Sweep,
};

/// A plateau so far.
pub(super) struct PlateauSum {
    sum: Plateau,
    /// Parts that have come to it.
    pub(super) parts: u64,
    /// By the place of its percentiles, of parts that have kept them; `None` where one has not.
    histograms: BTreeMap<&'static str, Option<Durations>>,
    /// The kernel's memory of each host.
    hosts: BTreeMap<String, Memory>,
    /// When the last of them began its hold, and when the first one ended it, by the server's clock where that is known.
    holds: Option<(i64, i64)>,
}

impl PlateauSum {
    /// Nothing yet.
    pub(super) fn new() -> PlateauSum {
        PlateauSum {
            sum: Plateau::default(),
            parts: 0,
            histograms: BTreeMap::new(),
            hosts: BTreeMap::new(),
            holds: None,
        }
    }

    /// Takes the plateau of a part on `host`, whose clock is behind by `behind_ms`, with its histograms.
    pub(super) fn take(
        &mut self,
        mut plateau: Plateau,
        recorded: Option<&BTreeMap<String, Recorded>>,
        host: &str,
        behind_ms: i64,
    ) {
        for (place, percentiles) in PLACES {
            if percentiles(&mut plateau).is_some_and(|percentiles| percentiles.is_none()) {
                // Nothing was counted.
                continue;
            }
            if percentiles(&mut plateau).is_none() {
                continue;
            }
            let new = recorded.and_then(|all| all.get(place)).and_then(Recorded::durations);
            let known = self.histograms.entry(place).or_insert_with(|| Some(Durations::none()));
            *known = known.take().zip(new).map(|(sum, new)| sum.and(&new));
        }
        self.take_memory(&plateau.memory, host);
        if let Some((began, time)) = plateau.hold_began_at_ms.zip(*plateau.hold_seconds) {
            let began = began.cast_signed().saturating_add(behind_ms);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a hold of a hundred years is far below"
            )]
            let ended = began.saturating_add((time * 1e3) as i64);
            let both = self.holds.unwrap_or((began, ended));
            self.holds = Some((both.0.max(began), both.1.min(ended)));
        }
        if self.parts == 0 {
            self.sum = plateau;
        } else {
            absorb(&mut self.sum, &plateau);
        }
        self.parts += 1;
    }

    /// One host has one kernel, however many parts it has; all see the same server.
    fn take_memory(&mut self, memory: &Memory, host: &str) {
        match self.hosts.get_mut(host) {
            None => {
                self.hosts.insert(host.to_owned(), memory.clone());
            }
            Some(of_host) => {
                if memory.kernel_bytes.0 > of_host.kernel_bytes.0 {
                    of_host.by_layer = memory.by_layer.clone();
                    of_host.by_slab = memory.by_slab.clone();
                    of_host.kernel_bytes = memory.kernel_bytes;
                }
                add_signed(&mut of_host.client_user_bytes, memory.client_user_bytes);
                raise(&mut of_host.server_user_bytes, memory.server_user_bytes);
            }
        }
    }

    /// For how long all were held at once, in milliseconds; below 0 they never were.
    pub(super) fn together_ms(&self) -> Option<i64> {
        self.holds.map(|(began, ended)| ended.saturating_sub(began))
    }

    /// The plateau of `connections` of the whole.
    pub(super) fn finish(mut self, connections: Option<u64>) -> Plateau {
        for (place, percentiles) in PLACES {
            let Some(percentiles) = percentiles(&mut self.sum) else { continue };
            let all = self.histograms.remove(place).flatten();
            *percentiles = all.as_ref().and_then(Percentiles::of).into();
        }
        self.sum.connections = connections.map_or(self.sum.connections, Maybe::from);
        let mut hosts = self.hosts.into_values();
        let mut memory = hosts.next().unwrap_or_default();
        for host in hosts {
            add_signed(&mut memory.kernel_bytes, host.kernel_bytes);
            add_signed(&mut memory.client_user_bytes, host.client_user_bytes);
            raise(&mut memory.server_user_bytes, host.server_user_bytes);
            add_bytes(&mut memory.by_layer, &host.by_layer);
            take(&mut memory.by_slab, &host.by_slab, false, add_bytes);
        }
        memory.sockstat = Part::default();
        self.sum.memory = Part(memory);
        self.sum.bystanders = Maybe(None);
        self.sum
    }
}

fn absorb(sum: &mut Plateau, other: &Plateau) {
    add(&mut sum.connections, other.connections);
    add(&mut sum.established, other.established);
    add_counts(&mut sum.failed, &other.failed);
    add_counts(&mut sum.lost, &other.lost);
    add(&mut sum.dropped, other.dropped);
    take(&mut sum.closed, &other.closed, true, closed);
    connect(&mut sum.connect, &other.connect);
    messages(&mut sum.messages, &other.messages);
    take(&mut sum.keepalives, &other.keepalives, true, |sum: &mut Keepalives, other| {
        add(&mut sum.sent, other.sent);
        add(&mut sum.answered, other.answered);
    });
    take(&mut sum.pushes, &other.pushes, false, |sum: &mut Pushes, other| {
        add(&mut sum.received, other.received);
        add(&mut sum.late, other.late);
        add(&mut sum.missing, other.missing);
    });
    take(&mut sum.churn, &other.churn, false, churn);
    take(&mut sum.readers, &other.readers, false, readers);
    take(&mut sum.lifetimes, &other.lifetimes, false, lifetimes);
    take(&mut sum.reconnect, &other.reconnect, false, reconnects);
    take(&mut sum.sweep, &other.sweep, false, |sum: &mut Sweep, other| {
        add(&mut sum.asked, other.asked);
        add(&mut sum.answered, other.answered);
        raise(&mut sum.seconds, other.seconds);
        add_counts(&mut sum.lost, &other.lost);
    });
    raise(&mut sum.hold_began_at_ms, other.hold_began_at_ms);
    raise(&mut sum.late_seconds, other.late_seconds);
    lower(&mut sum.hold_seconds, other.hold_seconds);
    raise(&mut sum.paused_seconds, other.paused_seconds);
    raise(&mut sum.cut_short, other.cut_short);
}

fn closed(sum: &mut ClosedDown, other: &ClosedDown) {
    add(&mut sum.connections, other.connections);
    both_rates((&mut sum.seconds, &mut sum.rate_per_s), (other.seconds, other.rate_per_s));
    // Of one host with many parts it would be counted many times.
    sum.kernel_bytes_back = Maybe(None);
    raise(&mut sum.server_bytes_back, other.server_bytes_back);
    add_signed(&mut sum.client_bytes_back, other.client_bytes_back);
}

fn connect(sum: &mut Connect, other: &Connect) {
    let alone = (sum.seconds, other.seconds);
    both_rates((&mut sum.seconds, &mut sum.rate_per_s), (other.seconds, other.rate_per_s));
    take(&mut sum.handshakes, &other.handshakes, true, |sum, other| {
        handshakes(sum, other, alone);
    });
}

fn handshakes(
    sum: &mut Handshakes,
    other: &Handshakes,
    (mut time, other_time): (Maybe<f64>, Maybe<f64>),
) {
    add(&mut sum.full, other.full);
    add(&mut sum.resumed, other.resumed);
    both_rates((&mut time, &mut sum.rate_per_s), (other_time, other.rate_per_s));
}

fn messages(sum: &mut Messages, other: &Messages) {
    raise(&mut sum.seconds, other.seconds);
    add(&mut sum.sent, other.sent);
    add(&mut sum.received, other.received);
    add(&mut sum.mismatched, other.mismatched);
    add(&mut sum.late, other.late);
    add(&mut sum.unsent, other.unsent);
}

fn churn(sum: &mut Churn, other: &Churn) {
    let asked = sum.asked_per_s.as_ref().zip(other.asked_per_s.as_ref());
    sum.asked_per_s = asked.and_then(|(a, b)| number(a.as_f64()? + b.as_f64()?)).into();
    let alone = (sum.seconds, other.seconds);
    both_rates((&mut sum.seconds, &mut sum.rate_per_s), (other.seconds, other.rate_per_s));
    add(&mut sum.started, other.started);
    add(&mut sum.completed, other.completed);
    add_counts(&mut sum.failed, &other.failed);
    add_counts(&mut sum.lost, &other.lost);
    add(&mut sum.unfinished, other.unfinished);
    add(&mut sum.unstarted, other.unstarted);
    take(&mut sum.handshakes, &other.handshakes, true, |sum, other| {
        handshakes(sum, other, alone);
    });
}

/// A whole number is written as such. Parts of a rate are whole again but for what is lost in dividing it.
fn number(real: f64) -> Option<Number> {
    let whole = real.round();
    #[expect(clippy::cast_possible_truncation, reason = "rates are at most 10^15 each")]
    if (real - whole).abs() < 1e-9 * whole.abs() {
        return Some(Number::from(whole as i64));
    }
    Number::from_f64(real)
}

fn readers(sum: &mut SlowReaders, other: &SlowReaders) {
    add(&mut sum.slow, other.slow);
    add(&mut sum.slow_ended, other.slow_ended);
    add_real(&mut sum.bytes_per_s, other.bytes_per_s);
    add(&mut sum.silent, other.silent);
    add(&mut sum.silent_ended, other.silent_ended);
    add(&mut sum.sent, other.sent);
}

fn lifetimes(sum: &mut Lifetimes, other: &Lifetimes) {
    let lives = |of: &Lifetimes| Some((*of.mean_seconds)? * (*of.departures)? as f64);
    let all = lives(sum).zip(lives(other)).map(|(a, b)| a + b);
    add(&mut sum.departures, other.departures);
    add(&mut sum.arrivals, other.arrivals);
    add(&mut sum.waiting, other.waiting);
    add(&mut sum.tries, other.tries);
    add_counts(&mut sum.failed, &other.failed);
    add(&mut sum.connections_min, other.connections_min);
    add_real(&mut sum.connections_mean, other.connections_mean);
    let departures = sum.departures.filter(|n| *n > 0).map(|n| n as f64);
    sum.mean_seconds = all.zip(departures).map(|(all, by)| all / by).into();
}

fn reconnects(sum: &mut Reconnects, other: &Reconnects) {
    add(&mut sum.returned, other.returned);
    add(&mut sum.given_up, other.given_up);
    add(&mut sum.waiting, other.waiting);
    add(&mut sum.tries, other.tries);
    add_counts(&mut sum.failed, &other.failed);
    // Each part has its own, which are no sums.
    sum.storms = List::default();
}
