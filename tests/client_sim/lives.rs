//! What the model knows of one open connection, of the pushes it waits for, and of one schedule.

use std::collections::BTreeSet;
use std::time::Duration;

use megaconn::base::constants::PUSH_GRACE_MAX;
use megaconn::drivers::sim::{BehaviorFault, EchoFault, Peer};
use megaconn::engine::protocol::message::Message;
use megaconn::observe::stats::{ClientStats, LostCause};

use crate::scene::Told;

use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::protocol::push::Pushes;

/// A connection that was open after the turn before.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) is_short: bool,
    /// A message is out on it.
    pub(super) owes_echo: bool,
    /// Bytes from its peer that were looked at.
    pub(super) seen: usize,
    /// Messages whose echo has come.
    pub(super) verified: usize,
    /// Its peer sent something else than it should.
    pub(super) is_mismatched: bool,
    pub(super) waits: Waits,
}

impl Open {
    /// Looks at what has come of an echo; when it is whole and right, how long it took.
    pub(super) fn take_echo(
        &mut self,
        peer: &Peer,
        bytes: usize,
        dues: &[BTreeSet<Duration>; 2],
        now: Duration,
    ) -> Option<Duration> {
        let from = self.verified * bytes;
        let echo = &peer.sent[from..self.seen];
        let asked = peer.received.get(from..from + bytes);
        let begins_otherwise = !b"MCN1".iter().zip(echo).all(|(one, other)| one == other);
        let is_other = echo.len() == bytes && asked != Some(echo);
        self.is_mismatched = !self.owes_echo || echo.len() > bytes || begins_otherwise || is_other;
        if self.is_mismatched || echo.len() < bytes {
            return None;
        }
        self.verified += 1;
        let due = Message::read(echo).expect("the client sends messages").due;
        let dues = &dues[usize::from(self.is_short)];
        assert!(dues.contains(&due), "a message says {due:?}, when none was due");
        Some(now - due)
    }

    pub(super) fn take_pushes(
        &mut self,
        pushes: &Pushes,
        peer: &Peer,
        from: usize,
        now: Duration,
        figures: &ClientStats,
    ) {
        let banner = pushes.banner.as_ref().map_or(&[][..], |banner| banner.bytes());
        let text = pushes.text.bytes();
        let expected = |at: usize| match at.checked_sub(banner.len()) {
            None => banner[at],
            Some(at) => text[at % text.len()],
        };
        self.is_mismatched = (from..self.seen).any(|at| peer.sent[at] != expected(at));
        let whole = (self.seen.saturating_sub(banner.len()) / text.len()) as u64;
        if !self.is_mismatched && whole > self.waits.texts {
            self.waits.arrived(pushes, whole, now, figures);
        }
    }

    /// What ends it, from what its peer has done.
    pub(super) fn cause(&self, peer: &Peer) -> Option<usize> {
        let of_schedule = peer.schedule.as_ref().and_then(|schedule| schedule.fault);
        let of_echo =
            peer.profile.echo.and_then(|echo| echo.fault).filter(|_| of_schedule.is_none());
        let is_answering = peer.schedule.is_none();
        let cause = match (of_schedule, of_echo.filter(|_| is_answering)) {
            _ if self.is_mismatched => LostCause::Mismatch,
            _ if !peer.has_erred => return None,
            (Some(BehaviorFault::Reset), _) | (_, Some(EchoFault::Reset)) => LostCause::Reset,
            (Some(BehaviorFault::End), _) | (_, Some(EchoFault::End)) => LostCause::Fin,
            (Some(BehaviorFault::Deafness), _) | (_, Some(EchoFault::Silence)) => LostCause::Silent,
            _ => return None,
        };
        Some(cause as usize)
    }
}

/// The pushes that one connection waits for.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    since: Duration,
    owed: u64,
    texts: u64,
    last: Duration,
}

impl Waits {
    /// The first text may take two intervals.
    pub(super) fn opened(config: &Told, now: Duration) -> Waits {
        let Expect::Push(pushes) = &config.expect else { return Waits::default() };
        Waits { since: now + pushes.every.unwrap_or_default(), ..Waits::default() }
    }

    /// A text is overdue half an interval, at most a second, after one interval past the text
    /// before, or past when that was overdue itself.
    pub(super) fn count_overdue(&mut self, pushes: &Pushes, now: Duration, figures: &ClientStats) {
        let Some(every) = pushes.every else { return };
        let after = every + PUSH_GRACE_MAX.min(every / 2);
        // A slot keeps microseconds.
        while now.as_micros().saturating_sub(self.since.as_micros()) > after.as_micros() {
            self.since += every;
            // Of those owed, 255 are told apart.
            let is_told = self.owed < u64::from(u8::MAX);
            self.owed += u64::from(is_told);
            figures.pushes_overdue_total.add(is_told.into());
        }
    }

    fn arrived(&mut self, pushes: &Pushes, whole: u64, now: Duration, figures: &ClientStats) {
        self.count_overdue(pushes, now, figures);
        let texts = whole - self.texts;
        let gap = between(self.last, now);
        let gaps = [gap].into_iter().filter(|_| self.texts > 0);
        for gap in gaps.chain((1..texts).map(|_| Duration::ZERO)) {
            figures.push_gap_us.record(gap);
        }
        let late = texts.min(self.owed);
        figures.pushes_total.add(texts);
        figures.pushes_late_total.add(late);
        self.owed -= late;
        (self.texts, self.last, self.since) = (whole, now, now);
    }
}

/// A schedule that runs, as the documents have it: thing `k` is due `k / rate` after its start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    pub(super) since: Duration,
    pub(super) per_s: f64,
    pub(super) begun: u64,
}

impl Line {
    /// From `now` on, but for the first `turn` of an interval.
    pub(super) fn start(per_s: f64, turn: f64, now: Duration) -> Line {
        let first = if per_s > 0.0 { turn / per_s } else { 0.0 };
        Line { since: now + Duration::from_secs_f64(first), per_s, begun: 0 }
    }

    /// The next thing begins: when it was due.
    pub(super) fn begin(&mut self, now: Duration) -> Duration {
        assert!(self.per_s > 0.0, "something has begun that is on no schedule");
        let due = self.since + Duration::from_secs_f64(self.begun as f64 / self.per_s);
        assert!(due <= now, "number {} has begun before {due:?}, when it is due", self.begun);
        self.begun += 1;
        due
    }

    /// The next thing is due when it was to be, and those behind it at another rate.
    pub(super) fn slow(&mut self, per_s: f64) {
        if self.per_s > 0.0 {
            let since = self.since + Duration::from_secs_f64(self.begun as f64 / self.per_s);
            *self = Line { since, per_s, begun: 0 };
        }
    }

    pub(super) fn missed(&self, until: Duration) -> u64 {
        let due = until.saturating_sub(self.since).as_secs_f64() * self.per_s;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some hundreds"
        )]
        let due = due as u64;
        due.saturating_sub(self.begun)
    }
}

/// As a slot counts it, which keeps microseconds.
pub(super) fn between(from: Duration, to: Duration) -> Duration {
    Duration::from_micros(u64::try_from(to.as_micros() - from.as_micros()).expect("some minutes"))
}
