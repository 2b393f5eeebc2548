//! A finding in words. It adds no judgement: what can be claimed is decided by `finding`.

use megaconn::base::format;
use megaconn::base::units::grouped;
use megaconn::results::bystanders::{Comparison, Finding, Interval, SpanPhase, Tail};

use crate::bystanders::account::ProbeAccount;
use crate::bystanders::claim;
use crate::bystanders::sample::Span;

/// When the idle host after the run differs from the one before it by this part of what is claimed, the
/// claim is told with it: what is not gone with the connections may not have come with them.
const DRIFT_PART: f64 = 0.25;

/// Writes every sentence; the span `baseline` is what the others were held against.
pub(crate) fn write(accounts: &mut [Vec<ProbeAccount>], spans: &[Span], baseline: Option<usize>) {
    let recovery = spans.iter().position(|span| span.phase == SpanPhase::Recovery);
    let of = |span: Option<usize>| span.map(|span| accounts[span].clone());
    let (idle, afterwards) = (of(baseline), of(recovery));
    for (span, accounts) in spans.iter().zip(accounts) {
        for (probe, account) in accounts.iter_mut().enumerate() {
            let idle = idle.as_ref().map(|idle| &idle[probe]);
            // The recovery is not held against itself.
            let afterwards = afterwards.as_ref().filter(|_| span.phase != SpanPhase::Recovery);
            let afterwards = afterwards.and_then(|all| all[probe].against_baseline);
            account.sentence = sentence(account, idle, afterwards.as_ref());
        }
    }
}

fn sentence(
    account: &ProbeAccount,
    idle: Option<&ProbeAccount>,
    afterwards: Option<&Comparison>,
) -> String {
    let Some(comparison) = account.against_baseline else { return baseline(account) };
    let Some(idle) = idle else { return "nothing to hold it against: no idle host before".into() };
    let idle_median_us = median(idle).unwrap_or(0);
    let moved = claim::moved(&comparison, idle_median_us);
    let moved = moved.map(|shift| Moved { shift, account, idle });
    let drift = || drift(&comparison, afterwards, account.finding, idle_median_us);
    match account.finding {
        Finding::Baseline => baseline(account),
        Finding::TooFew => too_few(account, idle),
        Finding::None => no_effect(account, idle),
        Finding::Slower | Finding::Faster => {
            moved.map_or_else(String::new, Moved::text) + &unclaimed_loss(account, idle) + &drift()
        }
        Finding::SlowerTail => {
            let text = comparison.tail.map_or_else(String::new, tail);
            text + &unclaimed_loss(account, idle) + &drift()
        }
        Finding::Losing => {
            let also = moved.filter(|moved| moved.shift.estimate > 0.0).map(Moved::text);
            let also = also.map(|text| format!(", {text}")).unwrap_or_default();
            losing(account, idle) + &also + &drift()
        }
    }
}

fn baseline(account: &ProbeAccount) -> String {
    let latency = match account.latency_us {
        Some(l) => format!("median {}, p99 {}", us(l.p50 as f64), us(l.p99 as f64)),
        None if account.sent == 0 => "nothing was sent".into(),
        None => "no answer".into(),
    };
    latency + &if account.lost > 0 { format!("; lost {}", lost(account)) } else { String::new() }
}

fn too_few(account: &ProbeAccount, idle: &ProbeAccount) -> String {
    let more = grouped(account.more_samples.unwrap_or(0));
    let answers = |account: &ProbeAccount| account.sent - account.lost;
    // What is needed is counted on the side that is further from it.
    let (now, before) = (answers(account), answers(idle));
    let (when, have) = if before < now { (" when idle", before) } else { ("", now) };
    let have = grouped(have);
    format!("too few{when}: {have} samples, {more} more are needed")
        + &unclaimed_loss(account, idle)
}

fn no_effect(account: &ProbeAccount, idle: &ProbeAccount) -> String {
    let [now, before] = [account, idle].map(|a| us(median(a).unwrap_or(0) as f64));
    format!("no effect found (median {now}, {before} when idle)") + &unclaimed_loss(account, idle)
}

