//! Texts that go to all connections of a server, as they are ordered, and what becomes of them: between `megaconn serve
//! --broadcast-on` and those that order.

use serde::{Deserialize, Serialize};

/// The path at which one is ordered by POST; the body is the text. `?topic=N` says to whom.
pub const BROADCAST: &str = "/broadcast";

/// What the key `schema` of a state says.
pub const SCHEMA: &str = "megaconn.broadcasts/1";

/// The orders of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Broadcasts {
    /// [`SCHEMA`].
    pub schema: String,
    /// Topics to which connections are dealt.
    pub topics: u16,
    /// `skip` or `close`.
    pub slow_reader: String,
    /// The last ones, the oldest first.
    pub orders: Vec<Ordered>,
}

/// One order, and what has become of it so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ordered {
    /// The first is 1.
    pub number: u64,
    /// To whom; `null` is all.
    pub topic: Option<u16>,
    /// Bytes of the text.
    pub bytes: u64,
    /// Whether every member is accounted for: it is sent, skipped, closed or gone.
    pub done: bool,
    /// Members that are accounted for.
    pub members: u64,
    /// It went out, or waits in the buffer of a peer that reads slowly.
    pub sent: u64,
    /// It was left out for a peer that had not taken what was sent before.
    pub skipped: u64,
    /// The connection of such a peer was closed.
    pub closed: u64,
    /// The connection ended before its turn.
    pub gone: u64,
    /// Connections of a server that was taken over and drains, which takes no orders, or has ended without saying what
    /// became of this one. They are no members.
    pub unreached: u64,
    /// From when a core was told to when it was done, of the slowest core; `null` while it is not done.
    pub seconds: Option<f64>,
}

/// The answer to an order that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Its number.
    pub number: u64,
}

/// The topic that the query of a path asks for.
///
/// # Errors
/// One line, when it is something else.
pub fn topic_of(query: Option<&str>) -> Result<Option<u16>, String> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(None) };
    let number = query.strip_prefix("topic=").filter(|text| !text.starts_with('+'));
    let topic = number.and_then(|text| text.parse().ok());
    let error = || format!("`?{query}` is no topic; fix: {BROADCAST}?topic=0");
    topic.map(Some).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_a_topic_or_refused() {
        assert_eq!((topic_of(None), topic_of(Some(""))), (Ok(None), Ok(None)));
        assert_eq!(topic_of(Some("topic=17")), Ok(Some(17)));
        for query in ["topic=", "topic=-1", "topic=+1", "topic=70000", "topics=1", "topic=1&x=2"] {
            assert!(topic_of(Some(query)).is_err_and(|line| line.contains("fix: ")), "{query}");
        }
    }
}
