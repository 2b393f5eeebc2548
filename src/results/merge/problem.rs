//! What directories that are to be merged have not in common, and must have.

use std::fmt;

use crate::base::units::grouped;

/// Why they are no parts of one run, or not all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Nothing can be read there.
    Unread {
        /// The directory.
        dir: String,
        /// Why.
        why: String,
    },
    /// A run by itself.
    Whole {
        /// The directory.
        dir: String,
    },
    /// Something that all parts have in common is not alike.
    Other {
        /// The directory.
        dir: String,
        /// The first one that was read.
        first: String,
        /// What is not alike.
        what: String,
        /// What it is in both.
        values: [String; 2],
        /// Whether they can be parts of one run nevertheless.
        is_one_run: bool,
    },
    /// Two directories are of the same part.
    Twice {
        /// The part.
        number: u64,
        /// Both directories.
        dirs: [String; 2],
    },
    /// Parts that are not there.
    Missing {
        /// Their numbers, as `3, 5-8`.
        numbers: String,
        /// How many there are to be.
        of: u64,
    },
    /// Two parts could make the same connection.
    Overlap {
        /// Both parts.
        numbers: [u64; 2],
        /// How many pairs there are.
        pairs: u64,
    },
    /// Clocks that differ.
    Clocks {
        /// The parts whose clocks are most apart, the one that is ahead last.
        numbers: [u64; 2],
        /// By so much, in milliseconds.
        apart_ms: u64,
    },
    /// A plateau that was never held by all at once.
    Apart {
        /// Its number, from 1.
        plateau: usize,
        /// From when the first part ended its hold to when the last one began it, in milliseconds.
        gap_ms: u64,
    },
}

impl Problem {
    /// Whether a sum could be made of what there is: what it means is said in the result.
    #[must_use]
    pub fn can_be_told(&self) -> bool {
        match self {
            Problem::Other { is_one_run, .. } => *is_one_run,
            Problem::Twice { .. } => false,
            _ => true,
        }
    }

    /// What is to be done about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Problem::Unread { .. } | Problem::Missing { .. } => {
                "the directory of every part, whole; or --anyway for a result of those that are there"
            }
            Problem::Whole { .. } => {
                "directories of megaconn-client run --part; megaconn report compares whole runs"
            }
            Problem::Other { is_one_run: true, .. } => "one version on all hosts; or --anyway",
            Problem::Other { .. } => "directories of one run",
            Problem::Twice { .. } => "one directory for each part",
            Problem::Overlap { .. } => {
                "--part-sources shared, or addresses of their own by --source; or --anyway"
            }
            Problem::Clocks { .. } => "NTP on every host; or --anyway",
            Problem::Apart { .. } => "one --start-at for all parts; or --anyway",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unread { dir, why } => write!(f, "{dir}: {why}"),
            Problem::Whole { dir } => write!(f, "{dir} is of a whole run, not of a part of one"),
            Problem::Other { dir, first, what, values: [here, there], .. } => {
                write!(f, "{dir} is of another {what}: {here}, and {first} has {there}")
            }
            Problem::Twice { number, dirs: [first, second] } => {
                write!(f, "{first} and {second} are both of part {number}")
            }
            Problem::Missing { numbers, of } => {
                write!(f, "of {of} parts these are missing: {numbers}")
            }
            Problem::Overlap { numbers: [one, other], pairs } => write!(
                f,
                "parts {one} and {other} had the same source addresses and ports in one network namespace ({} such pairs)",
                grouped(*pairs)
            ),
            Problem::Clocks { numbers: [behind, ahead], apart_ms } => write!(
                f,
                "the clock of part {ahead} is {:.1} s ahead of that of part {behind}, and both began by the clock",
                *apart_ms as f64 / 1e3
            ),
            Problem::Apart { plateau, gap_ms } => write!(
                f,
                "plateau {plateau} was never held by all parts at once: the last began {:.1} s after the first had ended",
                *gap_ms as f64 / 1e3
            ),
        }
    }
}

/// Numbers in order, as `3, 5-8`; of very many the first.
#[must_use]
pub fn in_rows(numbers: &[u64]) -> String {
    let rows: Vec<&[u64]> = numbers.chunk_by(|number, next| number + 1 == *next).collect();
    let word = |row: &&[u64]| match row {
        [] => String::new(),
        [only] => only.to_string(),
        [first, .., last] => format!("{first}-{last}"),
    };
    let shown: Vec<String> = rows.iter().take(ROWS_SHOWN).map(word).collect();
    let more: usize = rows.iter().skip(ROWS_SHOWN).map(|row| row.len()).sum();
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

const ROWS_SHOWN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_in_rows() {
        assert_eq!(in_rows(&[3, 5, 6, 7, 8]), "3, 5-8");
        assert_eq!(in_rows(&[]), "");
        let odd: Vec<u64> = (0..100).map(|n| 2 * n + 1).collect();
        assert_eq!(in_rows(&odd), "1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23 and 88 more");
    }
}
