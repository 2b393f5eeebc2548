//! What a result says of the part of a run that it is of.

use std::time::Duration;

use megaconn::base::clock::microseconds;
use megaconn::base::stderr::talk;
use megaconn::host::identity;
use megaconn::plan::parts::RunPart;
use megaconn::plan::tuples::TuplePlan;
use megaconn::results::lenient::{Maybe, Part};
use megaconn::results::parts::{ClockOffset, PartOf, PartTuples, WholeGates};
use megaconn::results::result::RunResult;

use crate::measure::figures::Figures;
use crate::run::config::Config;
use crate::run::effective;
use crate::run::preflight::RunPlan;

/// What is known before the run; `None` of a whole run.
pub(super) fn begun(config: &Config, plan: &RunPlan, figures: &Figures) -> Option<PartOf> {
    let part = config.cut.part?;
    let gates = &config.whole_gates;
    let start = config.cut.timetable.as_ref().map(|table| table.start);
    Some(PartOf {
        number: part.number().into(),
        of: part.of().into(),
        host: identity::name().into(),
        namespace: identity::namespace().into(),
        plan: effective::plan(config, plan).into_iter().collect(),
        plateaus: config.cut.whole.clone().into(),
        gates: Part(WholeGates {
            min_established: gates.min_established.into(),
            max_lost: gates.max_lost.into(),
            max_p99_us: gates.max_p99.map(microseconds).into(),
        }),
        tuples: Part(tuples(&plan.tuples, plan.is_shared)),
        start_at_ms: start.map(in_ms).into(),
        clock: clock(part, figures),
        clock_afterwards: Maybe(None),
    })
}

/// What is known after it.
pub(super) fn ended(part: &mut Option<PartOf>, figures: &Figures) {
    if let Some(part) = part {
        part.clock_afterwards = figures.clock().ok().into();
    }
}

/// Takes it into the result.
pub(super) fn take(result: &mut RunResult, config: &Config, part: Option<PartOf>) {
    result.run_id = config.cut.run_id.clone().into();
    result.part = part.into();
}

fn clock(part: RunPart, figures: &Figures) -> Maybe<ClockOffset> {
    match figures.clock() {
        Ok(clock) => {
            talk(&format!("part {part}: the server's clock is ahead of this one by {clock}"));
            Some(clock).into()
        }
        Err(why) => {
            talk(&format!("note: part {part}: how far the clocks are apart is not known: {why}"));
            Maybe(None)
        }
    }
}

fn tuples(plan: &TuplePlan, is_shared: bool) -> PartTuples {
    PartTuples {
        shared: is_shared.into(),
        sources: plan.sources().map(ToString::to_string).collect(),
        ports: in_rows(plan.ports()).into(),
    }
}

/// Ports in rows, as `32768-46883`.
fn in_rows(ports: &[u16]) -> Vec<String> {
    let rows = ports.chunk_by(|port, next| port.checked_add(1) == Some(*next));
    let words = |row: &[u16]| match row {
        [] => None,
        [only] => Some(only.to_string()),
        [first, .., last] => Some(format!("{first}-{last}")),
    };
    rows.filter_map(words).collect()
}

fn in_ms(since_1970: Duration) -> u64 {
    microseconds(since_1970) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_in_rows() {
        assert_eq!(in_rows(&[1, 2, 3, 7, 9, 10]), ["1-3", "7", "9-10"]);
        assert_eq!(in_rows(&[]), [""; 0]);
        assert_eq!(in_rows(&[65_534, 65_535]), ["65534-65535"]);
    }
}
