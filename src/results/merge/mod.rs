//! Parts of a run made one result, a part at a time: counters are added, histograms are added whole, and what is missing or
//! of another run is said and never added in silence.

use std::collections::{BTreeMap, BTreeSet};

use crate::results::environment::Environment;
use crate::results::histograms::Histograms;
use crate::results::lenient::Part;
use crate::results::merge::environment::EnvironmentSum;
use crate::results::merge::plateau::PlateauSum;
pub use crate::results::merge::problem::{Problem, in_rows};
use crate::results::merge::tuples::{Common, Ends};
use crate::results::merge::verdict::VerdictSum;
use crate::results::parts::{PartOf, PartRow};
use crate::results::plateau::Plateau;
use crate::results::result::RunResult;

mod apart;
mod environment;
mod notes;
mod plateau;
mod problem;
mod sums;
mod tuples;
mod verdict;
mod whole;

/// What there is of one part.
#[derive(Debug, Default)]
pub struct PartRead {
    /// Its `result.json`.
    pub result: RunResult,
    /// Its `histograms.json`, where that is whole.
    pub histograms: Option<Histograms>,
    /// Its `environment.json`, the same.
    pub environment: Option<Environment>,
}

/// All parts as one.
#[derive(Debug)]
pub struct Merged {
    /// The result.
    pub result: RunResult,
    /// What the parts ran on.
    pub environment: Option<Environment>,
}

/// Parts so far.
#[derive(Default)]
pub struct Merge {
    first: Option<First>,
    seen: BTreeMap<u64, Seen>,
    problems: Vec<Problem>,
    sum: RunResult,
    plateaus: Vec<PlateauSum>,
    verdict: VerdictSum,
    environment: EnvironmentSum,
    hosts: BTreeSet<String>,
    rows: Vec<PartRow>,
    sockets: BTreeSet<Option<u64>>,
    /// Parts without whole histograms.
    unrecorded: Vec<u64>,
    /// Parts whose run was changed on the way.
    steered: Vec<u64>,
}

/// What all others are held against.
struct First {
    dir: String,
    run_id: Option<String>,
    version: [Option<String>; 2],
    part: PartOf,
}

/// What is kept of a part until all are there.
struct Seen {
    dir: String,
    ends: Ends,
    start_at_ms: Option<u64>,
    clock: Option<(i64, u64)>,
}

impl Merge {
    /// Takes what was read in the directory `dir`, or why nothing was.
    pub fn take(&mut self, dir: &str, read: Result<PartRead, String>) {
        let read = match read {
            Ok(read) => read,
            Err(why) => return self.problems.push(Problem::Unread { dir: dir.to_owned(), why }),
        };
        let part = read.result.part.0.clone();
        let Some((part, number)) = part.and_then(|part| Some((part.clone(), (*part.number)?)))
        else {
            return self.problems.push(Problem::Whole { dir: dir.to_owned() });
        };
        if let Some(problem) = self.other(dir, &read.result, &part) {
            let is_taken = matches!(problem, Problem::Other { is_one_run: true, .. });
            self.problems.push(problem);
            if !is_taken {
                return;
            }
        }
        if let Some(seen) = self.seen.get(&number) {
            let dirs = [seen.dir.clone(), dir.to_owned()];
            return self.problems.push(Problem::Twice { number, dirs });
        }
        let seen = Seen {
            dir: dir.to_owned(),
            ends: Ends::of(&part.tuples, part.namespace.0.clone()),
            start_at_ms: *part.start_at_ms,
            clock: part.clock.map(|clock| (clock.offset_us, clock.error_us)),
        };
        self.seen.insert(number, seen);
        self.add(dir, number, &part, read);
    }

