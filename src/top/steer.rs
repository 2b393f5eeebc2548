//! The run that the view may change, with `--allow-control`: what it last said, and what a key asks of it.

use serde_json::{Number, Value, json};

use crate::base::constants::TOP_FIRST_RATE;
use crate::base::units::grouped;
use crate::observe::control::{State, number};
use crate::top::form::{shortened, wrapped};

/// The run, as it last answered.
#[derive(Clone, Debug)]
pub struct Steered {
    /// Where it is controlled.
    pub place: String,
    /// Its state, or why there is none.
    state: Result<State, String>,
    /// What became of the last change.
    said: String,
    /// Its state when all that was asked for will have taken effect; `None` when it has.
    ahead: Option<State>,
    /// Changes that were asked for and have no answer yet.
    unanswered: u64,
    /// The number of the last change that was taken.
    last_change: u64,
}

/// What a key changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lever {
    /// A tenth more connections.
    Raise,
    /// A tenth fewer.
    Lower,
    /// Twice the messages per second.
    Faster,
    /// Half of them.
    Slower,
    /// Begin nothing, or go on.
    PauseRun,
}

impl Steered {
    /// Nothing has been heard of it yet.
    #[must_use]
    pub fn new(place: String) -> Steered {
        Steered {
            place,
            state: Err("not seen yet".to_owned()),
            said: String::new(),
            ahead: None,
            unanswered: 0,
            last_change: 0,
        }
    }

    /// The run's state was looked at.
    pub fn heard(&mut self, state: Result<State, String>) {
        let has_effect = |state: &State| {
            let change = state.changes.iter().find(|change| change.number == self.last_change);
            change.is_some_and(|change| change.at_seconds.is_some())
        };
        if self.unanswered == 0 && state.as_ref().map_or(true, has_effect) {
            self.ahead = None;
        }
        self.state = state;
    }

    /// A change that was asked for in these words was taken under these numbers, or refused.
    pub fn answered(&mut self, words: String, changes: Result<Vec<u64>, String>) {
        self.unanswered = self.unanswered.saturating_sub(1);
        match changes {
            Ok(changes) => {
                self.last_change = changes.into_iter().max().unwrap_or(self.last_change);
                self.said = words;
            }
            Err(why) => (self.said, self.ahead) = (why, None),
        }
    }

    /// The path and the body of what a lever asks for, by what was asked for last, or else by the state
    /// that was seen last.
    pub fn request(&mut self, lever: Lever) -> Option<(&'static str, String)> {
        let seen = self.state.as_ref().ok()?;
        let mut ahead = self.ahead.clone().unwrap_or_else(|| seen.clone());
        let wanted = ahead.wanted_connections;
        if wanted == 0 {
            // No plateau has begun.
            return None;
        }
        let tenth = (wanted / 10).max(1);
        let rate = ahead.message_rate.as_ref().and_then(Number::as_f64);
        let request = match lever {
            Lever::Raise | Lever::Lower => {
                ahead.wanted_connections = match lever {
                    Lever::Raise => wanted.saturating_add(tenth).min(seen.most_connections),
                    _ => wanted.saturating_sub(tenth).max(1),
                };
                ("/set", json!({ "connections": ahead.wanted_connections }).to_string())
            }
            Lever::Faster | Lever::Slower => {
                let rate = match lever {
                    Lever::Faster => rate.map_or(TOP_FIRST_RATE, |rate| rate * 2.0),
                    _ => rate? / 2.0,
                };
                ahead.message_rate = if rate < 1.0 { None } else { number(rate) };
                let none = || Value::from("none");
                let rate = ahead.message_rate.clone().map_or_else(none, Value::Number);
                ("/set", json!({ "message_rate": rate }).to_string())
            }
            Lever::PauseRun => {
                ahead.paused = !ahead.paused;
                (if ahead.paused { "/pause" } else { "/resume" }, String::new())
            }
        };
        self.ahead = Some(ahead);
        self.unanswered += 1;
        Some(request)
    }

