//! Handshakes that wait for their turn, counted alike at both ends.

use crate::base::clock::microseconds;
use crate::engine::driver::Driver;
use crate::engine::endpoint::Endpoint;
use crate::engine::slot::Role;
use crate::observe::stats::CoreStats;

impl<D: Driver, R: Role, S: CoreStats> Endpoint<D, R, S> {
    /// So many wait at the end of this turn. Where any did at the end of the one before, they did until now.
    pub fn count_handshakes_waiting(&mut self, waiting: u32) {
        let since = std::mem::replace(&mut self.handshakes_counted, self.now);
        if self.stats.handshakes_waiting.get() > 0 {
            self.stats.handshakes_waited_us_total.add(microseconds(self.now - since));
        }
        self.stats.handshakes_waiting.set(waiting.into());
    }
}
