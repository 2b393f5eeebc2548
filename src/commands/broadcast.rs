//! `megaconn broadcast`: one text to all connections of a server, or to those of a topic, and what became of it.

use std::io::{IsTerminal, Read, stdin};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use megaconn::base::cli_support;
use megaconn::base::constants::{BROADCAST_TEXT_MAX, HTTP_TEXT_EVERY};
use megaconn::base::stderr::talk;
use megaconn::base::units::{self, Text, grouped};
use megaconn::observe::control::ask;
use megaconn::observe::control::broadcasts::Ordered;
use megaconn::observe::control::place::Place;

use crate::commands::answer::{Format, as_json};

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn broadcast ./all.sock 'hello\\n'\n  \
    megaconn broadcast 127.0.0.1:9200 --topic 3 < text")]
pub(crate) struct Flags {
    /// Where `megaconn serve --broadcast-on` takes orders
    #[arg(value_name = "PATH|ADDR:PORT")]
    pub(crate) place: Place,
    /// The text, written as a banner; without it, or as `-`, it is stdin, as it is
    ///
    /// 3,747 bytes at most: a buffer holds it with its head and its frame. \n, \r, \t, \0, \\ and \xHH stand for one byte each.
    #[arg(value_name = "TEXT|-", value_parser = source)]
    pub(crate) text: Option<Source>,
    /// To the members of this topic alone [default: to all]
    ///
    /// From 0 to one less than the server's --topics.
    #[arg(long, value_name = "N", value_parser = topic)]
    pub(crate) topic: Option<u16>,
    /// Longest wait for the cores to be done
    #[arg(long, value_name = "DUR", default_value = "60s", value_parser = units::positive_duration)]
    pub(crate) within: Duration,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

/// Where the text comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Stdin,
    Typed(Text),
}

fn source(text: &str) -> Result<Source, String> {
    if text == "-" {
        return Ok(Source::Stdin);
    }
    let text: Text = text.parse()?;
    short_enough(text.bytes()).map(|()| Source::Typed(text.clone()))
}

fn topic(text: &str) -> Result<u16, String> {
    let error = || format!("`{text}` is no topic; fix: write 0 or a number below --topics");
    text.parse().ok().filter(|_| !text.starts_with('+')).ok_or_else(error)
}

fn short_enough(text: &[u8]) -> Result<(), String> {
    match text.len() {
        0 => Err("an empty text; fix: 1 byte or more".to_owned()),
        n if n > BROADCAST_TEXT_MAX.into() => {
            let most = BROADCAST_TEXT_MAX;
            Err(format!(
                "a text of more than {most} bytes, which a buffer holds; fix: a shorter one"
            ))
        }
        _ => Ok(()),
    }
}

/// Exit status 0 when every member has had it or was gone, 1 when some were left out or closed, or it is not done in
/// time, and 2 when it is not taken.
pub(crate) fn run(flags: &Flags) -> ExitCode {
    let number = match order(flags) {
        Ok(number) => number,
        Err(why) => return cli_support::refused(&why),
    };
    match follow(flags, number) {
        Ok(ordered) => {
            let text = match flags.format {
                Format::Json => as_json(&ordered),
                Format::Text => Ok(shown(&ordered)),
            };
            let left_out = ordered.skipped + ordered.closed + ordered.unreached;
            let is_whole = ordered.done && left_out == 0;
            let status = if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            text.map_or_else(
                |why| cli_support::refused(&why),
                |text| cli_support::answered(&text, status),
            )
        }
        Err(why) => {
            talk(&format!("error: order {number} was taken, and then: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn order(flags: &Flags) -> Result<u64, String> {
    let text = match &flags.text {
        Some(Source::Typed(text)) => text.bytes().to_vec(),
        Some(Source::Stdin) | None => {
            if flags.text.is_none() && stdin().is_terminal() {
                return Err("no text; fix: write it, or `-` and type it".to_owned());
            }
            let mut text = Vec::new();
            // One byte more than may be tells a text that is too long.
            let most = u64::from(BROADCAST_TEXT_MAX) + 1;
            let read = stdin().take(most).read_to_end(&mut text);
            read.map_err(|error| format!("stdin: {error}; fix: a text that can be read"))?;
            short_enough(&text)?;
            text
        }
    };
    ask::broadcast(&flags.place, flags.topic, &text).map_err(|why| match why.contains("fix: ") {
        true => why,
        false => format!("{why}; fix: the place that `megaconn serve --broadcast-on` was given"),
    })
}

/// What became of it, at last.
fn follow(flags: &Flags, number: u64) -> Result<Ordered, String> {
    let began = Instant::now();
    loop {
        let state = ask::broadcasts(&flags.place)?;
        let ordered = state.orders.into_iter().find(|ordered| ordered.number == number);
        let ordered = ordered.ok_or("the server does not know it any more")?;
        if ordered.done || began.elapsed() >= flags.within {
            return Ok(ordered);
        }
        thread::sleep(HTTP_TEXT_EVERY);
    }
}

fn shown(ordered: &Ordered) -> String {
    let Ordered { number, topic, members, sent, skipped, closed, gone, unreached, seconds, .. } =
        ordered;
    let whom = topic.map_or("all".to_owned(), |topic| format!("topic {topic}"));
    let took = seconds.map_or("not done yet".to_owned(), |seconds| format!("{seconds:.3} s"));
    let unreached = match unreached {
        0 => String::new(),
        count => format!("; {} of a server that was taken over were not reached", grouped(*count)),
    };
    let [members, sent, skipped, closed, gone] =
        [members, sent, skipped, closed, gone].map(|count| grouped(*count));
    format!(
        "broadcast {number} to {whom}: {members} members, sent {sent}, skipped {skipped}, closed {closed}, gone \
         {gone}, {took}{unreached}\n"
    )
}
