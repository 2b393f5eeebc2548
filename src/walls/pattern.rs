//! What the losses of a run have in common: an age, a silence, a moment, a target, a source address, every
//! n-th. A pattern is evidence, with its figures, also when no wall is known for it.
//!
//! Arithmetic alone. A pattern is claimed when nine of ten losses of one kind have it in common, and when
//! it would not be there by itself: connections that were all opened at once and lost at once have one
//! age, but what they have in common is the moment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::constants::AGE_GRAIN_MS;
use crate::base::units::grouped;
use crate::observe::stats::{Ending, LostCause};

/// One connection that did not come to be or was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its place in the order in which connections were opened.
    pub number: u64,
    /// How it ended.
    pub ending: Ending,
    /// When, since the run's start.
    pub at: Duration,
    /// Since its connect began.
    pub age: Option<Duration>,
    /// Since a message was last sent on it or a text came, or since it was there.
    pub idle: Option<Duration>,
    /// Where it came from.
    pub source: IpAddr,
    /// Where it went.
    pub target: SocketAddr,
}

/// How many connections were tried, by what they have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// By source address.
    pub by_source: BTreeMap<IpAddr, u64>,
    /// By target.
    pub by_target: BTreeMap<SocketAddr, u64>,
}

/// What losses have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// They ended at one moment.
    Moment(Duration),
    /// They ended as soon as they were there.
    AtOnce(Duration),
    /// They ended at one age.
    Age(Duration),
    /// They ended so long after the last message on them.
    Idle(Duration),
    /// They are of one target among several.
    Target(SocketAddr),
    /// They are of one source address among several.
    Source(IpAddr),
    /// Every source address was left with so many connections, and no more.
    PerSource(u64),
    /// They are every n-th of those that were opened.
    EveryNth(u64),
}

impl Shared {
    /// Its name in a result.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Shared::Moment(_) => "moment",
            Shared::AtOnce(_) => "at-once",
            Shared::Age(_) => "age",
            Shared::Idle(_) => "idle",
            Shared::Target(_) => "target",
            Shared::Source(_) => "source",
            Shared::PerSource(_) => "per-source",
            Shared::EveryNth(_) => "every-nth",
        }
    }
}

/// A pattern: which losses, and what they have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// How they ended.
    pub ending: Ending,
    /// Losses that ended so.
    pub losses: u64,
    /// Of those, the ones that have it in common.
    pub count: u64,
    /// What they have in common.
    pub shared: Shared,
    /// The spread of a time, from the lowest to the highest of those that have it in common.
    spread: (Duration, Duration),
}

/// Losses from which on a pattern may be claimed: fewer are alike by chance.
const LOSSES_MIN: usize = 8;

/// All patterns of `lost`, the most numerous losses first.
#[must_use]
pub fn find(lost: &[Lost], tried: &Tried) -> Vec<Pattern> {
    let mut by_ending: BTreeMap<Ending, Vec<&Lost>> = BTreeMap::new();
    lost.iter().for_each(|lost| by_ending.entry(lost.ending).or_default().push(lost));
    let mut groups: Vec<_> = by_ending.into_iter().collect();
    groups.sort_by_key(|(_, losses)| std::cmp::Reverse(losses.len()));
    let many = groups.into_iter().filter(|(_, losses)| losses.len() >= LOSSES_MIN);
    many.flat_map(|(ending, losses)| of_one_kind(ending, &losses, lost, tried)).collect()
}

fn of_one_kind(ending: Ending, losses: &[&Lost], all: &[Lost], tried: &Tried) -> Vec<Pattern> {
    let pattern = |(count, shared, spread): (usize, Shared, (Duration, Duration))| Pattern {
        ending,
        losses: losses.len() as u64,
        count: count as u64,
        shared,
        spread,
    };
    let at = spread_of(losses.iter().map(|lost| lost.at).collect());
    let moment = at.filter(|at| at.width() <= MOMENT).map(|at| {
        let near = losses.iter().filter(|lost| lost.at + MOMENT >= at.high);
        let count = near.filter(|lost| lost.at <= at.low + MOMENT).count();
        (count, Shared::Moment(at.low), (at.low, at.high))
    });
    let time = at_once(losses).or(moment).or_else(|| of_time(losses, at));
    let none = (Duration::ZERO, Duration::ZERO);
    let place =
        [of_target(losses, tried), of_source(losses, all, tried), of_number(losses, all, tried)];
    let place = place.into_iter().flatten().map(|(count, shared)| (count, shared, none));
    time.into_iter().chain(place).map(pattern).collect()
}

