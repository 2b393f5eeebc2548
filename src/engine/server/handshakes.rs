//! Handshakes: a share of each turn, a bound on their memory, and a limit to their time.
//!
//! A handshake of TLS costs as much as a hundred messages. Its bytes wait in the kernel, without a buffer, until it is
//! their turn: those of handshakes under way first, and then those of new ones, as long as there is room for more.

use std::time::Duration;

use crate::base::constants::{HANDSHAKES_MAX, HANDSHAKES_PER_TURN};
use crate::engine::close_reason::CloseReason;
use crate::engine::driver::Listen;
use crate::engine::protocol::{Protocol, Shaking};
use crate::engine::server::Server;
use crate::engine::slot::{Queue, ReadSide, low_milliseconds};
use crate::engine::token::SlotId;

impl<D: Listen, P: Protocol> Server<D, P> {
    /// Whether the handshake of a connection goes on.
    #[inline]
    pub(super) fn is_shaking(&self, id: SlotId) -> bool {
        P::SHAKES && self.handshake(id) != Shaking::Done
    }

    fn handshake(&self, id: SlotId) -> Shaking {
        self.protocol.handshake(&self.end.arena[id].role.protocol)
    }

    /// Fixes until when a new connection may take for its handshake.
    pub(super) fn start_handshake(&mut self, id: SlotId) {
        let until = self.end.now + self.config.handshake_timeout;
        self.end.arena[id].role.set_due_ms(low_milliseconds(until).wrapping_add(1));
    }

    /// The handshake is done: what the wheel looks for is the protocol's timer and silence from now on.
    pub(super) fn on_handshake_done(&mut self, id: SlotId) {
        self.end.stats.handshakes_total.add(1);
        if self.end.arena[id].queue() == Queue::Wheel {
            self.leave_queue(id);
        }
        self.start_timer(id);
    }

    /// A connection is readable: bytes of a costly handshake wait for their turn, all others are received.
    pub(super) fn receive_or_wait(&mut self, id: SlotId) {
        let queue = match P::SHAKES.then(|| self.handshake(id)) {
            Some(Shaking::New) => Queue::Arriving,
            Some(Shaking::Costly) => Queue::Shaking,
            Some(Shaking::Done | Shaking::Cheap) | None => return self.give_buffer_and_recv(id),
        };
        self.leave_queue(id);
        self.end.arena[id].read = ReadSide::Starved;
        self.end.push(id, queue);
    }

    /// Receives what some handshakes have waited for.
    pub(super) fn go_on_with_handshakes(&mut self) {
        if !P::SHAKES {
            return;
        }
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some(id) = self.next_handshake() else { break };
            if self.end.arena[id].overdue(self.end.now) > Duration::ZERO {
                self.close(id, CloseReason::HandshakeTimeout);
                continue;
            }
            self.end.arena[id].read = ReadSide::Idle;
            self.await_due(id);
            self.give_buffer_and_recv(id);
        }
        self.end.count_handshakes_waiting(self.handshakes_waiting());
        self.end.stats.handshakes_under_way.set(self.protocol.handshakes().into());
    }

    fn next_handshake(&mut self) -> Option<SlotId> {
        let shaking = self.end.pop(Queue::Shaking);
        shaking.or_else(|| if self.has_room() { self.end.pop(Queue::Arriving) } else { None })
    }

    fn has_room(&self) -> bool {
        self.protocol.handshakes() < HANDSHAKES_MAX
    }

    fn handshakes_waiting(&self) -> u32 {
        self.end.count(Queue::Shaking) + self.end.count(Queue::Arriving)
    }

    /// Whether there is a handshake to go on with in the next turn.
    pub(super) fn has_handshakes(&self) -> bool {
        let arrives = || self.end.count(Queue::Arriving) > 0 && self.has_room();
        P::SHAKES && (self.end.count(Queue::Shaking) > 0 || arrives())
    }

    /// The wheel has looked at a connection in its handshake.
    pub(super) fn on_handshake_due(&mut self, id: SlotId) {
        if self.queue_drained {
            return self.close(id, CloseReason::HandshakeTimeout);
        }
        // What it has sent may be among what is not handled yet.
        let soon = low_milliseconds(self.end.now).wrapping_add(1);
        self.end.arena[id].role.set_due_ms(soon);
        self.await_due(id);
    }

    /// Ends handshakes that are over their time and wait for room.
    pub(super) fn end_late_arrivals(&mut self) {
        while P::SHAKES
            && self.queue_drained
            && let Some(id) = self.end.first(Queue::Arriving)
            && self.end.arena[id].overdue(self.end.now) > Duration::ZERO
        {
            self.close(id, CloseReason::HandshakeTimeout);
        }
    }
}
