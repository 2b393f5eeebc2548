//! What became of connections by target and by source, and what those that were lost have in common:
//! the logs of the cores, held against the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use megaconn::observe::stats::{Ending, Losses};
use megaconn::plan::tuples::TuplePlan;
use megaconn::results::lenient::{List, Maybe};
use megaconn::results::result::{LossPattern, TargetCounts};
use megaconn::walls::pattern::{self, Lost, Pattern, Tried};

/// Targets that a result has a row for; beyond that only those at which something was lost have one.
const TARGETS_MAX: usize = 1_024;

/// All that the cores know of losses.
pub(crate) struct LossAccount {
    lost: Vec<Lost>,
    tried: Option<Tried>,
    first_bytes: Option<Box<[u8]>>,
    opening_failure: Option<Box<str>>,
}

impl LossAccount {
    /// From each core's log, and from how many connects each has begun. A core's clock begins with the
    /// core; the first loss was `first_at` after the run's start.
    pub(crate) fn new(
        plan: &TuplePlan,
        cores: &[(Losses, u64)],
        first_at: Option<Duration>,
    ) -> LossAccount {
        let mut lost = Vec::new();
        let mut tried = Tried::default();
        let mut is_whole = true;
        for (core, (losses, begun)) in cores.iter().enumerate() {
            // A part of the plan that was gone through twice has no count by number.
            let is_in_plan = plan.of_core(core, begun.saturating_sub(1)).is_some();
            is_whole &= losses.beyond == 0 && (*begun == 0 || is_in_plan);
            // A tuple that was another's has had no connect.
            let skipped: BTreeSet<u64> = losses.skipped.iter().copied().map(u64::from).collect();
            for number in (0..*begun).filter(|number| !skipped.contains(number)) {
                add(&mut tried, plan, core, number);
            }
            lost.extend(losses.kept.iter().filter_map(|loss| {
                let tuple = plan.of_core(core, loss.number.into())?;
                Some(Lost {
                    number: tuple.number,
                    ending: loss.ending,
                    at: Duration::from_millis(loss.at_ms.into()),
                    age: loss.age_ms.map(|ms| Duration::from_millis(ms.into())),
                    idle: loss.idle_ms.map(|ms| Duration::from_millis(ms.into())),
                    source: tuple.source.ip(),
                    target: plan.targets()[tuple.target],
                })
            }));
        }
        shift(&mut lost, first_at);
        let first_bytes = cores.iter().find_map(|(losses, _)| losses.first_bytes.clone());
        let opening_failure = cores.iter().find_map(|(losses, _)| losses.opening_failure.clone());
        LossAccount { lost, tried: is_whole.then_some(tried), first_bytes, opening_failure }
    }

    /// What losses have in common.
    pub(crate) fn patterns(&self) -> Vec<Pattern> {
        pattern::find(&self.lost, self.tried.as_ref().unwrap_or(&Tried::default()))
    }

    /// The beginning of the first bytes that were not expected, as text.
    pub(crate) fn first_bytes(&self) -> Option<String> {
        self.first_bytes.as_ref().map(|bytes| bytes.escape_ascii().to_string())
    }

    /// Why the first opening failed that the client gave up.
    pub(crate) fn opening_failure(&self) -> Option<String> {
        self.opening_failure.as_deref().map(str::to_owned)
    }

    /// Every target with what became of its connections, `established` over all.
    pub(crate) fn targets(&self, plan: &TuplePlan, established: u64) -> List<TargetCounts> {
        let mut gone: BTreeMap<_, (u64, u64)> = BTreeMap::new();
        for lost in &self.lost {
            let (failed, lost_count) = gone.entry(lost.target).or_default();
            match lost.ending {
                Ending::Failed(_) => *failed += 1,
                Ending::Lost(_) => *lost_count += 1,
            }
        }
        let row = |target: &std::net::SocketAddr| {
            let (failed, lost) = gone.get(target).copied().unwrap_or_default();
            let tried = self.tried.as_ref();
            let begun = tried.map(|tried| tried.by_target.get(target).copied().unwrap_or(0));
            TargetCounts {
                address: target.to_string().into(),
                established: begun.map(|n| n.saturating_sub(failed + lost)).into(),
                failed: failed.into(),
                lost: lost.into(),
            }
        };
        let rows = plan.targets().iter();
        let is_amiss = |row: &TargetCounts| row.failed.or_zero() + row.lost.or_zero() > 0;
        let mut rows: Vec<TargetCounts> = match plan.targets().len() {
            0..=TARGETS_MAX => rows.map(row).collect(),
            _ => rows.map(row).filter(is_amiss).take(TARGETS_MAX).collect(),
        };
        // Connects that had no answer when the run was stopped are of no target's count.
        let all: Option<u64> = rows.iter().map(|row| *row.established).sum();
        if rows.len() == plan.targets().len() && all != Some(established) {
            rows.iter_mut().for_each(|row| row.established = Maybe(None));
        }
        List(rows)
    }
}

