//! The section on bystanders: the answer in sentences, the safe capacity, the panels, and each bystander
//! in each phase beside what it was on the idle host.

use maud::{Markup, html};

use crate::base::format;
use crate::report::lenient::{Map, Number};
use crate::report::panels::{PHASES, panels};
use crate::report::read::Run;
use crate::report::schema::{
    BystanderSpan, Bystanders, Comparison, Interval, Probed, SafeCapacity,
};
use crate::report::tables::number;

/// What can be claimed: the name in the files, in words, how it stands out.
const FINDINGS: [(&str, &str, &str); 7] = [
    ("baseline", "the idle host", "quiet"),
    ("none", "no effect found", "good"),
    ("faster", "faster", "good"),
    ("slower_tail", "longer tail", "fair"),
    ("slower", "slower", "bad"),
    ("losing", "losing", "bad"),
    ("too_few", "too few samples", "quiet"),
];

/// The whole section.
pub(crate) fn bystanders(run: &Run) -> Markup {
    let account = run.result.as_ref().map(|result| &*result.bystanders);
    let account = account.filter(|account| account.is_asked());
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
            @if let Some(result) = &run.result { (safe_capacity(&result.safe_capacity)) }
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
    let lag = &account.lag_us;
    let dropped = account.samples_dropped.filter(|n| *n > 0.0);
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
            @if let (Some(p99), Some(most)) = (*lag.p99, *lag.max) {
                "What was due was begun late by p99 " (format::microseconds(p99))
                ", most " (format::microseconds(most)) ", which is in the latencies."
            }
        }
        @if let Some(dropped) = dropped {
            p.fair { (format::count(dropped)) " samples had no room and are in no figure." }
        }
    }
}

/// The most connections at which bystanders were as they were to be, and the way there.
fn safe_capacity(safe: &SafeCapacity) -> Markup {
    let Some(expression) = &*safe.expression else { return html! {} };
    html! {
        h3 {
            "Safe capacity: " (capacity(safe)) @if safe.connections.is_some() { " connections" }
        }
        p {
            "Wanted: " code { (expression) } ". "
            @if let Some(at) = *safe.broke_at {
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
    safe.connections.map_or("none".into(), format::count)
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
    let latency = &probed.latency_us;
    let us = |figure: Number| number(figure, format::microseconds);
    let is_bad = probed.lost.is_some_and(|lost| lost > 0.0);
    html! {
        tr {
            td.part { (phase(span)) }
            td { (number(span.connections, format::count)) }
            td.first { (number(probed.sent, format::count)) }
            td { span.bad[is_bad] { (number(probed.lost, format::count)) } }
            td { (loss(&probed.loss)) }
            td.first { (us(latency.p50)) }
            td { (us(latency.p90)) }
            td { (us(latency.p99)) }
            td { (us(latency.max)) }
            (against(&probed.against_baseline))
            td.words { (finding(span, probed)) }
        }
    }
}

fn against(baseline: &Comparison) -> Markup {
    let shift = &baseline.shift_us;
    let tail = &baseline.tail;
    let is_more = *tail.is_more == Some(true);
    html! {
        td.first {
            @if let (Some(by), Some(low), Some(high)) = (*shift.estimate, *shift.low, *shift.high) {
                b { (moved(by)) } span.quiet { " (" (format::count(low)) " to " (format::count(high)) ")" }
            } @else { "–" }
        }
        td {
            @if let (Some(part), Some(above)) = (*tail.fraction, *tail.above_us) {
                span.fair[is_more] { (percent(part)) }
                span.quiet { " above " (format::microseconds(above)) }
            } @else { "–" }
        }
    }
}

/// The finding in words; of one that suffered, also what the kernel counted meanwhile.
fn finding(span: &BystanderSpan, probed: &Probed) -> Markup {
    let found = probed.finding.as_deref().unwrap_or("unknown");
    let known = FINDINGS.iter().find(|(name, ..)| *name == found);
    let (words, class) = known.map_or((found, "quiet"), |(_, words, class)| (words, class));
    let sentence = probed.sentence.as_deref().filter(|text| !text.is_empty());
    let more = probed.more_samples.filter(|n| *n > 0.0 && sentence.is_none());
    let suffers = ["fair", "bad"].contains(&class);
    html! {
        span class=(class) { (sentence.unwrap_or(words)) }
        @if let Some(more) = more { ": " (format::count(more)) " more are needed" }
        @if suffers && !span.counters.is_empty() {
            br; span.quiet { "meanwhile " (counted(&span.counters)) }
        }
    }
}

/// What moved in each phase.
fn spans(account: &Bystanders) -> Markup {
    let pressures = ["cpu", "io", "memory"];
    let seconds =
        |span: &BystanderSpan| Some(format::seconds((span.to_ms.0? - span.from_ms.0?) / 1e3));
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
                                td { (span.pressure.get(name).and_then(|n| n.0).map_or("–".into(), |n| percent(n / 100.0))) }
                            }
                            td.words {
                                @if span.counters.is_empty() { "none" } @else { (counted(&span.counters)) }
                            }
                        }
                    }
                }
            }
        }
        p.quiet { "Waited for: the part of the time in which somebody on this host did, by /proc/pressure." }
    }
}

/// What a phase is called.
pub(crate) fn phase(span: &BystanderSpan) -> &str {
    let phase = span.phase.as_deref().unwrap_or("unknown");
    PHASES.iter().find(|(known, ..)| *known == phase).map_or(phase, |(_, name, _)| name)
}

fn counted(counters: &Map<Number>) -> String {
    let each =
        counters.iter().filter_map(|(name, n)| Some(format!("{name} {}", format::count(n.0?))));
    each.collect::<Vec<_>>().join(", ")
}

/// `1.5 % (0.5 to 4.3)`; of none, what it may be at most.
fn loss(loss: &Interval) -> String {
    match (*loss.estimate, *loss.low, *loss.high) {
        (Some(0.0), _, Some(high)) => format!("below {}", percent(high)),
        (Some(part), Some(low), Some(high)) => {
            format!("{} ({} to {})", percent(part), of_100(low * 100.0), of_100(high * 100.0))
        }
        _ => "–".into(),
    }
}

/// A part of all: `42 %`, `1.5 %`, `0.03 %`.
pub(crate) fn percent(part: f64) -> String {
    format!("{} %", of_100(part * 100.0))
}

/// As many digits as say something.
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
        let of = |estimate, low, high| {
            let [estimate, low, high] = [estimate, low, high].map(|n| Number(Some(n)));
            loss(&Interval { estimate, low, high })
        };
        assert_eq!(of(0.0, 0.0, 0.0032), "below 0.32 %");
        assert_eq!(of(0.015, 0.0051, 0.0432), "1.5 % (0.51 to 4.3)");
        assert_eq!(loss(&Interval::default()), "–");
    }
}
