//! What was found so far. The same setting in several places is one.

use std::collections::HashMap;

use crate::walls::obsolete::rules::Rule;
use crate::walls::obsolete::setting::Setting;

/// What was found, in the order in which it was.
#[derive(Default)]
pub(super) struct Found {
    pub(super) settings: Vec<Setting>,
    /// Where a setting stands, by key, value and reason.
    known: HashMap<(String, String, &'static str), usize>,
}

impl Found {
    /// Adds a place to the setting with the same key, value and reason; without one, adds the
    /// setting.
    pub(super) fn add(
        &mut self,
        rule: &Rule,
        key: &str,
        value: &str,
        place: &str,
        running: Option<&str>,
    ) {
        let name = (key.to_owned(), value.to_owned(), rule.reason);
        if let Some(index) = self.known.get(&name) {
            self.settings[*index].places.push(place.to_owned());
            return;
        }
        self.known.insert(name, self.settings.len());
        self.settings.push(Setting {
            key: key.to_owned(),
            value: value.to_owned(),
            places: vec![place.to_owned()],
            kind: rule.kind,
            reason: rule.reason,
            instead: rule.instead,
            source: rule.source,
            running: running.map(str::to_owned),
        });
    }
}
