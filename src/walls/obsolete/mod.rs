//! Settings that are obsolete, mistaken or harmful for many connections, one row each: found in the
//! files that are read at boot, with file and line, and in the running kernel.
//!
//! A key that a namespace hides or a module brings is not called missing. A value that is no number
//! is not judged.

use crate::host::meminfo::MemInfo;
use crate::host::procfs::ProcFs;
use crate::host::sysctl_files::{self, Line};
use crate::walls::obsolete::rules::{Facts, MISSING, Plan, RULES, Rule};
use crate::walls::obsolete::setting::{Kind, Setting};

pub mod rules;
pub mod setting;

/// Every such setting, the harmful ones first.
#[must_use]
pub fn settings(procfs: &ProcFs, plan: &Plan) -> Vec<Setting> {
    let facts = Facts {
        plan,
        memory_bytes: MemInfo::of(procfs).and_then(|memory| memory.get("MemTotal")),
        ehash_entries: ehash_entries(procfs),
    };
    let lines = sysctl_files::lines(procfs);
    let mut found = Vec::new();
    for rule in RULES {
        for line in lines.iter().filter(|line| concerns(rule, line)) {
            let is_bad = (rule.is_bad)(&numbers(&line.value), &facts);
            // A line that a later one overrides does no harm. A line without an effect may be
            // deleted wherever it is.
            if is_bad && (rule.kind == Kind::Obsolete || !line.is_overridden) {
                add(&mut found, rule, &line.key(), &line.value, &line.place);
            }
        }
        let running = procfs.sysctl(rule.key).filter(|_| rule.also_running);
        if let Some(value) = running.filter(|value| (rule.is_bad)(&numbers(value), &facts)) {
            add(&mut found, rule, rule.key, &value, RUNNING);
        }
    }
    let is_known =
        |line: &Line| RULES.iter().any(|rule| rule.kind == Kind::Obsolete && concerns(rule, line));
    for line in lines.iter().filter(|line| !is_known(line) && is_missing(procfs, line)) {
        add(&mut found, &MISSING, &line.key(), &line.value, &line.place);
    }
    found.sort_by_key(|setting| std::cmp::Reverse(setting.kind));
    found
}

/// The place of a value of the running kernel, be it set by a file or not.
const RUNNING: &str = "running kernel";

/// Adds a place to the setting with the same key, value and reason; without one, adds the setting.
fn add(found: &mut Vec<Setting>, rule: &Rule, key: &str, value: &str, place: &str) {
    let is_same = |s: &&mut Setting| s.key == key && s.value == value && s.reason == rule.reason;
    match found.iter_mut().find(is_same) {
        Some(setting) => setting.places.push(place.to_owned()),
        None => found.push(Setting {
            key: key.to_owned(),
            value: value.to_owned(),
            places: vec![place.to_owned()],
            kind: rule.kind,
            reason: rule.reason,
            instead: rule.instead,
            source: rule.source,
        }),
    }
}

fn concerns(rule: &Rule, line: &Line) -> bool {
    let key = line.key();
    rule.key.strip_suffix('*').map_or(key == rule.key, |start| key.starts_with(start))
}

/// The numbers of a value; empty when any of its words is no number.
fn numbers(value: &str) -> Vec<u64> {
    let numbers: Option<Vec<u64>> = value.split(' ').map(|word| word.parse().ok()).collect();
    numbers.unwrap_or_default()
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
        _ => false,
    };
    is_complete && !line.is_pattern() && !exists(&line.path)
}
