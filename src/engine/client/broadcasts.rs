//! Texts that a server sends to all: when each has come on each connection.

use std::ops::Range;

use crate::engine::client::Client;
use crate::engine::client::followed::Followed;
use crate::engine::driver::Dial;
use crate::engine::protocol::Expectation;
use crate::engine::protocol::broadcast::Receipt;
use crate::engine::slot::Queue;
use crate::engine::token::SlotId;

impl<D: Dial, E: Expectation> Client<D, E> {
    /// The same, with a place where texts to all are noted.
    #[must_use]
    pub fn following(mut self, followed: Followed) -> Client<D, E> {
        self.followed = followed;
        self
    }

    /// A text has come, with `rest` behind it.
    pub(super) fn on_broadcast(&mut self, id: SlotId, receipt: &Receipt, rest: Range<u16>) {
        let (passed_ns, is_one_clock) = self.followed.clock.since(&receipt.moment, self.end.now);
        self.followed.log.add(receipt.number, passed_ns, is_one_clock);
        let stats = &self.end.stats;
        stats.broadcasts_received_total.add(1);
        stats.broadcasts_missed_total.add(receipt.missed.into());
        let passed_ns = u64::try_from(passed_ns).unwrap_or(0);
        stats.broadcast_latency_us.record(std::time::Duration::from_nanos(passed_ns));
        self.end.leave_queue(id);
        self.end.arena[id].wait_from(self.end.now);
        self.end.push(id, Queue::Resting);
        if E::OPENS || rest.is_empty() {
            self.go_on(id, rest);
        } else {
            self.hear_rest(id, rest);
        }
    }
}
