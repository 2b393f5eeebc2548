//! What waits in a core's queues, counted slot by slot, against the gauges that say so.

use megaconn::conn::{Life, ReadSide, Slot, WriteSide};

use super::World;

impl World {
    pub(super) fn check_gauges(&self) {
        let count = |is_so: fn(&Slot) -> bool| {
            let slots = self.shard.arena().iter_used().map(|(_, slot)| slot);
            slots.filter(|slot| slot.life() == Life::Open && is_so(slot)).count() as u64
        };
        let stalled = count(|slot| slot.write == WriteSide::Stalled);
        assert_eq!(self.stats.sends_stalled.get(), stalled, "the gauge of stalled sends");
        let starved = count(|slot| slot.read == ReadSide::Starved);
        let awaited = self.stats.buffers_awaited.get();
        // A text that is due may want a buffer as well.
        let has_texts = self.config.mode.push_every().is_some() || self.config.banner.is_some();
        let is_right = awaited == starved || has_texts && awaited > starved;
        assert!(is_right, "the gauge of awaited buffers is {awaited}, {starved} read none");
    }
}