    /// The lines of the view, of this width: the state, and in whole words what became of the last change.
    #[must_use]
    pub fn lines(&self, width: usize) -> Vec<String> {
        let state = match &self.state {
            Ok(state) => state,
            Err(why) => return wrapped(&format!("control: {why}"), width),
        };
        let State { phase, paused, .. } = state;
        let [open, wanted] = [state.connections, state.wanted_connections].map(grouped);
        let rate = state.message_rate.as_ref().map_or("no".to_owned(), ToString::to_string);
        let paused = if *paused { ", PAUSED" } else { "" };
        let line = format!("control: {phase}{paused} {open} of {wanted}, {rate} messages/s");
        [vec![shortened(&line, width)], wrapped(&self.said, width)].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::control::Change;

    fn steered(state: State) -> Steered {
        Steered { state: Ok(state), ..Steered::new("run.sock".into()) }
    }

    fn asked(run: &mut Steered, lever: Lever) -> String {
        let (path, body) = run.request(lever).expect("it was seen");
        format!("{path} {body}")
    }

    #[test]
    fn a_lever_moves_what_was_seen_last() {
        let state = State {
            wanted_connections: 1_000,
            most_connections: 1_050,
            message_rate: Some(5.into()),
            ..State::default()
        };
        for (lever, expected) in [
            (Lever::Raise, r#"/set {"connections":1050}"#),
            (Lever::Lower, r#"/set {"connections":900}"#),
            (Lever::Faster, r#"/set {"message_rate":10}"#),
            (Lever::Slower, r#"/set {"message_rate":2.5}"#),
            (Lever::PauseRun, "/pause "),
        ] {
            assert_eq!(asked(&mut steered(state.clone()), lever), expected);
        }
        let one = State { paused: true, wanted_connections: 1, ..State::default() };
        let mut run = steered(one);
        assert_eq!(run.request(Lever::Slower), None, "there is no schedule");
        assert_eq!(asked(&mut run, Lever::PauseRun), "/resume ");
        assert_eq!(asked(&mut run, Lever::Lower), r#"/set {"connections":1}"#);
        assert_eq!(asked(&mut run, Lever::Faster), r#"/set {"message_rate":100}"#);
        run.heard(Err("gone".into()));
        assert_eq!(run.request(Lever::Raise), None);
        assert_eq!(run.lines(80), ["control: gone"]);
    }

    #[test]
    fn each_key_counts_before_the_run_has_caught_up() {
        let seen = State {
            wanted_connections: 1_000,
            most_connections: 1_200,
            message_rate: Some(100.into()),
            ..State::default()
        };
        let mut run = steered(seen.clone());
        let keys = [Lever::Faster; 9].map(|lever| asked(&mut run, lever));
        assert_eq!(keys[8], r#"/set {"message_rate":51200}"#);
        // A look between the keys and their answers changes nothing, nor one before all took effect.
        run.heard(Ok(seen.clone()));
        (1..=9).for_each(|number| run.answered(String::new(), Ok(vec![number])));
        let change = |number, at_seconds| Change { number, at_seconds, ..Change::default() };
        run.heard(Ok(State { changes: vec![change(9, None)], ..seen.clone() }));
        assert_eq!(asked(&mut run, Lever::Slower), r#"/set {"message_rate":25600}"#);
        run.answered(String::new(), Ok(vec![10]));
        // What was asked for by another program counts from when all of ours took effect.
        let others = Some(7.into());
        let changes = vec![change(10, Some(1.0))];
        run.heard(Ok(State { changes, message_rate: others, ..seen.clone() }));
        assert_eq!(asked(&mut run, Lever::Faster), r#"/set {"message_rate":14}"#);
        let more = [Lever::Raise; 3].map(|lever| asked(&mut run, lever));
        assert_eq!(more[1..], [r#"/set {"connections":1200}"#; 2], "no more than there can be");
        assert_eq!([Lever::PauseRun; 2].map(|l| asked(&mut run, l)), ["/pause ", "/resume "]);
        // After a refusal the state counts.
        run.answered(String::new(), Err("as many changes as a run takes".into()));
        assert_eq!(asked(&mut run, Lever::Lower), r#"/set {"connections":900}"#);
    }

    #[test]
    fn the_words_of_a_refusal_are_whole_in_a_narrow_window() {
        let mut run = steered(State { phase: "holding".into(), ..State::default() });
        let why = "connections 1234567 is more than this run can hold, 1000000 (source-ports); \
                   fix: 1000000 or less, or see megaconn doctor";
        run.answered(String::new(), Err(why.into()));
        let lines = run.lines(80);
        assert_eq!(lines[0], "control: holding 0 of 0, no messages/s");
        assert!(lines.len() == 3 && lines.iter().all(|line| line.len() <= 80), "{lines:#?}");
        assert_eq!(lines[1..].join(" "), why);
    }
}
