//! Opening until a wall is met: what tells a core that it has met one.

use crate::base::errno::Errno;
use crate::engine::client::Client;
use crate::engine::driver::Dial;
use crate::engine::protocol::Expectation;

impl<D: Dial, E: Expectation> Client<D, E> {
    /// Connects that became connections, or failed.
    pub(super) fn connects_answered(&self) -> u64 {
        self.end.stats.connected_total.get() + self.end.stats.connect_failed_total.get()
    }

    /// A connect was answered, or `failed`. When this host has no more of something, or connections end as
    /// fast as they are opened, nothing more is opened.
    pub(super) fn look_for_wall(&mut self, failed: Option<Errno>) {
        if !self.phase.is_filling() {
            return;
        }
        let is_short = failed.is_some_and(is_short_of_something);
        let answered = self.connects_answered();
        if is_short || self.growth.has_ended(answered, self.connections) {
            self.meet_wall();
        }
    }

    /// What cannot be begun any more is not counted as failed: no number was asked for. One failure stays
    /// as the evidence, unless simply all tuples are in use.
    pub(super) fn give_up_filling(&mut self, errno: Errno) {
        let is_end_of_tuples = errno == Errno::EADDRNOTAVAIL;
        if !is_end_of_tuples || self.tuples.has_skipped() {
            self.count_connects_failed(errno, 1);
        }
        if is_end_of_tuples {
            self.phase.to_start = 0;
        } else {
            self.meet_wall();
        }
    }

    fn meet_wall(&mut self) {
        self.end.stats.wall_met.set(1);
        self.phase.open_no_more(self.end.now, &self.end.stats);
    }
}

/// Whether this host has no more files, or memory, for a socket.
fn is_short_of_something(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)
}
