//! What one core of a client is told before it starts.

use std::time::Duration;

pub use crate::engine::client::choices::Lifetime;
use crate::engine::driver::ShutdownMode;

/// What one core of a client is told.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Slots of one segment.
    pub slots_per_segment: u32,
    /// Connects that may be in flight at once.
    pub connects_in_flight: u32,
    /// Length of a message.
    pub message_bytes: u16,
    /// Messages for each connection in a phase of messages.
    pub message_count: u16,
    /// How fast things are begun, until it is told otherwise.
    pub pace: Pace,
    /// Which part of its own interval goes by before a core's first thing is due, from 0 to 1: the cores
    /// take turns, and what all of them do keeps the rate however low it is.
    pub turn: f64,
    /// When those that are lost come back; `None` is never.
    pub reconnect: Option<Reconnect>,
    /// How long held connections live; `None` is until they are closed.
    pub lifetime: Option<Lifetime>,
    /// Which of them read slowly, or not at all; `None` is none of them.
    pub readers: Option<Readers>,
    /// What every random choice comes from.
    pub seed: u64,
    /// How connections are ended.
    pub close: ShutdownMode,
    /// Tells this run's messages from any other's.
    pub run: u64,
}

/// How fast one core begins things.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Connects per second; `None` is as fast as they go.
    pub connects_per_s: Option<f64>,
    /// The schedule of messages in a phase of traffic.
    pub schedule: Schedule,
    /// Short connections per second in a phase of traffic.
    pub churn_per_s: f64,
    /// Nothing is begun.
    pub is_paused: bool,
}

/// When messages are due in a phase of traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// Never.
    None,
    /// On each connection once in this time, spread over all of it.
    Every(Duration),
    /// On each connection after random times of this mean, exponential, each connection by itself.
    Exponential(Duration),
    /// At this rate per second over all cores, on the connections in turn.
    PerSecond(f64),
}

/// When a connection that was lost is tried again, and how often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reconnect {
    /// Time before the first try; each further try waits twice as long.
    pub first: Duration,
    /// The longest time before a try.
    pub most: Duration,
    /// Which part of each time is random, from 0 to 1: with 1 a wait is anything from nothing to the whole time, the
    /// "full jitter" of Brooker, "Exponential Backoff And Jitter" (2015).
    pub jitter: f64,
    /// Tries of one connection that fail, before it is given up.
    pub tries: u32,
}

/// Which of the held connections of a client read in a way of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Readers {
    /// The part of them that never reads, from 0 to 1.
    pub silent: f64,
    /// The part that reads slowly.
    pub slow: f64,
    /// Bytes per second of one of these.
    pub bytes_per_s: f64,
}
