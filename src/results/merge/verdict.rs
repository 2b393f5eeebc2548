//! The verdict over all parts: what the whole has missed, and which walls which hosts have met.

use std::collections::BTreeMap;

use crate::base::units::{grouped, microseconds};
use crate::results::merge::problem::in_rows;
use crate::results::merge::sums::add_names;
use crate::results::parts::WholeGates;
use crate::results::result::RunResult;
use crate::results::verdict::{Attribution, NextWall, P99_MISSED, Verdict};

/// What all parts have said so far.
#[derive(Default)]
pub(super) struct VerdictSum {
    /// What a part missed, and which parts did.
    missed: BTreeMap<String, Vec<u64>>,
    walls: BTreeMap<(String, String), Met>,
    without_loss: BTreeMap<(String, String), Met>,
    /// The next wall of the part that meets one first, with its number.
    next: Option<(u64, NextWall)>,
    parts: u64,
}

/// A wall, and the parts that met it.
struct Met {
    /// By number, with the name of the host.
    parts: Vec<(u64, String)>,
    lost: u64,
    became: BTreeMap<String, u64>,
    /// What the part says to which it cost most.
    worst: Attribution,
}

/// Walls that a kernel has once, for all parts on it; others each part has for itself.
const OF_KERNEL: [&str; 7] =
    ["ehash", "file-max", "memlock", "memory", "orphans", "tcp-mem", "threads"];

/// Reasons of parts that are told one by one.
const MISSED_SHOWN: usize = 20;

impl VerdictSum {
    /// Takes the verdict of a part.
    pub(super) fn take(&mut self, number: u64, host: &str, verdict: &Verdict) {
        self.parts += 1;
        // Of the whole the percentiles are read anew.
        for why in verdict.missed.iter().filter(|why| !why.starts_with(P99_MISSED)) {
            self.missed.entry(why.clone()).or_default().push(number);
        }
        for wall in verdict.wall.iter().chain(verdict.more_walls.iter()) {
            meet(&mut self.walls, number, host, wall);
        }
        for wall in verdict.met_without_loss.iter() {
            meet(&mut self.without_loss, number, host, wall);
        }
        if let Some(next) = verdict.next_wall.as_ref()
            && let Some(at) = *next.at_connections
            && self.next.as_ref().is_none_or(|(_, least)| Some(at) < *least.at_connections)
        {
            self.next = Some((number, next.clone()));
        }
    }

    /// The verdict on the whole, which is `result`, of hosts with so many `kernels`; what was `told` of it before is missed.
    pub(super) fn finish(
        self,
        result: &RunResult,
        gates: WholeGates,
        kernels: u64,
        told: Vec<String>,
    ) -> Verdict {
        let mut missed = told;
        missed.extend(of_whole(result, gates));
        let more = self.missed.len().saturating_sub(MISSED_SHOWN);
        let each = self.missed.iter().take(MISSED_SHOWN);
        missed.extend(each.map(|(why, parts)| {
            let s = if parts.len() == 1 { "" } else { "s" };
            format!("part{s} {}: {why}", in_rows(parts))
        }));
        if more > 0 {
            missed.push(format!("{more} more reasons of parts, each in its own directory"));
        }
        let parts = self.parts;
        let mut walls: Vec<Attribution> =
            self.walls.into_values().map(|met| met.told(parts)).collect();
        walls.sort_by_key(|wall| {
            std::cmp::Reverse((
                wall.lost.or_zero(),
                wall.became.values().fold(0, |sum: u64, n| sum.saturating_add(*n)),
            ))
        });
        let mut walls = walls.into_iter();
        let wall = walls.next();
        let next = self.next.filter(|_| wall.is_none()).map(|(_, next)| {
            // Parts on one kernel meet its walls together.
            let id = next.id.as_deref().unwrap_or_default();
            let times = if OF_KERNEL.contains(&id) { kernels } else { parts };
            let at = next.at_connections.map(|at| at.saturating_mul(times));
            NextWall { at_connections: at.into(), ..next }
        });
        Verdict {
            met: missed.is_empty().into(),
            missed: missed.into(),
            wall: wall.into(),
            more_walls: walls.collect(),
            met_without_loss: self.without_loss.into_values().map(|met| met.told(parts)).collect(),
            next_wall: next.into(),
        }
    }
}

fn meet(walls: &mut BTreeMap<(String, String), Met>, number: u64, host: &str, wall: &Attribution) {
    let name = |text: &Option<String>| text.clone().unwrap_or_default();
    let met = walls.entry((name(&wall.id), name(&wall.side))).or_insert_with(|| Met {
        parts: Vec::new(),
        lost: 0,
        became: BTreeMap::new(),
        worst: wall.clone(),
    });
    met.parts.push((number, host.to_owned()));
    met.lost = met.lost.saturating_add(wall.lost.or_zero());
    add_names(&mut met.became, &wall.became);
    if wall.lost.or_zero() > met.worst.lost.or_zero() {
        met.worst = wall.clone();
    }
}

impl Met {
    /// In the form of a result; what was seen is that of the part to which it cost most.
    fn told(mut self, of: u64) -> Attribution {
        self.parts.sort_unstable();
        let numbers: Vec<u64> = self.parts.iter().map(|(number, _)| *number).collect();
        let who = match &self.parts[..] {
            [(number, host)] if of > 1 => format!("part {number} ({host}) alone met it"),
            all if all.len() as u64 == of => format!("all {of} parts met it"),
            all => format!("{} of {of} parts met it: {}", all.len(), in_rows(&numbers)),
        };
        let mut wall = self.worst;
        wall.lost = self.lost.into();
        wall.became = self.became.into_iter().collect();
        wall.evidence.insert(0, who);
        wall
    }
}

/// What the whole has missed of its gates.
fn of_whole(result: &RunResult, gates: WholeGates) -> Vec<String> {
    let mut missed = Vec::new();
    let established = result.established.or_zero();
    if let Some(least) = gates.min_established.filter(|least| established < *least) {
        missed.push(format!("{} established of {} wanted", grouped(established), grouped(least)));
    }
    let back = result.plateaus.iter().filter_map(|plateau| plateau.reconnect.as_ref());
    let comes_back = back.clone().next().is_some();
    let returned: u64 = back.map(|back| back.returned.or_zero()).sum();
    let dropped = if comes_back { result.dropped.or_zero() } else { 0 };
    let lost = (result.lost.sum() + dropped).saturating_sub(returned);
    if let Some(most) = gates.max_lost.filter(|most| lost > *most) {
        missed.push(format!("{} connections lost, {} allowed", grouped(lost), grouped(most)));
    }
    for plateau in result.plateaus.iter() {
        let churn = plateau.churn.as_ref().map(|churn| ("short connections", *churn.latency_us));
        let messages = ("messages", *plateau.messages.latency_us);
        let measured = churn.into_iter().chain([messages]);
        let measured = measured.filter_map(|(what, latency)| Some((what, latency?.p99)));
        if let Some(most) = *gates.max_p99_us {
            if measured.clone().next().is_none() {
                missed.push(format!("{P99_MISSED} messages unknown"));
            }
            let over = measured.filter(|(_, p99)| *p99 > most);
            missed.extend(over.map(|(what, p99)| {
                let [p99, most] = [p99, most].map(microseconds);
                let connections = grouped(plateau.connections.or_zero());
                format!("{P99_MISSED} {what} {p99}, {most} allowed, at {connections}")
            }));
        }
    }
    missed
}
