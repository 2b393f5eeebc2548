//! Peers that were connected to and do not answer: they push texts by a schedule, or only take.
//!
//! Like every peer they err once, when they are told to. What they owe is kept here, when they may
//! act is the world's.

use std::time::Duration;

use super::choices::Choices;
use super::{EchoFault, Parting, Peer, Reading};

/// What peers that are connected to do.
#[derive(Clone, Debug, Default)]
pub enum PeerBehavior {
    /// They answer, see [`super::Echo`].
    #[default]
    Answer,
    /// They send texts unasked.
    Push(PushPlan),
    /// They take what comes and never send a byte.
    Sink,
}

/// Texts on a schedule.
#[derive(Clone, Debug)]
pub struct PushPlan {
    /// What comes first, once; empty for nothing.
    pub banner: Vec<u8>,
    /// What comes again and again.
    pub text: Vec<u8>,
    /// Time between two texts.
    pub every: Duration,
}

/// What a peer that does not answer does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BehaviorFault {
    /// A text comes some intervals too late, and with it those behind it.
    Lateness,
    /// Texts come before their time, and their time passes without them.
    Haste,
    /// Texts are left out for good.
    Omission,
    /// No text comes any more.
    Silence,
    /// One bit of a text is flipped.
    Corruption,
    /// It sends a byte although it should not send any.
    Babble,
    /// It takes nothing, from the start.
    Deafness,
    /// It resets the connection.
    Reset,
    /// It ends the connection in order, unasked.
    End,
    /// It never ends its direction after we have ended ours.
    Stubbornness,
}

/// A peer's schedule, how far it is, and what it will do wrong.
#[derive(Clone, Debug)]
pub struct PeerSchedule {
    /// What it does wrong, once.
    pub fault: Option<BehaviorFault>,
    /// `None` for a sink.
    plan: Option<PushPlan>,
    /// Texts before it errs.
    fault_after: u32,
    texts: u32,
    /// Texts that come together next time.
    together: usize,
    due: Duration,
    /// Begun and not yet sent.
    pending: Vec<u8>,
}

impl PeerSchedule {
    /// The schedule of one peer, beginning `now`.
    pub(super) fn new(
        behavior: &PeerBehavior,
        errs: bool,
        now: Duration,
        random: &mut Choices,
    ) -> Option<PeerSchedule> {
        let (plan, faults, wait) = match behavior {
            PeerBehavior::Answer => return None,
            PeerBehavior::Push(plan) => (Some(plan.clone()), PUSH_FAULTS, plan.every),
            PeerBehavior::Sink => (None, SINK_FAULTS, Duration::from_secs(2)),
        };
        let fault = errs.then(|| faults[random.usize(..faults.len())]);
        let pending = plan.iter().flat_map(|plan| plan.banner.clone()).collect();
        let due = now + wait.mul_f64(random.f64());
        // A sink has no texts that could come before.
        let fault_after = if plan.is_some() { random.u32(..4) } else { 0 };
        Some(PeerSchedule { fault, plan, fault_after, texts: 0, together: 1, due, pending })
    }
}

