//! Which time it is by the wall clock of a process that gives its figures, for those who have to know how far clocks are
//! apart.

use crate::observe::metrics::{CLOCK, PREFIX};

/// What a text says of it, in microseconds since 1970.
#[must_use]
pub fn of_text(text: &str) -> Option<u64> {
    let name = format!("{PREFIX}_{CLOCK}{{");
    let line = text.lines().find(|line| line.starts_with(&name))?;
    line.rsplit(' ').next()?.parse().ok()
}
