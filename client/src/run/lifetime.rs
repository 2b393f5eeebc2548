//! `--lifetime`, `--message-every` and `--seed`: what of a run is random, and comes from its seed.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use megaconn::base::units;
use megaconn::engine::client::config::{Lifetime, Schedule};

/// A seed that is drawn is below 2^53, which every reader of JSON has whole.
const DRAWN_BELOW: u64 = 1 << 53;

/// No pareto is steeper: its lives are as good as fixed.
const ALPHA_MAX: f64 = 100.0;

/// What is random.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct LifetimeFlags {
    /// How long held connections live
    ///
    /// In the hold a connection whose life is over is closed in order, as --close says, and another is made in its place
    /// at once, under its number and from another source port: the number stays what it is, and connections come
    /// and go. `fixed DUR`: all live as long, so that those that were opened at a rate end at that rate. `exp DUR`:
    /// exponential with that mean. `pareto DUR ALPHA`: none lives for less than DUR, most for little longer, some for very
    /// long; ALPHA is above 1. A life begins with its connection. A connection on which a message is out is closed when
    /// it is answered. `lifetimes` of result.json has how many left and came, and how long they had lived. --churn is of
    /// short connections beside these.
    #[arg(long, value_name = "'fixed DUR'|'exp DUR'|'pareto DUR ALPHA'", hide_short_help = true)]
    pub(crate) lifetime: Option<LifetimeFlag>,
    /// What random choices come from
    ///
    /// Lifetimes, think times and the waits of --reconnect, for each connection by its number: two runs with one seed and as
    /// many cores make the same choices. Default: a random one, which is printed and stands in result.json.
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = seed)]
    pub(crate) seed: Option<u64>,
}

impl LifetimeFlags {
    /// What every core is told.
    pub(crate) fn told(self) -> Option<Lifetime> {
        self.lifetime.map(|LifetimeFlag(lifetime)| lifetime)
    }

    /// Tuples that places need besides, so that each has one that was not left within `time`.
    pub(crate) fn tuples(self, connections: u64, time: Duration) -> u64 {
        self.told().map_or(0, |lifetime| tuples(lifetime, connections, time))
    }

    /// The seed, or that of the run's name, which all parts of it have; else one that is drawn.
    pub(crate) fn seed(self, run_id: Option<&str>) -> u64 {
        self.seed.unwrap_or_else(|| match run_id {
            Some(name) => of_name(name),
            None => fastrand::u64(..DRAWN_BELOW),
        })
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo, 1991), cut to what readers of JSON have whole.
pub(crate) fn of_name(name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step) % DRAWN_BELOW
}

fn seed(text: &str) -> Result<u64, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number);
    number.ok_or_else(|| format!("`{text}` is no seed; fix: a whole number, 0 to {}", u64::MAX))
}

/// A lifetime as it is typed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LifetimeFlag(pub(crate) Lifetime);

impl FromStr for LifetimeFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<LifetimeFlag, String> {
        let words: Vec<&str> = text.split([' ', ':']).filter(|word| !word.is_empty()).collect();
        let lifetime = match words[..] {
            ["fixed", time] => Lifetime::Fixed(units::positive_duration(time)?),
            ["exp", mean] => Lifetime::Exponential(units::positive_duration(mean)?),
            ["pareto", least, alpha] => {
                let least = units::positive_duration(least)?;
                let number = alpha.parse::<f64>().ok();
                let alpha = number.filter(|alpha| *alpha > 1.0 && *alpha <= ALPHA_MAX);
                let alpha = alpha.ok_or_else(|| {
                    format!("`{text}` has no mean that is steady; fix: ALPHA above 1, such as 1.5")
                })?;
                Lifetime::Pareto { least, alpha }
            }
            _ => return Err(format!("`{text}`; fix: 'fixed 60s', 'exp 60s' or 'pareto 10s 1.5'")),
        };
        Ok(LifetimeFlag(lifetime))
    }
}

/// In the words of the flag.
pub(crate) fn in_words(lifetime: Lifetime) -> String {
    match lifetime {
        Lifetime::Fixed(time) => format!("fixed {time:?}"),
        Lifetime::Exponential(mean) => format!("exp {mean:?}"),
        Lifetime::Pareto { least, alpha } => format!("pareto {least:?} {alpha}"),
    }
}

