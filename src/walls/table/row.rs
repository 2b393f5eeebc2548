//! What the rows of the table have in common.

use crate::walls::have::Reading;
use crate::walls::place::{At, Place};
use crate::walls::wall::Wall;

/// What a row says unless it says something else.
pub(super) const BLANK: Wall = Wall {
    id: "",
    precedence: 0,
    limits: "",
    at: At::Either,
    unit: "",
    read: |_, _| Reading::NOTHING,
    explains: &[],
    drops: false,
    is_general: false,
    signs: &[],
    absent: "",
    needs: &[],
    fix: |_, _| Vec::new(),
    fix_of_run: None,
    remark: "",
};

/// The next power of two; a count beyond them all stays as it is.
pub(super) fn round_up(n: u64) -> u64 {
    n.checked_next_power_of_two().unwrap_or(n)
}

/// The same for a sysctl that is an `int` in the kernel.
pub(super) fn round_up_int(n: u64) -> u64 {
    round_up(n).min(i32::MAX.unsigned_abs().into())
}

pub(super) const CLIENT: At = At::One(Place::Client);
pub(super) const SERVER: At = At::One(Place::Server);
pub(super) const BETWEEN: At = At::One(Place::Between);
