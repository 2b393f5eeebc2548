//! A setting that was found, and what is wrong with it.

use serde::Serialize;

/// What is wrong with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A file that was not read, so that its settings are not judged.
    Unread,
    /// A line that sets nothing, since it is no assignment or its value is refused.
    Refused,
    /// It has no effect.
    Obsolete,
    /// It has another effect than it is set for.
    Mistaken,
    /// It hurts many connections.
    Harmful,
}

impl Kind {
    /// As text.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Unread => "unread",
            Kind::Refused => "refused",
            Kind::Obsolete => "obsolete",
            Kind::Mistaken => "mistaken",
            Kind::Harmful => "harmful",
        }
    }
}

/// A setting that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The sysctl's dotted name; the line itself when it is no assignment, the file when it was not
    /// read.
    pub key: String,
    /// Its value there; empty when there is none.
    pub value: String,
    /// Where it was found: `/etc/sysctl.conf:12`, `running kernel`, or both.
    pub places: Vec<String>,
    /// What is wrong with it.
    pub kind: Kind,
    /// Why.
    pub reason: &'static str,
    /// What to do.
    pub instead: &'static str,
    /// Where the reason is from.
    pub source: &'static str,
    /// The value that the running kernel has instead. Then the line has its effect at the next boot.
    pub running: Option<String>,
}
