//! Bystanders in a summary: a line for each, with the phase in which it suffered most, or one line for
//! all that did not suffer; and the safe capacity.

use megaconn::base::units::{grouped, microseconds};
use megaconn::results::bystanders::{
    BystanderSpan, Bystanders, Finding, Latency, Probed, SafeCapacity, SpanPhase,
};

use crate::bystanders::account::Severity;
use crate::output::summary::rows::{Row, count, some_of};

/// Columns that the longest name may take.
const NAME_COLUMNS_MAX: usize = 16;

/// A bystander, and what became of it after the baseline.
struct BystanderOutcome<'a> {
    name: &'a str,
    idle: Option<Latency>,
    /// The phases that can be told from the baseline, or not.
    phases: Vec<(&'a BystanderSpan, &'a Probed)>,
}

/// A line for each bystander.
pub(super) fn rows(account: &Bystanders) -> Vec<Row> {
    let lines = lines(&outcomes(account).collect::<Vec<_>>());
    std::iter::once(TITLE).chain(std::iter::repeat("")).zip(lines).collect()
}

/// Those that suffered, as many as have room, and one line for the others.
pub(super) fn folded(account: &Bystanders) -> Vec<Row> {
    let (mut hurt, mut others) = (Vec::new(), Vec::new());
    for outcome in outcomes(account) {
        match outcome.worst().and_then(|(_, probe)| harm(probe)) {
            Some(harm) => hurt.push((harm, outcome)),
            None => others.push(outcome),
        }
    }
    hurt.sort_by(|(a, _), (b, _)| b.compare(a));
    let hurt: Vec<BystanderOutcome> = hurt.into_iter().map(|(_, outcome)| outcome).collect();
    let mut rows = some_of(TITLE, lines(&hurt).into_iter());
    let (told, untold): (Vec<BystanderOutcome>, Vec<BystanderOutcome>) =
        others.into_iter().partition(|outcome| outcome.told().next().is_some());
    let of = |words: &str, outcomes: &[BystanderOutcome]| {
        let names: Vec<&str> = outcomes.iter().map(|outcome| outcome.name).collect();
        (!names.is_empty()).then(|| format!("{words}: {}", names.join(", ")))
    };
    let others = [of("no effect found", &told), of("too few samples", &untold)];
    let others: Vec<String> = others.into_iter().flatten().collect();
    if !others.is_empty() {
        rows.push((if rows.is_empty() { TITLE } else { "" }, others.join("; ")));
    }
    rows
}

/// Name and outcome of each, in two columns.
fn lines(outcomes: &[BystanderOutcome]) -> Vec<String> {
    let width =
        outcomes.iter().map(|outcome| outcome.name.len()).max().unwrap_or(0).min(NAME_COLUMNS_MAX);
    outcomes
        .iter()
        .map(|outcome| format!("{:width$}  {}", outcome.name, outcome.in_words()))
        .collect()
}

/// How many connections the host may hold without breaking what was wanted of bystanders.
pub(super) fn safe_capacity(safe: &SafeCapacity) -> Row {
    let held = safe.connections.map_or("none".into(), |n| format!("{} connections", grouped(n)));
    let broke = match (*safe.broke_at, safe.why.as_ref()) {
        (Some(at), Some(why)) => format!("; at {}: {why}", grouped(at)),
        (None, Some(why)) => format!("; {why}"),
        (..) => String::new(),
    };
    let expression = safe.expression.as_deref().unwrap_or_default();
    ("safe capacity", format!("{held} ({expression}){broke}"))
}

const TITLE: &str = "bystanders";

fn outcomes(account: &Bystanders) -> impl Iterator<Item = BystanderOutcome<'_>> {
    account.probes.iter().filter_map(|probe| probe.name.as_deref()).map(|name| {
        let met = account.spans.iter().filter_map(|span| Some((span, span.of(name)?)));
        let (idle, phases): (Vec<_>, Vec<_>) =
            met.partition(|(span, _)| span.phase.known() == Some(SpanPhase::Baseline));
        BystanderOutcome {
            name,
            idle: idle.first().and_then(|(_, probe)| *probe.latency_us),
            phases,
        }
    })
}

fn harm(probe: &Probed) -> Option<Severity> {
    let severity = Severity::of(probe.finding.known()?, *probe.against_baseline, *probe.loss);
    severity.filter(|severity| severity.is_harm())
}

impl<'a> BystanderOutcome<'a> {
    /// The phase in which it suffered most; `None` when it did in none.
    fn worst(&self) -> Option<(&'a BystanderSpan, &'a Probed)> {
        let hurt = self.phases.iter().filter_map(|phase| Some((harm(phase.1)?, *phase)));
        hurt.max_by(|(a, _), (b, _)| a.compare(b)).map(|(_, phase)| phase)
    }

    fn in_words(&self) -> String {
        let Some((span, probe)) = self.worst() else { return self.unhurt() };
        let when = when(span);
        let from_to = |pick: fn(Latency) -> u64| {
            let of =
                |latency: Option<Latency>| latency.map_or("-".into(), |us| microseconds(pick(us)));
            format!("{} -> {}", of(self.idle), of(*probe.latency_us))
        };
        let lost = match probe.lost.or_zero() {
            0 => String::new(),
            lost => format!(", {} lost", grouped(lost)),
        };
        match probe.finding.known() {
            Some(Finding::Losing) => {
                let part = probe.loss.map_or(0.0, |loss| 100.0 * loss.estimate);
                format!("loses {part:.1} % {when}, p99 {}", from_to(|us| us.p99))
            }
            Some(Finding::Slower) => format!("p50 {} {when}{lost}", from_to(|us| us.p50)),
            _ => format!("p99 {} {when}{lost}", from_to(|us| us.p99)),
        }
    }

    /// Phases in which there were samples enough to tell.
    fn told(&self) -> impl Iterator<Item = &'a Probed> {
        let is_told = |probe: &Probed| probe.finding.known() != Some(Finding::TooFew);
        let told = self.phases.iter().filter(move |(_, probe)| is_told(probe));
        told.map(|(_, probe)| *probe)
    }

    /// Nothing was found, which is not the same where little was tried.
    fn unhurt(&self) -> String {
        let (told, all) = (self.told().count(), self.phases.len());
        if told == 0 {
            let more = self.phases.iter().filter_map(|(_, probe)| *probe.more_samples).max();
            let more = more.map_or(String::new(), |n| format!(", {} more are needed", grouped(n)));
            return format!("too few samples{more}");
        }
        let longest = self.told().filter_map(|probe| *probe.latency_us).map(|us| us.p99).max();
        let p99 = longest.map_or(String::new(), |us| format!(", p99 {}", microseconds(us)));
        let short = match all - told {
            0 => String::new(),
            short => format!(" ({short} of {all} phases short)"),
        };
        format!("no effect found{p99}{short}")
    }
}

/// `opening 1,000,000`.
fn when(span: &BystanderSpan) -> String {
    let n = count(span.connections);
    match span.phase.known() {
        Some(SpanPhase::Baseline) => "before all".into(),
        Some(SpanPhase::Connecting) => format!("opening {n}"),
        Some(SpanPhase::Settled) => format!("beside {n}"),
        Some(SpanPhase::Messages) => format!("beside {n} with messages"),
        Some(SpanPhase::Closing) => format!("closing {n}"),
        Some(SpanPhase::Recovery) => "after all".into(),
        Some(SpanPhase::Watched) | None => "while watched".into(),
    }
}
