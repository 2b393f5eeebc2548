//! What a server in push mode sends on one connection: a banner once, then one text again and
//! again. The client is told the same texts and interval as the server, and holds it to them.

use std::time::Duration;

use crate::base::constants::{BUFFER_BYTES, PUSH_GRACE_MAX};
use crate::base::units::Text;
use crate::engine::arena::{Arena, SlotQueue};
use crate::engine::slot::Slot;
use crate::observe::stats::CoreStats;

/// The part of a place that says that a text has been completed before.
pub const HAD_ONE: u16 = 1 << 15;

const _: () = assert!(2 * BUFFER_BYTES < HAD_ONE, "banner and text together are a place");

/// What is expected on every connection.
#[derive(Clone, Debug)]
pub struct Pushes {
    /// What comes once, first.
    pub banner: Option<Text>,
    /// What comes again and again.
    pub text: Text,
    /// Interval between two pushes; without it gaps are measured and nothing is late.
    pub every: Option<Duration>,
}

impl std::fmt::Display for Pushes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "push {}", self.text)?;
        match self.every {
            Some(every) => write!(f, " every {every:?}"),
            None => write!(f, " at any time"),
        }?;
        self.banner.iter().try_for_each(|banner| write!(f, " after banner {banner}"))
    }
}

impl Pushes {
    /// Follows the stream from `place`, where 0 is its beginning: the place after `bytes` and how
    /// many texts were completed; `None` when the bytes are others. A place is how far into banner
    /// and text together, with `HAD_ONE` once the first text is complete.
    pub fn follow(&self, place: u16, bytes: &[u8]) -> Option<(u16, u64)> {
        let banner = self.banner.as_ref().map_or(&[][..], Text::bytes);
        let text = self.text.bytes();
        let (mut at, mut texts) = (usize::from(place & !HAD_ONE), 0);
        for &byte in bytes {
            if at == banner.len() + text.len() {
                at = banner.len();
            }
            let expected = banner.get(at).or_else(|| text.get(at - banner.len()));
            if expected != Some(&byte) {
                return None;
            }
            at += 1;
            texts += u64::from(at == banner.len() + text.len());
        }
        let had_one = if texts > 0 { HAD_ONE } else { place & HAD_ONE };
        Some((u16::try_from(at).expect("both texts fit a buffer") | had_one, texts))
    }

    /// A connection is open: from now on its first push is waited for.
    pub fn opened(&self, slot: &mut Slot, now: Duration) {
        slot.wait_from(now);
    }

    /// So many `texts` have come in one piece: they end the waits for those that were owed first.
    pub fn arrived(
        &self,
        slot: &mut Slot,
        texts: u64,
        had_one: bool,
        now: Duration,
        stats: &CoreStats,
    ) {
        while self.is_overdue(slot, now) {
            self.count_overdue(slot, had_one, now, stats);
        }
        if had_one && let Some(waited) = slot.waited_if_begun(now) {
            let moved = self.every.unwrap_or_default() * u32::from(slot.start);
            stats.push_gap_us.record(waited + moved);
        }
        // Those behind the first came with it.
        (1..texts).for_each(|_| stats.push_gap_us.record(Duration::ZERO));
        let late = texts.min(u64::from(slot.owed));
        stats.pushes_total.add(texts);
        stats.pushes_late_total.add(late);
        slot.owed -= u8::try_from(late).expect("no more than were owed");
        slot.start = 0;
        slot.wait_from(now);
    }

    /// Counts what has not come in time on those who rest, and on those whose waits were moved:
    /// both queues are in the order in which waits began, and stay so.
    pub fn count_all_overdue(
        &self,
        [resting, moved]: [&mut SlotQueue; 2],
        arena: &mut Arena,
        now: Duration,
        stats: &CoreStats,
    ) {
        loop {
            let heads = [resting.first(), moved.first()].into_iter().flatten();
            let Some(id) = heads.max_by_key(|id| arena[*id].waited_if_begun(now)) else { return };
            if !self.is_overdue(&arena[id], now) {
                return;
            }
            let queue = if is_moved(&arena[id]) { &mut *moved } else { &mut *resting };
            queue.remove(arena, id);
            let had_one = arena[id].sequence & HAD_ONE != 0;
            self.count_overdue(&mut arena[id], had_one, now, stats);
            moved.push(arena, id);
        }
    }

    /// Whether the push that is due next on `slot` has not come in time.
    fn is_overdue(&self, slot: &Slot, now: Duration) -> bool {
        let grace = |every: Duration| every + PUSH_GRACE_MAX.min(every / 2);
        self.every.map(grace).is_some_and(|after| slot.waited_if_begun(now) > Some(after))
    }

    /// It has not: from now on the one behind it is waited for. A server spreads first pushes, so
    /// that the first may take two intervals. Of those owed, 255 are told apart; beyond that
    /// silence is silence.
    fn count_overdue(&self, slot: &mut Slot, had_one: bool, now: Duration, stats: &CoreStats) {
        let is_late = (had_one || is_moved(slot)) && slot.owed < u8::MAX;
        let since = now.saturating_sub(slot.waited(now));
        slot.wait_from(since + self.every.unwrap_or_default());
        slot.start = slot.start.saturating_add(1);
        slot.owed += u8::from(is_late);
        stats.pushes_overdue_total.add(u64::from(is_late));
    }
}

/// Whether the beginning of its wait was moved since the last push, by `start` intervals.
pub fn is_moved(slot: &Slot) -> bool {
    slot.start > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushes(banner: Option<&str>) -> Pushes {
        let text = |text: &str| text.parse::<Text>().expect("a text");
        Pushes { banner: banner.map(text), text: text(r"ok\n"), every: None }
    }

    #[test]
    fn a_stream_is_followed_at_every_cut() {
        let stream = b"hello\nok\nok\nok\n";
        let pushes = pushes(Some(r"hello\n"));
        for cut in 0..stream.len() {
            let (place, before) = pushes.follow(0, &stream[..cut]).expect("the stream is right");
            let (_, behind) = pushes.follow(place, &stream[cut..]).expect("the stream is right");
            assert_eq!(before + behind, 3, "cut at {cut}");
            assert_eq!(place & HAD_ONE == 0, cut < 9, "cut at {cut}");
        }
    }

    #[test]
    fn any_other_byte_is_found() {
        let stream = b"ok\nok\n";
        for at in 0..stream.len() {
            let mut other = *stream;
            other[at] ^= 1;
            assert_eq!(pushes(None).follow(0, &other), None);
        }
        assert_eq!(pushes(Some("hi")).follow(0, b"ok\n"), None);
    }
}
