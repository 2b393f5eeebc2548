//! The table itself, in five parts. The order is that of the parts, and in each from the sure sign
//! to the vague: of two walls that could explain the same loss the upper one is named.

use crate::walls::have::Reading;
use crate::walls::side::{At, Side};
use crate::walls::wall::Wall;

mod addresses;
mod descriptors;
mod memory;
mod outside;
mod queues;

/// Every wall.
pub fn all() -> impl Iterator<Item = &'static Wall> {
    [descriptors::ROWS, addresses::ROWS, memory::ROWS, queues::ROWS, outside::ROWS]
        .into_iter()
        .flatten()
}

/// The wall of this name.
#[must_use]
pub fn find(id: &str) -> Option<&'static Wall> {
    all().find(|wall| wall.id == id)
}

/// What a row says unless it says something else.
const BLANK: Wall = Wall {
    id: "",
    limits: "",
    at: At::Either,
    unit: "",
    read: |_, _| Reading::NOTHING,
    explains: &[],
    drops: false,
    signs: &[],
    fix: |_, _| Vec::new(),
    remark: "",
};

/// The next power of two; a count beyond them all stays as it is.
fn round_up(n: u64) -> u64 {
    n.checked_next_power_of_two().unwrap_or(n)
}

/// The same for a sysctl that is an `int` in the kernel.
fn round_up_int(n: u64) -> u64 {
    round_up(n).min(i32::MAX.unsigned_abs().into())
}

const CLIENT: At = At::One(Side::Client);
const SERVER: At = At::One(Side::Server);
const BETWEEN: At = At::One(Side::Between);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_says_something() {
        let mut names = HashSet::new();
        for wall in all() {
            assert!(names.insert(wall.id), "two rows are called {}", wall.id);
            assert!(!wall.limits.is_empty(), "{} limits nothing", wall.id);
            assert!(!wall.remark.is_empty(), "{} leaves its reader alone", wall.id);
            let is_explained = wall.explains.is_empty() || !wall.signs.is_empty();
            assert!(is_explained, "{} explains what nothing betrays", wall.id);
        }
    }
}
