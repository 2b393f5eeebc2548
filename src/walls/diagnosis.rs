//! The verdict: what was lost is dealt out to the walls whose signs are there; what is left is
//! unknown.
//!
//! Of several walls that could explain the same loss the surer one comes first, then the one whose
//! precedence is the lower number; none is charged with more than its sign counts. So a wall that was
//! merely touched is not blamed for everything, and a loss that nothing explains has no name.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::units::grouped;
use crate::walls::case::{Case, Confidence, End, Met};
use crate::walls::fix::Fix;
use crate::walls::place::{At, Place};
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::all;
use crate::walls::wall::Wall;

/// The name of what no wall explains.
pub const UNKNOWN: &str = "unknown";

/// A wall, and what was lost to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Charge {
    /// The wall's name, or `unknown`.
    pub id: &'static str,
    /// Where it stands.
    pub side: Place,
    /// Connections or messages that were lost to it.
    pub lost: u64,
    /// What was seen, with figures before and after.
    pub evidence: Vec<String>,
    /// What else could have explained it, and why it did not.
    pub ruled_out: Vec<String>,
    /// What lifts it, as commands, the best first.
    pub fix: Vec<String>,
    /// How sure this is.
    pub confidence: Confidence,
}

/// All that can be said of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Walls that cost something, the dearest first.
    pub walls: Vec<Charge>,
    /// Walls that were met, and cost nothing that was asked for.
    pub met_without_loss: Vec<Charge>,
}

/// A wall that was met at a side.
struct Suspect {
    wall: &'static Wall,
    side: Place,
    met: Vec<(Sign, Met)>,
    lost: u64,
    explained: Vec<Symptom>,
}

impl Suspect {
    fn confidence(&self) -> Confidence {
        self.met.iter().map(|(_, met)| met.confidence).max().unwrap_or(Confidence::Possible)
    }

    /// How much its signs can explain; `None` is all.
    fn budget(&self) -> Option<u64> {
        self.met.iter().map(|(_, met)| met.count).sum()
    }

    /// Without a loss only what the kernel or the programs counted besides is worth saying; what the
    /// client's operations failed for is the loss itself.
    fn is_worth_saying(&self) -> bool {
        let is_the_loss = |sign: &Sign| match sign {
            Sign::Errno(_) => self.side == Place::Client,
            Sign::Became(..) => true,
            _ => false,
        };
        let all_are = self.met.iter().all(|(sign, _)| is_the_loss(sign));
        self.confidence() > Confidence::Possible && !all_are
    }

    /// Whether nothing but the kernel's own counters betrays it.
    fn is_of_kernel(&self) -> bool {
        self.met.iter().all(|(sign, _)| sign.is_of_kernel())
    }

    fn charge(&self, case: &Case) -> Charge {
        let is_seen = self.side == Place::Client || case.shares_kernel;
        let all = (self.wall.fix)(&case.host, &case.demand);
        // Where the host is this one, what it has already lifts nothing; unless there is nothing else.
        let lifts = |fix: &&Fix| !(is_seen && case.host.has(fix));
        let is_any = all.iter().any(|fix| lifts(&fix));
        let fix = all.iter().filter(|fix| !is_any || lifts(fix));
        Charge {
            id: self.wall.id,
            side: self.side,
            lost: self.lost,
            evidence: self.met.iter().map(|(_, met)| met.evidence.clone()).collect(),
            ruled_out: ruled_out(case, self.wall.id, &self.explained),
            fix: fix.map(ToString::to_string).collect(),
            confidence: self.confidence(),
        }
    }
}

