//! A run directory, as far as it can be read: files that are missing or not whole are named, and the
//! rest is reported. Only a directory without any file of a run has no report.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::constants::{DUMP_LINE_BYTES, REPORT_FILE_BYTES};
use crate::base::files;
use crate::base::side::Side;
use crate::base::stdout::Undelivered;
use crate::report::seconds::Seconds;
use crate::report::ticks::{Span, Ticks};
use crate::results::bystanders::Bystanders;
use crate::results::doctor::Doctor;
use crate::results::environment::Environment;
use crate::results::lenient::Part;
use crate::results::read::{self, Unreadable};
use crate::results::result::RunResult;
use crate::results::{BYSTANDERS, DOCTOR, ENVIRONMENT, RESULT, RunFile};
use serde::de::DeserializeOwned;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// No directory, or one that cannot be read.
    #[error("{dir}: {1}; fix: a run directory, as megaconn-client run --out DIR leaves it", dir = .0.display())]
    Directory(PathBuf, io::Error),
    /// A directory without any file of a run.
    #[error(
        "{dir}: nothing here tells of a run ({1}); fix: a run directory, as megaconn-client run --out DIR \
         leaves it", dir = .0.display()
    )]
    NoRun(PathBuf, String),
    /// A result of another version.
    #[error(
        "{file}: its schema is {1:?}, and this version reads {known:?}; fix: the megaconn that wrote it",
        file = .0.display(), known = RESULT.schema
    )]
    Schema(PathBuf, String),
    /// A scaling run of which nothing can be read.
    #[error("{file}: {1}; fix: a directory as bench-scripts/scale.sh --out DIR leaves it", file = .0.display())]
    Scale(PathBuf, String),
    /// A scaling run beside other directories.
    #[error("{dir}: is of a scaling run, which has a report of its own; fix: megaconn report {dir}", dir = .0.display())]
    ScaleAmongOthers(PathBuf),
    /// The report cannot be written.
    #[error("{file}: {}", files::told(.1, "--out with a file that you may write"), file = .0.display())]
    Write(PathBuf, io::Error),
    /// It did not reach stdout.
    #[error(transparent)]
    Undelivered(#[from] Undelivered),
}

/// What is known of a run.
pub(crate) struct Run {
    pub(crate) name: String,
    /// `None` when `result.json` is missing or not whole.
    pub(crate) result: Option<RunResult>,
    pub(crate) environment: Option<Environment>,
    pub(crate) doctor: Option<Doctor>,
    pub(crate) client: Option<Ticks>,
    pub(crate) server: Option<Ticks>,
    /// What became of bystanders, second by second.
    pub(crate) bystanders: Option<Seconds>,
    /// What is missing, and why, file by file.
    pub(crate) missing: Vec<String>,
}

/// Why a file was not read.
enum Unread {
    NotThere,
    /// It is there, but is no file that can be read.
    Broken(String),
    /// It is there, but not as it should be.
    Json(Unreadable),
}

impl Run {
    /// Reads `dir`.
    ///
    /// # Errors
    /// When it is no directory, has no file of a run, or has a result of another version.
    pub(crate) fn read(dir: &Path) -> Result<Run, ReportError> {
        fs::read_dir(dir).map_err(|error| ReportError::Directory(dir.to_owned(), error))?;
        let mut missing = Vec::new();
        let result = match json(dir, RESULT) {
            Err(Unread::Json(Unreadable::OtherSchema(found))) => {
                return Err(ReportError::Schema(dir.join(RESULT.name), found));
            }
            read => or_missing(read, RESULT.name, &mut missing),
        };
        let result = result.map(|mut result: RunResult| {
            result.cost_per_connection = Part(result.cost_per_connection.0.without_negatives());
            result
        });
        let environment = json(dir, ENVIRONMENT);
        let doctor = json(dir, DOCTOR);
        // Dumps in the same directory may be of earlier runs; a server's are of all that it served.
        let of_result = result.as_ref().and_then(span);
        let client = lines(dir, "client.ndjson", Ticks::new(Side::Client, of_result));
        let of_client = client.as_ref().ok().map(|(ticks, _)| ticks.span());
        let of_server = of_client.or(of_result);
        let server = lines(dir, "server.ndjson", Ticks::new(Side::Server, of_server));
        let panel = result.as_ref().and_then(|result| result.bystanders.as_ref());
        let of_panel = panel.and_then(span_of_panel).or(of_result);
        let bystanders = lines(dir, BYSTANDERS.name, Seconds::new(of_panel));
        let is_asked = result.as_ref().map(|_| panel.is_some_and(Bystanders::is_asked));
        let bystanders = match (is_asked, bystanders) {
            // Then a file that is there is an earlier run's.
            (Some(false), _) | (None, Err(Unread::NotThere)) => None,
            (_, read) => Some(read),
        };
        let mut run = Run {
            name: name(dir),
            result,
            environment: or_missing(environment, ENVIRONMENT.name, &mut missing),
            doctor: or_missing(doctor, DOCTOR.name, &mut missing),
            client: lines_or_missing(client, "client.ndjson", &mut missing),
            server: lines_or_missing(server, "server.ndjson", &mut missing),
            bystanders: bystanders
                .and_then(|read| lines_or_missing(read, BYSTANDERS.name, &mut missing)),
            missing: Vec::new(),
        };
        if run.result.is_none() && run.client.is_none() && run.server.is_none() {
            return Err(ReportError::NoRun(dir.to_owned(), missing.join(", ")));
        }
        run.missing = missing;
        Ok(run)
    }
}

