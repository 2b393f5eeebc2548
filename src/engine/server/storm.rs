//! A storm: the server drops a part of its connections.

use crate::base::constants::{DRAIN_CLOSES_PER_TURN, DRAIN_LOOKS_PER_TURN};
use crate::engine::close_reason::CloseReason;
use crate::engine::driver::Listen;
use crate::engine::protocol::Protocol;
use crate::engine::server::Server;
use crate::engine::slot::ConnState;

impl<D: Listen, P: Protocol> Server<D, P> {
    /// Drops those that the storm takes, some of them in one turn.
    pub(super) fn drop_some(&mut self) {
        let Some(mut choice) = self.storm.take() else { return };
        let mut looks = DRAIN_LOOKS_PER_TURN;
        for _ in 0..DRAIN_CLOSES_PER_TURN {
            let next =
                choice.next(&self.end.arena, &mut looks, |_, slot| slot.state() == ConnState::Open);
            let Some(id) = next else { break };
            // What is half done cannot end in order.
            let in_order = !choice.by_reset && self.end.arena[id].is_at_rest();
            self.close(id, if in_order { CloseReason::Storm } else { CloseReason::StormReset });
        }
        self.storm = Some(choice).filter(|choice| !choice.is_over());
    }
}
