//! The drivers: what a core asks of the world, done by the kernel or by a simulated world.

pub mod sim;
pub mod uring;
