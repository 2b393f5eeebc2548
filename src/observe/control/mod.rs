//! The control of a run while it goes on, by HTTP: its state is read as JSON at [`STATE`], and it is
//! changed by POST. A run offers it (`listen`), a program asks for it (`ask`); what goes between them is
//! here.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::base::units;

pub mod ask;
pub mod broadcasts;
pub mod listen;
pub mod place;
pub mod socket_file;

/// The path of the state.
pub const STATE: &str = "/state";

/// The paths of what is done by POST, which [`orders`] knows.
pub const POSTS: [&str; 5] = ["/set", "/pause", "/resume", "/sweep", "/stop"];

/// What the key `schema` of a state says.
pub const SCHEMA: &str = "megaconn.control/1";

/// A run at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// [`SCHEMA`].
    pub schema: String,
    /// What it does: `starting`, `opening`, `verifying`, `holding`, `sweeping`, `settling`, `closing`, at
    /// last `ending`, and `over`.
    pub phase: String,
    /// Since its start.
    pub seconds: f64,
    /// Whether nothing new is begun until it is resumed.
    pub paused: bool,
    /// Held connections that are open.
    pub connections: u64,
    /// How many are to be held on this plateau.
    pub wanted_connections: u64,
    /// The most that may be asked for, and what limits it.
    pub most_connections: u64,
    /// The id of that limit.
    pub most_by: String,
    /// Connects that failed, of all plateaus.
    pub failed: u64,
    /// Connections that were lost.
    pub lost: u64,
    /// Messages verified, or sent where none comes back.
    pub messages: u64,
    /// Connects per second; `null` is as fast as they go.
    pub rate: Option<Number>,
    /// Messages per second over all connections; `null` without such a schedule.
    pub message_rate: Option<Number>,
    /// Whether the memory reserve was met: nothing more is opened then.
    pub memory_reserve_met: bool,
    /// What was changed so far, in order.
    pub changes: Vec<Change>,
}

/// A change that was taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// The first is 1.
    pub number: u64,
    /// What was asked for, as `connections 20,000`.
    pub what: String,
    /// When it took effect, since the start of the run; `null` before.
    pub at_seconds: Option<f64>,
}

/// What a run is told to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// Hold so many connections from now on.
    Connections(u64),
    /// Open so many per second; `None` is as fast as they go.
    Rate(Option<f64>),
    /// Send so many messages per second over all connections; `None` is none.
    MessageRate(Option<f64>),
    /// Begin nothing, and let no time of the hold pass.
    Pause,
    /// Go on.
    Resume,
    /// Ask every connection once for proof that it lives.
    Sweep,
    /// End in order, with a whole report.
    Stop,
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Order::Connections(count) => write!(f, "connections {}", units::grouped(*count)),
            Order::Rate(Some(rate)) => write!(f, "rate {rate}/s"),
            Order::Rate(None) => write!(f, "rate unlimited"),
            Order::MessageRate(Some(rate)) => write!(f, "message_rate {rate}/s"),
            Order::MessageRate(None) => write!(f, "message_rate none"),
            Order::Pause => write!(f, "pause"),
            Order::Resume => write!(f, "resume"),
            Order::Sweep => write!(f, "sweep"),
            Order::Stop => write!(f, "stop"),
        }
    }
}

/// The orders in a POST of `body` to `path`; `None` where there is no such path.
///
/// # Errors
/// One line, when the body is not what belongs there.
#[must_use]
pub fn orders(path: &str, body: &[u8]) -> Option<Result<Vec<Order>, String>> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let word = match path {
        "/set" => return Some(set(body)),
        "/pause" => Order::Pause,
        "/resume" => Order::Resume,
        "/sweep" => Order::Sweep,
        "/stop" => Order::Stop,
        _ => return None,
    };
    let has_body = !body.trim_ascii().is_empty();
    let error = || format!("{path} takes no body; fix: an empty POST");
    Some(if has_body { Err(error()) } else { Ok(vec![word]) })
}

/// The values that `/set` takes: numbers, or texts as the flags of these names take them.
fn set(body: &[u8]) -> Result<Vec<Order>, String> {
    const FIX: &str = "fix: {\"connections\": \"20k\", \"rate\": \"500/s\", \"message_rate\": \"2k/s\"}, or some of it";
    let value: Value = serde_json::from_slice(body).map_err(|e| format!("no JSON ({e}); {FIX}"))?;
    let Value::Object(values) = value else { return Err(format!("no JSON object; {FIX}")) };
    let order = |(key, value): (&String, &Value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(format!("{key} is no number and no text; {FIX}")),
        };
        let of = |why: String| format!("{key}: {why}");
        match key.as_str() {
            "connections" => units::positive_count(&text).map(Order::Connections).map_err(of),
            "rate" if text == "unlimited" => Ok(Order::Rate(None)),
            "rate" => units::rate(&text).map(|rate| Order::Rate(Some(rate))).map_err(of),
            "message_rate" if text == "none" => Ok(Order::MessageRate(None)),
            "message_rate" => {
                units::rate(&text).map(|rate| Order::MessageRate(Some(rate))).map_err(of)
            }
            _ => Err(format!("there is no value {key}; {FIX}")),
        }
    };
    let orders: Vec<Order> = values.iter().map(order).collect::<Result<_, _>>()?;
    if orders.is_empty() { Err(format!("nothing is to be set; {FIX}")) } else { Ok(orders) }
}

/// A whole number without a point.
#[must_use]
pub fn number(rate: f64) -> Option<Number> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is compared")]
    let whole = rate as u64;
    if whole as f64 == rate { Some(whole.into()) } else { Number::from_f64(rate) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbers_or_texts_as_flags_take_them() {
        let orders = |body: &str| orders("/set", body.as_bytes()).expect("it is a path");
        let all = r#"{"connections": "20k", "rate": 0.5, "message_rate": "none"}"#;
        let expected =
            [Order::Connections(20_000), Order::MessageRate(None), Order::Rate(Some(0.5))];
        assert_eq!(orders(all), Ok(expected.to_vec()));
        assert_eq!(orders(r#"{"rate":"unlimited"}"#), Ok(vec![Order::Rate(None)]));
        for (body, why) in [
            ("", "no JSON ("),
            ("[1]", "no JSON object"),
            ("{}", "nothing is to be set"),
            (r#"{"connections": 0}"#, "connections: the count must be at least 1"),
            (r#"{"connections": -5}"#, "connections: `-5` is no count"),
            (r#"{"connections": null}"#, "connections is no number and no text"),
            (r#"{"connection": 5}"#, "there is no value connection"),
            (r#"{"rate": "fast"}"#, "rate: `fast` is no rate"),
        ] {
            let line = orders(body).expect_err(body);
            assert!(line.starts_with(why) && line.contains("fix: "), "{body}: {line}");
        }
    }

    #[test]
    fn what_has_no_value_is_an_empty_post() {
        assert_eq!(orders("/pause", b" \n"), Some(Ok(vec![Order::Pause])));
        assert!(orders("/stop", b"{}").expect("it is a path").is_err());
        assert!(POSTS.iter().all(|path| orders(path, b"").is_some()), "each is known");
        assert_eq!(orders("/", b""), None);
        let words = [Order::Rate(None), Order::Connections(1_000), Order::MessageRate(Some(0.5))];
        let words = words.map(|order| order.to_string());
        assert_eq!(words, ["rate unlimited", "connections 1,000", "message_rate 0.5/s"]);
    }
}
