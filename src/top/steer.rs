//! The run that the view may change, with `--allow-control`: what it last said, and what a key asks of it.

use serde_json::json;

use crate::base::units::grouped;
use crate::observe::control::State;

/// The run, as it last answered.
#[derive(Clone, Debug)]
pub struct Steered {
    /// Where it is controlled.
    pub place: String,
    /// Its state, or why there is none.
    pub state: Result<State, String>,
    /// What became of the last change.
    pub said: String,
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

/// Messages per second that the first step up from none comes to.
const FIRST_RATE: f64 = 100.0;

impl Steered {
    /// Nothing has been heard of it yet.
    #[must_use]
    pub fn new(place: String) -> Steered {
        Steered { place, state: Err("not seen yet".to_owned()), said: String::new() }
    }

    /// The path and the body of what a lever asks for, by the state that was seen last.
    #[must_use]
    pub fn request(&self, lever: Lever) -> Option<(&'static str, String)> {
        let state = self.state.as_ref().ok()?;
        let wanted = state.wanted_connections;
        if wanted == 0 {
            // No plateau has begun.
            return None;
        }
        let tenth = (wanted / 10).max(1);
        let rate = state.message_rate.as_ref().and_then(serde_json::Number::as_f64);
        let set = |value| Some(("/set", value));
        match lever {
            Lever::Raise => {
                let more = wanted.saturating_add(tenth).min(state.most_connections);
                set(json!({ "connections": more }).to_string())
            }
            Lever::Lower => {
                set(json!({ "connections": wanted.saturating_sub(tenth).max(1) }).to_string())
            }
            Lever::Faster => {
                let rate = rate.map_or(FIRST_RATE, |rate| rate * 2.0);
                set(json!({ "message_rate": rate }).to_string())
            }
            Lever::Slower => match rate? / 2.0 {
                rate if rate < 1.0 => set(json!({ "message_rate": "none" }).to_string()),
                rate => set(json!({ "message_rate": rate }).to_string()),
            },
            Lever::PauseRun if state.paused => Some(("/resume", String::new())),
            Lever::PauseRun => Some(("/pause", String::new())),
        }
    }

    /// The line of the view.
    #[must_use]
    pub fn line(&self) -> String {
        let state = match &self.state {
            Ok(state) => state,
            Err(why) => return format!("control: {why}"),
        };
        let State { phase, paused, .. } = state;
        let [open, wanted] = [state.connections, state.wanted_connections].map(grouped);
        let rate = state.message_rate.as_ref().map_or("no".to_owned(), ToString::to_string);
        let paused = if *paused { ", PAUSED" } else { "" };
        let said = if self.said.is_empty() { String::new() } else { format!("  {}", self.said) };
        format!("control: {phase}{paused} {open} of {wanted}, {rate} messages/s{said}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steered(state: State) -> Steered {
        Steered { state: Ok(state), ..Steered::new("run.sock".into()) }
    }

    #[test]
    fn a_lever_moves_what_was_seen_last() {
        let mut run = steered(State {
            wanted_connections: 1_000,
            most_connections: 1_050,
            message_rate: Some(5.into()),
            ..State::default()
        });
        let asked = |run: &Steered, lever| run.request(lever).expect("it was seen");
        assert_eq!(asked(&run, Lever::Raise), ("/set", r#"{"connections":1050}"#.into()));
        assert_eq!(asked(&run, Lever::Lower), ("/set", r#"{"connections":900}"#.into()));
        assert_eq!(asked(&run, Lever::Faster), ("/set", r#"{"message_rate":10.0}"#.into()));
        assert_eq!(asked(&run, Lever::Slower), ("/set", r#"{"message_rate":2.5}"#.into()));
        assert_eq!(asked(&run, Lever::PauseRun), ("/pause", String::new()));
        run.state = Ok(State { paused: true, wanted_connections: 1, ..State::default() });
        assert_eq!(asked(&run, Lever::PauseRun), ("/resume", String::new()));
        assert_eq!(asked(&run, Lever::Lower), ("/set", r#"{"connections":1}"#.into()));
        assert_eq!(asked(&run, Lever::Faster), ("/set", r#"{"message_rate":100.0}"#.into()));
        assert_eq!(run.request(Lever::Slower), None, "there is no schedule");
        run.state = Err("gone".into());
        assert_eq!((run.request(Lever::Raise), run.line()), (None, "control: gone".to_owned()));
    }
}
