//! A row of a summary, and what several parts of it say in the same way.

use megaconn::base::units::grouped;
use megaconn::results::lenient::Maybe;
use megaconn::results::plateau::Counts;

/// Lines that evidence, fixes and walls that cost nothing may take each.
const LINES_MAX: usize = 3;

/// A line: its name, and its text, which is wrapped.
pub(super) type Row = (&'static str, String);

/// As many as have room, and how many more there are; the first one has the name.
pub(super) fn some_of(name: &'static str, texts: impl Iterator<Item = String>) -> Vec<Row> {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    let mut rows: Vec<Row> = names.zip(texts).collect();
    if rows.len() > LINES_MAX {
        let more = rows.len() - (LINES_MAX - 1);
        rows.truncate(LINES_MAX - 1);
        rows.push(("", format!("and {more} more, see result.json")));
    }
    rows
}

/// A count. The client has counted everything that it writes.
pub(super) fn count(n: Maybe<u64>) -> String {
    grouped(n.or_zero())
}

/// Counts by name: `0`, `ECONNREFUSED 12, ETIMEDOUT 3`.
pub(super) fn listed(counts: &Counts) -> String {
    let counts = counts.by_name().into_iter().flatten();
    let each: Vec<_> = counts.map(|(name, n)| format!("{name} {}", grouped(*n))).collect();
    if each.is_empty() { "0".into() } else { each.join(", ") }
}
