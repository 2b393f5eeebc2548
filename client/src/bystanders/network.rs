//! The thread of the probes of the network: begins each try when it is due, whatever became of the
//! one before it, and gives up a try that has had no answer within a second.

use std::collections::VecDeque;
use std::time::Duration;

use megaconn::base::constants::BYSTANDER_TIMEOUT;
use rustix::event::{PollFd, Timespec, poll};

use crate::bystanders::collector::Collector;
use crate::bystanders::probes::{Answer, Probe};
use crate::bystanders::rounds::Rounds;
use crate::bystanders::sample::Outcome;

/// One probe and its tries.
pub(crate) struct InFlight {
    /// Its place in the panel.
    place: u8,
    probe: Box<dyn Probe>,
    rounds: Rounds,
    /// Tries without an answer, and when each was due.
    out: VecDeque<(u64, u64)>,
    /// The highest try that was answered.
    newest: Option<u64>,
}

impl InFlight {
    pub(crate) fn new(place: u8, probe: Box<dyn Probe>, rounds: Rounds) -> InFlight {
        InFlight { place, probe, rounds, out: VecDeque::new(), newest: None }
    }

    /// Begins what is due.
    fn begin(&mut self, collector: &Collector) {
        while let Some((number, due_us)) = self.rounds.due(collector.now_us()) {
            let lag_us = collector.now_us().saturating_sub(due_us);
            collector.lag_us.record(Duration::from_micros(lag_us));
            match self.probe.begin(number) {
                Ok(()) => self.out.push_back((number, due_us)),
                Err(_) => collector.add(self.place, due_us, lag_us, Outcome::Failed),
            }
        }
    }

    /// Takes the answers that have come.
    fn hear(&mut self, answers: &mut Vec<Answer>, collector: &Collector) {
        self.probe.answers(answers);
        let now_us = collector.now_us();
        for Answer { number, is_good } in answers.drain(..) {
            // What was given up is lost; a second answer is none.
            let Some(index) = self.out.iter().position(|(out, _)| *out == number) else { continue };
            let (_, due_us) = self.out.remove(index).expect("it was just found");
            let is_late = self.newest.is_some_and(|newest| newest > number);
            self.newest = self.newest.max(Some(number).filter(|_| is_good));
            let outcome = match (is_good, is_late) {
                (false, _) => Outcome::Failed,
                (true, false) => Outcome::Answered,
                (true, true) => Outcome::Reordered,
            };
            self.add(collector, due_us, now_us, outcome);
        }
    }

    /// Gives up the tries that have had their time.
    fn expire(&mut self, collector: &Collector) {
        let now_us = collector.now_us();
        while let Some((number, due_us)) = self.out.front().copied() {
            if now_us < due_us + TIMEOUT_US {
                break;
            }
            self.out.pop_front();
            self.probe.give_up(number);
            self.add(collector, due_us, now_us, Outcome::TimedOut);
        }
    }

    /// An answer that took longer than the timeout, because this thread was kept from hearing it, is
    /// an answer all the same.
    fn add(&self, collector: &Collector, due_us: u64, now_us: u64, outcome: Outcome) {
        collector.add(self.place, due_us, now_us.saturating_sub(due_us), outcome);
    }

    /// When something is to be done, should no answer come.
    fn next_us(&self) -> u64 {
        let expires_us = self.out.front().map(|(_, due_us)| due_us + TIMEOUT_US);
        self.rounds.next_us().min(expires_us.unwrap_or(u64::MAX))
    }
}

const TIMEOUT_US: u64 = BYSTANDER_TIMEOUT.as_secs() * 1_000_000;

const _: () = assert!(BYSTANDER_TIMEOUT.subsec_nanos() == 0, "it is counted in whole seconds");

/// Goes round until the collector is stopped and the last try has come to something.
pub(crate) fn run(mut tracks: Vec<InFlight>, collector: &Collector) {
    let mut answers = Vec::new();
    loop {
        let is_stopped = collector.is_stopped();
        for track in &mut tracks {
            // First what has come: it may have waited for as long as this thread did.
            track.hear(&mut answers, collector);
            track.expire(collector);
            if !is_stopped {
                track.begin(collector);
            }
        }
        if is_stopped && tracks.iter().all(|track| track.out.is_empty()) {
            return;
        }
        wait(&tracks, collector);
    }
}

