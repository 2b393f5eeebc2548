//! `--resolve-every`: names of targets are looked up again during the holds, on a thread of its own, and
//! short connections go to the addresses that they have then. Held connections stay where they are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;

use megaconn::base::endpoints::Endpoints;
use megaconn::base::stderr::talk;
use megaconn::engine::client::tuple_allocator::{ChurnTargets, TupleAllocator};
use megaconn::host::ports;
use megaconn::host::procfs::ProcFs;
use megaconn::plan::named::{self, Found, LookedUp, Resolved, listed};
use megaconn::plan::parts::RunPart;
use megaconn::plan::sources::{self, SourceSharing, Typed};
use megaconn::plan::tuples::TuplePlan;
use megaconn::results::result::{RunResult, TargetChange};

use crate::run::config::Config;
use crate::run::cores::allocator;
use crate::run::flags::Targets;
use crate::run::preflight::RunPlan;
use crate::run::reach::dead;
use crate::run::refusal::Refusal;

/// Of a name that has several addresses those are left out that refuse connections, where another takes
/// them, and it is noted: a server need not listen at both families of `localhost`.
pub(crate) fn leave_out_dead(resolved: &mut Resolved) {
    let kernels: Vec<u16> = ports::ephemeral(&ProcFs::host()).collect();
    for (name, item) in resolved.names.iter().zip(&mut resolved.endpoints) {
        let Some(name) = name.as_ref().filter(|_| item.len() > 1) else { continue };
        let refused: HashSet<SocketAddr> = dead(&targets(item), &kernels)
            .into_iter()
            .filter(|(_, why)| matches!(why, Refusal::Refused(..)))
            .map(|(target, _)| target)
            .collect();
        let is_dead = |endpoints: &Endpoints| endpoints.each().all(|to| refused.contains(&to));
        if item.iter().all(is_dead) {
            // The run is refused, and says why.
            continue;
        }
        for endpoints in item.iter().filter(|endpoints| is_dead(endpoints)) {
            resolved.notes.push(format!(
                "--target {name}: nothing listens at {endpoints}, which is left out"
            ));
        }
        item.retain(|endpoints| !is_dead(endpoints));
    }
}

/// The names of a run, which are looked up while it holds.
pub(crate) struct NameWatch {
    is_holding: Arc<AtomicBool>,
    news: Receiver<News>,
    /// Ends the thread when it is dropped.
    _until: Sender<()>,
    changes: Vec<TargetChange>,
    /// By the name: lookups that left its addresses as they were, and why the first one did.
    failed: BTreeMap<String, (u64, String)>,
}

/// What a lookup has come to.
enum News {
    Changed(Vec<TargetChange>, Arc<ChurnTargets>),
    Failed(String, String),
}

impl NameWatch {
    /// Begins to look names up each so often; `None` without --resolve-every.
    pub(crate) fn begin(config: &Config, plan: &RunPlan) -> Option<NameWatch> {
        let every = config.targets.resolve_every?;
        let (tell, news) = channel();
        let (until, ended) = channel();
        let is_holding = Arc::new(AtomicBool::new(false));
        let mut failed = BTreeMap::new();
        let mut names = Names::new(config, plan);
        let holds = Arc::clone(&is_holding);
        let look = move || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                if holds.load(Ordering::Relaxed) && !names.look(&tell) {
                    return;
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("resolve".into()).spawn(look) {
            failed.insert("all names".to_owned(), (1, format!("no thread: {error}")));
        }
        Some(NameWatch { is_holding, news, _until: until, changes: Vec::new(), failed })
    }

    /// Whether names are looked up from now on.
    pub(crate) fn hold(&self, is_holding: bool) {
        self.is_holding.store(is_holding, Ordering::Relaxed);
    }

    /// Where short connections are to go from now on, if that has changed. It is said, and noted.
    pub(crate) fn take(&mut self) -> Option<Arc<ChurnTargets>> {
        loop {
            match self.news.try_recv().ok()? {
                News::Changed(changes, targets) => {
                    changes.iter().for_each(|change| talk(&format!("note: {change}")));
                    self.changes.extend(changes);
                    return Some(targets);
                }
                News::Failed(name, why) => {
                    let (count, _) = self.failed.entry(name).or_insert_with(|| {
                        talk(&format!("note: {why}; short connections go where they went"));
                        (0, why)
                    });
                    *count += 1;
                }
            }
        }
    }

    /// Writes down what became of the names.
    pub(crate) fn tell(self, result: &mut RunResult) {
        result.target_changes = self.changes.into();
        if self.failed.is_empty() {
            return;
        }
        let line = |(name, (count, why)): (&String, &(u64, String))| {
            let lookups = if *count == 1 { "lookup" } else { "lookups" };
            format!("{count} {lookups} of {name} left its addresses as they were: {why}")
        };
        let lines: Vec<String> = self.failed.iter().map(line).collect();
        result.notes.insert("target_changes".to_owned(), lines.join("; "));
    }
}

/// What the thread knows.
struct Names {
    typed: Targets,
    /// Which part of a run this is.
    of_run: Option<(RunPart, SourceSharing)>,
    /// What each item of --target stands for now, as targets.
    items: Vec<Vec<SocketAddr>>,
    /// Every target there was, by the drivers' numbers, and the other way round.
    known: Vec<SocketAddr>,
    /// Of each, the number of one that the run began with, of the same name and port.
    like: Vec<usize>,
    numbers: HashMap<SocketAddr, usize>,
    /// What a target said that was left out, so that it is said once.
    left_out: HashSet<SocketAddr>,
    ports: Vec<u16>,
    cores: usize,
    /// A core's part of the plan, to see whether a change leaves as many tuples as are needed.
    part: TupleAllocator,
    began: Instant,
}

impl Names {
    fn new(config: &Config, plan: &RunPlan) -> Names {
        let known = plan.tuples.targets().to_vec();
        // As it was at the start, whatever its names come to.
        let sharing = if plan.is_shared { SourceSharing::Shared } else { SourceSharing::Own };
        Names {
            typed: config.targets.clone(),
            of_run: config.cut.of_sources().map(|(part, _)| (part, sharing)),
            items: config.endpoints.iter().map(|item| targets(item)).collect(),
            numbers: known.iter().enumerate().map(|(number, target)| (*target, number)).collect(),
            like: (0..known.len()).collect(),
            known,
            left_out: HashSet::new(),
            ports: plan.tuples.ports().to_vec(),
            cores: plan.cpus.len(),
            part: allocator(plan, 0),
            began: Instant::now(),
        }
    }

