//! Where the slots of a core are, for the tests.

use std::time::Duration;

use crate::engine::client::Client;
use crate::engine::driver::Dial;
use crate::engine::protocol::Expectation;
use crate::engine::slot::Queue;

/// Where the slots of a core are, for the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Connects that are to be started still.
    pub to_start: u64,
    /// Held connections that are open.
    pub connections: u64,
    /// Short connections that have begun and not ended.
    pub churning: u32,
    /// Slots with a connect in flight.
    pub connecting: u32,
    /// Slots that are connected, and open.
    pub opening: u32,
    /// Open slots on which something beside messages is under way.
    pub aside: u32,
    /// Open slots on which nothing is out.
    pub resting: u32,
    /// Open slots whose message is out.
    pub waiting: u32,
    /// Open slots whose push is overdue.
    pub overdue: u32,
    /// Slots that are closing.
    pub ending: u32,
}

impl<D: Dial, E: Expectation> Client<D, E> {
    /// The client's own part of a lag, for a test that counts it.
    pub fn own_lag(&self, due: Duration) -> Duration {
        self.held_up.own_lag(due, self.end.now)
    }

    /// Where the slots are, for a test that counts them.
    pub fn census(&self) -> Census {
        Census {
            to_start: self.phase.to_start,
            connections: self.connections,
            churning: self.churning,
            connecting: self.end.count(Queue::Connecting),
            opening: self.end.count(Queue::Opening),
            aside: self.end.count(Queue::Aside),
            resting: self.end.count(Queue::Resting),
            waiting: self.end.count(Queue::Waiting),
            overdue: self.end.count(Queue::Overdue),
            ending: self.end.count(Queue::Ending),
        }
    }
}
