//! The end of a connection: ours, or one that came over us.

use std::time::Duration;

use crate::base::constants::{CLOSE_TIMEOUT, CLOSES_IN_FLIGHT};
use crate::base::errno::Errno;
use crate::engine::client::Client;
use crate::engine::client::role::LEAVES;
use crate::engine::driver::{Dial, ShutdownMode};
use crate::engine::protocol::Expectation;
use crate::engine::slot::{CloseStep, Queue, ReadSide, WriteSide, low_milliseconds};
use crate::engine::token::SlotId;
use crate::observe::stats::{Ending, Loss, LostCause};

impl<D: Dial, E: Expectation> Client<D, E> {
    /// Closes connections that rest until `keep` are left; `true` when that is done. Once a whole
    /// window of ends was waited for in vain, the server is gone, and its answers are waited for no more.
    pub(super) fn start_closes(&mut self) -> bool {
        let in_vain = self.end.stats.close_timeout_total.get();
        let is_gone = in_vain >= u64::from(CLOSES_IN_FLIGHT);
        let mode = if is_gone { ShutdownMode::Both } else { self.config.close };
        let keep = self.phase.keep;
        while self.connections > keep && self.end.count(Queue::Ending) < CLOSES_IN_FLIGHT {
            let first = self.end.first(Queue::Resting);
            let Some(id) = first.or_else(|| self.end.first(Queue::Overdue)) else {
                // The kernel may hold more for them than they would ever read.
                let Some(id) = self.end.first(Queue::Reluctant) else { break };
                self.cut_reluctant(id);
                continue;
            };
            if !self.leave(id, mode) {
                // A buffer comes back with those that are leaving.
                break;
            }
            self.connections -= 1;
        }
        self.connections <= keep && u64::from(self.end.arena.used()) == self.connections
    }

    /// An operation on a connection failed: it is lost, or it never was a connection.
    pub(super) fn on_error(&mut self, id: SlotId, errno: Errno) {
        if errno.is_of_icmp() && !self.has_heard(id) {
            self.give_up_open(id, Ending::Failed(errno));
        } else {
            self.lose(id, LostCause::of(errno));
        }
    }

    /// Whether a byte has come on a connection.
    fn has_heard(&self, id: SlotId) -> bool {
        if E::OPENS && !self.is_opening(id) && !self.is_short(id) {
            return true;
        }
        let role = &self.end.arena[id].role;
        let asked = self.expectation.sequence(&role.state);
        asked > 1 || asked == 1 && role.pending == 0 || self.expectation.had_one(&role.state)
    }

    /// A connection that was open is no more, for a cause that is not ours to choose.
    pub(super) fn lose(&mut self, id: SlotId, cause: LostCause) {
        self.give_up_open(id, Ending::Lost(cause));
    }

    /// An open connection goes as `ending` says. An answer by ICMP ends a handshake and never a
    /// connection, but a connect that it ends may be reported as done: then the first look at it says
    /// that it failed.
    fn give_up_open(&mut self, id: SlotId, ending: Ending) {
        if E::OPENS && self.is_opening(id) {
            return self.lose_opening(id, ending);
        }
        if self.is_reluctant(id) {
            return self.end_reluctant(id);
        }
        if self.is_short(id) {
            self.churning -= 1;
            match ending {
                Ending::Lost(cause) => self.end.stats.churn_lost[cause as usize].add(1),
                Ending::Failed(errno) => self.count_churn_failed(errno),
            }
        } else {
            self.connections -= 1;
            match ending {
                Ending::Lost(cause) => self.end.stats.lost[cause as usize].add(1),
                Ending::Failed(errno) => {
                    self.end.stats.connect_undone_total.add(1);
                    self.count_connects_failed(errno, 1);
                }
            }
            let slot = &self.end.arena[id];
            let (is_asked, waited) = (slot.role.pending > 0, slot.waited(self.end.now));
            self.note_loss(slot.role.number, ending, waited);
            self.phase.has_lost(is_asked, waited, self.end.now);
            self.phase.has_one_less(&self.config, self.end.now, &self.end.stats);
            if matches!(ending, Ending::Lost(_)) {
                self.await_return(self.end.arena[id].role.number);
            }
        }
        self.end.leave_queue(id);
        self.begin_end(id);
        self.close_step(id);
    }

    /// Writes down how a held connection ended, after `idle` without a byte.
    pub(super) fn note_loss(&self, number: u32, ending: Ending, idle: Duration) {
        let at_ms = low_milliseconds(self.end.now);
        let age_ms = self.opened.at_ms(number).map(|begun_ms| at_ms.wrapping_sub(begun_ms));
        // A slot's clock goes round in 71 minutes.
        let is_known = age_ms.unwrap_or(at_ms) < u32::MAX / 1_000;
        let idle_ms = u32::try_from(idle.as_millis()).ok().filter(|_| is_known);
        let number = self.tuples.place_of(number);
        self.losses.add(Loss { number, ending, at_ms, age_ms, idle_ms });
    }

    pub(super) fn begin_end(&mut self, id: SlotId) {
        self.begin_end_by(id, 0);
    }

    /// The same, in the way that `pending` says.
    pub(super) fn begin_end_by(&mut self, id: SlotId, pending: u8) {
        if self.end.arena[id].read == ReadSide::Starved {
            let is_shaking = E::COSTLY && self.shaking.remove(&mut self.end.arena, id);
            let is_on_a_list = is_shaking || self.starved.remove(&mut self.end.arena, id);
            assert!(is_on_a_list, "a slot waits for a buffer or its turn and is on no list");
        }
        self.shorts.remove(&id);
        self.end.arena[id].role.pending = pending;
        self.end.begin_close(id);
        let slot = &mut self.end.arena[id];
        self.expectation.forget(&mut slot.role.state);
        slot.wait_from(self.end.now);
        self.end.push(id, Queue::Ending);
    }

    /// Takes the next step of an end that does not wait for the server's.
    pub(super) fn close_step(&mut self, id: SlotId) {
        if let Some(buffer) = self.end.close_step(id) {
            self.end.give_buffer(buffer);
        }
    }

    /// Only the server's end is waited for in vain; a slow close is the kernel's affair.
    pub(super) fn give_up_closes(&mut self) {
        while let Some(id) =
            self.end.first(Queue::Ending).filter(|&id| self.end.waited(id) >= CLOSE_TIMEOUT)
        {
            self.end.restart_wait(id, Queue::Ending);
            let slot = &mut self.end.arena[id];
            let is_stalled = slot.write == WriteSide::Stalled && slot.role.pending == LEAVES;
            if slot.close_step() == CloseStep::Shutdown {
                self.end.stats.close_timeout_total.add(1);
                slot.role.pending = 0;
                self.close_step(id);
            } else if is_stalled {
                self.end.stats.close_timeout_total.add(1);
                slot.role.pending = 0;
                self.end.cancel_poll_writable(id);
            }
        }
    }
}
