//! Texts that the server sent to all, a row for each.

use maud::{Markup, html};

use crate::base::format;
use crate::report::read::Run;
use crate::results::broadcasts::{Broadcasts, ONE_CLOCK};
use crate::results::lenient::Maybe;

/// The section, of a run that expects them.
pub(crate) fn section(run: &Run) -> Markup {
    let all = run.result.as_ref().and_then(|result| result.broadcasts.as_ref());
    html! {
        @if let Some(all) = all {
            section {
                h2 { "Texts to all" }
                p { (sentence(all)) }
                (table(all))
            }
        }
    }
}

fn sentence(all: &Broadcasts) -> String {
    let [received, missed] = [all.received, all.missed].map(count);
    let clock = match all.clock.as_deref() {
        None => "No text came.".to_owned(),
        Some(ONE_CLOCK) => "Times are from the order, by the one clock of both ends.".to_owned(),
        Some(other) => format!("Times are from the order, by the clocks of {other}."),
    };
    let beyond = all.beyond.filter(|beyond| *beyond > 0);
    let beyond = beyond.map_or(String::new(), |beyond| {
        format!(" {} receipts of later texts are not in the table.", format::count(beyond as f64))
    });
    format!("{received} receipts, {missed} missed. {clock}{beyond}")
}

fn table(all: &Broadcasts) -> Markup {
    let us = |us: Maybe<u64>| us.real().map_or("–".to_owned(), format::microseconds);
    let signed = |us: Maybe<i64>| {
        us.map_or("–".to_owned(), |us| {
            let sign = if us < 0 { "-" } else { "" };
            sign.to_owned() + &format::microseconds(us.unsigned_abs() as f64)
        })
    };
    html! {
        @if !all.texts.is_empty() {
            div.scroll {
                table {
                    thead {
                        tr {
                            @for name in ["text", "reached", "first", "p50", "p99", "last", "first to last"] {
                                th { (name) }
                            }
                        }
                    }
                    tbody {
                        @for text in all.texts.iter() {
                            tr {
                                td.first { (count(text.number)) }
                                td { (count(text.reached)) }
                                td { (signed(text.first_us)) }
                                td { (us(Maybe(text.latency_us.map(|all| all.p50)))) }
                                td { (us(Maybe(text.latency_us.map(|all| all.p99)))) }
                                td { (signed(text.last_us)) }
                                td { (us(text.spread_us)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn count(n: Maybe<u64>) -> String {
    n.real().map_or("unknown".to_owned(), format::count)
}
