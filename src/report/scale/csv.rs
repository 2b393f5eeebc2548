//! `scale.csv`, a line for each run, as `bench-scripts/scale.sh` writes it. The file may have been cut or
//! edited: a value that is not as it should be is left out, and the page says so.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::base::constants::{REPORT_FILE_BYTES, SCALE_RUNS_MAX};
use crate::report::scale::figures::FIGURES;

/// Remarks on a file that are kept; further ones are counted.
const SAID_MAX: usize = 12;

/// The columns that say what a run was of: without them there is no run.
const OF: [&str; 4] = ["cores", "connections", "repeat", "shared_cores"];

/// What became of a run.
const OUTCOME: [&str; 4] = ["established", "lost", "verdict", "commit"];

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) cores: u32,
    pub(crate) connections: u32,
    pub(crate) repeat: u32,
    /// Both ends ran on the same CPUs.
    pub(crate) is_shared: bool,
    /// In the order of [`FIGURES`]; `None` where it was not measured.
    pub(crate) figures: [Option<f64>; FIGURES.len()],
    pub(crate) established: Option<f64>,
    pub(crate) lost: Option<f64>,
    pub(crate) verdict: String,
    pub(crate) commit: String,
}

/// All runs, and what of the file was left out.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    pub(crate) said: Said,
}

/// Remarks on a file, of which the first are kept.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) lines: Vec<String>,
    pub(crate) more: u64,
}

impl Said {
    fn push(&mut self, line: String) {
        if self.lines.len() < SAID_MAX { self.lines.push(line) } else { self.more += 1 }
    }
}

/// Reads `path`.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn read(path: &Path) -> Result<Table, String> {
    let is_file = fs::metadata(path).map_err(|error| error.to_string())?.is_file();
    let mut bytes = Vec::new();
    if is_file {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let read = file.take(REPORT_FILE_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| error.to_string())?;
    }
    match bytes.len() as u64 {
        _ if !is_file => Err("is no regular file".into()),
        length if length > REPORT_FILE_BYTES => {
            Err(format!("is larger than {REPORT_FILE_BYTES} bytes"))
        }
        _ => parse(&String::from_utf8_lossy(&bytes)),
    }
}

/// The runs of a file with at least one.
fn parse(text: &str) -> Result<Table, String> {
    let (head, body) = text.split_once('\n').ok_or("has no whole line")?;
    let columns: Vec<&str> = head.trim_end_matches('\r').split(',').collect();
    let place = |name: &str| columns.iter().position(|column| *column == name);
    if let Some(lacking) = OF.iter().find(|name| place(name).is_none()) {
        return Err(format!("has no column {lacking}"));
    }
    let (mut said, mut rows, mut seen) = (Said::default(), Vec::new(), BTreeSet::new());
    let known = || OF.into_iter().chain(FIGURES.iter().map(|f| f.column)).chain(OUTCOME);
    for (index, column) in columns.iter().enumerate() {
        if !known().any(|name| name == *column) {
            said.push(format!("the column {} is not known, and left out", start(column)));
        } else if place(column) != Some(index) {
            said.push(format!("the column {column} is there twice: the first is taken"));
        }
    }
    for absent in known().filter(|name| place(name).is_none()) {
        said.push(format!("the column {absent} is not there"));
    }
    // A line that was being written has no end.
    let lines = body.split_inclusive('\n').zip(2_u64..);
    for (line, number) in lines {
        let whole = line.strip_suffix('\n').map(|line| line.trim_end_matches('\r'));
        let fields = whole.map(|line| line.split(',').collect::<Vec<_>>());
        let Some(fields) = fields.filter(|fields| fields.len() == columns.len()) else {
            said.push(format!("line {number} is not whole, and left out"));
            continue;
        };
        let field = |name: &str| place(name).map_or("", |at| fields[at]);
        match row(&field, number, &mut said) {
            Err(why) => said.push(format!("line {number} {why}, and is left out")),
            Ok(row) if !seen.insert((row.cores, row.connections, row.repeat)) => {
                said.push(format!("line {number} is of a run that is there already, and left out"));
            }
            Ok(_) if rows.len() >= SCALE_RUNS_MAX => {
                said.push(format!(
                    "line {number} and what follows are more than {SCALE_RUNS_MAX} runs"
                ));
                break;
            }
            Ok(row) => rows.push(row),
        }
    }
    if rows.is_empty() {
        return Err(format!(
            "has no whole run: {}",
            said.lines.last().map_or("no line", |last| last)
        ));
    }
    Ok(Table { rows, said })
}

