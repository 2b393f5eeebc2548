//! Which slots stand in a core's queues, and the gauges that say how many.

use std::time::Duration;

use megaconn::engine::driver::Driver;
use megaconn::engine::protocol::Protocol;
use megaconn::engine::server::role::Serving;
use megaconn::engine::slot::{BufferId, ConnState, ReadSide, Slot, Timed, WriteSide};

use super::World;

/// The wheel's milliseconds, rounded up.
const ROUNDED: Duration = Duration::from_millis(2);

impl World {
    /// A slot that waits for something stands in a queue, and no other does; silence is noticed.
    pub(super) fn check_slots(&mut self) {
        let now = self.shard.end.driver.now();
        let every = self.traits.mode.timer_every();
        let has_timers = every.is_some() || self.config.idle_timeout.is_some();
        for (id, slot) in self.shard.end.arena.iter_used() {
            let is_right = match slot.state() {
                ConnState::Open if slot.read == ReadSide::RecvArmed => {
                    slot.is_queued() && slot.buffer != BufferId::NONE
                }
                ConnState::Open if slot.is_at_rest() => {
                    slot.is_queued() == has_timers && slot.buffer == BufferId::NONE
                }
                ConnState::Open if slot.read == ReadSide::Starved => slot.is_queued(),
                ConnState::Open if slot.write == WriteSide::Stalled => slot.is_queued(),
                ConnState::Open => true,
                ConnState::Accepting => slot.is_queued(),
                ConnState::Closing | ConnState::Connecting | ConnState::Free => !slot.is_queued(),
            };
            assert!(is_right, "{id:?} stands in the wrong queue, or in none: {slot:?}");
            let is_polled = slot.read == ReadSide::Polling && slot.is_at_rest();
            if has_timers && slot.state() == ConnState::Open && is_polled {
                // How long the wheel lets it rest from now on, or has let it for too long.
                let rest = Duration::from_millis(slot.role.due_ms().into()).checked_sub(now);
                let most = match (every, self.config.idle_timeout) {
                    (Some(every), _) => 2 * every,
                    (None, most) => most.unwrap_or_default().saturating_sub(slot.waited(now)),
                };
                let is_seen = rest.is_some_and(|rest| rest <= most + ROUNDED);
                assert!(is_seen, "{id:?} is due in {rest:?} instead of {most:?}: {slot:?}");
            }
        }
    }

    pub(super) fn check_gauges(&self) {
        let count = |is_so: fn(&Slot<Serving<()>>) -> bool| {
            let slots = self.shard.end.arena.iter_used().map(|(_, slot)| slot);
            slots.filter(|slot| slot.state() == ConnState::Open && is_so(slot)).count() as u64
        };
        let stalled = count(|slot| slot.write == WriteSide::Stalled);
        assert_eq!(self.stats.sends_stalled.get(), stalled, "the gauge of stalled sends");
        let starved = count(|slot| slot.read == ReadSide::Starved);
        let awaited = self.stats.buffers_awaited.get();
        // A text that is due may want a buffer as well.
        let has_texts = self.traits.mode.timer_every().is_some() || self.traits.banner.is_some();
        let is_right = awaited == starved || has_texts && awaited > starved;
        assert!(is_right, "the gauge of awaited buffers is {awaited}, {starved} read none");
    }
}
