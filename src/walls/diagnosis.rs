//! The verdict: every loss is attributed to the walls whose signs were found; the rest is unknown.
//!
//! Of several walls that could explain the same loss, the one with the surer sign comes first, then
//! the one with the lower precedence. No wall is charged with more than its sign counts. So a wall
//! that was merely touched is not blamed for everything, and a loss that nothing explains has no
//! name.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::plan::demand::Ends;
use crate::walls::absence::{self, Met};
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::look::signs_at;
use crate::walls::place::Place;
use crate::walls::present::Present;
use crate::walls::run_facts::{End, RunFacts};
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::all;
use crate::walls::unexplained;
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
    /// What became of connections and messages by it, all together: they are put in order by it.
    pub lost: u64,
    /// And each by itself.
    pub became: Vec<(Symptom, u64)>,
    /// What was seen, with figures before and after.
    pub evidence: Vec<String>,
    /// What else could have explained it: what is ruled out, what could not be seen, and what remains
    /// possible.
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
    explained: Vec<(Symptom, u64)>,
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

    /// What it leaves for a loss that is not charged to it: nothing, when it is charged with all that its
    /// signs count.
    fn beside(&self) -> Met<'_> {
        let is_used_up = self.budget().is_some_and(|budget| budget <= self.lost);
        let evidence = self.evidence.iter().map(|(_, found)| found.text.as_str());
        let evidence = if is_used_up { Vec::new() } else { evidence.collect() };
        Met { id: self.wall.id, side: self.side, evidence }
    }

    fn attribution(&self, run: &RunFacts, met: &[Met<'_>]) -> Attribution {
        let explained: Vec<Symptom> = self.explained.iter().map(|(symptom, _)| *symptom).collect();
        let all = match self.wall.fix_of_run {
            Some(fix) => fix(run),
            None => (self.wall.fix)(&run.host, &run.demand),
        };
        let fix = present(run, self.side).useful(&all);
        Attribution {
            id: self.wall.id,
            side: self.side,
            lost: self.lost,
            evidence: self.evidence.iter().map(|(_, found)| found.text.clone()).collect(),
            became: self.explained.clone(),
            ruled_out: absence::lines(run, self.wall.id, &explained, met),
            fix: fix.iter().map(ToString::to_string).collect(),
            confidence: self.confidence(),
        }
    }
}

/// Attributes what a run lost to the walls that it met.
#[must_use]
pub fn diagnose(run: &RunFacts) -> Diagnosis {
    let mut candidates: Vec<Candidate> = all().flat_map(|wall| candidates(run, wall)).collect();
    let is_counted = |candidate: &Candidate| {
        let is_late = candidate.wall.explains.contains(&Symptom::Late);
        !candidate.wall.is_general && is_late && candidate.is_of_kernel()
    };
    if candidates.iter().any(is_counted) {
        candidates.retain(|candidate| !candidate.wall.is_general);
    }
    // Stable: the sides of one wall stay in their order.
    candidates
        .sort_by_key(|candidate| (Reverse(candidate.confidence()), candidate.wall.precedence));
    let mut left = run.symptoms.clone();
    for candidate in &mut candidates {
        attribute(run, candidate, &mut left);
    }
    let beside: Vec<Met<'_>> = candidates.iter().map(Candidate::beside).collect();
    let (dear, free): (Vec<&Candidate>, Vec<&Candidate>) =
        candidates.iter().partition(|candidate| candidate.lost > 0);
    let met = free.into_iter().filter(|candidate| candidate.is_worth_saying());
    let met_without_loss = met.map(|candidate| candidate.attribution(run, &beside)).collect();
    let mut walls: Vec<Attribution> =
        dear.into_iter().map(|candidate| candidate.attribution(run, &beside)).collect();
    walls.extend(unknown(run, &left, &beside));
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
            candidate.explained.push((*symptom, taken));
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

/// What is known of the end at which a wall was met. What lies between the ends is lifted from this host.
fn present(run: &RunFacts, side: Place) -> Present<'_> {
    let is_server = side == Place::Server;
    // A server that says itself what it met is this process.
    let is_itself = run.demand.ends == Ends::Server;
    let listeners = run.facts.listeners.iter().flatten();
    let asked = listeners.map(|listener| u64::from(listener.backlog)).min();
    let cores = run.end(side).map(|end| end.cores.len() as u64).filter(|cores| *cores > 0);
    Present {
        host: &run.host,
        is_this_kernel: !is_server || run.shares_kernel,
        is_this_process: !is_server || is_itself,
        cores,
        backlog: if is_itself { Some(run.demand.backlog) } else { asked },
    }
}

/// The loss that no wall explains, if there is any.
fn unknown(run: &RunFacts, left: &BTreeMap<Symptom, u64>, met: &[Met<'_>]) -> Option<Attribution> {
    let left: Vec<(Symptom, u64)> =
        left.iter().filter(|(_, n)| **n > 0).map(|(symptom, n)| (*symptom, *n)).collect();
    let symptoms: Vec<Symptom> = left.iter().map(|(symptom, _)| *symptom).collect();
    (!left.is_empty()).then(|| Attribution {
        id: UNKNOWN,
        side: Place::Between,
        lost: left.iter().map(|(_, n)| n).sum(),
        became: left.clone(),
        evidence: unexplained::seen(run, &left),
        ruled_out: absence::lines(run, UNKNOWN, &symptoms, met),
        fix: vec![unexplained::next_step(run, &left)],
        confidence: Confidence::Possible,
    })
}
