//! Bystanders: what happens to everything else meanwhile. Unrelated operations (a ping, a connect, a
//! request, a datagram, a file, a sleep) go on at a fixed rate from before the first connection until
//! after the last one, and each phase of the run is held against the idle host before it.

pub(crate) mod account;
pub(crate) mod answer;
pub(crate) mod finding;
pub(crate) mod keep;
pub(crate) mod sample;
pub(crate) mod search;
mod sentence;
#[cfg(test)]
mod simulation;
mod statistics;
#[cfg(test)]
mod tests;
