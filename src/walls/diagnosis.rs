//! The verdict: every loss is attributed to the walls whose signs were found; the rest is unknown.
//!
//! Of several walls that could explain the same loss, the one with the surer sign comes first, then
//! the one with the lower precedence. No wall is charged with more than its sign counts. So a wall
//! that was merely touched is not blamed for everything, and a loss that nothing explains has no
//! name.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::base::units::grouped;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::place::{At, Place};
use crate::walls::run_facts::{End, RunFacts};
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::all;
use crate::walls::wall::Wall;

/// The name of what no wall explains.
pub const UNKNOWN: &str = "unknown";

/// A wall, and what was lost to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
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

/// All that can be said of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// Walls that something was lost to, the largest loss first.
    pub walls: Vec<Attribution>,
    /// Walls that were met, and to which nothing was lost.
    pub met_without_loss: Vec<Attribution>,
}

/// A wall that was met at a side, and may explain a loss.
struct Candidate {
    wall: &'static Wall,
    side: Place,
    evidence: Vec<(Sign, Evidence)>,
    lost: u64,
    explained: Vec<Symptom>,
}

impl Candidate {
    fn confidence(&self) -> Confidence {
        self.evidence
            .iter()
            .map(|(_, found)| found.confidence)
            .max()
            .unwrap_or(Confidence::Possible)
    }

    /// The loss that its signs can explain at most; `None` is no bound.
    fn budget(&self) -> Option<u64> {
        self.evidence.iter().map(|(_, found)| found.count).sum()
    }

    /// Without a loss, only what the kernel or the programs counted besides is worth saying. An
    /// operation of the client that failed is the loss itself.
    fn is_worth_saying(&self) -> bool {
        let is_the_loss = |sign: &Sign| match sign {
            Sign::Errno(_) => self.side == Place::Client,
            Sign::Became(..) => true,
            _ => false,
        };
        let all_are = self.evidence.iter().all(|(sign, _)| is_the_loss(sign));
        self.confidence() > Confidence::Possible && !all_are
    }

    /// Whether all its signs are the kernel's own.
    fn is_of_kernel(&self) -> bool {
        self.evidence.iter().all(|(sign, _)| sign.is_of_kernel())
    }

    fn attribution(&self, run: &RunFacts) -> Attribution {
        let is_seen = self.side == Place::Client || run.shares_kernel;
        let all = (self.wall.fix)(&run.host, &run.demand);
        // A setting that this host has already lifts nothing. It is left out, unless no other fix
        // is left.
        let lifts = |fix: &&Fix| !(is_seen && run.host.has(fix));
        let is_any = all.iter().any(|fix| lifts(&fix));
        let fix = all.iter().filter(|fix| !is_any || lifts(fix));
        Attribution {
            id: self.wall.id,
            side: self.side,
            lost: self.lost,
            evidence: self.evidence.iter().map(|(_, found)| found.text.clone()).collect(),
            ruled_out: ruled_out(run, self.wall.id, &self.explained),
            fix: fix.map(ToString::to_string).collect(),
            confidence: self.confidence(),
        }
    }
}

/// Attributes what a run lost to the walls that it met.
#[must_use]
pub fn diagnose(run: &RunFacts) -> Diagnosis {
    let mut candidates: Vec<Candidate> = all().flat_map(|wall| candidates(run, wall)).collect();
    // Stable: the sides of one wall stay in their order.
    candidates
        .sort_by_key(|candidate| (Reverse(candidate.confidence()), candidate.wall.precedence));
    let mut left = run.symptoms.clone();
    for candidate in &mut candidates {
        attribute(run, candidate, &mut left);
    }
    let (dear, free): (Vec<&Candidate>, Vec<&Candidate>) =
        candidates.iter().partition(|candidate| candidate.lost > 0);
    let met = free.into_iter().filter(|candidate| candidate.is_worth_saying());
    let met_without_loss = met.map(|candidate| candidate.attribution(run)).collect();
    let mut walls: Vec<Attribution> =
        dear.into_iter().map(|candidate| candidate.attribution(run)).collect();
    walls.extend(unknown(run, &left));
    walls.sort_by_key(|wall| Reverse(wall.lost));
    Diagnosis { walls, met_without_loss }
}

/// The sides at which a wall was met.
fn candidates(run: &RunFacts, wall: &'static Wall) -> Vec<Candidate> {
    let at = |&side: &Place| {
        let evidence = signs_at(run, wall, side);
        let found = !evidence.is_empty();
        found.then_some(Candidate { wall, side, evidence, lost: 0, explained: Vec::new() })
    };
    wall.at.sides().iter().filter_map(at).collect()
}

/// The signs of a wall that are found at a side. What one kernel counts for both ends is said once,
/// of the server.
fn signs_at(run: &RunFacts, wall: &Wall, side: Place) -> Vec<(Sign, Evidence)> {
    let is_said_elsewhere = |sign: &&Sign| {
        run.shares_kernel && wall.at == At::Either && side == Place::Client && sign.is_of_kernel()
    };
    let signs = wall.signs.iter().filter(|sign| !is_said_elsewhere(sign));
    signs.filter_map(|sign| Some((*sign, look_for(run, *sign, side)?))).collect()
}

/// Attributes to the candidate what it explains of what is left.
fn attribute(run: &RunFacts, candidate: &mut Candidate, left: &mut BTreeMap<Symptom, u64>) {
    let mut budget = candidate.budget();
    for symptom in candidate.wall.explains {
        let Some(n) = left.get_mut(symptom) else { continue };
        let most = match symptom {
            Symptom::Late if candidate.wall.drops && candidate.is_of_kernel() => {
                sent_again(run).min(*n)
            }
            _ => *n,
        };
        let taken = budget.map_or(most, |budget| budget.min(most));
        if taken > 0 {
            candidate.explained.push(*symptom);
        }
        *n -= taken;
        budget = budget.map(|budget| budget - taken);
        candidate.lost += taken;
    }
}