/// A line by the names of its columns. A value that is no figure is remarked on.
fn row<'a>(field: &impl Fn(&str) -> &'a str, number: u64, said: &mut Said) -> Result<Row, String> {
    let whole = |name: &str| {
        let n = field(name).parse::<u32>().ok().filter(|n| *n > 0);
        n.ok_or_else(|| format!("has {} as {name}", start(field(name))))
    };
    let mut figure = |name: &str| match (field(name), field(name).parse::<f64>()) {
        ("", _) => None,
        // No rate, time or size is larger, and none is negative but growth that shrank.
        (_, Ok(n)) if n.abs() < 1e15 && (n >= 0.0 || name.ends_with("per_connection")) => Some(n),
        (text, _) => {
            said.push(format!("line {number} has {} as {name}: not measured", start(text)));
            None
        }
    };
    Ok(Row {
        cores: whole("cores")?,
        connections: whole("connections")?,
        repeat: whole("repeat")?,
        is_shared: match field("shared_cores") {
            "yes" => true,
            "no" => false,
            other => return Err(format!("has {} as shared_cores", start(other))),
        },
        figures: FIGURES.each_ref().map(|known| figure(known.column)),
        established: figure("established"),
        lost: figure("lost"),
        verdict: field("verdict").to_owned(),
        commit: field("commit").to_owned(),
    })
}

/// A text in quotes, as much of it as a message has room for.
fn start(text: &str) -> String {
    let start: String = text.chars().take(30).collect();
    if start == text { format!("\"{text}\"") } else { format!("\"{start}...\"") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head() -> String {
        let names = OF.into_iter().chain(FIGURES.iter().map(|f| f.column)).chain(OUTCOME);
        names.collect::<Vec<_>>().join(",")
    }

    const LINE: &str = "2,1000,1,no,5e4,150000.5,6.1,6.4,640,1200,8300,44,,1000,0,met,abc";

    #[test]
    fn a_line_is_a_run() {
        let table = parse(&format!("{}\n{LINE}\n", head())).unwrap();
        let row = &table.rows[0];
        assert_eq!((row.cores, row.connections, row.repeat, row.is_shared), (2, 1000, 1, false));
        assert_eq!(
            (row.figures[0], row.figures[1], row.figures[8]),
            (Some(5e4), Some(150_000.5), None)
        );
        assert_eq!((row.established, row.lost), (Some(1000.0), Some(0.0)));
        assert_eq!((row.verdict.as_str(), row.commit.as_str()), ("met", "abc"));
        assert!(table.said.lines.is_empty(), "{:?}", table.said);
    }

    #[test]
    fn what_is_not_as_it_should_be_is_said_and_left_out() {
        let says = |head: &str, lines: &str, what: &str| {
            let table = parse(&format!("{head}\n{LINE}\n{lines}")).unwrap();
            assert!(table.said.lines.iter().any(|said| said.contains(what)), "{what}: {table:?}");
            table
        };
        let line = |from: &str, to: &str| LINE.replacen(from, to, 1) + "\n";
        for (lines, what) in [
            (LINE[..30].to_owned(), "line 3 is not whole"),
            (line("2,1000,1", "2,1000,2").trim_end().to_owned(), "line 3 is not whole"),
            (line("2,1000,1", "2,1000,2,2"), "line 3 is not whole"),
            (line("2,1000,1", "x,1000,1"), "line 3 has \"x\" as cores"),
            (line("2,1000,1", "0,1000,1"), "line 3 has \"0\" as cores"),
            (line("2,1000,1", "2,-1,1"), "line 3 has \"-1\" as connections"),
            (line("2,1000,1,no", "2,1000,2,maybe"), "line 3 has \"maybe\" as shared_cores"),
            (LINE.to_owned() + "\n", "line 3 is of a run that is there already"),
        ] {
            assert_eq!(says(&head(), &lines, what).rows.len(), 1, "{lines}");
        }
        for bad in ["NaN", "inf", "-1", "1e300", "<b>"] {
            let lines = LINE.replacen("2,1000,1", "2,1000,2", 1).replacen("5e4", bad, 1) + "\n";
            let table = says(&head(), &lines, "as connect_per_s: not measured");
            assert_eq!((table.rows.len(), table.rows[1].figures[0]), (2, None));
        }
        let other = head().replacen("p99_us", "p98_us", 1);
        says(&other, "", "\"p98_us\" is not known");
        says(&other, "", "p99_us is not there");
        says(&head().replacen("p99_us", "p50_us", 1), "", "the column p50_us is there twice");
        let many = says(&head(), &"1,\n".repeat(500), "line 3 is not whole").said;
        assert_eq!((many.lines.len(), many.more), (SAID_MAX, 500 - SAID_MAX as u64));
    }

    #[test]
    fn a_file_without_a_run_is_none() {
        for (text, why) in [
            ("", "has no whole line"),
            ("cores,connections", "has no whole line"),
            ("a,b\n1,2\n", "has no column cores"),
            ("cores,connections,repeat,shared_cores\n", "has no whole run"),
            ("cores,connections,repeat,shared_cores\n1,2\n", "has no whole run"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(why), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_file_is_a_panic(lines in "(([0-9eNa,.-]{0,60}|no,)*\n?){0,8}", cut in 0_usize..4000) {
            let text = format!("{}\n{LINE}\n{LINE}\n{lines}", head());
            let end = text.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(text.len());
            let _ = parse(&text[..end]);
            let _ = parse(&lines);
        }
    }
}
