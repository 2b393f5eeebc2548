//! What is wanted and how it is dealt out. What a host has for it, and which limit binds first, is a
//! reading of the walls.
//!
//! Nothing here changes the host.

mod deal;
pub mod demand;
mod holes;
pub mod named;
pub mod parts;
mod ranges;
pub mod route;
pub mod sources;
pub mod timetable;
mod tuple_error;
pub mod tuples;
