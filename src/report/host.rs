//! The host of a run and how the run is repeated: the walls of the host as the doctor saw them, the
//! environment, the command.

use maud::{Markup, html};

use crate::base::format;
use crate::report::read::Run;
use crate::report::tables::number;
use crate::results::doctor::Wall;
use crate::results::environment::Environment;

/// The doctor's table.
pub(crate) fn walls(run: &Run) -> Markup {
    let Some(doctor) = &run.doctor else {
        return html! { p.missing { "Not measured: there is no whole doctor.json." } };
    };
    let (read, unread): (Vec<&Wall>, Vec<&Wall>) =
        doctor.rows.iter().partition(|wall| wall.verdict.as_deref() != Some("n/a"));
    let is_any_short = doctor.rows.iter().any(|wall| !wall.fix.is_empty());
    let name = |wall: &Wall| wall.id.as_deref().unwrap_or("unknown").to_owned();
    html! {
        div.scroll {
            table {
                thead { tr {
                    th { "wall" } th.word { "verdict" } th.words { "limits" } th { "have" } th { "need" }
                    th.word { "unit" } th { "allows connections" }
                    @if is_any_short { th.words { "fix" } }
                } }
                tbody {
                    @for wall in read {
                        tr {
                            td { b { (name(wall)) } }
                            td.word { (standing(wall)) }
                            td.words { (wall.limits.as_deref().unwrap_or("–")) }
                            td { (have(wall)) }
                            td { (number(wall.need, format::count)) }
                            td.word { (wall.unit.as_deref().unwrap_or("–")) }
                            td { (number(wall.allows_connections, format::count)) }
                            @if is_any_short {
                                td.words { @for line in wall.fix.iter() { code { (line) } br; } }
                            }
                        }
                    }
                }
            }
        }
        @if !unread.is_empty() {
            p.quiet {
                "Shows only when it is met: "
                (unread.into_iter().map(name).collect::<Vec<_>>().join(", ")) "."
            }
        }
    }
}

fn have(wall: &Wall) -> String {
    let otherwise = match wall.verdict.as_deref() {
        Some("ok") => "no limit",
        _ => "unknown",
    };
    wall.have.real().map_or(otherwise.into(), format::count)
}

fn standing(wall: &Wall) -> Markup {
    let verdict = wall.verdict.as_deref().unwrap_or("unknown");
    let class = match verdict {
        "ok" => "good",
        "fail" => "bad",
        "warn" => "fair",
        _ => "quiet",
    };
    html! { span class=(class) { (verdict) } }
}

/// The host.
pub(crate) fn environment(run: &Run) -> Markup {
    let Some(host) = &run.environment else {
        return html! { p.missing { "Not recorded: there is no whole environment.json." } };
    };
    let sysctls = host.sysctls.iter().filter_map(|(name, text)| Some((name, text.as_ref()?)));
    html! {
        dl {
            @for (name, text) in facts(host) { dt { (name) } dd { (text) } }
        }
        div.columns {
            (pairs("sysctl", sysctls))
            (pairs("limit (soft, hard)", host.limits.iter()))
        }
    }
}

fn pairs<'a>(head: &str, all: impl Iterator<Item = (&'a String, &'a String)>) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { th { (head) } th.word { "value" } } }
                tbody { @for (name, value) in all { tr { td { (name) } td.word { (value) } } } }
            }
        }
    }
}

/// What is known of a host in a line each.
pub(crate) fn facts(host: &Environment) -> [(&'static str, String); 6] {
    let text = |text: &Option<String>| text.clone().unwrap_or("unknown".into());
    let memory = (number(host.memory_bytes, format::bytes), host.memory_available_bytes);
    let user = |id: f64| if id == 0.0 { "root".to_owned() } else { format!("number {id}") };
    [
        ("kernel", format!("Linux {} {}", text(&host.kernel), text(&host.machine))),
        (
            "processor",
            format!("{} CPUs, {}", number(host.cpus, format::count), text(&host.cpu_model)),
        ),
        ("memory", format!("{}, {} available", memory.0, number(memory.1, format::bytes))),
        ("user", number(host.user_id, user)),
        ("topology", text(&host.topology)),
        ("megaconn", format!("{} ({})", text(&host.version), text(&host.commit))),
    ]
}

/// The command that made the run.
pub(crate) fn command(run: &Run) -> Markup {
    let words = run.environment.as_ref().map_or(&[][..], |host| &host.command_line);
    html! {
        @if words.is_empty() {
            p.missing { "Not recorded: there is no whole environment.json." }
        } @else {
            pre { (words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")) }
            p.quiet { "The client's; how the server was started is not in the run directory." }
        }
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+:,./@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_as_a_shell_takes_it() {
        let words = ["run", "10k,1M", "", "two words", "it's", "$(reboot)"].map(quoted);
        assert_eq!(words, ["run", "10k,1M", "''", "'two words'", r"'it'\''s'", "'$(reboot)'"]);
    }
}
