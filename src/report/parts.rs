//! What the report shows of a run that was merged: what each part did, and how evenly.

use std::collections::BTreeMap;

use plotters::style::RGBColor;

use crate::report::chart::{Bar, COLORS};
use crate::report::points::{Drawing, Missing};
use crate::report::read::Run;
use crate::results::lenient::Figure;
use crate::results::parts::PartRow;

/// Parts that have a bar each; of more those with the least and the most.
const BARS_MAX: usize = 32;

/// Colours that are named below a chart.
const NAMED_MAX: usize = 9;

/// What is compared, and how much of it a part has.
pub(crate) type Compared = fn(&PartRow) -> Option<f64>;

/// The parts of a run that was merged.
pub(crate) fn parts(run: &Run) -> &[PartRow] {
    run.result.as_ref().map_or(&[], |result| &result.parts)
}

/// What each part did, in per cent of an even share.
pub(crate) fn balance(run: &Run) -> Result<Drawing, Missing> {
    let messages: Compared = |part| part.messages.real();
    let established: Compared = |part| part.established.real();
    let has_messages = parts(run).iter().any(|part| part.messages.is_some_and(|n| n > 0));
    let of = if has_messages { messages } else { established };
    let all: Vec<f64> = parts(run).iter().filter_map(of).collect();
    let even = all.iter().sum::<f64>() / all.len().max(1) as f64;
    if even > 0.0 {
        bars(run, |part| Some(100.0 * of(part)? / even))
    } else {
        Err(Missing::NotAsked)
    }
}

/// The p99 of messages of each part, in milliseconds.
pub(crate) fn latency(run: &Run) -> Result<Drawing, Missing> {
    bars(run, |part| Some(part.message_latency_us.0?.p99.real() / 1e3))
}

fn bars(run: &Run, of: impl Fn(&PartRow) -> Option<f64>) -> Result<Drawing, Missing> {
    let colors = colors(parts(run));
    let mut all: Vec<(&PartRow, f64)> =
        parts(run).iter().filter_map(|part| Some((part, of(part)?))).collect();
    if all.is_empty() {
        return Err(Missing::NotAsked);
    }
    if all.len() > BARS_MAX {
        all.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        all.drain(BARS_MAX / 2..all.len() - BARS_MAX / 2);
    }
    let bar = |(at, (part, height)): (f64, &(&PartRow, f64))| Bar {
        from: at - 0.4,
        to: at + 0.4,
        parts: vec![(color(&colors, part), *height)],
        label: String::new(),
    };
    let bars = (0_u32..).map(f64::from).zip(&all).map(bar).collect();
    let names = all.iter().map(|(part, _)| number(part)).collect();
    let legend = colors.into_iter().take(NAMED_MAX).map(|(host, color)| (host.to_owned(), color));
    Ok(Drawing { bars, names, legend: legend.collect(), ..Drawing::default() })
}

/// A colour for each host.
pub(crate) fn colors(parts: &[PartRow]) -> BTreeMap<&str, RGBColor> {
    let mut colors = BTreeMap::new();
    for part in parts {
        let next = COLORS[colors.len() % COLORS.len()];
        colors.entry(host(part)).or_insert(next);
    }
    colors
}

/// That of the host of a part.
pub(crate) fn color(colors: &BTreeMap<&str, RGBColor>, part: &PartRow) -> RGBColor {
    colors.get(host(part)).copied().unwrap_or(COLORS[0])
}

/// Its name.
pub(crate) fn host(part: &PartRow) -> &str {
    part.host.as_deref().unwrap_or("unknown")
}

/// Its number, from 1.
pub(crate) fn number(part: &PartRow) -> String {
    part.number.map_or("?".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u64, established: u64) -> PartRow {
        PartRow {
            number: number.into(),
            host: format!("host-{}", number % 3).into(),
            established: established.into(),
            ..PartRow::default()
        }
    }

    #[test]
    fn hosts_have_colours() {
        let parts: Vec<PartRow> = (1..=6).map(|number| part(number, 100 * number)).collect();
        let colors = colors(&parts);
        assert_eq!(colors.len(), 3);
        assert_eq!(color(&colors, &parts[0]), color(&colors, &parts[3]));
        assert_ne!(color(&colors, &parts[0]), color(&colors, &parts[1]));
    }
}
