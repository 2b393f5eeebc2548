//! The result of all parts, but for plateaus and verdict: what is added, what is kept of each, and what is left out.

use std::collections::BTreeMap;

use crate::results::broadcasts::{Broadcast, Broadcasts};
use crate::results::cost::Cost;
use crate::results::lenient::{List, Maybe, Part};
use crate::results::merge::sums::{add, add_counts, both_rates, lower, raise, take};
use crate::results::parts::{PartOf, PartRow};
use crate::results::plateau::Plateau;
use crate::results::result::{Close, Descriptors, LossTimes, PerCore, RunResult, TargetCounts};

/// Patterns and changes of names that are kept, over all parts.
const LINES_KEPT: usize = 32;

/// Adds the result of the part `number` to that of the parts before.
pub(super) fn absorb(sum: &mut RunResult, number: u64, other: &mut RunResult) {
    let ends = |of: &RunResult| Some((*of.started_at)? as f64 + (*of.seconds)?);
    let (first, second) = (ends(sum), ends(other));
    lower(&mut sum.started_at, other.started_at);
    let whole = first.zip(second).zip(*sum.started_at).map(|((a, b), from)| a.max(b) - from as f64);
    sum.seconds = whole.into();
    if sum.topology != other.topology {
        sum.topology = Maybe(None);
    }
    add(&mut sum.target_connections, other.target_connections);
    add(&mut sum.established, other.established);
    add_counts(&mut sum.failed, &other.failed);
    add_counts(&mut sum.lost, &other.lost);
    add(&mut sum.dropped, other.dropped);
    add(&mut sum.untried, other.untried);
    add(&mut sum.tuples_skipped, other.tuples_skipped);
    take(&mut sum.losses, &other.losses, true, |sum: &mut LossTimes, other| {
        sum.first_ms = sum.first_ms.min(other.first_ms);
        sum.last_ms = sum.last_ms.max(other.last_ms);
        sum.most_in_one_second = sum.most_in_one_second.max(other.most_in_one_second);
    });
    of_part(other, number);
    keep(&mut sum.loss_patterns, &mut other.loss_patterns);
    keep(&mut sum.target_changes, &mut other.target_changes);
    keep(&mut sum.changes, &mut other.changes);
    first_of(&mut sum.ended_early, &other.ended_early);
    first_of(&mut sum.unexpected_bytes, &other.unexpected_bytes);
    first_of(&mut sum.opening_failure, &other.opening_failure);
    first_of(&mut sum.target_afterwards, &other.target_afterwards);
    first_of(&mut sum.memory_reserve_met, &other.memory_reserve_met);
    take(&mut sum.close, &other.close, false, |sum: &mut Close, other| {
        both_rates((&mut sum.seconds, &mut sum.rate_per_s), (other.seconds, other.rate_per_s));
        raise(&mut sum.server_seconds, other.server_seconds);
        add(&mut sum.timeouts, other.timeouts);
    });
    take(&mut sum.broadcasts, &other.broadcasts, false, broadcasts);
    let files: &mut Descriptors = &mut sum.file_descriptors;
    add(&mut files.client, other.file_descriptors.client);
    raise(&mut files.server, other.file_descriptors.server);
    targets(&mut sum.targets, &other.targets);
    cores(&mut sum.per_core, &other.per_core);
}

/// Says of what is kept by itself which part it is of.
pub(super) fn of_part(result: &mut RunResult, number: u64) {
    let said = |text: &mut Maybe<String>| {
        if let Some(text) = text.as_mut() {
            *text = format!("part {number}: {text}");
        }
    };
    result.loss_patterns.iter_mut().for_each(|pattern| said(&mut pattern.text));
    result.changes.iter_mut().for_each(|change| said(&mut change.what));
    said(&mut result.ended_early);
    let is_client = |core: &&mut PerCore| core.side.as_deref() == Some("client");
    result.per_core.iter_mut().filter(is_client).for_each(|core| core.part = number.into());
}

fn keep<T>(sum: &mut List<T>, other: &mut List<T>) {
    let room = LINES_KEPT.saturating_sub(sum.len());
    sum.extend(other.drain(..).take(room));
}

fn first_of<T: Clone>(first: &mut Maybe<T>, other: &Maybe<T>) {
    if first.is_none() {
        *first = other.clone();
    }
}

fn broadcasts(sum: &mut Broadcasts, other: &Broadcasts) {
    add(&mut sum.received, other.received);
    add(&mut sum.missed, other.missed);
    add(&mut sum.beyond, other.beyond);
    if sum.clock != other.clock {
        sum.clock = Maybe(None);
    }
    let mut texts: BTreeMap<Option<u64>, Broadcast> = BTreeMap::new();
    for text in sum.texts.iter().chain(other.texts.iter()) {
        texts
            .entry(*text.number)
            .and_modify(|sum| {
                add(&mut sum.reached, text.reached);
                lower(&mut sum.first_us, text.first_us);
                raise(&mut sum.last_us, text.last_us);
                let spread =
                    sum.last_us.zip(*sum.first_us).map(|(last, first)| last.abs_diff(first));
                sum.spread_us = spread.into();
                sum.latency_us = Maybe(None);
            })
            .or_insert_with(|| text.clone());
    }
    sum.texts = texts.into_values().collect();
}

