//! Peers that were connected to and do not answer: they push texts by a schedule, or only take.
//!
//! Like every peer they err once, when they are told to. What they owe is kept here, when they may
//! act is the world's.

use std::time::Duration;

use super::choices::Choices;

/// What peers that are connected to do.
#[derive(Clone, Debug, Default)]
pub enum PeerBehavior {
    /// They answer, see `Echo`.
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
    pub(super) plan: Option<PushPlan>,
    /// Texts before it errs.
    pub(super) fault_after: u32,
    pub(super) texts: u32,
    /// Texts that come together next time.
    pub(super) together: usize,
    pub(super) due: Duration,
    /// Begun and not yet sent.
    pub(super) pending: Vec<u8>,
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

    /// Begins what is due, and plans the next.
    pub(super) fn push(&mut self) {
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
