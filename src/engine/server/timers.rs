//! What comes due on a server: the protocol's timer, the silence of peers, the tick, and until when the
//! core may sleep.

use std::time::Duration;

use crate::base::constants::{
    ACCEPTS_PER_CORE, DRAIN_CLOSES_PER_TURN, DRAIN_LOOKS_PER_TURN, SEGMENT_LINGER_MS, TICK_MS,
    TIMERS_PER_TURN, WARM_TIME,
};
use crate::engine::close_reason::CloseReason;
use crate::engine::driver::Listen;
use crate::engine::protocol::Protocol;
use crate::engine::server::Server;
use crate::engine::server::drain::Drain;
use crate::engine::server::listener::Listener;
use crate::engine::server::role::{TIMER_DUE, TIMER_SENDS};
use crate::engine::slot::{BufferId, Queue, ReadSide, Timed, low_milliseconds};
use crate::engine::token::SlotId;

impl<D: Listen, P: Protocol> Server<D, P> {
    /// Fixes when the protocol's timer runs out first on a new connection.
    pub(super) fn start_timer(&mut self, id: SlotId) {
        if let Some(every) = self.protocol.timer_every() {
            let due_ms = self.spread.first_due_ms(self.end.now, every, self.connections);
            self.end.arena[id].role.set_due_ms(due_ms);
        }
    }

    /// Adds an open slot to the wheel, unless it stands in a queue, or there is nothing to look for.
    #[inline]
    pub(super) fn await_due(&mut self, id: SlotId) {
        let has_timer = self.protocol.timer_every().is_some() || self.config.idle_timeout.is_some();
        if has_timer || self.is_shaking(id) {
            self.add_to_wheel(id);
        }
    }

    fn add_to_wheel(&mut self, id: SlotId) {
        let is_shaking = self.is_shaking(id);
        let slot = &mut self.end.arena[id];
        if slot.is_queued() {
            return;
        }
        // Until when a handshake may take is known since the accept.
        if !is_shaking
            && let (None, Some(most)) = (self.protocol.timer_every(), self.config.idle_timeout)
        {
            let rest = most.saturating_sub(slot.waited(self.end.now));
            slot.role.set_due_ms(low_milliseconds(self.end.now + rest).wrapping_add(1));
        }
        self.wheel.add(&mut self.end.arena, id);
    }

    /// Looks at the slots that are due, some of them in one turn.
    pub(super) fn look_at_due(&mut self) {
        let now_ms = low_milliseconds(self.end.now);
        let mut looks = TIMERS_PER_TURN;
        while let Some(id) = self.wheel.expire(&mut self.end.arena, now_ms, &mut looks) {
            self.on_due(id);
        }
    }

    fn on_due(&mut self, id: SlotId) {
        if self.is_shaking(id) {
            return self.on_handshake_due(id);
        }
        if self.is_idle_too_long(id) {
            return self.close(id, CloseReason::Idle);
        }
        if self.protocol.timer_every().is_none() {
            return self.await_due(id);
        }
        // While bytes are under way it waits for the buffer that is there.
        let slot = &mut self.end.arena[id];
        let is_free = slot.buffer == BufferId::NONE;
        slot.role.pending |= TIMER_DUE;
        if is_free {
            self.give_buffer_and_speak(id);
        }
    }

    /// The timer has sent: its next time counts from when this one was due, not from when it went, so
    /// that none is left out. That of a ping counts from now, so that each has its time to be answered.
    pub(super) fn restart_timer(&mut self, id: SlotId) {
        let slot = &mut self.end.arena[id];
        slot.role.pending &= !TIMER_SENDS;
        let every = low_milliseconds(self.protocol.timer_every().unwrap_or_default());
        let now_ms = low_milliseconds(self.end.now);
        let from_ms = if self.protocol.pings() { now_ms } else { slot.role.due_ms() };
        slot.role.set_due_ms(from_ms.wrapping_add(every));
    }

    /// Bytes that wait to be received are no silence.
    pub(super) fn is_silent(&self, id: SlotId) -> bool {
        self.end.arena[id].read == ReadSide::Polling && self.queue_drained
    }

    fn is_idle_too_long(&self, id: SlotId) -> bool {
        let slot = &self.end.arena[id];
        self.is_silent(id)
            && self.config.idle_timeout.is_some_and(|most| slot.waited(self.end.now) >= most)
    }

