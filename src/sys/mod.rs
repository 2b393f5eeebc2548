//! What no safe crate wraps: socket options that are set by number, the doorbell that wakes a core, and what
//! was closed at the start.
//! Unsafe code lives here and in the drivers alone.

pub mod doorbell;
pub mod socket;
pub mod stdio;
