//! Settings that are obsolete, mistaken or harmful for many connections, one row each: found in the
//! files that are read at boot, with file and line, and in the running kernel. Files and lines that
//! set nothing are named too.
//!
//! A key that a namespace hides or a module brings is not called missing. A value is read as the
//! kernel reads it, so a comment behind it changes nothing. A value that the kernel refuses is not
//! judged but named, and does not override what stands before it.

use crate::host::meminfo::MemInfo;
use crate::host::procfs::ProcFs;
use crate::host::sysctl_files::{self, Files, Line};
use crate::walls::obsolete::found::Found;
use crate::walls::obsolete::rules::{Facts, MISSING, Plan, RULES, Rule};
use crate::walls::obsolete::setting::{Kind, Setting};
use crate::walls::obsolete::values::Format;

mod found;
mod idle;
pub mod rules;
pub mod setting;
mod values;

/// Every such setting, the harmful ones first.
#[must_use]
pub fn settings(procfs: &ProcFs, plan: &Plan) -> Vec<Setting> {
    let facts = Facts {
        plan,
        memory_bytes: MemInfo::of(procfs).and_then(|memory| memory.get("MemTotal")),
        ehash_entries: ehash_entries(procfs),
    };
    let mut files = sysctl_files::read(procfs);
    files.override_by(|line| !is_refused(line));
    let mut found = Found::default();
    for rule in RULES {
        add_rule(&mut found, procfs, &files, rule, &facts);
    }
    let is_known =
        |line: &Line| RULES.iter().any(|rule| rule.kind == Kind::Obsolete && concerns(rule, line));
    for line in &files.lines {
        if !is_known(line) && is_missing(procfs, line) {
            found.add(&MISSING, &line.key(), &line.value, &line.place, None);
        } else if is_refused(line) {
            found.add(&idle::REFUSED, &line.key(), &line.value, &line.place, None);
        }
    }
    idle::add(&mut found, &files);
    found.settings.sort_by_key(|setting| std::cmp::Reverse(setting.kind));
    found.settings
}

fn add_rule(found: &mut Found, procfs: &ProcFs, files: &Files, rule: &Rule, facts: &Facts<'_>) {
    let running = procfs.sysctl(rule.key);
    let now = running.as_deref().and_then(|value| read(rule.key, value, &[]));
    let path = rule.key.replace('.', "/");
    let lines: Vec<&Line> = match rule.key.ends_with('*') {
        true => files.lines.iter().filter(|line| concerns(rule, line)).collect(),
        false => files.setting(&path).collect(),
    };
    for line in lines {
        if rule.kind == Kind::Obsolete {
            // A line without an effect may be deleted wherever it is.
            found.add(rule, &line.key(), &line.value, &line.place, None);
            continue;
        }
        // What a line leaves out stays as it is.
        let Some(values) = read(rule.key, &line.value, now.as_deref().unwrap_or_default()) else {
            continue;
        };
        // A line that a later one overrides does no harm.
        if (rule.is_bad)(&values, facts) && !line.is_overridden {
            let other = now.as_ref().is_some_and(|now| *now != values);
            let running = running.as_deref().filter(|_| other);
            found.add(rule, rule.key, &line.value, &line.place, running);
        }
    }
    if let (true, Some(value), Some(now)) = (rule.also_running, &running, &now)
        && (rule.is_bad)(now, facts)
    {
        found.add(rule, rule.key, value, RUNNING, None);
    }
}

/// The place of a value of the running kernel, be it set by a file or not.
const RUNNING: &str = "running kernel";

fn concerns(rule: &Rule, line: &Line) -> bool {
    let key = line.key();
    rule.key.strip_suffix('*').map_or(key == rule.key, |start| key.starts_with(start))
}

/// The numbers that the kernel makes of a value; `None` when it refuses it.
fn read(key: &str, value: &str, now: &[u64]) -> Option<Vec<u64>> {
    Format::of(key)?.read(value, now)
}

/// Whether the kernel is known to refuse the value of a line.
fn is_refused(line: &Line) -> bool {
    let key = line.key();
    let Some(format) = Format::of(&key) else { return false };
    format.read(&line.value, &[]).is_none()
}

/// Buckets of the established table, from which the kernel derives its own limits. A namespace that
/// shares the host's table shows them as negative.
fn ehash_entries(procfs: &ProcFs) -> Option<u64> {
    procfs.sysctl("net.ipv4.tcp_ehash_entries")?.trim_start_matches('-').parse().ok()
}

/// Whether the running kernel lacks the key for good. Keys that modules and interfaces bring are
/// not judged, nor keys of the network that only the first namespace shows.
fn is_missing(procfs: &ProcFs, line: &Line) -> bool {
    let exists = |path: &str| procfs.path(&format!("proc/sys/{path}")).exists();
    let group = line.path.rsplit_once('/').map_or("", |(group, _)| group);
    let is_complete = match group {
        // Only the first network namespace has this one.
        "net/ipv4" | "net/core" => exists("net/ipv4/tcp_mem"),
        "fs" => exists("fs/file-max"),
        // A mixture of dots and slashes, or a key that was written with `/proc/sys` before it.
        "net" => exists("net/core/somaxconn") && line.path != "net/nf_conntrack_max",
        group if group.starts_with("proc/sys") => exists("net/core") || exists("fs/file-max"),
        _ => false,
    };
    is_complete && !line.is_pattern() && !exists(&line.path)
}
