//! A connection arrives: it is accepted into a slot, or, when the core is full, accepted and reset.

use crate::base::constants::{BACK_OFF_MS, REFUSALS_PER_VISIT};
use crate::base::errno::Errno;
use crate::engine::close_reason::CloseReason;
use crate::engine::driver::Listen;
use crate::engine::protocol::Protocol;
use crate::engine::server::Server;
use crate::engine::server::drain::MemoryLeft;
use crate::engine::server::role::OPENING;
use crate::engine::slot::ConnState;
use crate::engine::token::{Generation, Operation, SlotId, Token};

impl<D: Listen, P: Protocol> Server<D, P> {
    /// Keeps the wanted number of accepts outstanding on every listener, as far as slots go: a
    /// first one on each before a second one on any, so that few slots serve all.
    pub(super) fn arm_accepts(&mut self) {
        if self.accepts_no_more() {
            return;
        }
        let count = self.listeners.len();
        for wanted in 1..=self.accepts_wanted {
            for listener in (self.accepts_first..count).chain(0..self.accepts_first) {
                if self.listeners[listener].accepts.len() < wanted {
                    if self.is_paced() {
                        // What waits there stays in the kernel's queue; the next turn is this one's.
                        self.accepts_first = listener;
                        return;
                    }
                    let Some(id) = self.slot_to_accept() else {
                        return self.watch_full_listeners();
                    };
                    self.arm_accept(id, listener);
                }
            }
        }
    }

    fn is_backing_off(&self) -> bool {
        self.end.now_ms < self.accept_from_ms
    }

    /// Whether this core with `slots`, or all cores together, have as many connections as they may.
    fn holds_all_it_may(&self, slots: u32) -> bool {
        slots >= self.config.connections_max || self.config.allowance.is_used_up()
    }

    fn slot_to_accept(&mut self) -> Option<SlotId> {
        let is_short = self.memory != MemoryLeft::Enough;
        let is_full = is_short || self.holds_all_it_may(self.end.arena.used());
        if is_full || self.is_backing_off() {
            return None;
        }
        let slot = self.end.take_slot();
        slot.inspect_err(|errno| self.end.stats.failed[errno.index()].add(1)).ok().flatten()
    }

    fn arm_accept(&mut self, id: SlotId, listener: usize) {
        let slot = &mut self.end.arena[id];
        slot.transition_to(ConnState::Accepting);
        slot.role.set_listener(listener);
        self.end.driver.accept(slot.token(Operation::Accept, id), listener);
        self.listeners[listener].accepts.push(&mut self.end.arena, id);
    }

    pub(super) fn on_accept(&mut self, id: SlotId, result: Result<u32, Errno>) {
        let listener = self.end.arena[id].role.listener();
        self.listeners[listener].accepts.remove(&mut self.end.arena, id);
        let token = self.end.arena[id].token(Operation::Accept, id);
        let is_admitted = self.admits_source(id, token, result.is_ok());
        match result {
            Ok(_) => {
                self.end.stats.accepted_total.add(1);
                if let Some(pace) = &mut self.pace {
                    pace.take();
                }
                self.connections += 1;
                let slot = &mut self.end.arena[id];
                slot.transition_to(ConnState::Open);
                slot.wait_from(self.end.now);
                self.broadcasts.joins(id);
                if !self.config.allowance.take() {
                    // Another core was faster; what waits behind is refused without an accept.
                    self.refused += 1;
                    self.close(id, CloseReason::Refused);
                    return self.arm_accepts();
                }
                if !is_admitted {
                    self.close(id, CloseReason::RefusedPerSource);
                    return self.arm_accepts();
                }
                self.end.arm_poll(id);
                if P::SHAKES {
                    self.start_handshake(id);
                } else {
                    self.start_timer(id);
                }
                if self.protocol.speaks_first() {
                    self.end.arena[id].role.pending = OPENING;
                    self.give_buffer_and_speak(id);
                } else {
                    self.await_due(id);
                }
            }
            Err(errno) => {
                self.end.arena.free(id, self.end.now_ms);
                self.on_accept_failed(errno);
            }
        }
        self.arm_accepts();
    }