/// Losses within this time are of one moment.
const MOMENT: Duration = Duration::from_secs(1);

/// No limit of age or of silence is as short as this.
const AT_ONCE: Duration = Duration::from_millis(300);

/// The part of a list of times in which nine of ten are.
#[derive(Clone, Copy)]
struct Spread {
    low: Duration,
    middle: Duration,
    high: Duration,
    count: usize,
}

impl Spread {
    fn width(&self) -> Duration {
        self.high - self.low
    }

    /// Narrow beside what it is a spread of, and to what a core's log can tell. A timer of the kernel, such
    /// as that of SO_RCVTIMEO, comes up to an eighth late.
    fn is_one(&self) -> bool {
        let grain = Duration::from_millis(u64::from(AGE_GRAIN_MS) * 10);
        self.middle > Duration::ZERO && self.width() <= grain.max(self.middle / 8)
    }

    fn shared(&self, of: fn(Duration) -> Shared) -> (usize, Shared, (Duration, Duration)) {
        (self.count, of(self.middle), (self.low, self.high))
    }
}

/// The narrowest part of `times` that has nine of ten.
fn spread_of(mut times: Vec<Duration>) -> Option<Spread> {
    times.sort_unstable();
    let count = (times.len() * 9).div_ceil(10);
    let from = (0..=times.len().checked_sub(count)?)
        .filter(|_| count > 0)
        .min_by_key(|&from| times[from + count - 1] - times[from])?;
    let (low, high) = (times[from], times[from + count - 1]);
    // All that are as near belong to it.
    let count = times.iter().filter(|time| (low..=high).contains(*time)).count();
    Some(Spread { low, middle: times[from + count / 2], high, count })
}

/// The spread of a time that is known of each loss.
fn known(losses: &[&Lost], pick: fn(&Lost) -> Option<Duration>) -> Option<Spread> {
    let times: Option<Vec<Duration>> = losses.iter().map(|lost| pick(lost)).collect();
    spread_of(times?)
}

/// As soon as they were there. It is told of those that were opened within a second as well.
fn at_once(losses: &[&Lost]) -> Option<(usize, Shared, (Duration, Duration))> {
    let age = known(losses, |lost| lost.age).filter(|age| age.high < AT_ONCE);
    age.map(|age| age.shared(Shared::AtOnce))
}

/// After one silence, or at one age, at moments that differ by more. Where nothing was ever sent both are
/// the same, and the silence is the more likely cause.
fn of_time(losses: &[&Lost], at: Option<Spread>) -> Option<(usize, Shared, (Duration, Duration))> {
    let is_told =
        |spread: &Spread| spread.is_one() && at.is_some_and(|at| at.width() > spread.width() * 2);
    let idle = known(losses, |lost| lost.idle).filter(is_told);
    let idle = idle.map(|idle| idle.shared(Shared::Idle));
    let age = || known(losses, |lost| lost.age).filter(is_told);
    idle.or_else(|| age().map(|age| age.shared(Shared::Age)))
}

/// One target among several that were tried.
fn of_target(losses: &[&Lost], tried: &Tried) -> Option<(usize, Shared)> {
    let (target, count) = most_common(losses.iter().map(|lost| lost.target))?;
    let others = tried.by_target.keys().any(|other| *other != target);
    (others && is_most(count, losses.len())).then_some((count, Shared::Target(target)))
}

