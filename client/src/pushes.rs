//! What a server in push mode sends on one connection: a banner once, then one text again and
//! again. The client is told the same texts and interval as the server, and holds it to them.

use std::time::Duration;

use megaconn::conn::Slot;
use megaconn::limits::{BUFFER_BYTES, PUSH_GRACE_MAX};
use megaconn::stats::CoreStats;
use megaconn::units::Text;

/// The part of a place that says that a text has been completed before.
pub(crate) const HAD_ONE: u16 = 1 << 15;

const _: () = assert!(2 * BUFFER_BYTES < HAD_ONE, "banner and text together are a place");

/// What is expected on every connection.
#[derive(Clone, Debug)]
pub(crate) struct Pushes {
    pub(crate) banner: Option<Text>,
    pub(crate) text: Text,
    /// Interval between two pushes; without it gaps are measured and nothing is late.
    pub(crate) every: Option<Duration>,
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
    pub(crate) fn follow(&self, place: u16, bytes: &[u8]) -> Option<(u16, u64)> {
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

    /// A connection is open: from now on its first push is waited for. A server spreads first
    /// pushes, so that the first may take two intervals.
    pub(crate) fn opened(&self, slot: &mut Slot, now: Duration) {
        slot.wait_from(now + self.every.unwrap_or_default());
    }

    /// So many `texts` have come in one piece: they end the waits for those that were owed first.
    pub(crate) fn arrived(
        &self,
        slot: &mut Slot,
        texts: u64,
        had_one: bool,
        now: Duration,
        stats: &CoreStats,
    ) {
        while self.is_overdue(slot, now) {
            self.count_overdue(slot, now, stats);
        }
        if had_one && let Some(waited) = slot.waited_if_begun(now) {
            // Each overdue push has moved the wait's beginning by an interval.
            let moved = self.every.unwrap_or_default() * u32::from(slot.owed);
            stats.push_gap_us.record(waited + moved);
        }
        // Those behind the first came with it.
        (1..texts).for_each(|_| stats.push_gap_us.record(Duration::ZERO));
        let late = texts.min(u64::from(slot.owed));
        stats.pushes_total.add(texts);
        stats.pushes_late_total.add(late);
        slot.owed -= u8::try_from(late).expect("no more than were owed");
        slot.wait_from(now);
    }

    /// Whether the push that is due next on `slot` has not come in time. Of those owed, 255 are
    /// told apart; beyond that silence is silence.
    pub(crate) fn is_overdue(&self, slot: &Slot, now: Duration) -> bool {
        let grace = |every: Duration| every + PUSH_GRACE_MAX.min(every / 2);
        let overdue_after = self.every.filter(|_| slot.owed < u8::MAX).map(grace);
        overdue_after.is_some_and(|after| slot.waited_if_begun(now) > Some(after))
    }

    /// It has not: from now on the one behind it is waited for.
    pub(crate) fn count_overdue(&self, slot: &mut Slot, now: Duration, stats: &CoreStats) {
        let since = now.saturating_sub(slot.waited(now));
        slot.owed += 1;
        slot.wait_from(since + self.every.unwrap_or_default());
        stats.pushes_overdue_total.add(1);
    }
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
