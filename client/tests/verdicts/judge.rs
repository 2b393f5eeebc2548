//! What a verdict is worth, beside what was done to the run.

use serde_json::Value;

use crate::row::{Is, Over, Row};

/// What a verdict was worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Worth {
    Right,
    /// It names nothing, or what it names is `unknown`.
    Unknown,
    #[default]
    Wrong,
}

/// A verdict, and what it is worth.
#[derive(Default)]
pub(crate) struct Judged {
    pub(crate) worth: Worth,
    /// What it named, for a reader.
    pub(crate) named: String,
    /// Walls that it named besides and that were not met.
    pub(crate) false_beside: Vec<String>,
    /// Whether what is right is that it has no name.
    pub(crate) is_nameless: bool,
    /// What it was named for.
    pub(crate) why: String,
}

/// One charge of a verdict.
fn of(charge: &Value) -> Option<(&str, &str)> {
    Some((charge["id"].as_str()?, charge["side"].as_str()?))
}

fn all(list: &Value) -> Vec<(&str, &str)> {
    list.as_array().into_iter().flatten().filter_map(of).collect()
}

/// The evidence of all charges.
fn evidence(verdict: &Value) -> String {
    let lists = [&verdict["more_walls"], &verdict["met_without_loss"]];
    let others = lists.into_iter().filter_map(Value::as_array).flatten();
    let charges = [&verdict["wall"]].into_iter().chain(others);
    let of =
        |charge: &Value| format!("{} ({}): {}", charge["id"], charge["became"], charge["evidence"]);
    charges.filter(|charge| !charge.is_null()).map(of).collect::<Vec<_>>().join("\n    ")
}

/// Judges a run of `row` for which each of `right` is right.
pub(crate) fn judge(row: &Row, right: &[Is], over: &Over) -> Judged {
    let Some(result) = &over.result else { return of_refusal(right, over) };
    let verdict = &result["verdict"];
    let (wall, met) = (of(&verdict["wall"]), all(&verdict["met_without_loss"]));
    let seen = verdict["wall"].to_string();
    let is = |is: &Is| match is {
        Is::Wall(id, side) => wall == Some((id, side)),
        Is::Met(id, side) => {
            wall == Some((id, side)) || wall.is_none() && met.contains(&(*id, *side))
        }
        Is::Nothing => wall.is_none() && met.iter().all(|(id, _)| row.beside.contains(id)),
        Is::Unknown(text) => wall.is_some_and(|(id, _)| id == "unknown") && seen.contains(text),
        Is::Refused(_) => false,
    };
    let worth = match wall {
        _ if right.iter().any(is) => Worth::Right,
        Some(("unknown", _)) => Worth::Unknown,
        None if met.is_empty() => Worth::Unknown,
        _ => Worth::Wrong,
    };
    let is_true = |id: &str| {
        let is_expected = |is: &Is| matches!(is, Is::Wall(one, _) | Is::Met(one, _) if *one == id);
        id == "unknown" || row.beside.contains(&id) || right.iter().any(is_expected)
    };
    let others = all(&verdict["more_walls"]).into_iter().chain(met.iter().copied());
    let false_beside = others.clone().filter(|(id, _)| !is_true(id));
    let text = |(id, side): (&str, &str)| format!("{id}@{side}");
    let first = wall.map_or("nothing lost".to_owned(), text);
    let rest: Vec<String> = others.clone().map(text).collect();
    Judged {
        worth,
        named: [vec![first], rest].concat().join(" + "),
        false_beside: false_beside.map(text).collect(),
        is_nameless: wall.is_some_and(|(id, _)| id == "unknown"),
        why: evidence(verdict),
    }
}

/// Judges a run that ended before its first connection.
fn of_refusal(right: &[Is], over: &Over) -> Judged {
    let line = over.finished.stderr.last().map_or("", String::as_str);
    let is_expected = |is: &Is| matches!(is, Is::Refused(text) if line.contains(text));
    let is_refused = over.finished.code == Some(2);
    let worth = match right.iter().any(is_expected) && is_refused {
        true => Worth::Right,
        false => Worth::Wrong,
    };
    let named = format!("exit {:?}: {line}", over.finished.code);
    Judged { worth, named, ..Judged::default() }
}