/// The row of a pattern.
pub(crate) fn row(pattern: &Pattern) -> LossPattern {
    let ending = match pattern.ending {
        Ending::Failed(errno) => errno.to_string(),
        Ending::Lost(cause) => cause.name().to_owned(),
    };
    LossPattern {
        ending: ending.into(),
        losses: pattern.losses.into(),
        count: pattern.count.into(),
        shared: pattern.shared.name().into(),
        text: pattern.to_string().into(),
    }
}

fn add(to: &mut Tried, plan: &TuplePlan, core: usize, number: u64) {
    if let Some(tuple) = plan.of_core(core, number) {
        *to.by_source.entry(tuple.source.ip()).or_insert(0) += 1;
        *to.by_target.entry(plan.targets()[tuple.target]).or_insert(0) += 1;
    }
}

/// Counts times from the run's start.
fn shift(lost: &mut [Lost], first_at: Option<Duration>) {
    let is_lost = |lost: &&Lost| matches!(lost.ending, Ending::Lost(_));
    let first = lost.iter().filter(is_lost).map(|lost| lost.at).min();
    let before = first.zip(first_at).map_or(Duration::ZERO, |(core, run)| core.saturating_sub(run));
    lost.iter_mut().for_each(|lost| lost.at = lost.at.saturating_sub(before));
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use megaconn::base::errno::Errno;
    use megaconn::observe::stats::{Loss, LostCause};
    use megaconn::plan::tuples::AddressRange;

    use super::*;

    fn plan() -> TuplePlan {
        let target = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2));
        let range = AddressRange::new(source, source).expect("one address is a range");
        TuplePlan::new(vec![target(7_000), target(7_001)], &[range], vec![40_000, 40_001], 1)
            .expect("the plan is sound")
    }

    fn loss(number: u32, ending: Ending) -> Loss {
        Loss { number, ending, at_ms: 500, age_ms: Some(100), idle_ms: Some(10) }
    }

    #[test]
    fn every_target_has_its_counts() {
        let plan = plan();
        let (failed, lost) =
            (Ending::Failed(Errno::ECONNREFUSED), Ending::Lost(LostCause::Mismatch));
        let dead = |n: &u32| plan.of_core(0, u64::from(*n)).expect("a tuple").target == 1;
        let mut kept: Vec<Loss> = (0..4).filter(dead).map(|number| loss(number, failed)).collect();
        let alive = (0..4).find(|n| !dead(n)).expect("there are two targets");
        kept.push(loss(alive, lost));
        let first_bytes = Some(b"ERR\n".to_vec().into());
        let losses = Losses { kept, first_bytes, ..Losses::default() };
        let at = Some(Duration::from_millis(300));
        let account = LossAccount::new(&plan, &[(losses, 4)], at);
        assert_eq!(account.first_bytes().as_deref(), Some("ERR\\n"));
        assert!(account.lost.iter().all(|lost| lost.at == Duration::from_millis(300)));
        let counts: Vec<_> = account.targets(&plan, 1).iter().cloned().collect();
        let of = |n: usize| (*counts[n].established, *counts[n].failed, *counts[n].lost);
        assert_eq!(of(0), (Some(1), Some(0), Some(1)));
        assert_eq!(of(1), (Some(0), Some(2), Some(0)));
        // Where the counts do not add up, none is told.
        assert_eq!(*account.targets(&plan, 2)[0].established, None);
    }
}
