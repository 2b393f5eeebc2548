//! What lifts the walls of a plan on the host itself: sysctls and limits, as files that last and as
//! changes that are made now.
//!
//! No amount is lowered. What the host already has is not written.

use std::fmt::Write;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};

use crate::host::procfs::ProcFs;
use crate::host::sysctl_files;
use crate::walls::fix::{CHOICES, Fix};
use crate::walls::reading::{Row, Verdict};

/// The name of the files that are written. Files of sysctl.d and limits.d are read in the order of
/// their names.
const NAME: &str = "90-megaconn.conf";

/// A sysctl that is left alone. The client's flags choose source ports inside and outside of the
/// range, and a wider range takes ports from programs that listen.
const LEFT_ALONE: &str = "net.ipv4.ip_local_port_range";

/// A sysctl that must change for a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its dotted name.
    pub key: &'static str,
    /// Its value now; `None` when it cannot be read.
    pub have: Option<String>,
    /// The value that is enough.
    pub want: String,
    /// The walls that it lifts.
    pub walls: Vec<&'static str>,
}

/// The sysctls that `rows` are short of, in their order.
#[must_use]
pub fn changes(procfs: &ProcFs, rows: &[Row]) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for (row, fix) in fixes(rows) {
        let Fix::Sysctl(key, least) = fix else { continue };
        let have = procfs.sysctl(key);
        let known = changes.iter().position(|change| change.key == *key);
        let now = known.map_or(have.as_deref(), |at| Some(changes[at].want.as_str()));
        let Some(want) = raised(key, now, least) else { continue };
        match known {
            Some(at) => {
                changes[at].want = want;
                changes[at].walls.push(row.id);
            }
            None => changes.push(Change { key, have, want, walls: vec![row.id] }),
        }
    }
    changes
}

/// The walls of a plan that no written file lifts, each with what lifts it.
#[must_use]
pub fn left(procfs: &ProcFs, rows: &[Row]) -> Vec<String> {
    let changes = changes(procfs, rows);
    let is_ours = |fix: &Fix| match fix {
        Fix::Sysctl(key, _) => changes.iter().any(|change| change.key == *key),
        Fix::Limit(..) => true,
        Fix::Flag(_) | Fix::Raise(..) | Fix::Cores(_) | Fix::Command(_) | Fix::Advice(_) => false,
    };
    let failed = rows.iter().filter(|row| row.verdict == Verdict::Fail);
    failed
        .filter(|row| !row.fix.iter().any(is_ours))
        .map(|row| format!("{}: {}", row.id, row.fixes()))
        .collect()
}

/// The fixes of the rows that are short, each with its row.
fn fixes(rows: &[Row]) -> impl Iterator<Item = (&Row, &Fix)> {
    rows.iter()
        .filter(|row| row.is_short())
        .flat_map(|row| row.fix.iter().map(move |fix| (row, fix)))
}

/// The value in which each number is at least that of `least` and that of `now`. `None` when that
/// is the value now, or when the sysctl is not set by this program.
fn raised(key: &str, now: Option<&str>, least: &str) -> Option<String> {
    let numbers = |text: &str| -> Option<Vec<u64>> {
        text.split(' ').map(|word| word.parse().ok()).collect()
    };
    match now {
        _ if key == LEFT_ALONE => None,
        None => Some(least.to_owned()),
        Some(now) if CHOICES.contains(&key) => (now != least).then(|| least.to_owned()),
        Some(now) => {
            let (now, least) = (numbers(now)?, numbers(least)?);
            let most: Vec<u64> =
                now.iter().zip(&least).map(|(now, least)| *now.max(least)).collect();
            let words: Vec<String> = most.iter().map(u64::to_string).collect();
            (now.len() == least.len() && most != now).then(|| words.join(" "))
        }
    }
}

// ---- files ------------------------------------------------------------------------------------

/// Three files in one text, each after a line `# ==> PATH <==`, for a plan with this title.
#[must_use]
pub fn files(procfs: &ProcFs, rows: &[Row], title: &str) -> String {
    let head = |path: &str| format!("# ==> {path} <==\n# By megaconn doctor, {title}.\n");
    let mut text = head(&format!("/etc/sysctl.d/{NAME}"));
    add_sysctls(&mut text, procfs, rows);
    text += &format!("\n{}", head(&format!("/etc/security/limits.d/{NAME}")));
    add_limits(&mut text, rows);
    text += &format!("\n{}", head("/etc/systemd/system/megaconn.service.d/limits.conf"));
    add_unit(&mut text, rows);
    text
}

fn add_sysctls(text: &mut String, procfs: &ProcFs, rows: &[Row]) {
    let changes = changes(procfs, rows);
    let lines = sysctl_files::lines(procfs);
    for Change { key, have, want, walls } in &changes {
        let have = have.as_deref().unwrap_or("unknown");
        _ = writeln!(text, "# {}: it is {have}", walls.join(", "));
        for line in lines.iter().filter(|line| line.key() == *key && is_after_ours(&line.place)) {
            _ = writeln!(text, "# {} sets it again, later, and wins: delete that line", line.place);
        }
        _ = writeln!(text, "{key} = {want}");
    }
    if changes.is_empty() {
        text.push_str("# No sysctl is short.\n");
    }
    for words in left(procfs, rows) {
        _ = writeln!(text, "# Not for a file: {words}");
    }
}

/// Whether a place is in a file that is read after [`NAME`].
fn is_after_ours(place: &str) -> bool {
    let file = place.rsplit('/').next().unwrap_or(place);
    file.split(':').next().unwrap_or(file) > NAME
}

