//! A storm: the client drops a part of its own connections, and what was dropped comes back as what was lost does.

use crate::base::constants::{CLOSES_IN_FLIGHT, DRAIN_CLOSES_PER_TURN, DRAIN_LOOKS_PER_TURN};
use crate::engine::client::Client;
use crate::engine::client::role::CUT;
use crate::engine::driver::{Dial, ShutdownMode};
use crate::engine::protocol::Expectation;
use crate::engine::slot::{ConnState, Queue};
use crate::engine::storm::{Choice, DropPart};
use crate::engine::token::SlotId;

impl<D: Dial, E: Expectation> Client<D, E> {
    /// A storm begins. One that goes on still ends here.
    pub(super) fn begin_storm(&mut self, drop: DropPart) {
        if self.phase.holds() {
            self.storm = Some(Choice::new(drop, self.connections));
        }
    }

    /// Drops those that the storm takes, some of them in one turn. In order no more of them close at once than at the
    /// end of a run: a server has one minute for each.
    pub(super) fn drop_some(&mut self) {
        let Some(mut choice) = self.storm.filter(|_| self.phase.holds()) else {
            self.storm = None;
            return;
        };
        let mut looks = DRAIN_LOOKS_PER_TURN;
        for _ in 0..DRAIN_CLOSES_PER_TURN {
            if !self.may_close(choice) {
                break;
            }
            let next = choice.next(&self.end.arena, &mut looks, |id, slot| {
                slot.state() == ConnState::Open && !self.is_short(id) && !self.is_opening(id)
            });
            let Some(id) = next else { break };
            self.drop_one(id, choice.by_reset);
        }
        self.storm = Some(choice).filter(|choice| !choice.is_over());
    }

    fn may_close(&self, choice: Choice) -> bool {
        choice.by_reset || self.end.count(Queue::Ending) < CLOSES_IN_FLIGHT
    }

    /// Whether a storm goes on that waits for no end.
    pub(super) fn may_drop(&self) -> bool {
        self.storm.is_some_and(|choice| self.may_close(choice))
    }

    fn drop_one(&mut self, id: SlotId, by_reset: bool) {
        self.connections -= 1;
        self.end.stats.dropped_total.add(1);
        let number = self.end.arena[id].role.number;
        let is_at_rest = matches!(self.end.arena[id].queue(), Queue::Resting | Queue::Overdue);
        let mode = if by_reset { ShutdownMode::Reset } else { ShutdownMode::Sending };
        // What is half done cannot end in order.
        if !(is_at_rest && self.leave(id, mode)) {
            self.end.leave_queue(id);
            self.begin_end_by(id, CUT);
            self.close_step(id);
        }
        self.phase.has_one_less(&self.config, self.end.now, &self.end.stats);
        self.await_return(number);
    }
}
