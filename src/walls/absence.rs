//! What else could have explained a loss, in three states: a wall is ruled out by what was seen, or it
//! could not be seen, or it remains possible. What could not be read is never ruled out.

use crate::walls::look::signs_at;
use crate::walls::place::Place;
use crate::walls::run_facts::RunFacts;
use crate::walls::sign::{Need, Sign};
use crate::walls::symptom::Symptom;
use crate::walls::table::all;
use crate::walls::wall::Wall;

/// A wall that was met at a side.
pub(super) struct Met<'a> {
    pub(super) id: &'static str,
    pub(super) side: Place,
    /// What was seen of it, where its signs count more than it is charged with; else nothing.
    pub(super) evidence: Vec<&'a str>,
}

/// For every other wall than `id` that explains one of `symptoms`: its name and its state.
pub(super) fn lines(
    run: &RunFacts,
    id: &str,
    symptoms: &[Symptom],
    met: &[Met<'_>],
) -> Vec<String> {
    let could = |wall: &&Wall| {
        wall.id != id && wall.explains.iter().any(|symptom| symptoms.contains(symptom))
    };
    all().filter(could).flat_map(|wall| of_wall(run, wall, met)).collect()
}

/// The states of a wall; sides with the same state share a line.
fn of_wall(run: &RunFacts, wall: &Wall, met: &[Met<'_>]) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for side in wall.at.sides() {
        let Some(state) = state(run, wall, *side, met) else { continue };
        match lines.iter_mut().find(|(line, _)| *line == state) {
            Some((_, sides)) => sides.push(side.name()),
            None => lines.push((state, vec![side.name()])),
        }
    }
    let line = |(state, sides): (String, Vec<&str>)| {
        let place = match sides.join(" or ").as_str() {
            "between" => String::new(),
            sides => format!(" at the {sides}"),
        };
        format!("{}{place}: {state}", wall.id)
    };
    lines.into_iter().map(line).collect()
}

/// The state of a wall at a side; `None` when the verdict says it elsewhere.
fn state(run: &RunFacts, wall: &Wall, side: Place, met: &[Met<'_>]) -> Option<String> {
    if let Some(met) = met.iter().find(|met| met.id == wall.id && met.side == side) {
        let evidence = (!met.evidence.is_empty()).then(|| met.evidence.join("; "))?;
        return Some(format!("possible, {evidence}"));
    }
    let is_met = |side: &Place| !signs_at(run, wall, *side).is_empty();
    if wall.at.sides().iter().any(is_met) {
        return None;
    }
    Some(match why_unseen(run, wall, side) {
        Some(why) => format!("not seen, {why}"),
        None => format!("ruled out, {}", absence(wall)),
    })
}

/// What the absence of all its signs means.
#[must_use]
pub fn absence(wall: &Wall) -> String {
    if wall.absent.is_empty() {
        wall.signs.iter().map(Sign::absence).collect::<Vec<_>>().join("; ")
    } else {
        wall.absent.to_owned()
    }
}

/// What could not be seen of a wall at a side, so that it is neither met nor ruled out.
fn why_unseen(run: &RunFacts, wall: &Wall, side: Place) -> Option<&'static str> {
    let (logged, others): (Vec<&Sign>, Vec<&Sign>) =
        wall.signs.iter().partition(|sign| matches!(sign, Sign::Logged(_)));
    // The kernel's log repeats what counters say, and leaves lines out.
    let signs = if others.is_empty() { logged } else { others };
    // What a wall needs instead of the server's figures is all that its sign reads.
    let is_by_queues = wall.needs.contains(&Need::Listeners);
    let mut signs = signs.into_iter().filter(|_| !is_by_queues);
    let by_signs = signs.find_map(|sign| why_unmeasured(run, side, sign));
    by_signs.or_else(|| wall.needs.iter().find_map(|need| why_unmet(run, side, *need)))
}

const EARLY: &str = "the server was seen for the last time before the end of the run";
const NO_FIGURES: &str = "the server's figures were not available";
const NO_COUNTERS: &str = "the counters of its kernel were not available";
const NO_LOG: &str = "the log of its kernel could not be read";

fn why_unmeasured(run: &RunFacts, side: Place, sign: &Sign) -> Option<&'static str> {
    let end = run.end(side);
    let is_early = end.is_some_and(|end| end.is_early);
    let (is_measured, why) = match sign {
        Sign::Rises(counter) => (end.is_some_and(|end| end.rise(counter).is_some()), NO_COUNTERS),
        Sign::Kernel(..) => (end.is_some_and(|end| end.has_counters()), NO_COUNTERS),
        Sign::Logged(_) => (run.log_of(side).is_some(), NO_LOG),
        Sign::Counted(figure) => (end.is_some_and(|end| end.figure(figure).is_some()), NO_FIGURES),
        // What became of connections shows at the client, wherever the wall stands.
        Sign::Became(..) => (true, ""),
        Sign::Errno(_) | Sign::Seen(..) => {
            (side != Place::Server || end.is_some_and(|end| end.has_figures()), NO_FIGURES)
        }
    };
    (!is_measured).then_some(if is_early { EARLY } else { why })
}

fn why_unmet(run: &RunFacts, side: Place, need: Need) -> Option<&'static str> {
    let (is_met, why) = match need {
        Need::CpuTime => {
            let time = run.end(side).and_then(|end| end.cpu_time);
            (time.is_some(), "the CPU time that it had is not known")
        }
        Need::LogOfAKill => (run.facts.target_gone.is_none() || run.log.is_some(), NO_LOG),
        Need::Listeners => (run.facts.listeners.is_some(), "its accept queues were not in sight"),
    };
    (!is_met).then_some(why)
}
