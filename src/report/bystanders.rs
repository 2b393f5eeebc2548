//! The section on bystanders: the answer in sentences, the safe capacity, the panels, and each bystander
//! in each phase beside what it was on the idle host.

use maud::{Markup, html};

use crate::base::format;
use crate::report::panels::{PHASES, panels};
use crate::report::read::Run;
use crate::report::tables::number;
use crate::results::bystanders::{
    BystanderSpan, Bystanders, Comparison, Finding, Interval, Latency, Probed, SafeCapacity,
};
use crate::results::lenient::{Figure, Map};

/// What can be claimed: in words, and how it stands out.
const FINDINGS: [(Finding, &str, &str); 7] = [
    (Finding::Baseline, "the idle host", "quiet"),
    (Finding::None, "no effect found", "good"),
    (Finding::Faster, "faster", "good"),
    (Finding::SlowerTail, "longer tail", "fair"),
    (Finding::Slower, "slower", "bad"),
    (Finding::Losing, "losing", "bad"),
    (Finding::TooFew, "too few samples", "quiet"),
];

/// The whole section.
pub(crate) fn bystanders(run: &Run) -> Markup {
    let account = run.result.as_ref().and_then(|result| result.bystanders.as_ref());
    let account = account.filter(|account| account.is_asked());
    let safe = run.result.as_ref().and_then(|result| result.safe_capacity.as_ref());
    html! {
        section {
            h2 { "Bystanders: what happened to everything else meanwhile" }
            @match account {
                Some(account) => (answer(account)),
                None if run.result.is_none() && run.bystanders.is_some() => {
                    p.missing { "No answer: there is no whole result.json." }
                }
                None => p.missing { "Not asked for: nothing was tried beside the connections." },
            }
            @if let Some(safe) = safe { (safe_capacity(safe)) }
            @if account.is_some() || run.bystanders.is_some() { (panels(run)) }
            @if let Some(account) = account.filter(|account| !account.spans.is_empty()) {
                h3 { "Phase by phase" }
                (each(account))
                h3 { "What the kernel counted meanwhile" }
                (spans(account))
            }
        }
    }
}

fn answer(account: &Bystanders) -> Markup {
    let dropped = account.samples_dropped.filter(|n| *n > 0);
    html! {
        @if account.answer.is_empty() {
            p.missing { "No answer: the run ended before anything could be compared." }
        }
        ul.answer { @for line in account.answer.iter() { li { (line) } } }
        p.quiet {
            @if let Some(rate) = *account.rate_per_s {
                "Each was tried " (format::per_second(rate)) ", whether the one before was answered or not. "
            }
            @for (name, why) in account.not_probed.iter() { "Not tried: " (name) " (" (why) "). " }
            @if let Some(lag) = *account.lag_us {
                "What was due was begun late by p99 " (format::microseconds(lag.p99.real()))
                ", most " (format::microseconds(lag.max.real())) ", which is in the latencies."
            }
        }
        @if let Some(dropped) = dropped {
            p.fair { (format::count(dropped.real())) " samples had no room and are in no figure." }
        }
    }
}

