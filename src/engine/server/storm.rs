//! A storm: the server drops a part of its connections.

use crate::engine::close_reason::CloseReason;
use crate::engine::driver::Listen;
use crate::engine::protocol::Protocol;
use crate::engine::server::Server;
use crate::engine::storm::{Budget, Way};

impl<D: Listen, P: Protocol> Server<D, P> {
    /// Closes those that the storm takes.
    pub(super) fn close_stormed(&mut self) {
        let mut budget = Budget::of_turn();
        let of = (self.connections.into(), self.config.core);
        while let Some((id, by)) = self.end.take_of_storm(of, &mut budget, |_| true) {
            // What is half done cannot end in order.
            let in_order = by == Way::Fin && self.end.arena[id].is_at_rest();
            self.close(id, if in_order { CloseReason::Storm } else { CloseReason::StormReset });
        }
    }
}