/// From when to when the run went, by its result.
fn span(result: &RunResult) -> Option<Span> {
    let (began, seconds) = (result.started_at.real()?, (*result.seconds)?);
    let in_ms =
        |seconds: f64| Duration::try_from_secs_f64(seconds).ok()?.as_millis().try_into().ok();
    // It began at some time within its first second.
    Some(Span { first_ms: in_ms(began)?, last_ms: in_ms(began + seconds + 1.0)? })
}

/// From when to when a panel went.
fn span_of_panel(panel: &Bystanders) -> Option<Span> {
    let last_ms = panel.spans.iter().filter_map(|span| span.to_ms.real()).fold(0.0, f64::max);
    let began_ms = panel.began_at_ms.real()?;
    let whole = |ms: f64| Duration::try_from_secs_f64(ms / 1e3).ok()?.as_millis().try_into().ok();
    Some(Span { first_ms: whole(began_ms)?, last_ms: whole(began_ms + last_ms)? })
}

/// The last part of the directory's path, also of `.` and the like.
pub(crate) fn name(dir: &Path) -> String {
    let last = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
    let resolved = || last(&fs::canonicalize(dir).ok()?);
    last(dir).or_else(resolved).unwrap_or_else(|| dir.display().to_string())
}

fn or_missing<T>(read: Result<T, Unread>, file: &str, missing: &mut Vec<String>) -> Option<T> {
    let why = match read {
        Ok(read) => return Some(read),
        Err(Unread::NotThere) => "is not there".to_owned(),
        Err(Unread::Broken(why)) => why,
        Err(Unread::Json(why)) => why.to_string(),
    };
    missing.push(format!("{file} {why}"));
    None
}

fn lines_or_missing<T>(
    read: Result<(T, u64), Unread>,
    file: &str,
    missing: &mut Vec<String>,
) -> Option<T> {
    let (read, passed_over) = or_missing(read, file, missing)?;
    if passed_over > 0 {
        missing.push(format!(
            "{file} has {passed_over} lines that are not whole or of another schema"
        ));
    }
    Some(read)
}

/// A regular file. A pipe might never end.
fn open(path: &Path) -> Result<File, Unread> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Unread::NotThere),
        Ok(metadata) if !metadata.is_file() => Err(Unread::Broken("is no regular file".into())),
        Ok(_) => File::open(path).map_err(unreadable),
        Err(error) => Err(unreadable(error)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it away")]
fn unreadable(error: io::Error) -> Unread {
    Unread::Broken(format!("cannot be read ({error})"))
}

/// A whole JSON file.
fn json<T: DeserializeOwned>(dir: &Path, of: RunFile) -> Result<T, Unread> {
    let mut bytes = Vec::new();
    let file = open(&dir.join(of.name))?;
    file.take(REPORT_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > REPORT_FILE_BYTES {
        return Err(Unread::Broken(format!("is larger than {REPORT_FILE_BYTES} bytes")));
    }
    read::json(&bytes, of.schema).map_err(Unread::Json)
}

/// What takes the lines of a file.
trait Taker: Sized {
    /// Takes a line; `false` when it is none of this file's.
    fn add(&mut self, line: &[u8]) -> bool;

    /// All that was read; `None` when that was nothing.
    fn done(self) -> Option<Self>;
}

impl Taker for Ticks {
    fn add(&mut self, line: &[u8]) -> bool {
        Ticks::add(self, line)
    }

    fn done(self) -> Option<Ticks> {
        Ticks::done(self)
    }
}

impl Taker for Seconds {
    fn add(&mut self, line: &[u8]) -> bool {
        Seconds::add(self, line)
    }

    fn done(self) -> Option<Seconds> {
        Seconds::done(self)
    }
}

/// The lines of a file, and how many were passed over.
fn lines<T: Taker>(dir: &Path, name: &str, mut taker: T) -> Result<(T, u64), Unread> {
    let mut file = BufReader::new(open(&dir.join(name))?);
    let (mut line, mut passed_over, mut is_empty) = (Vec::new(), 0, true);
    loop {
        line.clear();
        let read = (&mut file).take(DUMP_LINE_BYTES).read_until(b'\n', &mut line);
        if read.map_err(unreadable)? == 0 {
            break;
        }
        is_empty = false;
        passed_over += u64::from(!taker.add(&line));
    }
    let taker = taker.done().ok_or_else(|| {
        let why = if is_empty { "is empty" } else { "has no whole line of this run" };
        Unread::Broken(why.into())
    })?;
    Ok((taker, passed_over))
}