/// Judges a case.
#[must_use]
pub fn judge(case: &Case) -> Judgement {
    let mut suspects: Vec<Suspect> = all().flat_map(|wall| suspects(case, wall)).collect();
    // Stable: the sides of one wall stay in their order.
    suspects.sort_by_key(|suspect| (Reverse(suspect.confidence()), suspect.wall.precedence));
    let mut left = case.symptoms.clone();
    for suspect in &mut suspects {
        deal(case, suspect, &mut left);
    }
    let (dear, free): (Vec<&Suspect>, Vec<&Suspect>) =
        suspects.iter().partition(|suspect| suspect.lost > 0);
    let met = free.into_iter().filter(|suspect| suspect.is_worth_saying());
    let met_without_loss = met.map(|suspect| suspect.charge(case)).collect();
    let mut walls: Vec<Charge> = dear.into_iter().map(|suspect| suspect.charge(case)).collect();
    walls.extend(unknown(case, &left));
    walls.sort_by_key(|charge| Reverse(charge.lost));
    Judgement { walls, met_without_loss }
}

/// The sides at which a wall's signs are.
fn suspects(case: &Case, wall: &'static Wall) -> Vec<Suspect> {
    let at = |&side: &Place| {
        let met = signs_at(case, wall, side);
        let found = !met.is_empty();
        found.then_some(Suspect { wall, side, met, lost: 0, explained: Vec::new() })
    };
    wall.at.sides().iter().filter_map(at).collect()
}

/// The signs of a wall at a side. What one kernel counts for both ends is said once, of the server.
fn signs_at(case: &Case, wall: &Wall, side: Place) -> Vec<(Sign, Met)> {
    let is_said_elsewhere = |sign: &&Sign| {
        case.shares_kernel && wall.at == At::Either && side == Place::Client && sign.is_of_kernel()
    };
    let signs = wall.signs.iter().filter(|sign| !is_said_elsewhere(sign));
    signs.filter_map(|sign| Some((*sign, look_for(case, *sign, side)?))).collect()
}

/// Takes what the suspect explains from what is left.
fn deal(case: &Case, suspect: &mut Suspect, left: &mut BTreeMap<Symptom, u64>) {
    let mut budget = suspect.budget();
    for symptom in suspect.wall.explains {
        let Some(n) = left.get_mut(symptom) else { continue };
        let most = match symptom {
            Symptom::Late if suspect.wall.drops && suspect.is_of_kernel() => {
                sent_again(case).min(*n)
            }
            _ => *n,
        };
        let taken = budget.map_or(most, |budget| budget.min(most));
        if taken > 0 {
            suspect.explained.push(*symptom);
        }
        *n -= taken;
        budget = budget.map(|budget| budget - taken);
        suspect.lost += taken;
    }
}

/// Segments that were sent again: what the kernel dropped is late for nothing else.
fn sent_again(case: &Case) -> u64 {
    let rise = |end: &End| end.rise("Tcp.RetransSegs").unwrap_or(0);
    let server = case.server.as_ref().filter(|_| !case.shares_kernel);
    rise(&case.client) + server.map_or(0, rise)
}

/// A sign at a side, if it is there.
fn look_for(case: &Case, sign: Sign, side: Place) -> Option<Met> {
    let name = side.name();
    let counted = |n: u64, evidence: String, confidence| {
        (n > 0).then_some(Met { evidence, count: Some(n), confidence })
    };
    match sign {
        Sign::Rises(counter) => {
            let (before, now) = case.end(side)?.counters.as_ref()?;
            let (was, is) = (before.get(counter)?, now.get(counter)?);
            let line = format!("{name}: {counter} {} -> {}", grouped(was), grouped(is));
            counted(is.saturating_sub(was), line, Confidence::Likely)
        }
        Sign::Counted(figure) => {
            let n = case.end(side)?.figure(figure)?;
            counted(n, format!("{name}: {figure} 0 -> {}", grouped(n)), Confidence::Certain)
        }
        Sign::Errno(errno) => {
            let n = case.end(side)?.failed.get(&errno.to_string()).copied()?;
            counted(n, format!("{name}: {errno} {} times", grouped(n)), Confidence::Certain)
        }
        Sign::Logged(text) => {
            case.end(side)?;
            let line = case.log_of(side)?.iter().find(|line| line.contains(text))?;
            let evidence = format!("kernel log: {line}");
            Some(Met { evidence, count: None, confidence: Confidence::Likely })
        }
        // What became of connections shows at the client, wherever the wall stands.
        Sign::Kernel(_, see) | Sign::Became(_, see) | Sign::Seen(_, see) => see(case, side),
    }
}