    /// Gives up what has waited too long, and tidies.
    pub(super) fn give_up_waits(&mut self) {
        self.look_at_stalled();
        self.give_up_partial();
        self.end_late_arrivals();
        let now = self.end.now;
        while self
            .end
            .first(Queue::Warm)
            .is_some_and(|id| self.end.arena[id].waited(now) >= WARM_TIME)
        {
            self.end.cancel_oldest_await();
        }
        self.evict_for_starved();
        self.retire_segment();
        self.arm_accepts();
    }

    /// Gives up connections that do not go on with what they have begun, which the wheel does not know: a handshake, or a
    /// message.
    fn give_up_partial(&mut self) {
        if !self.queue_drained {
            return;
        }
        let pings = self.protocol.timer_every().filter(|_| self.protocol.pings());
        let mut next = self.end.first(Queue::Partial);
        while let Some(id) = next {
            next = self.end.behind(id);
            let (slot, now) = (&self.end.arena[id], self.end.now);
            let is_silent_for = |most: Duration| slot.waited(now) >= most;
            let reason = if self.is_shaking(id) {
                (slot.overdue(now) > Duration::ZERO).then_some(CloseReason::HandshakeTimeout)
            } else if self.is_idle_too_long(id) {
                Some(CloseReason::Idle)
            } else {
                // No ping may stand within what has begun: it has the time of one, and that of its answer.
                pings
                    .is_some_and(|every| is_silent_for(2 * every))
                    .then_some(CloseReason::PingTimeout)
            };
            if let Some(reason) = reason {
                self.close(id, reason);
            }
        }
    }

    /// Gives the highest segment back when the lower ones have had room for all for a while.
    fn retire_segment(&mut self) {
        let Some(segment) = self.end.arena.retiring() else { return };
        match segment.empty_since_ms {
            Some(since) if self.end.now_ms - since >= u64::from(SEGMENT_LINGER_MS) => {
                self.end.shrink(segment.number);
            }
            Some(_) => {}
            // Only accepts left? They move down.
            None if segment.used as usize <= ACCEPTS_PER_CORE => {
                for id in self.end.arena.accepting_in(segment.number).collect::<Vec<_>>() {
                    self.cancel_accept(id);
                }
            }
            None => {}
        }
    }

    /// How long the core may sleep when no bell rings.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let is_deaf = |listener: &Listener| {
            listener.accepts.is_empty() && !listener.is_watched && !self.accepts_no_more()
        };
        let has_deadlines = self.stalled() > 0
            || self.end.count(Queue::Arriving) > 0
            || self.end.count(Queue::Starved) > 0
            || self.end.count(Queue::Warm) > 0
            || self.end.count(Queue::Partial) > 0
            || !self.end.may_grow()
            || self.listeners.iter().any(is_deaf)
            || self.end.arena.retiring().is_some();
        let tick = has_deadlines.then(|| Duration::from_millis(u64::from(TICK_MS)));
        let sweep = self.drain.filter(|_| self.connections > 0);
        let sweep = sweep.map(|drain| drain.sleep(self.end.now));
        let at_once = self.has_handshakes() || self.end.storms.now().is_some();
        let at_once = at_once.then_some(Duration::ZERO);
        let broadcast = self.broadcasts.sleep(Duration::from_millis(TICK_MS.into()));
        let (due, pace) = (self.wheel.sleep(self.end.now), self.pace_sleep());
        [tick, sweep, at_once, broadcast, due, pace].into_iter().flatten().min()
    }

    // ---- all go: a drain ------------------------------------------------------------------

    pub(super) fn begin_drain(&mut self, time: Duration) {
        // Where others have the listeners as well, they are not ours to end.
        if !self.leaving.has_begun() {
            self.end.driver.stop_listening();
        }
        while self.end.cancel_oldest_await() {}
        self.drain = Some(Drain::new(self.end.driver.now(), time, self.connections));
    }

    /// Closes connections that rest as fast as the pace demands; when the time is up, all.
    pub(super) fn drain(&mut self) {
        let mut looks = DRAIN_LOOKS_PER_TURN;
        let now = self.end.now;
        for _ in 0..DRAIN_CLOSES_PER_TURN {
            let Some(drain) = self.drain.as_mut().filter(|_| self.queue_drained) else { return };
            let is_over = drain.is_over(now);
            let reason = if is_over { CloseReason::DrainCut } else { CloseReason::Drained };
            let Some(id) = drain.next(&self.end.arena, now, &mut looks) else { return };
            self.close(id, reason);
        }
    }
}
