//! The report: one HTML file of a run directory, or of several side by side. It needs nothing but
//! itself: charts are inline SVG, there is no script, and it is read on paper and in the dark as well.
//!
//! `read` reads a directory as far as it is whole, into the lenient types of `results`; `points`
//! and `figures` make charts of that and `chart` draws them; `verdict`, `bystanders` with its `panels`,
//! `tables`, `host` and `compare` are the parts of the page, which `page` puts together. `scale` is the
//! page of a scaling run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::base::files;
use crate::base::stdout::deliver;
pub use crate::report::read::ReportError;
use crate::report::read::Run;

mod broadcasts;
mod bystanders;
mod chart;
mod compare;
mod figures;
mod host;
mod page;
mod panels;
mod parts;
mod parts_table;
mod points;
mod read;
mod scale;
mod seconds;
mod storms;
mod tables;
mod ticks;
mod verdict;

/// The default name of a report.
pub const FILE: &str = "report.html";

/// The report of these run directories, or of the scaling run in one, as HTML.
///
/// # Errors
/// When one of them is no run directory; see [`ReportError`].
pub fn html(dirs: &[PathBuf]) -> Result<String, ReportError> {
    let is_scaling = |dir: &&PathBuf| dir.join(scale::FILE).exists();
    match (dirs, dirs.iter().find(is_scaling)) {
        ([dir], Some(_)) => return Ok(scale::page(dir)?.into_string()),
        (_, Some(dir)) => return Err(ReportError::ScaleAmongOthers(dir.clone())),
        (_, None) => {}
    }
    let mut runs: Vec<Run> = dirs.iter().map(|dir| Run::read(dir)).collect::<Result<_, _>>()?;
    let names: BTreeSet<String> = runs.iter().map(|run| run.name.clone()).collect();
    if names.len() < runs.len() {
        // Runs of the same name are distinguished by their whole paths.
        runs.iter_mut().zip(dirs).for_each(|(run, dir)| run.name = dir.display().to_string());
    }
    Ok(page::page(&runs).into_string())
}

/// Writes the report of `dirs` to `out`; `-` is stdout.
///
/// # Errors
/// When one of them is no run directory, or the file cannot be written.
pub fn write(dirs: &[PathBuf], out: &Path) -> Result<(), ReportError> {
    let html = html(dirs)?;
    if out == Path::new("-") {
        return Ok(deliver(html.as_bytes())?);
    }
    let written = files::write_whole(out, html.as_bytes());
    written.map_err(|error| ReportError::Write(out.to_owned(), error))
}