    /// What this part has not in common with the first one.
    fn other(&mut self, dir: &str, result: &RunResult, part: &PartOf) -> Option<Problem> {
        let version = [result.version.0.clone(), result.commit.0.clone()];
        let first = self.first.get_or_insert_with(|| First {
            dir: dir.to_owned(),
            run_id: result.run_id.0.clone(),
            version: version.clone(),
            part: part.clone(),
        });
        let said =
            |text: Option<&str>| text.map_or_else(|| "none".to_owned(), |text| format!("`{text}`"));
        let other = |what: &str, here: String, there: String, is_one_run| Problem::Other {
            dir: dir.to_owned(),
            first: first.dir.clone(),
            what: what.to_owned(),
            values: [here, there],
            is_one_run,
        };
        if result.run_id.0 != first.run_id {
            let ids = [&result.run_id.0, &first.run_id].map(|id| said(id.as_deref()));
            let [here, there] = ids;
            return Some(other("run", here, there, false));
        }
        if part.of != first.part.of {
            let [here, there] = [part.of, first.part.of].map(|of| of.or_zero().to_string());
            return Some(other("number of parts", here, there, false));
        }
        let (ours, theirs) = (&part.plan, &first.part.plan);
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let odd = names.into_iter().find(|name| ours.get(*name) != theirs.get(*name));
        if let Some(name) = odd {
            let [here, there] = [ours, theirs].map(|plan| said(plan.get(name).map(String::as_str)));
            return Some(other(&format!("plan ({name})"), here, there, false));
        }
        if version != first.version {
            let words = |version: &[Option<String>; 2]| {
                version.iter().flatten().cloned().collect::<Vec<_>>().join(" ")
            };
            return Some(other("version", words(&version), words(&first.version), true));
        }
        None
    }

    fn add(&mut self, dir: &str, number: u64, part: &PartOf, read: PartRead) {
        let PartRead { mut result, histograms, environment } = read;
        let host = part.host.as_deref().unwrap_or(dir).to_owned();
        // One kernel, whatever its containers are called.
        let boot = part.namespace.as_deref().and_then(|namespace| namespace.split(' ').next());
        let kernel = boot.unwrap_or(dir).to_owned();
        if let Some(environment) = environment {
            self.environment.take(environment, !self.hosts.contains(&kernel));
        }
        self.hosts.insert(kernel.clone());
        if histograms.is_none() {
            self.unrecorded.push(number);
        }
        if !result.changes.is_empty() {
            self.steered.push(number);
        }
        self.sockets.insert(*result.cost_per_connection.sockets_counted);
        self.rows.push(whole::row(part, dir, &result));
        self.verdict.take(number, &host, &result.verdict);
        let behind_ms = part.clock.map_or(0, |clock| clock.offset_us / 1_000);
        for (at, plateau) in std::mem::take(&mut result.plateaus.0).into_iter().enumerate() {
            if self.plateaus.len() == at {
                self.plateaus.push(PlateauSum::new());
            }
            let recorded = histograms.as_ref().and_then(|all| all.plateaus.get(at));
            self.plateaus[at].take(plateau, recorded, &kernel, behind_ms);
        }
        if self.rows.len() == 1 {
            self.sum = whole::begin(&result);
            whole::of_part(&mut self.sum, number);
        } else {
            whole::absorb(&mut self.sum, number, &mut result);
        }
    }

    /// The result of all parts.
    ///
    /// # Errors
    /// What they have not in common; with `anyway` only what no sum could be made of.
    pub fn finish(mut self, anyway: bool) -> Result<Merged, Vec<Problem>> {
        self.compare();
        let fatal = |problem: &&Problem| !anyway || !problem.can_be_told();
        let refused: Vec<Problem> = self.problems.iter().filter(fatal).cloned().collect();
        let Some(first) = self.first.take().filter(|_| refused.is_empty() && !self.rows.is_empty())
        else {
            return Err(if refused.is_empty() { self.problems } else { refused });
        };
        let mut result = std::mem::take(&mut self.sum);
        let reached: Vec<u64> = self.plateaus.iter().map(|plateau| plateau.parts).collect();
        let parts = self.rows.len() as u64;
        let of = first.part.of.or_zero();
        let connections = |at: usize| first.part.plateaus.get(at).copied().filter(|_| parts == of);
        let plateaus = std::mem::take(&mut self.plateaus).into_iter().enumerate();
        let plateaus: Vec<Plateau> =
            plateaus.map(|(at, plateau)| plateau.finish(connections(at))).collect();
        result.plateaus = plateaus.into();
        let sockets =
            Some(&self.sockets).filter(|all| all.len() == 1).and_then(|all| *all.first()?);
        result.cost_per_connection = Part(whole::cost(result.highest(), sockets));
        let told: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        let verdict = std::mem::take(&mut self.verdict);
        result.verdict =
            Part(verdict.finish(&result, *first.part.gates, self.hosts.len() as u64, told));
        result.notes = self.notes(&result, &reached);
        self.rows.sort_by_key(|row| *row.number);
        result.parts = std::mem::take(&mut self.rows).into();
        let is_server = |core: &crate::results::result::PerCore| core.part.is_none();
        result.per_core.sort_by_key(|core| (is_server(core), *core.part, *core.core));
        Ok(Merged { result, environment: self.environment.finish() })
    }
}

#[cfg(test)]
mod tests;