/// What no wall explains, if anything.
fn unknown(case: &Case, left: &BTreeMap<Symptom, u64>) -> Option<Charge> {
    let left: Vec<(Symptom, u64)> =
        left.iter().filter(|(_, n)| **n > 0).map(|(symptom, n)| (*symptom, *n)).collect();
    let symptoms: Vec<Symptom> = left.iter().map(|(symptom, _)| *symptom).collect();
    let evidence = left.iter().map(|(symptom, n)| format!("{} {symptom}", grouped(*n)));
    let evidence = evidence.chain(case.facts.target_gone.clone()).collect();
    let fix = match case.server {
        None => vec!["run again with --server-metrics ADDR:PORT, to see the server's side".into()],
        Some(_) => vec!["megaconn doctor; kernel log: dmesg".into()],
    };
    (!left.is_empty()).then(|| Charge {
        id: UNKNOWN,
        side: Place::Between,
        lost: left.iter().map(|(_, n)| n).sum(),
        evidence,
        ruled_out: ruled_out(case, UNKNOWN, &symptoms),
        fix,
        confidence: Confidence::Possible,
    })
}

/// Every other wall that explains one of `symptoms`, and why it was not this one.
fn ruled_out(case: &Case, id: &str, symptoms: &[Symptom]) -> Vec<String> {
    let could = |wall: &&Wall| {
        wall.id != id && wall.explains.iter().any(|symptom| symptoms.contains(symptom))
    };
    all().filter(could).flat_map(|wall| absent(case, wall)).collect()
}

/// Why a wall was not met, a line for the sides that agree in it.
fn absent(case: &Case, wall: &Wall) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for side in wall.at.sides() {
        let Some(why) = why_absent(case, wall, *side) else { continue };
        match lines.iter_mut().find(|(line, _)| *line == why) {
            Some((_, sides)) => sides.push(side.name()),
            None => lines.push((why, vec![side.name()])),
        }
    }
    let line = |(why, sides): (String, Vec<&str>)| {
        let place = match sides.join(" or ").as_str() {
            "between" => String::new(),
            sides => format!(" at the {sides}"),
        };
        format!("{}{place}: {why}", wall.id)
    };
    lines.into_iter().map(line).collect()
}

/// Why a wall was not met at a side; `None` when it was, there or at the other.
fn why_absent(case: &Case, wall: &Wall, side: Place) -> Option<String> {
    let is_met = |side: &Place| !signs_at(case, wall, *side).is_empty();
    if wall.at.sides().iter().any(is_met) {
        return None;
    }
    if case.end(side).is_none() {
        return Some("could not be seen".into());
    }
    let (unseen, seen): (Vec<&Sign>, Vec<&Sign>) =
        wall.signs.iter().partition(|sign| is_unmeasured(case, side, **sign));
    let (what, signs) = if seen.is_empty() { ("not measured", unseen) } else { ("not so", seen) };
    let signs: Vec<String> = signs.iter().map(ToString::to_string).collect();
    Some(format!("{what}: {}", signs.join("; ")))
}

/// Whether nothing can be said of a sign, one way or the other.
fn is_unmeasured(case: &Case, side: Place, sign: Sign) -> bool {
    let end = case.end(side);
    match sign {
        Sign::Rises(counter) => end.and_then(|end| end.rise(counter)).is_none(),
        Sign::Kernel(..) => end.is_none_or(|end| end.counters.is_none()),
        Sign::Logged(_) => case.log_of(side).is_none(),
        Sign::Counted(figure) => end.and_then(|end| end.figure(figure)).is_none(),
        Sign::Errno(_) | Sign::Became(..) | Sign::Seen(..) => false,
    }
}