fn targets(sum: &mut List<TargetCounts>, other: &List<TargetCounts>) {
    let mut places: BTreeMap<Option<String>, usize> =
        sum.iter().enumerate().map(|(at, target)| (target.address.0.clone(), at)).collect();
    for target in other.iter() {
        let place = *places.entry(target.address.0.clone()).or_insert(sum.len());
        let Some(of_target) = sum.get_mut(place) else {
            sum.push(target.clone());
            continue;
        };
        add(&mut of_target.established, target.established);
        add(&mut of_target.failed, target.failed);
        add(&mut of_target.lost, target.lost);
    }
}

/// Cores of clients one after the other; all parts have seen the same ones of the server.
fn cores(sum: &mut List<PerCore>, other: &List<PerCore>) {
    for core in other.iter() {
        let is_it = |known: &&mut PerCore| known.side == core.side && known.core == core.core;
        let known = if core.part.is_none() { sum.iter_mut().find(is_it) } else { None };
        match known {
            None => sum.push(core.clone()),
            Some(known) => {
                raise(&mut known.connections_peak, core.connections_peak);
                raise(&mut known.messages_total, core.messages_total);
            }
        }
    }
}

/// What a connection costs over all parts: the growth of the highest plateau, divided.
pub(super) fn cost(highest: Option<&Plateau>, sockets: Option<u64>) -> Cost {
    let Some((plateau, held)) =
        highest.and_then(|plateau| Some((plateau, plateau.established.filter(|n| *n > 0)? as f64)))
    else {
        return Cost::default();
    };
    let each = |bytes: Maybe<i64>| {
        Maybe(bytes.filter(|bytes| *bytes > 0).map(|bytes| bytes as f64 / held))
    };
    let memory = &plateau.memory;
    let by_slab = memory.by_slab.as_ref().map(|slabs| {
        let each = slabs.iter().map(|(slab, bytes)| (slab.clone(), *bytes as f64 / held));
        each.filter(|(_, bytes)| *bytes >= 1.0).collect()
    });
    Cost {
        kernel_bytes: each(memory.kernel_bytes),
        server_user_bytes: each(memory.server_user_bytes),
        client_user_bytes: each(memory.client_user_bytes),
        by_slab: by_slab.into(),
        sockets_counted: sockets.into(),
        ..Cost::default()
    }
}

/// A part in a row.
pub(super) fn row(part: &PartOf, directory: &str, result: &RunResult) -> PartRow {
    let highest = result.highest();
    let held = |of: fn(&Plateau) -> Maybe<f64>| highest.map_or(Maybe(None), of);
    let late = result.plateaus.iter().filter_map(|plateau| *plateau.late_seconds).reduce(f64::max);
    let messages =
        result.plateaus.iter().map(|plateau| *plateau.messages.received).sum::<Option<u64>>();
    let walls = result.verdict.wall.iter().chain(result.verdict.more_walls.iter());
    let began = part.start_at_ms.or(result.started_at.map(|seconds| seconds.saturating_mul(1_000)));
    let sentences = result.bystanders.iter().flat_map(|all| all.answer.iter());
    PartRow {
        number: part.number,
        host: part.host.clone(),
        directory: directory.into(),
        started_at_ms: began.into(),
        connections: result.target_connections,
        established: result.established,
        failed: result.failed.sum().into(),
        lost: result.lost.sum().into(),
        connects_per_s: held(|plateau| plateau.connect.rate_per_s),
        connect_latency_us: highest.map_or(Maybe(None), |plateau| plateau.connect.latency_us),
        messages: messages.into(),
        message_latency_us: highest.map_or(Maybe(None), |plateau| plateau.messages.latency_us),
        schedule_lag_us: highest.map_or(Maybe(None), |plateau| plateau.schedule_lag_us),
        late_seconds: late.into(),
        clock: part.clock,
        kernel_bytes: result.cost_per_connection.kernel_bytes,
        client_user_bytes: result.cost_per_connection.client_user_bytes,
        met: result.verdict.met,
        walls: walls.filter_map(|wall| wall.id.0.clone()).collect(),
        bystanders: sentences.cloned().collect(),
    }
}

/// The first part, from which the sum begins.
pub(super) fn begin(result: &RunResult) -> RunResult {
    RunResult {
        max: Maybe(None),
        part: Maybe(None),
        safe_capacity: Maybe(None),
        bystanders: Maybe(None),
        memory_before: Part::default(),
        plateaus: List::default(),
        notes: crate::results::lenient::Map::default(),
        ..result.clone()
    }
}
