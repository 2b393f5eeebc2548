//! The parts of a run that was merged, a row each, and how far they are apart.

use maud::{Markup, html};
use plotters::style::RGBColor;

use crate::base::format;
use crate::report::figures::key_of_block;
use crate::report::parts::{Compared, color, colors, host, number, parts};
use crate::report::read::Run;
use crate::results::lenient::{Figure, Maybe};
use crate::results::parts::PartRow;
use crate::results::percentiles::Percentiles;

/// Parts that have a row each; a page with more is too long to be read.
const ROWS_MAX: usize = 1_000;

/// A column; `None` in a row where it was not measured.
type Column = (&'static str, fn(&PartRow) -> Option<String>);

const COLUMNS: [Column; 19] = [
    ("established", |part| part.established.real().map(format::count)),
    ("of", |part| part.connections.real().map(format::count)),
    ("failed", |part| part.failed.real().map(format::count)),
    ("lost", |part| part.lost.real().map(format::count)),
    ("connects", |part| part.connects_per_s.map(format::per_second)),
    ("connect p50", |part| us(part.connect_latency_us, |us| us.p50)),
    ("connect p99", |part| us(part.connect_latency_us, |us| us.p99)),
    ("messages", |part| part.messages.real().map(format::count)),
    ("message p50", |part| us(part.message_latency_us, |us| us.p50)),
    ("message p99", |part| us(part.message_latency_us, |us| us.p99)),
    ("message p99.9", |part| us(part.message_latency_us, |us| us.p999)),
    ("message most", |part| us(part.message_latency_us, |us| us.max)),
    ("own lag p99", |part| us(part.schedule_lag_us, |us| us.p99)),
    ("late", |part| part.late_seconds.map(format::seconds)),
    ("server's clock", |part| part.clock.map(|clock| clock.to_string())),
    ("kernel, each", |part| part.kernel_bytes.map(format::bytes)),
    ("client, each", |part| part.client_user_bytes.map(format::bytes)),
    ("gates", |part| part.met.map(|met| if met { "met" } else { "missed" }.to_owned())),
    ("walls", |part| (!part.walls.is_empty()).then(|| part.walls.join(", "))),
];

fn us(latency: Maybe<Percentiles>, pick: fn(Percentiles) -> u64) -> Option<String> {
    latency.map(|latency| format::microseconds(pick(latency).real()))
}

/// A row for each part; nothing for a run that was not merged.
pub(crate) fn section(run: &Run) -> Markup {
    let parts = parts(run);
    let colors = colors(parts);
    let is_used = |(_, cell): &&Column| parts.iter().any(|part| cell(part).is_some());
    let columns: Vec<&Column> = COLUMNS.iter().filter(is_used).collect();
    let more = parts.len().saturating_sub(ROWS_MAX);
    html! {
        @if !parts.is_empty() {
            section {
                h2 { "Parts" }
                p { (spread(parts)) }
                div.scroll {
                    table {
                        thead { tr {
                            th { "part" } th.word { "host" }
                            @for (name, _) in &columns { th { (name) } }
                        } }
                        tbody {
                            @for part in parts.iter().take(ROWS_MAX) {
                                tr {
                                    td { (key_of_block_of(color(&colors, part))) " " (number(part)) }
                                    td.word { (host(part)) }
                                    @for (_, cell) in &columns {
                                        td { (cell(part).unwrap_or("–".into())) }
                                    }
                                }
                            }
                        }
                    }
                }
                @if more > 0 { p.quiet { (format::count(more as f64)) " more parts are in result.json." } }
                (bystanders(parts))
            }
        }
    }
}

/// As high as a letter.
fn key_of_block_of(color: RGBColor) -> Markup {
    html! { span.key { (key_of_block(color, 1.0)) } }
}

/// How far hosts are apart.
fn spread(parts: &[PartRow]) -> String {
    let mut words = Vec::new();
    let mut tell = |what: &str, of: Compared, form: fn(f64) -> String| {
        let all = parts.iter().filter_map(|part| Some((part, of(part)?)));
        let least = all.clone().min_by(|(_, a), (_, b)| a.total_cmp(b));
        let most = all.max_by(|(_, a), (_, b)| a.total_cmp(b));
        if let Some(((low, least), (high, most))) = least.zip(most).filter(|(a, b)| a.1 < b.1) {
            let [low, high] = [low, high].map(number);
            words.push(format!(
                "{what} from {} (part {low}) to {} (part {high})",
                form(least),
                form(most)
            ));
        }
    };
    tell("established", |part| part.established.real(), format::count);
    tell("connects", |part| part.connects_per_s.0, format::per_second);
    tell("messages", |part| part.messages.real(), format::count);
    tell(
        "p99 of messages",
        |part| Some(part.message_latency_us.0?.p99.real()),
        format::microseconds,
    );
    tell("own lag p99", |part| Some(part.schedule_lag_us.0?.p99.real()), format::microseconds);
    tell("kernel's bytes of a connection", |part| part.kernel_bytes.0, format::bytes);
    if words.is_empty() {
        "All parts did the same.".to_owned()
    } else {
        format!("Between parts: {}.", words.join("; "))
    }
}

/// Sentences of the bystanders of each part.
fn bystanders(parts: &[PartRow]) -> Markup {
    let watched = || parts.iter().filter(|part| !part.bystanders.is_empty()).take(ROWS_MAX);
    html! {
        @if watched().next().is_some() {
            h3 { "Bystanders of each part" }
            dl {
                @for part in watched() {
                    dt { "part " (number(part)) ", " (host(part)) }
                    dd { (part.bystanders.join(" ")) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_parts_are_apart_is_told() {
        let part = |number: u64| PartRow {
            number: number.into(),
            established: (100 * number).into(),
            ..PartRow::default()
        };
        let parts: Vec<PartRow> = (1..=6).map(part).collect();
        assert_eq!(spread(&parts), "Between parts: established from 100 (part 1) to 600 (part 6).");
        assert_eq!(spread(&parts[..1]), "All parts did the same.");
    }
}