    fn on_accept_failed(&mut self, errno: Errno) {
        // A cancelled accept is our own: its segment retires. So is one whose listener has ended.
        if errno == Errno::ECANCELED || self.accepts_no_more() {
            return;
        }
        self.end.stats.accept_failed_total.add(1);
        self.end.stats.failed[errno.index()].add(1);
        // An aborted handshake is one peer's business; anything else would fail again at once.
        if errno != Errno::ECONNABORTED {
            self.accept_from_ms = self.end.now_ms + u64::from(BACK_OFF_MS);
        }
    }

    // ---- the core is full: accept and reset -----------------------------------------------

    /// Watches the listeners that have no accept outstanding, to refuse what arrives there.
    fn watch_full_listeners(&mut self) {
        if self.is_backing_off() {
            return;
        }
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            if listener.accepts.is_empty() && !listener.is_watched {
                listener.is_watched = true;
                self.end.driver.poll_listener(watch(index), index);
            }
        }
    }

    pub(super) fn on_waiting(&mut self, listener: usize) {
        self.listeners[listener].is_watched = false;
        if self.accepts_no_more() {
            return;
        }
        self.arm_accepts();
        // While accepting backs off or is paced no connection is refused: a later turn accepts again, or
        // watches again.
        let waits = self.is_backing_off() || self.is_paced();
        let may_refuse = self.listeners[listener].accepts.is_empty() && !waits;
        if may_refuse && !self.move_accept_to(listener) {
            let refused = self.end.driver.refuse(listener, REFUSALS_PER_VISIT);
            self.count_refused(refused as u64);
            // Even to refuse takes a file for a moment.
            if refused == 0 {
                self.accept_from_ms = self.end.now_ms + u64::from(BACK_OFF_MS);
            }
        }
    }

    fn count_refused(&self, refused: u64) {
        let stats = &self.end.stats;
        match self.memory {
            MemoryLeft::Enough => return stats.refused_total.add(refused),
            MemoryLeft::ShortOnHost => {}
            MemoryLeft::ShortInCgroup => stats.refused_cgroup_total.add(refused),
        }
        stats.refused_memory_total.add(refused);
    }

    /// When the core is not full, but its last slots wait for connections of other listeners, one
    /// of them is freed for `listener`, which has a connection now.
    fn move_accept_to(&mut self, listener: usize) -> bool {
        let is_full = self.holds_all_it_may(self.connections);
        let richest = self.listeners.iter().max_by_key(|other| other.accepts.len());
        let accept = richest.and_then(|other| other.accepts.first()).filter(|_| !is_full);
        if let Some(id) = accept {
            self.accepts_first = listener;
            self.cancel_accept(id);
        }
        accept.is_some()
    }

    pub(super) fn cancel_accept(&mut self, id: SlotId) {
        self.end.driver.cancel(self.end.arena[id].token(Operation::Accept, id));
    }

    /// While memory is short the core is as good as full: its accepts are taken back. A connection that
    /// is accepted before the kernel has done so is held as any other. When it is enough again, the next
    /// one to arrive finds the listener watched, and accepting goes on.
    pub(super) fn on_memory(&mut self, left: MemoryLeft) {
        self.memory = left;
        if left == MemoryLeft::Enough {
            return;
        }
        self.cancel_accepts();
    }

    /// Takes back all accepts that are with the kernel.
    pub(super) fn cancel_accepts(&mut self) {
        for listener in 0..self.listeners.len() {
            for _ in 0..self.listeners[listener].accepts.len() {
                let accepts = &mut self.listeners[listener].accepts;
                let id = accepts.pop(&mut self.end.arena).expect("as many as there are");
                accepts.push(&mut self.end.arena, id);
                self.cancel_accept(id);
            }
        }
    }
}

/// The token of the poll of a listener.
pub(super) fn watch(listener: usize) -> Token {
    let number = u16::try_from(listener).expect("listeners are few");
    Token::new(Operation::PollListener, Generation::default(), SlotId::new(0, number))
}
