//! Bystanders: what happens to everything else meanwhile. Unrelated operations (a ping, a connect, a
//! request, a datagram, a file, a sleep) go on at a fixed rate from before the first connection until
//! after the last one, and each phase of the run is held against the idle host before it.
//!
//! `panel` is all of it, as a run has it in hand: it starts the threads of `network` (with its `probes`)
//! and `local`, which put `sample`s into the `collector`. What became of them is asked afterwards, by
//! `finding`, and told by `account`; `record` has every one of them.

pub(crate) mod account;
pub(crate) mod flags;
pub(crate) mod runner;
pub(crate) mod sample;
pub(crate) mod search;
pub(crate) mod slo;

mod answer;
mod claim;
mod collector;
mod finding;
mod local;
mod network;
mod pressure;
mod probes;
mod record;
mod rounds;
mod sentence;
mod statistics;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