/// Sleeps until an answer may have come, or something is due.
fn wait(tracks: &[InFlight], collector: &Collector) {
    let mut fds: Vec<PollFd<'_>> = Vec::new();
    tracks.iter().for_each(|track| track.probe.watch(&mut fds));
    let next_us = tracks.iter().map(InFlight::next_us).min().unwrap_or(u64::MAX);
    let left = Duration::from_micros(next_us.saturating_sub(collector.now_us())).min(LONGEST);
    let left = Timespec::try_from(left).ok();
    // A signal ends it early, and the turn then finds nothing to do.
    let _ = poll(&mut fds, left.as_ref());
}

/// How long it may take to see that the panel is stopped.
const LONGEST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Answers by a script: each try some time after it began, or never, or as an error.
    struct Fake {
        script: fn(u64) -> ScriptedReply,
        collector: std::sync::Arc<Collector>,
        pending: Vec<(u64, Answer)>,
        begun: Vec<u64>,
    }

    enum ScriptedReply {
        After(u64),
        Never,
        ErrorAfter(u64),
        NotBegun,
    }

    impl Probe for Fake {
        fn begin(&mut self, number: u64) -> io::Result<()> {
            self.begun.push(number);
            let now_us = self.collector.now_us();
            let answer = |is_good| Answer { number, is_good };
            match (self.script)(number) {
                ScriptedReply::After(us) => self.pending.push((now_us + us, answer(true))),
                ScriptedReply::ErrorAfter(us) => self.pending.push((now_us + us, answer(false))),
                ScriptedReply::Never => {}
                ScriptedReply::NotBegun => return Err(io::ErrorKind::ConnectionRefused.into()),
            }
            Ok(())
        }

        fn watch<'a>(&'a self, _fds: &mut Vec<PollFd<'a>>) {}

        fn answers(&mut self, answers: &mut Vec<Answer>) {
            let now_us = self.collector.now_us();
            answers.extend(self.pending.iter().filter(|(at, _)| *at <= now_us).map(|(_, a)| *a));
            self.pending.retain(|(at, _)| *at > now_us);
        }

        fn give_up(&mut self, _number: u64) {}
    }

    /// The outcomes of some tries, one every 4 ms, by their number.
    fn outcomes(script: fn(u64) -> ScriptedReply, ms: u64) -> Vec<(Outcome, u32)> {
        let collector = std::sync::Arc::new(Collector::new(64));
        let fake = Fake {
            script,
            collector: std::sync::Arc::clone(&collector),
            pending: Vec::new(),
            begun: Vec::new(),
        };
        let track = InFlight::new(3, Box::new(fake), Rounds::new(0, Duration::from_millis(4)));
        std::thread::scope(|scope| {
            scope.spawn(|| run(vec![track], &collector));
            std::thread::sleep(Duration::from_millis(ms));
            collector.stop();
        });
        let mut samples = collector.collected().samples.clone();
        assert!(samples.iter().all(|sample| sample.probe == 3), "{samples:?}");
        samples.sort_by_key(|sample| sample.due_us);
        let due: Vec<u64> = samples.iter().map(|sample| sample.due_us).collect();
        let every: Vec<u64> = (0..samples.len() as u64).map(|n| n * 4_000).collect();
        assert_eq!(due, every, "each is due at its time, whatever became of the one before");
        samples.iter().map(|sample| (sample.outcome, sample.latency_us)).collect()
    }

    #[test]
    fn delay_loss_disorder_and_refusal_are_told_apart() {
        let seen = outcomes(
            |number| match number {
                1 => ScriptedReply::Never,
                2 => ScriptedReply::After(30_000),
                3 => ScriptedReply::ErrorAfter(100),
                4 => ScriptedReply::NotBegun,
                _ => ScriptedReply::After(0),
            },
            200,
        );
        assert!(seen.len() >= 20, "{seen:?}");
        let [zero, one, two, three, four] = [seen[0], seen[1], seen[2], seen[3], seen[4]];
        assert_eq!(zero.0, Outcome::Answered);
        assert_eq!(one.0, Outcome::TimedOut, "nothing is waited for longer than a second");
        assert!(one.1 >= 1_000_000, "{one:?}");
        assert_eq!(two.0, Outcome::Reordered, "later ones were answered before it");
        assert!(two.1 >= 30_000, "{two:?}");
        assert_eq!((three.0, four.0), (Outcome::Failed, Outcome::Failed));
        assert!(seen[5..].iter().all(|(outcome, _)| *outcome == Outcome::Answered), "{seen:?}");
    }

    #[test]
    fn what_comes_after_its_time_is_lost_and_counted_once() {
        let seen =
            outcomes(|number| ScriptedReply::After(if number == 0 { 1_100_000 } else { 0 }), 1_200);
        assert_eq!(seen[0].0, Outcome::TimedOut);
    }
}
