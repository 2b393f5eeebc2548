//! `megaconn merge`: its flags, and one run directory of the parts of a run.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use megaconn::base::constants::REPORT_FILE_BYTES;
use megaconn::base::files::{self, told};
use megaconn::base::stderr::talk;
use megaconn::base::units::grouped;
use megaconn::base::{cli_support, stdout};
use megaconn::report;
use megaconn::results::merge::{Merge, PartRead, Problem};
use megaconn::results::read;
use megaconn::results::result::RunResult;
use megaconn::results::{self, ENVIRONMENT, HISTOGRAMS, RESULT, RunFile};
use serde::Serialize;
use serde::de::DeserializeOwned;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn merge runs/part-* --out runs/all\n  \
    megaconn merge hosts/*/run --out runs/all --anyway\n\n\
    Exit status: 0 all parts are there, and the whole met its gates; 1 it did not; 2 refused, with the fix.")]
pub(crate) struct Flags {
    /// Run directories of megaconn-client run --part, in any order
    #[arg(value_name = "DIR", required = true)]
    pub(crate) dir: Vec<PathBuf>,
    /// Run directory of the whole
    ///
    /// It has result.json with a row for each part as `parts`, environment.json and report.html, as that of any run. What
    /// an earlier merge left there is set aside.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Merge what there is
    ///
    /// Without it a merge is refused when a part is missing or cannot be read, is of another version, had the tuples of
    /// another one, or when clocks or holds are apart. With it that is said in result.json, and the whole has missed.
    /// Parts of two runs, or of two plans, and the same part twice are never merged.
    #[arg(long)]
    pub(crate) anyway: bool,
}

/// Problems that are told in one refusal.
const PROBLEMS_SHOWN: usize = 5;

/// Merges, and says what came of it.
pub(crate) fn run(flags: &Flags) -> ExitCode {
    match merged(flags) {
        Ok(result) => {
            let is_met = *result.verdict.met == Some(true);
            match stdout::deliver(summary(&result).as_bytes()) {
                Err(undelivered) => undelivered.report(2),
                Ok(()) if is_met => ExitCode::SUCCESS,
                Ok(()) => ExitCode::FAILURE,
            }
        }
        Err(why) => cli_support::refused(&why),
    }
}

fn merged(flags: &Flags) -> Result<RunResult, String> {
    let out = &flags.out;
    let place = fs::canonicalize(out).ok();
    let is_out = |dir: &&PathBuf| place.is_some() && fs::canonicalize(dir).ok() == place;
    if let Some(dir) = flags.dir.iter().find(is_out) {
        let dir = dir.display();
        return Err(format!("--out {dir}: it is one of the parts; fix: another directory"));
    }
    let mut merge = Merge::default();
    for dir in &flags.dir {
        merge.take(&dir.display().to_string(), part(dir));
    }
    let merged = merge.finish(flags.anyway).map_err(|problems| refusal(&problems))?;
    let failed = |path: &Path, error: &io::Error| {
        format!("--out {}: {}", path.display(), told(error, "a directory that you may write"))
    };
    fs::create_dir_all(out).map_err(|error| failed(out, &error))?;
    let earlier = [RESULT.name, ENVIRONMENT.name, report::FILE].map(Path::new);
    if let Some(aside) = files::set_aside(out, &earlier).map_err(|error| failed(out, &error))? {
        talk(&format!("files of an earlier merge are set aside: {}", aside.display()));
    }
    if let Some(environment) = &merged.environment {
        write(out, ENVIRONMENT, environment).map_err(|error| failed(out, &error))?;
    }
    write(out, RESULT, &merged.result).map_err(|error| failed(out, &error))?;
    let page = out.join(report::FILE);
    match report::write(std::slice::from_ref(out), &page) {
        Ok(()) => talk(&format!("report={}", page.display())),
        Err(error) => talk(&format!("warning: no report: {error}")),
    }
    Ok(merged.result)
}

fn write(dir: &Path, file: RunFile, value: &impl Serialize) -> io::Result<()> {
    files::write_whole(&dir.join(file.name), results::text(value).as_bytes())
}

/// What there is of a part in `dir`.
fn part(dir: &Path) -> Result<PartRead, String> {
    if !dir.is_dir() {
        return Err("is no directory".to_owned());
    }
    Ok(PartRead {
        result: json(dir, RESULT)?,
        histograms: json(dir, HISTOGRAMS).ok(),
        environment: json(dir, ENVIRONMENT).ok(),
    })
}

/// A whole file of a run directory.
fn json<T: DeserializeOwned>(dir: &Path, of: RunFile) -> Result<T, String> {
    let said = |why: String| format!("{} {why}", of.name);
    let file = match files::open_regular(&dir.join(of.name)) {
        Ok(Some(file)) => file,
        Ok(None) => return Err(said("is no regular file".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(said("is not there: the run was killed, or goes on".to_owned()));
        }
        Err(error) => return Err(said(format!("cannot be read ({error})"))),
    };
    let mut bytes = Vec::new();
    let read = file.take(REPORT_FILE_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| said(format!("cannot be read ({error})")))?;
    if bytes.len() as u64 > REPORT_FILE_BYTES {
        return Err(said(format!("is larger than {REPORT_FILE_BYTES} bytes")));
    }
    read::json(&bytes, of.schema).map_err(|why| said(why.to_string()))
}

/// Why nothing was merged, in one line.
fn refusal(problems: &[Problem]) -> String {
    let shown: Vec<String> =
        problems.iter().take(PROBLEMS_SHOWN).map(ToString::to_string).collect();
    let more = problems.len().saturating_sub(PROBLEMS_SHOWN);
    let more =
        if more == 0 { String::new() } else { format!("; {more} more of this kind or others") };
    // What cannot be merged at all comes first.
    let worst = problems.iter().find(|problem| !problem.can_be_told()).or(problems.first());
    let fix = worst.map_or("directories of parts of one run", Problem::fix);
    format!("{}{more}; fix: {fix}", shown.join("; "))
}

/// What a person asks first.
fn summary(result: &RunResult) -> String {
    let count = |n: Option<u64>| n.map_or("unknown".to_owned(), grouped);
    let verdict = &result.verdict;
    let mut text = match *verdict.met {
        Some(true) => "verdict      met\n".to_owned(),
        _ => verdict.missed.iter().map(|why| format!("verdict      missed: {why}\n")).collect(),
    };
    text += &format!(
        "parts        {}\nestablished  {} of {}\nfailed/lost  {} / {}\n",
        result.parts.len(),
        count(*result.established),
        count(*result.target_connections),
        grouped(result.failed.sum()),
        grouped(result.lost.sum()),
    );
    for wall in verdict.wall.iter().chain(verdict.more_walls.iter()) {
        let id = wall.id.as_deref().unwrap_or("unknown");
        let who = wall.evidence.first().map_or("", String::as_str);
        text += &format!("wall         {id}: {who}; {}\n", wall.toll());
    }
    text
}
