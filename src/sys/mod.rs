//! What no safe crate wraps: socket options that are set by number, and the doorbell that wakes a core.
//! Unsafe code lives here and in the drivers alone.

pub mod doorbell;
pub mod socket;
