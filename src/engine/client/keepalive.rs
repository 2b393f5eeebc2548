//! What keeps a connection alive on which nothing was sent for some time: it goes out beside the messages, and while
//! its answer is awaited no message begins.
//!
//! A connection that waits so stands among those with something under way ([`Queue::Aside`]), and is lost as silent
//! as they are.

use std::time::Duration;

use crate::base::constants::{MESSAGES_IN_FLIGHT, TICK_MS};
use crate::engine::client::Client;
use crate::engine::client::aside::Aside;
use crate::engine::client::phase::Phase;
use crate::engine::driver::Dial;
use crate::engine::protocol::Expectation;
use crate::engine::slot::{Queue, ReadSide};
use crate::engine::token::SlotId;

impl<D: Dial, E: Expectation> Client<D, E> {
    /// Sends those that are due. None is while each connection is asked by a message anyway, or connections are
    /// closed.
    pub(super) fn start_keepalives(&mut self) {
        let Some(every) = self.keepalive_every() else { return };
        while self.end.count(Queue::Aside) < MESSAGES_IN_FLIGHT {
            let first = self.end.first(Queue::Resting);
            let due = first.filter(|id| {
                self.end.waited(*id) >= every && self.end.arena[*id].read == ReadSide::Polling
            });
            if !due.is_some_and(|id| self.send_keepalive(id)) {
                return;
            }
        }
    }

    fn keepalive_every(&self) -> Option<Duration> {
        let is_time = match self.phase.now() {
            Phase::Hold | Phase::Connect { .. } | Phase::Fill { .. } | Phase::Traffic => true,
            Phase::Messages | Phase::Sweep | Phase::Close { .. } => false,
        };
        self.expectation.keepalive_every().filter(|_| is_time)
    }

    fn send_keepalive(&mut self, id: SlotId) -> bool {
        let Some(buffer) = self.end.take_buffer() else { return false };
        let (connection, now) = (self.connection(id), self.end.now);
        self.asides[buffer.index()] = Aside::default();
        self.step_aside(id);
        let slot = &mut self.end.arena[id];
        slot.buffer = buffer;
        let out = self.end.driver.buffer(buffer);
        let written = self.expectation.write_keepalive(&mut slot.role.state, connection, now, out);
        (slot.start, slot.end) = (written.start, written.end);
        self.end.stats.keepalives_sent_total.add(1);
        self.end.arm_send(id);
        true
    }

    /// Time until the next is due; what is due and cannot begin waits for the tick.
    pub(super) fn keepalive_wait(&self) -> Option<Duration> {
        let every = self.keepalive_every()?;
        let waited = self.end.waited(self.end.first(Queue::Resting)?);
        let tick = Duration::from_millis(u64::from(TICK_MS));
        Some(every.checked_sub(waited).filter(|wait| !wait.is_zero()).unwrap_or(tick))
    }
}
