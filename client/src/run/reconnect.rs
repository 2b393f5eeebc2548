//! `--reconnect` and its like: when connections that are lost come back.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use megaconn::base::units;
use megaconn::engine::client::config::Reconnect;
use megaconn::engine::storm::{DropPart, Storm, Way};

use crate::run::readers::part;

/// Tries of one connection without `--reconnect-max`: as many as there are.
const TRIES: u32 = u32::MAX;

/// The longest time between two tries.
const WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// Connections that are lost, and come back.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ReconnectFlags {
    /// Connections that are lost come back in the hold
    ///
    /// `fixed DUR`: each is tried again after that time, and after each try that fails. `backoff MIN-MAX`: the time
    /// doubles with each try, from MIN up to MAX. One that is lost again within the longest wait goes on where it was:
    /// that try has failed too. When they are due says this flag alone, and not --rate. A connection keeps its number;
    /// where its source port is taken it has another. `reconnect` in result.json has how many came back, how fast, and
    /// what failed. What came back counts as lost in `lost`, and not for --max-lost.
    #[arg(long, value_name = "none|'fixed DUR'|'backoff MIN-MAX'", hide_short_help = true)]
    pub(crate) reconnect: Option<Pattern>,
    /// Which part of each wait is random [default: full with backoff, none with fixed]
    ///
    /// full: anything from nothing to the whole wait, so that those that were lost together do not come back together;
    /// 20: the last fifth of it.
    #[arg(long, value_name = "full|none|PERCENT", requires = "reconnect", hide_short_help = true)]
    pub(crate) jitter: Option<Jitter>,
    /// Tries of one connection that may fail [default: as many as there are]
    ///
    /// It is given up then, which counts for --max-lost.
    #[arg(long, value_name = "N", requires = "reconnect", hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) reconnect_max: Option<u32>,
    /// Drop connections on purpose: 'drop 50% at 30s'
    ///
    /// That part of the held ones that are open, evenly over all of them, so long after each hold has begun, of which a plateau has one; `all` for
    /// each one, `every 30s` again and again, `by reset` not in order but by a reset, as those are that are busy, `by vanishing` as
    /// --half-open. Repeatable. With --reconnect they
    /// come back. They count in `dropped`, and not as lost.
    #[arg(long, value_name = "STORM", hide_short_help = true)]
    pub(crate) storm: Vec<Storm>,
    /// Connections that vanish without a word
    ///
    /// As 1%: that part of the held ones goes when a hold begins, without a packet: the server has them still, until it
    /// sends something, or asks by a keepalive. The same as --storm 'drop 1% at 0s by vanishing'. By TCP_REPAIR, which
    /// takes CAP_NET_ADMIN and Linux 6.7.
    #[arg(long, value_name = "PERCENT", hide_short_help = true, value_parser = part)]
    pub(crate) half_open: Option<f64>,
}

/// The waits of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    None,
    Fixed(Duration),
    Backoff(Duration, Duration),
}

/// Which part of a wait is random, in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Jitter(u8);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        let other = || format!("`{text}`; fix: none, 'fixed 5s' or 'backoff 1s-30s'");
        let words: Vec<&str> = text.split_whitespace().collect();
        let pattern = match words[..] {
            ["none"] => return Ok(Pattern::None),
            ["fixed", wait] => Pattern::Fixed(units::positive_duration(wait)?),
            ["backoff", range] => {
                let (first, most) = range.split_once('-').ok_or_else(other)?;
                let [first, most] = [first, most].map(units::positive_duration);
                Pattern::Backoff(first?, most?)
            }
            _ => return Err(other()),
        };
        let (first, most) = pattern.range();
        if first > most {
            return Err(format!("`{text}` begins above its end; fix: 'backoff 1s-30s'"));
        }
        if most > WAIT_MAX {
            return Err(format!("`{text}` waits too long; fix: at most 1h"));
        }
        Ok(pattern)
    }
}

impl Pattern {
    fn range(self) -> (Duration, Duration) {
        match self {
            Pattern::None => (Duration::ZERO, Duration::ZERO),
            Pattern::Fixed(wait) => (wait, wait),
            Pattern::Backoff(first, most) => (first, most),
        }
    }
}

impl FromStr for Jitter {
    type Err = String;

    fn from_str(text: &str) -> Result<Jitter, String> {
        let percent = match text {
            "full" => Some(100),
            "none" => Some(0),
            _ => text.parse().ok().filter(|percent| *percent <= 100),
        };
        let other = || format!("`{text}`; fix: full, none, or a percentage from 0 to 100");
        percent.map(Jitter).ok_or_else(other)
    }
}

impl ReconnectFlags {
    /// Storms, and what vanishes at the beginning.
    pub(crate) fn storms(&self) -> Vec<Storm> {
        let vanish = |part| Storm {
            drop: DropPart { part, by: Way::Vanishing },
            first: Duration::ZERO,
            every: None,
        };
        self.half_open.map(vanish).into_iter().chain(self.storm.iter().copied()).collect()
    }

    /// What every core is told; `None` when nothing comes back.
    pub(crate) fn told(&self) -> Option<Reconnect> {
        let pattern = self.reconnect.filter(|pattern| *pattern != Pattern::None)?;
        let (first, most) = pattern.range();
        let usual = if matches!(pattern, Pattern::Backoff(..)) { 100 } else { 0 };
        let jitter = f64::from(self.jitter.map_or(usual, |Jitter(percent)| percent)) / 100.0;
        Some(Reconnect { first, most, jitter, tries: self.reconnect_max.unwrap_or(TRIES) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_what_it_says() {
        let told = |reconnect: &str, jitter: Option<&str>| {
            let flags = ReconnectFlags {
                reconnect: Some(reconnect.parse()?),
                jitter: jitter.map(|jitter| jitter.parse().expect("it is one")),
                reconnect_max: None,
                storm: Vec::new(),
                half_open: None,
            };
            Ok::<_, String>(flags.told())
        };
        let seconds = Duration::from_secs;
        let made = |first, most, jitter| {
            Ok(Some(Reconnect { first: seconds(first), most: seconds(most), jitter, tries: TRIES }))
        };
        assert_eq!(told("none", None), Ok(None));
        assert_eq!(told("fixed 5s", None), made(5, 5, 0.0));
        assert_eq!(told("fixed 5s", Some("full")), made(5, 5, 1.0));
        assert_eq!(told("backoff 1s-30s", None), made(1, 30, 1.0));
        assert_eq!(told("backoff 1s-30s", Some("20")), made(1, 30, 0.2));
        assert_eq!(told("backoff 1s-30s", Some("none")), made(1, 30, 0.0));
        for bad in ["", "fixed", "fixed 0s", "backoff 5s", "backoff 9s-1s", "fixed 2h", "soon"] {
            let error = told(bad, None).expect_err(bad);
            assert!(error.contains("fix:") || error.contains("duration"), "{bad}: {error}");
        }
        assert!("101".parse::<Jitter>().is_err() && "much".parse::<Jitter>().is_err());
    }
}
