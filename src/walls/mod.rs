//! The walls: every limit that stops or disturbs many connections, one row each.

pub mod counters;
pub mod tree;
