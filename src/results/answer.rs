//! The answer to how many connections a host holds, in a sentence.

use crate::base::format;
use crate::base::units::grouped;
use crate::results::result::RunResult;

/// The answer of a run that opened as many as there can be, as a person says it: the number, what stopped
/// it, what lifts that, and what is next; `None` of another run, and of one that a signal ended.
#[must_use]
pub fn sentence(result: &RunResult) -> Option<String> {
    let held = grouped((*result.max.as_ref()?.connections)?);
    let mut text = format!("This host held {held} connections. ");
    let known = result.verdict.wall.as_ref().filter(|wall| wall.id.as_deref() != Some("unknown"));
    match known {
        Some(wall) => {
            let id = wall.id.as_deref().unwrap_or_default();
            let side = wall.side.as_deref().filter(|side| *side != "between");
            let side = side.map_or(String::new(), |side| format!(", at the {side}"));
            text += &format!("What stopped it: {}{side}", named(id, wall.limits.as_deref()));
            let cost = result.cost_per_connection.kernel_bytes.filter(|_| id.contains("memory"));
            text += &cost.map_or(String::new(), |bytes| {
                format!("; each connection takes {} of the kernel's", format::bytes(bytes))
            });
            if let Some(fix) = wall.fix.first() {
                text += &format!(". What lifts it: {fix}");
            }
        }
        None => text += "What stopped it is not known",
    }
    if let Some(next) = result.verdict.next_wall.as_ref() {
        let next_at = next.at_connections.map(grouped);
        let at = next_at.unwrap_or_else(|| "an unknown number".into());
        let wall = named(next.id.as_deref().unwrap_or_default(), next.limits.as_deref());
        text += &format!(". The next limit is {wall}, at {at}");
    }
    Some(text + ".")
}

/// A wall in plain words, with its name; the words end where those for experts begin.
fn named(id: &str, limits: Option<&str>) -> String {
    match limits.and_then(|limits| limits.split([';', ':']).next()) {
        Some(limits) => format!("{limits} (`{id}`)"),
        None => format!("`{id}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::max::Max;
    use crate::results::verdict::{Attribution, NextWall};

    #[test]
    fn the_answer_is_a_sentence() {
        let mut result = RunResult::default();
        assert_eq!(sentence(&result), None, "no run to a limit");
        result.max = Some(Max { connections: 2_531_004.into(), ..Max::default() }).into();
        let unknown = "This host held 2,531,004 connections. What stopped it is not known.";
        assert_eq!(sentence(&result).as_deref(), Some(unknown));
        let wall = Attribution {
            id: "memory".to_owned().into(),
            limits: "memory of the host".to_owned().into(),
            side: "client".to_owned().into(),
            fix: vec!["more memory".to_owned()].into(),
            ..Attribution::default()
        };
        result.verdict.wall = Some(wall).into();
        result.cost_per_connection.kernel_bytes = 8_300.0.into();
        let next = NextWall {
            id: "file-max".to_owned().into(),
            limits: "open files of the host; every socket is one".to_owned().into(),
            at_connections: 9_000_000.into(),
        };
        result.verdict.next_wall = Some(next).into();
        let known = "This host held 2,531,004 connections. What stopped it: memory of the host (`memory`), \
                     at the client; each connection takes 8,300 B of the kernel's. What lifts it: more \
                     memory. The next limit is open files of the host (`file-max`), at 9,000,000.";
        assert_eq!(sentence(&result).as_deref(), Some(known));
        result.max = Some(Max::default()).into();
        assert_eq!(sentence(&result), None, "a signal came first");
    }
}