    /// Looks all of them up, and tells what has changed; `false` when nothing listens to it any more.
    fn look(&mut self, tell: &Sender<News>) -> bool {
        let (mut items, mut changes) = (self.items.clone(), Vec::new());
        let looked_up = named::look_up(&self.typed.target).collect::<Vec<_>>();
        for (LookedUp { name, found }, item) in looked_up.into_iter().zip(&mut items) {
            let Some(name) = name else { continue };
            let found = found.map_err(|error| error.to_string());
            match found.and_then(|found| self.change(&name, &found, item)) {
                Ok(change) => changes.extend(change),
                Err(why) => {
                    if tell.send(News::Failed(name, why)).is_err() {
                        return false;
                    }
                }
            }
        }
        if changes.is_empty() {
            return true;
        }
        let news = match self.plan(&items) {
            Ok(targets) => {
                self.items = items;
                News::Changed(changes, targets)
            }
            Err(why) => {
                let names: Vec<_> = changes.iter().filter_map(|c| c.target.0.clone()).collect();
                News::Failed(listed(&names), format!("--target {}: {why}", listed(&names)))
            }
        };
        tell.send(news).is_ok()
    }

    /// What has changed about a name, of which `item` are the targets up to now, and then those that take
    /// connections of those that it has.
    fn change(
        &mut self,
        name: &str,
        found: &Found,
        item: &mut Vec<SocketAddr>,
    ) -> Result<Option<TargetChange>, String> {
        let (before, mut now) = (item.clone(), targets(&found.endpoints));
        let new: Vec<SocketAddr> = now.iter().filter(|to| !before.contains(to)).copied().collect();
        if new.is_empty() && now.len() == before.len() {
            return Ok(None);
        }
        let dead: HashSet<SocketAddr> =
            dead(&new, &self.ports).into_iter().map(|(target, _)| target).collect();
        now.retain(|target| !dead.contains(target));
        if now.is_empty() {
            let to = listed(&dead.iter().collect::<Vec<_>>());
            return Err(format!("--target {name}: nothing takes connections at {to}"));
        }
        let is_news = !dead.is_subset(&self.left_out);
        self.left_out.extend(&dead);
        if now == before && !is_news {
            return Ok(None);
        }
        let words = |targets: &[SocketAddr]| -> Vec<String> {
            targets.iter().map(ToString::to_string).collect()
        };
        let dead = new.iter().filter(|target| dead.contains(target)).map(ToString::to_string);
        let change = TargetChange {
            at_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).into(),
            target: name.into(),
            before: words(&before).into(),
            after: words(&now).into(),
            left_out: dead.chain(found.away.iter().map(ToString::to_string)).collect(),
        };
        *item = now;
        Ok(Some(change))
    }

    /// The tuples towards `items`, which must be as many as are needed.
    fn plan(&mut self, items: &[Vec<SocketAddr>]) -> Result<Arc<ChurnTargets>, String> {
        let mut seen = HashSet::new();
        let all: Vec<SocketAddr> =
            items.iter().flatten().filter(|target| seen.insert(**target)).copied().collect();
        let typed = Typed {
            sources: &self.typed.source,
            ports: self.typed.source_ports,
            part: self.of_run,
        };
        let tuples: TuplePlan = sources::plan(&typed, all.clone(), self.cores)
            .map_err(|error| error.to_string())?
            .tuples;
        for (item, now) in self.items.iter().zip(items) {
            for target in now {
                if self.numbers.contains_key(target) {
                    continue;
                }
                // What a server is called by a request, and by its certificate, goes with the name.
                let of_port = item.iter().find(|before| before.port() == target.port());
                let like = of_port.map_or(0, |before| self.like[self.numbers[before]]);
                self.numbers.insert(*target, self.known.len());
                self.known.push(*target);
                self.like.push(like);
            }
        }
        let numbers = all.iter().map(|target| self.numbers[target]).collect();
        let (known, like) = (self.known.clone(), self.like.clone());
        let targets = ChurnTargets { tuples, known, like, numbers };
        let targets = Arc::new(targets);
        if self.part.clone().churn_to(Arc::clone(&targets)) {
            Ok(targets)
        } else {
            Err("fewer source ports lead to its addresses than --churn needs".to_owned())
        }
    }
}

fn targets(endpoints: &[Endpoints]) -> Vec<SocketAddr> {
    endpoints.iter().flat_map(|endpoints| endpoints.each()).collect()
}
