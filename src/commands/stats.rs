//! `megaconn stats`: its flags, and merged dumps as a screen or as JSON.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{BufReader, stdin};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use megaconn::base::cli_support;
use megaconn::base::units::{grouped, microseconds};
use megaconn::observe::dump::merge::{Counter, Merge, Merged, SideTotals};

use crate::commands::answer::{Format, as_json};

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn stats runs/first/server.ndjson runs/first/client.ndjson\n  \
    megaconn stats --format json host-*.ndjson")]
pub(crate) struct Flags {
    /// What --stats or --out wrote: lines of one process each; `-` is stdin
    ///
    /// Servers and clients are kept apart; all cores, processes and hosts of a side are added up.
    /// Totals are by the last line of each core, rates from its first line to its last. Histograms are
    /// added whole, so percentiles are those of all together.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

/// Exit status 0, or 2 when the files cannot be merged.
pub(crate) fn run(flags: &Flags) -> ExitCode {
    match merged(&flags.files).and_then(|merged| shown(&merged, flags.format)) {
        Ok(text) => cli_support::answered(&text, ExitCode::SUCCESS),
        Err(reason) => cli_support::refused(&reason),
    }
}

fn merged(files: &[PathBuf]) -> Result<Merged, String> {
    let (mut merge, mut seen) = (Merge::default(), BTreeSet::new());
    for path in files {
        let name = path.display().to_string();
        if path == Path::new("-") {
            merge.add("stdin", stdin().lock()).map_err(|error| error.to_string())?;
            continue;
        }
        let unreadable = |error| format!("{name}: {error}; fix: a file that you may read");
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(format!("{name} is a directory; fix: {name}/*.ndjson"));
        }
        if !seen.insert((metadata.dev(), metadata.ino())) {
            return Err(format!(
                "{name} is given twice, and would count twice; fix: leave one out"
            ));
        }
        let file = File::open(path).map_err(unreadable)?;
        merge.add(&name, BufReader::new(file)).map_err(|error| error.to_string())?;
    }
    let merged = merge.finish().map_err(|error| error.to_string())?;
    if merged.sides.is_empty() {
        let why = merged.notes.join(", ");
        return Err(format!("{why}: nothing is left; fix: a file that --stats or --out wrote"));
    }
    Ok(merged)
}

fn shown(merged: &Merged, format: Format) -> Result<String, String> {
    match format {
        Format::Text => Ok(as_screen(merged)),
        Format::Json => as_json(merged),
    }
}

/// What is 0 everywhere is not shown.
fn as_screen(merged: &Merged) -> String {
    let mut screen = Screen { text: String::new(), merged };
    screen.head("", |side| [side.to_owned(), String::new()]);
    screen.row("processes / cores", |t| {
        [format!("{} / {}", t.processes, t.cores.len()), String::new()]
    });
    screen.row("lines / seconds", |t| {
        let seconds = t.last_at_ms.saturating_sub(t.first_at_ms) as f64 / 1e3;
        [format!("{} / {seconds:.1}", grouped(t.lines)), String::new()]
    });
    screen.row("memory, MiB", |t| {
        let bytes = t.process.get("process_resident_bytes");
        [amount(bytes.map(|bytes| bytes >> 20)), String::new()]
    });
    screen.gauges();
    screen.head("counted", |_| ["total".into(), "per s".into()]);
    screen.counters();
    screen.named("failed", |t| &t.failed);
    screen.named("lost", |t| &t.lost);
    screen.named("churn_failed", |t| &t.churn_failed);
    screen.named("churn_lost", |t| &t.churn_lost);
    screen.latencies();
    screen.cores();
    screen.remarks();
    screen.text
}

struct Screen<'a> {
    text: String,
    merged: &'a Merged,
}

/// What a side has in its two columns.
type Cells = [String; 2];