/// One source address among several; or all of them, each of which was left with as many.
fn of_source(losses: &[&Lost], all: &[Lost], tried: &Tried) -> Option<(usize, Shared)> {
    let (source, count) = most_common(losses.iter().map(|lost| lost.source))?;
    if tried.by_source.len() < 2 {
        return None;
    }
    if is_most(count, losses.len()) {
        return Some((count, Shared::Source(source)));
    }
    let mut left = tried.by_source.clone();
    for lost in all {
        if let Some(left) = left.get_mut(&lost.source) {
            *left = left.saturating_sub(1);
        }
    }
    let of_ours = losses.iter().map(|lost| lost.source).collect::<std::collections::BTreeSet<_>>();
    let kept: Vec<u64> = of_ours.iter().filter_map(|source| left.get(source).copied()).collect();
    let (least, most) = (*kept.iter().min()?, *kept.iter().max()?);
    let tried_unevenly = || {
        let tried: Vec<u64> =
            of_ours.iter().filter_map(|s| tried.by_source.get(s).copied()).collect();
        tried.iter().min() != tried.iter().max()
    };
    let is_a_limit = kept.len() >= 2 && most > 0 && most - least <= most / 100;
    // Even shares of one random loss are nearly even too; a limit is met to the connection.
    let is_exact = most == least && (tried_unevenly() || losses.len() as u64 >= most);
    (is_a_limit && is_exact).then_some((losses.len(), Shared::PerSource(most)))
}

/// Every n-th in the order of opening, when that many were lost, however each of them ended.
fn of_number(losses: &[&Lost], all: &[Lost], tried: &Tried) -> Option<(usize, Shared)> {
    let begun: u64 = tried.by_target.values().sum();
    (2..=16_u64).find_map(|n| {
        let (class, count) = most_common(losses.iter().map(|lost| lost.number % n))?;
        let gone = all.iter().filter(|lost| lost.number % n == class).count() as u64;
        let of_class = begun / n;
        let is_whole = gone * 10 >= of_class * 9 && of_class >= LOSSES_MIN as u64;
        (is_most(count, losses.len()) && is_whole).then_some((count, Shared::EveryNth(n)))
    })
}

fn is_most(count: usize, of: usize) -> bool {
    count * 10 >= of * 9
}

fn most_common<T: Ord>(all: impl Iterator<Item = T>) -> Option<(T, usize)> {
    let mut counts = BTreeMap::new();
    all.for_each(|one| *counts.entry(one).or_insert(0) += 1);
    counts.into_iter().max_by_key(|(_, count)| *count)
}

/// How connections ended, in a clause: by whom, as far as the client can tell.
#[must_use]
pub fn how(ending: Ending) -> String {
    match ending {
        Ending::Failed(errno) => format!("did not connect ({errno})"),
        Ending::Lost(LostCause::Fin) => "were ended by the other side (FIN)".into(),
        Ending::Lost(LostCause::Reset) => "were reset (RST)".into(),
        Ending::Lost(LostCause::Timeout) => "were given up by the kernel, without an answer".into(),
        Ending::Lost(LostCause::Silent) => "were silent: no answer came".into(),
        Ending::Lost(LostCause::Mismatch) => "were answered with other bytes".into(),
        Ending::Lost(LostCause::Local) => "were ended by this host".into(),
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [count, losses] = [self.count, self.losses].map(grouped);
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        let spread = format!("{} to {}", seconds(self.spread.0), seconds(self.spread.1));
        write!(f, "{count} of the {losses} that {}: ", how(self.ending))?;
        match self.shared {
            Shared::Moment(at) => {
                write!(f, "within a second, {} after the start", seconds(at))
            }
            Shared::AtOnce(_) => {
                write!(f, "{:?} after their connect at the latest", self.spread.1)
            }
            Shared::Age(age) => write!(f, "{} after they were opened ({spread})", seconds(age)),
            Shared::Idle(idle) => {
                write!(f, "{} after the last message on them ({spread})", seconds(idle))
            }
            Shared::Target(target) => write!(f, "all of the target {target}"),
            Shared::Source(source) => write!(f, "all from the address {source}"),
            Shared::PerSource(left) => {
                write!(f, "each source address was left with {}", grouped(left))
            }
            Shared::EveryNth(n) => write!(f, "every {n}. of those that were opened"),
        }
    }
}

#[cfg(test)]
mod tests;