/// The most connections with which bystanders were kept, and the steps of the search.
fn safe_capacity(safe: &SafeCapacity) -> Markup {
    let Some(expression) = &*safe.expression else { return html! {} };
    html! {
        h3 {
            "Safe capacity: " (capacity(safe)) @if safe.connections.is_some() { " connections" }
        }
        p {
            "Wanted: " code { (expression) } ". "
            @if let Some(at) = safe.broke_at.real() {
                "Broken at " (format::count(at)) " connections"
                @if let Some(why) = &*safe.why { ": " (why) } "."
            } @else if safe.connections.is_some() {
                "Nothing broke it: the host may hold more."
            } @else if let Some(why) = &*safe.why { (why) "." }
        }
        @if !safe.steps.is_empty() {
            div.scroll {
                table {
                    thead { tr { th { "connections" } th.word { "held" } th.words { "figures" } } }
                    tbody {
                        @for step in safe.steps.iter() {
                            tr {
                                td { (number(step.connections, format::count)) }
                                td.word {
                                    @match *step.held {
                                        Some(true) => span.good { "yes" },
                                        Some(false) => span.bad { "no" },
                                        None => "–",
                                    }
                                }
                                td.words { (step.figures.join(", ")) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `250,000`, or none.
pub(crate) fn capacity(safe: &SafeCapacity) -> String {
    safe.connections.real().map_or("none".into(), format::count)
}

/// Each bystander in each phase.
fn each(account: &Bystanders) -> Markup {
    let rows = |name: &'_ str| {
        let of_span = |span: &BystanderSpan| span.of(name).map(|probed| row(span, probed));
        account.spans.iter().filter_map(of_span).collect::<Vec<_>>()
    };
    html! {
        div.scroll {
            table.bystanders {
                thead {
                    tr {
                        th colspan="2" { "while" } th colspan="3" { "tried" } th colspan="4" { "answered in" }
                        th colspan="3" { "against the idle host" }
                    }
                    tr {
                        th { "phase" } th { "connections" }
                        th.first { "sent" } th { "lost" } th { "loss, 95 %" }
                        th.first { "p50" } th { "p90" } th { "p99" } th { "most" }
                        th.first { "difference" } th { "in the tail" } th.words { "finding" }
                    }
                }
                @for name in account.probes.iter().filter_map(|probe| probe.name.as_deref()) {
                    tbody {
                        tr.sum { td colspan="12" { (name) } }
                        @for row in rows(name) { (row) }
                    }
                }
            }
        }
        p.quiet {
            "Difference: by how much the latency has moved, with its interval in microseconds. In the tail: the part of "
            "answers that took longer than nearly all on the idle host. These are so strict that at most one "
            "run in twenty has a false alarm; the interval of what was lost is one of 95 %."
        }
    }
}

fn row(span: &BystanderSpan, probed: &Probed) -> Markup {
    let us = |pick: fn(Latency) -> u64| {
        let us = probed.latency_us.map(|latency| pick(latency).real());
        us.map_or("–".to_owned(), format::microseconds)
    };
    let is_bad = probed.lost.is_some_and(|lost| lost > 0);
    html! {
        tr {
            td.part { (phase(span)) }
            td { (number(span.connections, format::count)) }
            td.first { (number(probed.sent, format::count)) }
            td { span.bad[is_bad] { (number(probed.lost, format::count)) } }
            td { (loss(*probed.loss)) }
            td.first { (us(|latency| latency.p50)) }
            td { (us(|latency| latency.p90)) }
            td { (us(|latency| latency.p99)) }
            td { (us(|latency| latency.max)) }
            (against(probed.against_baseline.unwrap_or_default()))
            td.words { (finding(span, probed)) }
        }
    }
}

fn against(baseline: Comparison) -> Markup {
    html! {
        td.first {
            @if let Some(Interval { estimate, low, high }) = *baseline.shift_us {
                b { (moved(estimate)) }
                span.quiet { " (" (format::count(low)) " to " (format::count(high)) ")" }
            } @else { "–" }
        }
        td {
            @if let Some(tail) = *baseline.tail {
                span.fair[tail.is_more] { (percent(tail.fraction)) }
                span.quiet { " above " (format::microseconds(tail.above_us.real())) }
            } @else { "–" }
        }
    }
}

/// The finding in words; of one that suffered, also what the kernel counted meanwhile.
fn finding(span: &BystanderSpan, probed: &Probed) -> Markup {
    let known = probed.finding.known();
    let known = known.and_then(|found| FINDINGS.iter().find(|(finding, ..)| *finding == found));
    let other = || (probed.finding.other().unwrap_or("unknown"), "quiet");
    let (words, class) = known.map_or_else(other, |(_, words, class)| (*words, *class));
    let sentence = probed.sentence.as_deref().filter(|text| !text.is_empty());
    let more = probed.more_samples.filter(|n| *n > 0 && sentence.is_none());
    let suffers = ["fair", "bad"].contains(&class);
    html! {
        span class=(class) { (sentence.unwrap_or(words)) }
        @if let Some(more) = more { ": " (format::count(more.real())) " more are needed" }
        @if suffers && !span.counters.is_empty() {
            br; span.quiet { "meanwhile " (counted(&span.counters)) }
        }
    }
}

/// The kernel's counters and pressure in each phase.
fn spans(account: &Bystanders) -> Markup {
    let pressures = ["cpu", "io", "memory"];
    let seconds = |span: &BystanderSpan| {
        Some(format::seconds((span.to_ms.real()? - span.from_ms.real()?) / 1e3))
    };
    html! {
        div.scroll {
            table {
                thead { tr {
                    th { "phase" } th { "connections" } th { "for" }
                    @for name in pressures { th { "waited for " (name) } }
                    th.words { "counters that moved" }
                } }
                tbody {
                    @for span in account.spans.iter() {
                        tr {
                            td { (phase(span)) }
                            td { (number(span.connections, format::count)) }
                            td { (seconds(span).unwrap_or("–".into())) }
                            @for name in pressures {
                                td { (span.pressure.get(name).map_or("–".into(), |n| percent(n / 100.0))) }
                            }
                            td.words {
                                @if span.counters.is_empty() { "none" } @else { (counted(&span.counters)) }
                            }
                        }
                    }
                }
            }
        }
        p.quiet { "Waited for: the part of the time in which a task of this host waited for it, by /proc/pressure." }
    }
}

/// What a phase is called.
pub(crate) fn phase(span: &BystanderSpan) -> &str {
    let known = span.phase.known();
    let known = known.and_then(|phase| PHASES.iter().find(|(known, ..)| *known == phase));
    known.map_or_else(|| span.phase.other().unwrap_or("unknown"), |(_, name, _)| name)
}

fn counted(counters: &Map<u64>) -> String {
    let each = counters.iter().map(|(name, n)| format!("{name} {}", format::count(n.real())));
    each.collect::<Vec<_>>().join(", ")
}

/// `1.5 % (0.5 to 4.3)`. When nothing was lost, the upper bound alone.
fn loss(loss: Option<Interval>) -> String {
    match loss {
        Some(Interval { estimate: 0.0, high, .. }) => format!("below {}", percent(high)),
        Some(Interval { estimate, low, high }) => {
            format!("{} ({} to {})", percent(estimate), of_100(low * 100.0), of_100(high * 100.0))
        }
        None => "–".into(),
    }
}

/// A part of all: `42 %`, `1.5 %`, `0.03 %`.
pub(crate) fn percent(part: f64) -> String {
    format!("{} %", of_100(part * 100.0))
}

/// With the digits that are significant.
fn of_100(percent: f64) -> String {
    match percent.abs() {
        20.0.. => format!("{percent:.0}"),
        1.0.. | 0.0 => format!("{percent:.1}"),
        _ => format!("{percent:.2}"),
    }
}

/// A difference: `+120 us`, `-3 us`, `0 us`.
fn moved(us: f64) -> String {
    let sign = match us {
        1.0.. => "+",
        ..=-1.0 => "-",
        _ => "",
    };
    format!("{sign}{}", format::microseconds(us.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_and_losses_as_people_read_them() {
        assert_eq!(
            [120.4, -3.0, 0.3, -15_000.0].map(moved),
            ["+120 us", "-3 us", "0 us", "-15.0 ms"]
        );
        let of = |estimate, low, high| loss(Some(Interval { estimate, low, high }));
        assert_eq!(of(0.0, 0.0, 0.0032), "below 0.32 %");
        assert_eq!(of(0.015, 0.0051, 0.0432), "1.5 % (0.51 to 4.3)");
        assert_eq!(loss(None), "–");
    }
}
