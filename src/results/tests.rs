//! Files as they were written by the code that had the format twice: read, and written again, they
//! are the same byte for byte.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::results::bystanders::{Finding, Second, SpanPhase};
use crate::results::counters::Moments;
use crate::results::environment::Environment;
use crate::results::lenient::Maybe;
use crate::results::read::{Unreadable, json};
use crate::results::result::RunResult;
use crate::results::{COUNTERS, ENVIRONMENT, RESULT, RunFile, text};

const STORED: &str = include_str!("../../tests/run_directory/result.json");

/// Reads `stored`, writes it again and reads that.
fn goes_round<T: DeserializeOwned + Serialize + PartialEq>(stored: &str, of: RunFile) {
    let read = json::<T>(stored.as_bytes(), of.schema).unwrap();
    let written = text(&read);
    for (line, stored) in written.lines().zip(stored.lines()) {
        assert_eq!(line, stored);
    }
    assert!(written == stored, "{} has other lines", of.name);
    assert!(json::<T>(written.as_bytes(), of.schema).unwrap() == read, "{}", of.name);
}

#[test]
fn what_was_stored_is_read_and_written_the_same() {
    goes_round::<RunResult>(STORED, RESULT);
    goes_round::<RunResult>(include_str!("../../tests/run_directory/empty.json"), RESULT);
    let environment = include_str!("../../tests/run_directory/environment.json");
    goes_round::<Environment>(environment, ENVIRONMENT);
    goes_round::<Moments>(include_str!("../../tests/run_directory/counters.json"), COUNTERS);
    let second = "{\"schema\":\"megaconn.bystander/1\",\"name\":\"ping\",\"at_ms\":51000,\
                  \"lost\":1,\"reordered\":1,\"latency_us\":[12,300000]}";
    let read: Second = serde_json::from_str(second).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), second);
}

#[test]
fn values_are_read_as_they_are() {
    let result: RunResult = json(STORED.as_bytes(), RESULT.schema).unwrap();
    assert_eq!(result.established, Maybe(Some(99_985)));
    assert_eq!((result.failed.sum(), result.lost.sum()), (16, 6));
    let plateau = result.plateaus.last().unwrap();
    assert_eq!(plateau.messages.latency_us.map(|us| (us.p50, us.max)), Some((3_519, 7_000)));
    assert_eq!(plateau.memory.by_layer.get("outside_slabs"), Some(&-4_096));
    let fit = result.cost_per_connection.fit.as_ref().unwrap();
    assert_eq!(fit.by_layer.get("kernel").and_then(|line| line.slope_bytes), Some(8_341.7));
    let span = &result.bystanders.as_ref().unwrap().spans[1];
    assert_eq!(span.phase.known(), Some(SpanPhase::Connecting));
    assert_eq!(span.of("ping 10.0.0.9").unwrap().finding.known(), Some(Finding::Losing));
}

/// What another version would write is passed over, and takes nothing with it.
#[test]
fn values_of_another_version_are_missing() {
    let other = STORED
        .replace("\"established\": 99985", "\"established\": {\"ipv4\": 99985}")
        .replace("\"sent\": 100,", "\"sent\": -1, \"sent_again\": 7,")
        .replace("\"p999\": 7000,", "")
        .replace("\"finding\": \"losing\"", "\"finding\": \"flapping\"")
        .replace("\"at_connections\": 2679801", "\"at_connections\": 1e300");
    let result: RunResult = json(other.as_bytes(), RESULT.schema).unwrap();
    assert_eq!((result.established, result.untried), (Maybe(None), Maybe(Some(2))));
    let plateau = &result.plateaus[1];
    assert_eq!((plateau.established, &plateau.messages.sent), (Maybe(None), &Maybe(None)));
    assert_eq!(plateau.messages.received, Maybe(Some(99)));
    assert_eq!(plateau.messages.latency_us, Maybe(None), "percentiles are read together");
    let span = &result.bystanders.as_ref().unwrap().spans[1];
    assert_eq!(span.of("ping 10.0.0.9").unwrap().finding.other(), Some("flapping"));
    let next = result.verdict.next_wall.as_ref().unwrap();
    assert_eq!((next.id.as_deref(), next.at_connections), (Some("memory"), Maybe(None)));
}

#[test]
fn a_file_that_is_none_says_why() {
    let why = |text: &str| json::<RunResult>(text.as_bytes(), RESULT.schema).unwrap_err();
    assert!(matches!(why(&STORED[..STORED.len() / 2]), Unreadable::NotWhole(_)));
    assert!(matches!(why("{\"established\": 1}"), Unreadable::NoSchema));
    let next = STORED.replace("megaconn.result/1", "megaconn.result/2");
    assert!(matches!(why(&next), Unreadable::OtherSchema(found) if found == "megaconn.result/2"));
    let nothing: RunResult = json(b"{\"schema\": \"megaconn.result/1\"}", RESULT.schema).unwrap();
    let schema = RESULT.schema.into();
    assert_eq!(nothing, RunResult { schema, ..RunResult::default() });
}
