//! What no safe crate wraps: socket options that are set by number, the doorbell that wakes a core, what
//! was closed or passed at the start, and memory that is in no core file.
//! Unsafe code lives here and in the drivers alone.

pub mod doorbell;
pub mod passed;
pub mod socket;
pub mod stdio;
pub mod undumped;
pub mod wiping;