/// What was lost is said, even where chance may have done it.
pub(crate) fn unclaimed_loss(account: &ProbeAccount, idle: &ProbeAccount) -> String {
    match account.lost {
        0 => String::new(),
        _ => format!("; lost {}, {} when idle", lost(account), lost(idle)),
    }
}

/// A shift that is claimed.
#[derive(Clone, Copy)]
struct Moved<'a> {
    shift: Interval,
    account: &'a ProbeAccount,
    idle: &'a ProbeAccount,
}

impl Moved<'_> {
    fn text(self) -> String {
        let Interval { estimate, low, high } = self.shift;
        if estimate < 0.0 {
            let range = range(-high, -low, us);
            return format!("faster by {} at the median ({range})", us(-estimate));
        }
        let p99 = |account: &ProbeAccount| us(account.latency_us.map_or(0.0, |l| l.p99 as f64));
        let (now, before) = (p99(self.account), p99(self.idle));
        let range = range(low, high, us);
        format!("slower by {} at the median ({range}), p99 {now} against {before}", us(estimate))
    }
}

fn tail(tail: Tail) -> String {
    format!(
        "slower in the tail: {} of answers take more than {}, {} when idle",
        percent(tail.fraction),
        us(tail.above_us as f64),
        percent(tail.expected),
    )
}

fn losing(account: &ProbeAccount, idle: &ProbeAccount) -> String {
    let Some(loss) = account.loss else { return String::new() };
    let before = idle.loss.filter(|_| idle.lost > 0).map(|loss| percent(loss.estimate));
    let before = before.map(|before| format!(", {before} when idle")).unwrap_or_default();
    format!("losing {} ({}){before}", percent(loss.estimate), range(loss.low, loss.high, percent))
}

/// What of the claim was still there when the host was idle again.
fn drift(
    claimed: &Comparison,
    afterwards: Option<&Comparison>,
    finding: Finding,
    idle_median_us: u64,
) -> String {
    let Some(afterwards) = afterwards else { return String::new() };
    let is_good_part = |still: f64, claimed: f64| still / claimed >= DRIFT_PART;
    let text = match finding {
        Finding::Slower | Finding::Faster => claimed.shift_us.and_then(|claimed| {
            let still = claim::moved(afterwards, idle_median_us)?.estimate;
            let by = us(still.abs());
            let text = format!("; the idle host itself has drifted by {by}");
            is_good_part(still, claimed.estimate).then_some(text)
        }),
        Finding::SlowerTail => claimed.tail.zip(*afterwards.tail).and_then(|(claimed, still)| {
            let more = |tail: Tail| tail.fraction - tail.expected;
            let text = format!("; {} still do when idle again", percent(still.fraction));
            let is_so =
                claim::has_longer_tail(afterwards) && is_good_part(more(still), more(claimed));
            is_so.then_some(text)
        }),
        Finding::Losing => claimed.loss.zip(*afterwards.loss).and_then(|(claimed, still)| {
            let by = percent(still.estimate);
            let text = format!("; idle again, it still loses {by} more than before");
            let is_so =
                claim::loses_more(afterwards) && is_good_part(still.estimate, claimed.estimate);
            is_so.then_some(text)
        }),
        Finding::Baseline | Finding::None | Finding::TooFew => None,
    };
    text.unwrap_or_default()
}

fn median(account: &ProbeAccount) -> Option<u64> {
    account.latency_us.map(|latency| latency.p50)
}

fn lost(account: &ProbeAccount) -> String {
    format!("{} of {}", grouped(account.lost), grouped(account.sent))
}

/// Rounded to whole microseconds.
pub(crate) fn us(us: f64) -> String {
    format::microseconds(us.round())
}

/// `31 %`, `2.1 %`, `0.04 %`.
pub(crate) fn percent(part: f64) -> String {
    match part * 100.0 {
        percent if percent >= 10.0 => format!("{percent:.0} %"),
        percent if percent >= 0.1 || percent == 0.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.2} %"),
    }
}

/// `95 to 130 us`: a unit that both share is said once.
fn range(low: f64, high: f64, text: impl Fn(f64) -> String) -> String {
    let (low, high) = (text(low), text(high));
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} to {high}"),
        _ => format!("{low} to {high}"),
    }
}