/// Time between two messages of a connection, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Every(pub(crate) Schedule);

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Every, String> {
        let schedule =
            match text.strip_prefix("exp").map(|mean| mean.trim_start_matches([':', ' '])) {
                Some(mean) => Schedule::Exponential(units::positive_duration(mean)?),
                None => Schedule::Every(units::positive_duration(text)?),
            };
        Ok(Every(schedule))
    }
}

/// The same of one lifetime.
fn tuples(lifetime: Lifetime, connections: u64, time: Duration) -> u64 {
    let ends = lifetime.ends_within(time) * connections as f64;
    // Random numbers spread about their mean.
    let spread = if matches!(lifetime, Lifetime::Fixed(_)) { 0.0 } else { 5.0 * ends.sqrt() + 1.0 };
    // A number of lives is far below 2^64, and one that is not is capped.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above")]
    let tuples = (ends + spread).ceil() as u64;
    tuples
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_lifetime_is_what_it_says() {
        let lifetime =
            |text: &str| text.parse::<LifetimeFlag>().map(|LifetimeFlag(lifetime)| lifetime);
        assert_eq!(lifetime("fixed 60s"), Ok(Lifetime::Fixed(MINUTE)));
        assert_eq!(lifetime("exp 1m"), Ok(Lifetime::Exponential(MINUTE)));
        assert_eq!(lifetime("exp:60s"), Ok(Lifetime::Exponential(MINUTE)));
        let pareto = Lifetime::Pareto { least: MINUTE, alpha: 1.5 };
        assert_eq!(lifetime("pareto 60s 1.5"), Ok(pareto));
        assert_eq!(in_words(pareto), "pareto 60s 1.5");
        for bad in [
            "",
            "60s",
            "fixed",
            "exp 0s",
            "exp 60",
            "pareto 60s",
            "pareto 60s 1",
            "pareto 60s 0.5",
            "pareto 60s NaN",
            "pareto 60s inf",
            "pareto 0s 2",
            "fixed 1s 2s",
            "gamma 3s",
        ] {
            let error = lifetime(bad).expect_err(bad);
            assert!(error.contains("fix: "), "{bad}: {error}");
        }
    }

    #[test]
    fn a_time_between_messages_is_fixed_or_random() {
        let every = |text: &str| text.parse::<Every>().map(|Every(schedule)| schedule);
        assert_eq!(every("60s"), Ok(Schedule::Every(MINUTE)));
        assert_eq!(every("exp:60s"), Ok(Schedule::Exponential(MINUTE)));
        assert_eq!(every("exp 60s"), Ok(Schedule::Exponential(MINUTE)));
        for bad in ["", "exp", "exp:", "exp:0s", "exp:60", "0s", "poisson:3s"] {
            assert!(every(bad).expect_err(bad).contains("fix: "), "{bad}");
        }
    }

    #[test]
    fn places_need_as_many_tuples_as_are_left_in_a_minute() {
        assert_eq!(tuples(Lifetime::Fixed(MINUTE), 1_000, MINUTE), 1_000);
        assert_eq!(tuples(Lifetime::Fixed(10 * MINUTE), 1_000, MINUTE), 1_000);
        assert_eq!(tuples(Lifetime::Fixed(MINUTE / 6), 1_000, MINUTE), 6_000);
        assert_eq!(tuples(Lifetime::Exponential(MINUTE / 6), 1_000, MINUTE), 6_389);
        assert_eq!(tuples(Lifetime::Exponential(MINUTE), u64::MAX, 1_000 * MINUTE), u64::MAX);
    }

    #[test]
    fn a_seed_is_a_number_or_drawn() {
        assert_eq!(seed("18446744073709551615"), Ok(u64::MAX));
        for bad in ["", "-1", "+1", "1k", "0x10", "18446744073709551616"] {
            assert!(seed(bad).expect_err(bad).contains("fix: "), "{bad}");
        }
        let drawn = LifetimeFlags::default().seed(None);
        assert!(drawn < DRAWN_BELOW && drawn != LifetimeFlags::default().seed(None));
        let named = |name| LifetimeFlags::default().seed(Some(name));
        assert!(named("a") == named("a") && named("a") != named("b") && named("a") < DRAWN_BELOW);
        assert_eq!(LifetimeFlags { seed: Some(7), lifetime: None }.seed(Some("a")), 7);
    }
}