/// Segments that were sent again. What is late because the kernel dropped it was sent again.
fn sent_again(run: &RunFacts) -> u64 {
    let rise = |end: &End| end.rise("Tcp.RetransSegs").unwrap_or(0);
    let server = run.server.as_ref().filter(|_| !run.shares_kernel);
    rise(&run.client) + server.map_or(0, rise)
}

/// The evidence of a sign at a side, if it is there.
fn look_for(run: &RunFacts, sign: Sign, side: Place) -> Option<Evidence> {
    let name = side.name();
    let counted = |n: u64, text: String, confidence| {
        (n > 0).then_some(Evidence { text, count: Some(n), confidence })
    };
    match sign {
        Sign::Rises(counter) => {
            let (before, now) = run.end(side)?.counters.as_ref()?;
            let (was, is) = (before.get(counter)?, now.get(counter)?);
            let line = format!("{name}: {counter} {} -> {}", grouped(was), grouped(is));
            counted(is.saturating_sub(was), line, Confidence::Likely)
        }
        Sign::Counted(figure) => {
            let n = run.end(side)?.figure(figure)?;
            counted(n, format!("{name}: {figure} 0 -> {}", grouped(n)), Confidence::Certain)
        }
        Sign::Errno(errno) => {
            let n = run.end(side)?.failed.get(&errno.to_string()).copied()?;
            counted(n, format!("{name}: {errno} {} times", grouped(n)), Confidence::Certain)
        }
        Sign::Logged(text) => {
            run.end(side)?;
            let line = run.log_of(side)?.iter().find(|line| line.contains(text))?;
            let text = format!("kernel log: {line}");
            Some(Evidence { text, count: None, confidence: Confidence::Likely })
        }
        // What became of connections shows at the client, wherever the wall stands.
        Sign::Kernel(_, see) | Sign::Became(_, see) | Sign::Seen(_, see) => see(run, side),
    }
}

/// The loss that no wall explains, if there is any.
fn unknown(run: &RunFacts, left: &BTreeMap<Symptom, u64>) -> Option<Attribution> {
    let left: Vec<(Symptom, u64)> =
        left.iter().filter(|(_, n)| **n > 0).map(|(symptom, n)| (*symptom, *n)).collect();
    let symptoms: Vec<Symptom> = left.iter().map(|(symptom, _)| *symptom).collect();
    let evidence = left.iter().map(|(symptom, n)| format!("{} {symptom}", grouped(*n)));
    let patterns = run.facts.patterns.iter().map(ToString::to_string);
    let evidence = evidence.chain(run.facts.target_gone.clone()).chain(patterns).collect();
    let fix = match run.server {
        None => vec!["run again with --server-metrics ADDR:PORT, to see the server's side".into()],
        Some(_) => vec!["megaconn doctor; kernel log: dmesg".into()],
    };
    (!left.is_empty()).then(|| Attribution {
        id: UNKNOWN,
        side: Place::Between,
        lost: left.iter().map(|(_, n)| n).sum(),
        evidence,
        ruled_out: ruled_out(run, UNKNOWN, &symptoms),
        fix,
        confidence: Confidence::Possible,
    })
}

/// For every other wall that explains one of `symptoms`: why it was not met.
fn ruled_out(run: &RunFacts, id: &str, symptoms: &[Symptom]) -> Vec<String> {
    let could = |wall: &&Wall| {
        wall.id != id && wall.explains.iter().any(|symptom| symptoms.contains(symptom))
    };
    all().filter(could).flat_map(|wall| absent(run, wall)).collect()
}

/// Why a wall was not met; sides with the same reason share a line.
fn absent(run: &RunFacts, wall: &Wall) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for side in wall.at.sides() {
        let Some(why) = why_absent(run, wall, *side) else { continue };
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

/// Why a wall was not met at a side; `None` when it was met at this side or the other.
fn why_absent(run: &RunFacts, wall: &Wall, side: Place) -> Option<String> {
    let is_met = |side: &Place| !signs_at(run, wall, *side).is_empty();
    if wall.at.sides().iter().any(is_met) {
        return None;
    }
    if run.end(side).is_none() {
        return Some("could not be seen".into());
    }
    let (unseen, seen): (Vec<&Sign>, Vec<&Sign>) =
        wall.signs.iter().partition(|sign| is_unmeasured(run, side, **sign));
    let (what, signs) = if seen.is_empty() { ("not measured", unseen) } else { ("not so", seen) };
    let signs: Vec<String> = signs.iter().map(ToString::to_string).collect();
    Some(format!("{what}: {}", signs.join("; ")))
}

/// Whether a sign was not measured, so that it is neither there nor absent.
fn is_unmeasured(run: &RunFacts, side: Place, sign: Sign) -> bool {
    let end = run.end(side);
    match sign {
        Sign::Rises(counter) => end.and_then(|end| end.rise(counter)).is_none(),
        Sign::Kernel(..) => end.is_none_or(|end| end.counters.is_none()),
        Sign::Logged(_) => run.log_of(side).is_none(),
        Sign::Counted(figure) => end.and_then(|end| end.figure(figure)).is_none(),
        Sign::Errno(_) | Sign::Became(..) | Sign::Seen(..) => false,
    }
}
