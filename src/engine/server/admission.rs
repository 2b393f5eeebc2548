//! Which connections a core takes, and how fast: those of one source up to their limit (`sources`), at the pace of
//! `--accept-rate` (`pace`).

use std::time::Duration;

use crate::engine::close_reason::CloseReason;
use crate::engine::driver::Listen;
use crate::engine::protocol::Protocol;
use crate::engine::server::Server;
use crate::engine::token::{SlotId, Token};

impl<D: Listen, P: Protocol> Server<D, P> {
    /// The accept of `token` is done, with a connection in `id` or without; whether its source may have it.
    pub(super) fn admits_source(&mut self, id: SlotId, token: Token, is_connection: bool) -> bool {
        if !self.config.sources.is_limited() {
            return true;
        }
        // It is asked in any case, since the driver keeps it till then.
        let peer = self.end.driver.peer(token).filter(|_| is_connection);
        let Some(source) = peer.map(|source| source.to_canonical()) else { return true };
        let is_admitted = self.config.sources.take(source);
        if is_admitted {
            self.sources.insert(id, source);
        }
        is_admitted
    }

    /// A connection begins its end: its source may have another one.
    pub(super) fn leave_source(&mut self, id: SlotId, reason: CloseReason) {
        if reason == CloseReason::RefusedPerSource || self.sources.is_empty() {
            return;
        }
        if let Some(source) = self.sources.remove(&id) {
            self.config.sources.give_back(source);
        }
    }

    fn accepts_armed(&self) -> usize {
        self.listeners.iter().map(|listener| listener.accepts.len() as usize).sum()
    }

    /// Whether one more accept is too many for `--accept-rate`.
    pub(super) fn is_paced(&self) -> bool {
        self.pace.is_some_and(|pace| self.accepts_armed() >= pace.accepts())
    }

    /// Counts the time in which accepting was held back, and accepts as many as may be by now.
    pub(super) fn keep_pace(&mut self) {
        let Some(pace) = &mut self.pace else { return };
        let (now, since) = (self.end.now, pace.at);
        pace.fill(now);
        if pace.held_back {
            let micros = now.saturating_sub(since).as_micros();
            self.end.stats.accept_paced_us_total.add(u64::try_from(micros).unwrap_or(u64::MAX));
        }
        self.arm_accepts();
        let held_back = !self.accepts_no_more()
            && self.is_paced()
            && self.listeners.iter().any(|listener| listener.accepts.is_empty());
        if let Some(pace) = &mut self.pace {
            pace.held_back = held_back;
        }
    }

    /// Until when the core may sleep, while fewer accepts are with the kernel than are wanted.
    pub(super) fn pace_sleep(&self) -> Option<Duration> {
        let pace = self.pace.filter(|_| !self.accepts_no_more())?;
        let wanted = self.accepts_wanted as usize * self.listeners.len();
        (self.accepts_armed() < wanted && !pace.is_full()).then(|| pace.wait())
    }
}