impl Screen<'_> {
    fn head(&mut self, name: &str, cells: impl Fn(&str) -> Cells) {
        if !name.is_empty() {
            self.text.push('\n');
        }
        let sides: Vec<Cells> = self.merged.sides.keys().rev().map(|side| cells(side)).collect();
        self.line(name, &sides);
    }

    fn row(&mut self, name: &str, cells: impl Fn(&SideTotals) -> Cells) {
        let sides: Vec<Cells> = self.merged.sides.values().rev().map(cells).collect();
        self.line(name, &sides);
    }

    /// The server, which is first to be started, stands left.
    fn line(&mut self, name: &str, sides: &[Cells]) {
        let mut line = format!("{name:<22}");
        for [first, second] in sides {
            line += &format!(" {first:>15} {second:>12}");
        }
        self.text += line.trim_end();
        self.text.push('\n');
    }

    fn gauges(&mut self) {
        let merged = self.merged;
        let all = || merged.sides.values().flat_map(|side| &side.gauges);
        let names: BTreeSet<_> = all().filter(|(_, n)| **n > 0).map(|(name, _)| *name).collect();
        for name in names {
            self.row(name, |t| [amount(t.gauges.get(name).copied()), String::new()]);
        }
    }

    fn counters(&mut self) {
        let merged = self.merged;
        let all = || merged.sides.values().flat_map(|side| &side.counters);
        let moved = all().filter(|(_, counter)| counter.total > 0);
        let names: BTreeSet<_> = moved.map(|(name, _)| *name).collect();
        for name in names {
            self.row(name, |t| counted(t.counters.get(name)));
        }
    }

    fn named(
        &mut self,
        what: &str,
        of: fn(&SideTotals) -> &std::collections::BTreeMap<String, u64>,
    ) {
        let merged = self.merged;
        let names: BTreeSet<_> = merged.sides.values().flat_map(|side| of(side).keys()).collect();
        for name in names {
            let cells = |t: &SideTotals| [amount(of(t).get(name).copied()), String::new()];
            self.row(&format!("{what} {name}"), cells);
        }
    }

    fn latencies(&mut self) {
        let merged = self.merged;
        for (side, t) in merged.sides.iter().rev().filter(|(_, t)| !t.latencies.is_empty()) {
            let head = ["count", "p50", "p90", "p99", "p99.9", "max"].map(str::to_owned);
            self.text.push('\n');
            self.wide(&format!("{side} took"), &head);
            for (name, p) in &t.latencies {
                let times = [p.p50, p.p90, p.p99, p.p999, p.max].map(microseconds);
                let cells: Vec<String> = [grouped(p.count)].into_iter().chain(times).collect();
                self.wide(name.trim_end_matches("_us"), &cells);
            }
        }
    }

    /// A name, a count and five times.
    fn wide(&mut self, name: &str, cells: &[String]) {
        // Writing to a string does not fail.
        let _ = write!(self.text, "{name:<22} {:>11}", cells[0]);
        for cell in &cells[1..] {
            let _ = write!(self.text, " {cell:>8}");
        }
        self.text.push('\n');
    }

    /// How evenly the cores share the work.
    fn cores(&mut self) {
        let rows: Vec<(String, [String; 2])> =
            self.merged.sides.iter().rev().flat_map(|(side, t)| balance(side, t)).collect();
        if rows.is_empty() {
            return;
        }
        self.text.push('\n');
        let head = ("core by core".to_owned(), ["least", "most"].map(str::to_owned));
        for (name, [least, most]) in [head].iter().chain(&rows) {
            let _ = writeln!(self.text, "{name:<28} {least:>11} {most:>11}");
        }
    }

    fn remarks(&mut self) {
        let mut remarks = self.merged.notes.clone();
        for (side, t) in self.merged.sides.iter().rev() {
            if t.cores.iter().any(|core| core.lines < 2 || core.seconds <= 0.0) {
                remarks.push(format!("{side}: no rates, a core has lines of one moment only"));
            }
            if let [first, others @ ..] = t.missing.as_slice() {
                let others = match others.len() {
                    0 => String::new(),
                    n => format!(" and {n} more (--format json names them)"),
                };
                remarks.push(format!("{side}: not in every dump: {first}{others}"));
            }
        }
        if !remarks.is_empty() {
            self.text.push('\n');
        }
        for remark in remarks {
            self.text += &format!("note: {remark}\n");
        }
    }
}

/// Least and most of what tells a core that has more to do than the others.
fn balance(side: &str, totals: &SideTotals) -> Vec<(String, [String; 2])> {
    let mut rows = Vec::new();
    let peaks = totals.cores.iter().map(|core| core.gauges.get("connections_peak").copied());
    if let Some(peaks) = peaks.collect::<Option<Vec<u64>>>() {
        let ends = [peaks.iter().min(), peaks.iter().max()];
        rows.push((format!("{side} connections_peak"), ends.map(|n| amount(n.copied()))));
    }
    for (name, counter) in [("ran", "ran_us"), ("waited for its CPU", "waited_us")] {
        let rates = totals.cores.iter().map(|core| core.counters.get(counter)?.per_s);
        if let Some(rates) = rates.collect::<Option<Vec<f64>>>() {
            let ends = [rates.iter().copied().reduce(f64::min), rates.into_iter().reduce(f64::max)];
            // Microseconds a second.
            let percent = |rate: Option<f64>| rate.map_or(none(), |r| format!("{:.1} %", r / 1e4));
            rows.push((format!("{side} {name}"), ends.map(percent)));
        }
    }
    rows
}

fn counted(counter: Option<&Counter>) -> Cells {
    let Some(counter) = counter else { return [none(), String::new()] };
    let per_s = match (counter.total, counter.per_s) {
        (0, _) => String::new(),
        (_, None) => none(),
        (_, Some(rate @ ..100.0)) => format!("{rate:.1}"),
        // A whole number as text is the one way from a float that loses nothing in silence.
        (_, Some(rate)) => format!("{rate:.0}").parse().map_or_else(|_| none(), grouped),
    };
    [grouped(counter.total), per_s]
}

fn amount(n: Option<u64>) -> String {
    n.map_or_else(none, grouped)
}

fn none() -> String {
    "-".to_owned()
}