/// The limits that rows are short of, by their name in limits.conf.
fn limits(rows: &[Row]) -> Vec<(&'static str, u64)> {
    let limit = |(_, fix): (&Row, &Fix)| match fix {
        Fix::Limit(name, value) => Some((*name, *value)),
        _ => None,
    };
    fixes(rows).filter_map(limit).collect()
}

fn add_limits(text: &mut String, rows: &[Row]) {
    let limits = limits(rows);
    text.push_str("# For logins; a service has its own, below.\n");
    for (name, value) in &limits {
        // A star means every user except root.
        _ = writeln!(text, "*    - {name} {value}\nroot - {name} {value}");
    }
    if limits.is_empty() {
        text.push_str("# The limits of this login suffice.\n");
    }
}

/// Limits of a unit by their name in limits.conf, the wall that they are for, and their unit there.
const UNIT_LIMITS: [(&str, &str, &str); 2] =
    [("nofile", "LimitNOFILE", ""), ("memlock", "LimitMEMLOCK", "K")];

fn add_unit(text: &mut String, rows: &[Row]) {
    let limits = limits(rows);
    let need = |id: &str| rows.iter().find(|row| row.id == id).and_then(|row| row.need);
    text.push_str(
        "# What is behind a # is enough where this was asked; a unit may have less, see\n\
         # systemctl show megaconn.service -p LimitNOFILE -p LimitMEMLOCK -p TasksMax -p MemoryMax\n\
         [Service]\n",
    );
    for (name, setting, unit) in UNIT_LIMITS {
        match limits.iter().find(|(limit, _)| *limit == name) {
            Some((_, value)) => _ = writeln!(text, "{setting}={value}{unit}"),
            None => {
                if let Some(need) = need(name) {
                    _ = writeln!(text, "#{setting}={need}");
                }
            }
        }
    }
    if let Some(row) = rows.iter().find(|row| row.id == "threads")
        && let Some(need) = row.need
    {
        let behind = if row.verdict == Verdict::Fail { "" } else { "#" };
        _ = writeln!(text, "{behind}TasksMax={need}");
    }
    // A host with enough memory says nothing of a unit's cgroup, and a limit that is too low kills
    // the server.
    if let Some(need) = need("memory") {
        _ = writeln!(text, "#MemoryMax={need}");
    }
}

// ---- changes now ------------------------------------------------------------------------------

/// A change that was tried.
#[derive(Debug)]
pub struct Applied {
    /// The change.
    pub change: Change,
    /// The value that is there now, or why it could not be set.
    pub result: io::Result<String>,
}

/// Changes that are about to be made, each with its file, open to be written, or why it cannot be
/// made. Their undoing can be written before the first of them is made.
#[derive(Debug)]
pub struct Prepared(Vec<(Change, io::Result<File>)>);

/// Looks which changes can be made, and makes none.
///
/// # Errors
/// When none can be made, for want of rights.
pub fn prepare(procfs: &ProcFs, changes: Vec<Change>) -> io::Result<Prepared> {
    let open = |change: &Change| {
        is_as_it_was(procfs, change)?;
        // Without a truncation: a sysctl takes all of a value at once.
        OpenOptions::new().write(true).open(procfs.sysctl_path(change.key))
    };
    let tried = changes.into_iter().map(|change| (open(&change), change));
    let mut tried: Vec<_> = tried.map(|(file, change)| (change, file)).collect();
    let denied = |(_, file): &(Change, io::Result<File>)| file.as_ref().is_err_and(is_denied);
    if tried.iter().all(|(_, file)| file.is_err())
        && let Some(index) = tried.iter().position(denied)
        && let (_, Err(denied)) = tried.swap_remove(index)
    {
        return Err(denied);
    }
    Ok(Prepared(tried))
}

fn is_denied(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

fn is_as_it_was(procfs: &ProcFs, change: &Change) -> io::Result<()> {
    let have = procfs.sysctl(change.key);
    let is_so = have.is_some() && have == change.have;
    let error = "it is not what it was, or cannot be read to be undone";
    is_so.then_some(()).ok_or_else(|| io::Error::other(error))
}

impl Prepared {
    /// A shell script that undoes the changes, the last first. Comments say what is done.
    #[must_use]
    pub fn undo(&self) -> String {
        let mut text = "#!/bin/sh\n# Undoes what megaconn doctor --fix apply did:\n".to_owned();
        for (Change { key, have, want, walls }, file) in &self.0 {
            let (have, walls) = (have.as_deref().unwrap_or("unknown"), walls.join(", "));
            _ = match file {
                Ok(_) => writeln!(text, "# {key}: {have} -> {want}  ({walls})"),
                Err(error) => writeln!(text, "# {key} is {have}, not {want}: {error}"),
            };
        }
        if self.0.is_empty() {
            text.push_str("# nothing, no sysctl is short\n");
        }
        for (change, _) in self.0.iter().rev().filter(|(_, file)| file.is_ok()) {
            let have = change.have.as_deref().unwrap_or_default();
            _ = writeln!(text, "sysctl -w '{}={have}'", change.key);
        }
        text
    }

    /// Makes the changes that can be made.
    #[must_use]
    pub fn apply(self, procfs: &ProcFs) -> Vec<Applied> {
        let set = |(change, file): (Change, io::Result<File>)| {
            let result = file.and_then(|file| set(procfs, &change, file));
            Applied { change, result }
        };
        self.0.into_iter().map(set).collect()
    }
}

/// Writes a sysctl and reads it back, because the kernel may have adjusted the value.
fn set(procfs: &ProcFs, change: &Change, mut file: File) -> io::Result<String> {
    is_as_it_was(procfs, change)?;
    file.write_all(change.want.as_bytes())?;
    let now = procfs.sysctl(change.key).unwrap_or_default();
    if change.have.as_ref() == Some(&now) {
        return Err(io::Error::other("the kernel took it and left the old value"));
    }
    Ok(now)
}