impl Peer {
    /// Does what its schedule has due; when it will act again.
    pub(super) fn act_unasked(&mut self, now: Duration, random: &mut Choices) -> Option<Duration> {
        let has_ended = self.is_over() || self.has_half_closed;
        let schedule = self.schedule.as_mut().filter(|_| !has_ended)?;
        let strikes = !self.has_erred && schedule.texts >= schedule.fault_after;
        let fault = schedule.fault.filter(|_| strikes && now >= schedule.due);
        self.has_erred |= fault.is_some_and(|fault| fault != BehaviorFault::Stubbornness);
        match fault {
            Some(BehaviorFault::Reset) => self.has_reset = true,
            Some(BehaviorFault::End) => self.has_half_closed = true,
            Some(BehaviorFault::Babble) => self.sent.push(random.u8(..)),
            _ => {}
        }
        let every = schedule.plan.as_ref()?.every;
        if self.has_reset || self.has_half_closed {
            return None;
        }
        if now >= schedule.due {
            let some = random.u32(1..=3);
            match fault {
                Some(BehaviorFault::Silence) => return None,
                Some(BehaviorFault::Lateness) => {
                    schedule.together = usize::try_from(some).expect("few") + 1;
                    schedule.due += every * some + every.mul_f64(random.f64());
                }
                Some(BehaviorFault::Omission) => schedule.due += every * some,
                Some(BehaviorFault::Haste) => {
                    schedule.together = usize::try_from(some).expect("few") + 1;
                    schedule.push();
                    schedule.due += every * some;
                }
                Some(BehaviorFault::Corruption) => {
                    let from = schedule.pending.len();
                    schedule.push();
                    let at = random.usize(from..schedule.pending.len());
                    schedule.pending[at] ^= 1 << random.u8(..8);
                }
                _ => schedule.push(),
            }
        }
        if schedule.pending.is_empty() {
            // Mostly on time, now and then a little behind.
            let jitter = every.mul_f64(random.f64().powi(4) / 4.0);
            return Some(schedule.due.max(now) + jitter);
        }
        let all = schedule.pending.len();
        let piece = if random.bool() { all } else { random.usize(1..=all) };
        self.sent.extend(schedule.pending.drain(..piece));
        Some(now + Duration::from_micros(random.u64(1..5_000)))
    }

    /// Gives it a schedule, which begins `now`; when it acts for the first time.
    pub(super) fn begin_schedule(
        &mut self,
        behavior: &PeerBehavior,
        errs: bool,
        now: Duration,
        random: &mut Choices,
    ) -> Option<Duration> {
        let schedule = self.schedule.insert(PeerSchedule::new(behavior, errs, now, random)?);
        if schedule.fault == Some(BehaviorFault::Deafness) {
            self.profile.reading = Reading::Never;
            self.has_erred = true;
        }
        let sends_banner = !schedule.pending.is_empty();
        Some(if sends_banner { now } else { schedule.due })
    }

    /// It errs now, whatever its profile says.
    pub(super) fn hang_up(&mut self, parting: Parting) {
        if self.has_erred || self.is_over() {
            return;
        }
        let (of_echo, of_schedule) = match parting {
            Parting::HalfClose => (EchoFault::End, BehaviorFault::End),
            Parting::Reset => (EchoFault::Reset, BehaviorFault::Reset),
            Parting::Stay => (EchoFault::Silence, BehaviorFault::Deafness),
        };
        self.profile.echo.iter_mut().for_each(|echo| echo.fault = Some(of_echo));
        if let Some(schedule) = &mut self.schedule {
            schedule.fault = Some(of_schedule);
            schedule.plan = None;
        }
        if parting == Parting::Stay {
            self.profile.reading = Reading::Never;
        }
        self.has_erred = true;
        self.has_half_closed = parting == Parting::HalfClose;
        self.has_reset = parting == Parting::Reset;
    }

    /// It was spoken to, or saw our end, which it answers by its own.
    pub(super) fn end_if_ended(&mut self, fault: Option<BehaviorFault>) {
        if self.saw_end && fault == Some(BehaviorFault::Stubbornness) {
            self.has_erred = true;
        } else if self.saw_end {
            self.has_half_closed = true;
        }
    }
}

impl PeerSchedule {
    /// Begins what is due, and plans the next.
    fn push(&mut self) {
        let Some(plan) = &self.plan else { return };
        for _ in 0..std::mem::replace(&mut self.together, 1) {
            self.pending.extend_from_slice(&plan.text);
            self.texts += 1;
        }
        self.due += plan.every;
    }
}

const PUSH_FAULTS: &[BehaviorFault] = &[
    BehaviorFault::Lateness,
    BehaviorFault::Haste,
    BehaviorFault::Omission,
    BehaviorFault::Silence,
    BehaviorFault::Corruption,
    BehaviorFault::Reset,
    BehaviorFault::End,
    BehaviorFault::Stubbornness,
];

const SINK_FAULTS: &[BehaviorFault] = &[
    BehaviorFault::Babble,
    BehaviorFault::Deafness,
    BehaviorFault::Reset,
    BehaviorFault::End,
    BehaviorFault::Stubbornness,
];
