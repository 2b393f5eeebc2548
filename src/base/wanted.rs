//! What `--connections` asks for: a number, or as many as there can be.

use std::fmt;
use std::str::FromStr;

use crate::base::units;

/// One plateau, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// So many connections.
    Count(u64),
    /// As many as can be held before a wall is met.
    Max,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        if text == "max" {
            return Ok(Wanted::Max);
        }
        // A word that is no number is perhaps a misspelt `max`.
        let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic());
        match units::positive_count(text) {
            Err(_) if is_word => Err(format!("`{text}` is no count; fix: write 10k, 2.4M or max")),
            count => count.map(Wanted::Count),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Count(count) => write!(f, "{count}"),
            Wanted::Max => f.write_str("max"),
        }
    }
}

/// Several of them, as they are typed: `10000,100000,max`.
#[must_use]
pub fn listed(wanted: &[Wanted]) -> String {
    wanted.iter().map(Wanted::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_or_max() {
        let all: Vec<Wanted> = ["10k", "1M", "max"].iter().map(|t| t.parse().unwrap()).collect();
        assert_eq!(all, [Wanted::Count(10_000), Wanted::Count(1_000_000), Wanted::Max]);
        assert_eq!(listed(&all), "10000,1000000,max");
        for bad in ["", "0", "-1", "Max", "maximum", "1furlong"] {
            let error = bad.parse::<Wanted>().unwrap_err();
            assert!(error.contains("fix: "), "{bad}: {error}");
        }
        assert!("MAX".parse::<Wanted>().unwrap_err().contains("max"));
    }
}
