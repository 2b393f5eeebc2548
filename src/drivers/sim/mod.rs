//! The second driver: a seeded world in which everything fails that can fail.
//!
//! `SimDriver` owns simulated time, peers, listeners and a small buffer pool, and asserts every
//! rule of [`crate::engine::driver::Driver`] that an endpoint could break. The same seed gives the
//! same world. It is made for tests, which create peers, pass the time between two turns and look
//! at both streams of a peer.
//!
//! Every operation completes exactly once, but in any order; receives and sends move a part,
//! receives find nothing after a poll that promised something, cancels come too late, accepts,
//! connects and segments fail, and completions of a slot's earlier life are delivered again.

mod behavior;
mod carry;
mod choices;
mod connect;
mod driver;
mod event;
mod faults;
mod invariants;
mod link;
mod peer;
mod unasked;
mod wire;
mod world;

pub use behavior::{BehaviorFault, PeerBehavior, PeerSchedule, PushPlan};
pub use driver::{SimConfig, SimCounts, SimDriver};
pub use event::{Attempt, Move};
pub use faults::{Faults, Mutation};
pub use link::{End, Link, Outcome};
pub use peer::{Echo, EchoFault, Parting, Peer, PeerProfile, Reading};
pub use wire::{Drivers, Wire, WireConfig, WireCounts, WireFaults, WireMutation};
