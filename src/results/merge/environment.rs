//! The environment of all parts: what is alike, and of what is not how many have it.

use std::collections::BTreeMap;

use crate::results::ENVIRONMENT;
use crate::results::environment::Environment;
use crate::results::lenient::{List, Map, Maybe};

/// Environments so far.
#[derive(Default)]
pub(super) struct EnvironmentSum {
    parts: u64,
    /// By the name of the field, and what it says.
    words: BTreeMap<&'static str, BTreeMap<String, u64>>,
    limits: BTreeMap<String, BTreeMap<String, u64>>,
    sysctls: BTreeMap<String, BTreeMap<String, u64>>,
    cpus: u64,
    memory: u64,
    available: u64,
    command_line: List<String>,
}

/// A field of words.
type Field = (&'static str, fn(&mut Environment) -> &mut Maybe<String>);

const FIELDS: [Field; 6] = [
    ("version", |of| &mut of.version),
    ("commit", |of| &mut of.commit),
    ("kernel", |of| &mut of.kernel),
    ("machine", |of| &mut of.machine),
    ("cpu_model", |of| &mut of.cpu_model),
    ("topology", |of| &mut of.topology),
];

/// Values that are told of one field.
const VALUES_SHOWN: usize = 4;

impl EnvironmentSum {
    /// Takes that of a part; of one host with several parts only the first has `is_new_host`.
    pub(super) fn take(&mut self, mut of: Environment, is_new_host: bool) {
        for (name, field) in FIELDS {
            if let Some(word) = field(&mut of).0.take() {
                *self.words.entry(name).or_default().entry(word).or_default() += 1;
            }
        }
        for (name, limit) in of.limits.0 {
            *self.limits.entry(name).or_default().entry(limit).or_default() += 1;
        }
        for (name, sysctl) in of.sysctls.0 {
            let value = sysctl.0.unwrap_or_else(|| "none".to_owned());
            *self.sysctls.entry(name).or_default().entry(value).or_default() += 1;
        }
        if is_new_host {
            self.cpus += of.cpus.or_zero();
            self.memory = self.memory.saturating_add(of.memory_bytes.or_zero());
            self.available = self.available.saturating_add(of.memory_available_bytes.or_zero());
        }
        if self.parts == 0 {
            self.command_line = of.command_line;
        }
        self.parts += 1;
    }

    /// All of them; `None` without any.
    pub(super) fn finish(mut self) -> Option<Environment> {
        if self.parts == 0 {
            return None;
        }
        let mut all = Environment {
            schema: ENVIRONMENT.schema.into(),
            cpus: self.cpus.into(),
            memory_bytes: self.memory.into(),
            memory_available_bytes: self.available.into(),
            command_line: self.command_line,
            ..Environment::default()
        };
        for (name, field) in FIELDS {
            *field(&mut all) = self.words.remove(name).map(told).into();
        }
        all.limits =
            Map(self.limits.into_iter().map(|(name, values)| (name, told(values))).collect());
        let sysctls = self.sysctls.into_iter().map(|(name, values)| (name, told(values).into()));
        all.sysctls = Map(sysctls.collect());
        Some(all)
    }
}

/// The value that all have, or each with how many have it: `6.1.0 (3), 6.18.5 (7)`.
fn told(values: BTreeMap<String, u64>) -> String {
    if values.len() == 1 {
        return values.into_keys().next().unwrap_or_default();
    }
    let shown = values.iter().take(VALUES_SHOWN).map(|(value, n)| format!("{value} ({n})"));
    let shown: Vec<String> = shown.collect();
    let more = values.len().saturating_sub(VALUES_SHOWN);
    if more == 0 { shown.join(", ") } else { format!("{}, {more} others", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_with_how_many_have_it() {
        let host = |kernel: &str, cpus: u64| Environment {
            kernel: kernel.to_owned().into(),
            cpus: cpus.into(),
            ..Environment::default()
        };
        assert_eq!(EnvironmentSum::default().finish(), None);
        let mut all = EnvironmentSum::default();
        all.take(host("6.1.0", 2), true);
        all.take(host("6.1.0", 2), false);
        let alike =
            EnvironmentSum { words: all.words.clone(), parts: 2, ..EnvironmentSum::default() };
        assert_eq!(alike.finish().and_then(|all| all.kernel.0).as_deref(), Some("6.1.0"));
        all.take(host("6.18.5", 4), true);
        let all = all.finish().expect("there are three");
        assert_eq!((all.kernel.as_deref(), *all.cpus), (Some("6.1.0 (2), 6.18.5 (1)"), Some(6)));
    }
}
