//! What a peer does without being sent anything: it acts by its schedule, or hangs up.

use std::time::Duration;

use super::behavior::{BehaviorFault, PeerBehavior, PeerSchedule};
use super::choices::Choices;
use super::peer::{EchoFault, Parting, Peer, Reading};

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
