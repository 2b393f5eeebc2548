//! Every random choice of a client. Each is a function of the run's seed, of what is chosen, of the connection and of
//! how often it was chosen for it before: two runs with one seed make the same choices, in whatever order they come,
//! and nothing is kept of a choice.

use std::time::Duration;

/// No time is longer: what is beyond it never comes.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// What is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// How long a held connection lives.
    Lifetime = 1,
    /// Time between two messages of a connection.
    Think,
    /// Which part of a wait is random, of a connection that comes back.
    Jitter,
    /// Who reads slowly, or not at all.
    Reader,
}

/// How long held connections live.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lifetime {
    /// All of them as long.
    Fixed(Duration),
    /// Exponential, of this mean: at each moment each is as likely to end as any other.
    Exponential(Duration),
    /// Pareto: most live for little longer than the least, and some for very long.
    Pareto {
        /// None lives for less.
        least: Duration,
        /// How fast long ones become rare: the higher, the faster. Above 1.
        alpha: f64,
    },
}

impl Lifetime {
    /// The mean of all.
    #[must_use]
    pub fn mean(self) -> Duration {
        match self {
            Lifetime::Fixed(mean) | Lifetime::Exponential(mean) => mean,
            Lifetime::Pareto { least, alpha } => {
                within(least.as_secs_f64() * alpha / (alpha - 1.0))
            }
        }
    }

    /// How many lives, one after the other, end within `time` on the average, at most: of connections that are all made
    /// at its begin, or were long before.
    #[must_use]
    pub fn ends_within(self, time: Duration) -> f64 {
        let (time, mean) = (time.as_secs_f64(), self.mean().as_secs_f64());
        match self {
            Lifetime::Fixed(_) => (time / mean).ceil(),
            Lifetime::Exponential(_) => time / mean,
            Lifetime::Pareto { least, alpha } => {
                // Erickson, "Strong renewal theorems with infinite mean" (1970): at most 2 t / m(t) - 1, where m(t) is
                // the mean of the part of a life within t.
                let least = least.as_secs_f64();
                let beyond = if time > least {
                    least / (alpha - 1.0) * (1.0 - (least / time).powf(alpha - 1.0))
                } else {
                    0.0
                };
                (2.0 * time / (least.min(time) + beyond) - 1.0).max(time / mean)
            }
        }
    }

    /// The life of the quantile 1 - `part`, with `part` above 0 and at most 1.
    fn at(self, part: f64) -> Duration {
        match self {
            Lifetime::Fixed(time) => time,
            Lifetime::Exponential(mean) => exponential(mean, part),
            Lifetime::Pareto { least, alpha } => {
                within(least.as_secs_f64() * part.powf(-1.0 / alpha))
            }
        }
    }
}

/// The choices of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choices {
    seed: u64,
}

impl Choices {
    pub(super) fn new(seed: u64) -> Choices {
        Choices { seed }
    }

    /// How long life `life` of `connection` is.
    pub(super) fn lifetime(self, of: Lifetime, connection: u64, life: u32) -> Duration {
        of.at(self.part(Choice::Lifetime, connection, life, 0))
    }

    /// Time before message `nth` of a life of `connection`, where its mean is this.
    pub(super) fn think(self, mean: Duration, connection: u64, life: u32, nth: u32) -> Duration {
        exponential(mean, self.part(Choice::Think, connection, life, nth))
    }

    /// A part of one, above 0 and at most 1.
    pub(super) fn part(self, choice: Choice, connection: u64, life: u32, nth: u32) -> f64 {
        let what = mix(self.seed ^ mix(choice as u64));
        let whose = mix(what ^ mix(connection));
        let bits = mix(whose ^ (u64::from(life) << 32 | u64::from(nth)));
        ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// A step of SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

fn exponential(mean: Duration, part: f64) -> Duration {
    within(-part.ln() * mean.as_secs_f64())
}

fn within(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(LONGEST, |time| time.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Seconds of the first lives of this many connections, in order.
    fn lives(of: Lifetime, connections: u64) -> Vec<f64> {
        let choices = Choices::new(7);
        let life = |connection| choices.lifetime(of, connection, 0).as_secs_f64();
        let mut lives: Vec<f64> = (0..connections).map(life).collect();
        lives.sort_by(f64::total_cmp);
        lives
    }

    /// The largest distance of a sample in order from a distribution: Kolmogorov-Smirnov.
    fn distance(sample: &[f64], below: impl Fn(f64) -> f64) -> f64 {
        let n = sample.len() as f64;
        let of_one = |(index, value): (usize, &f64)| {
            let expected = below(*value);
            (expected - index as f64 / n).abs().max((expected - (index + 1) as f64 / n).abs())
        };
        sample.iter().enumerate().map(of_one).fold(0.0, f64::max)
    }

    /// Of a sample of 100,000 a larger distance comes once in a thousand seeds.
    const FAR: f64 = 1.95 / 316.2;

    #[test]
    fn lifetimes_are_of_the_distribution_that_was_asked() {
        let exponential = lives(Lifetime::Exponential(MINUTE), 100_000);
        let far = distance(&exponential, |t| 1.0 - (-t / 60.0).exp());
        assert!(far < FAR, "{far}");
        let mean = exponential.iter().sum::<f64>() / 100_000.0;
        assert!((mean - 60.0).abs() < 5.0 * 60.0 / 316.2, "{mean}");
        for alpha in [1.2, 2.0, 5.0] {
            let pareto = lives(Lifetime::Pareto { least: MINUTE, alpha }, 100_000);
            let far = distance(&pareto, |t| 1.0 - (60.0 / t).powf(alpha));
            assert!(far < FAR && pareto[0] >= 60.0, "{far} with {alpha}");
        }
        assert!(lives(Lifetime::Fixed(MINUTE), 9).iter().all(|life| *life == 60.0));
    }

    #[test]
    fn think_times_are_exponential_on_each_connection_and_over_all() {
        let choices = Choices::new(3);
        let think =
            |connection, life, nth| choices.think(MINUTE, connection, life, nth).as_secs_f64();
        let of_one = (0..100_000).map(|nth| think(5, 0, nth)).collect();
        let of_all = (0..100_000).map(|connection| think(connection, 0, 1)).collect();
        let of_lives = (0..100_000).map(|life| think(8, life, 0)).collect();
        for mut times in [of_one, of_all, of_lives] as [Vec<f64>; 3] {
            times.sort_by(f64::total_cmp);
            let far = distance(&times, |t| 1.0 - (-t / 60.0).exp());
            assert!(far < FAR, "{far}");
        }
        // One after the other, and side by side, they have nothing to do with each other.
        let product = |far: fn(u64) -> (u64, u32)| {
            let of_one = |n: u64| {
                let (connection, nth) = far(n);
                (think(n, 0, 0) - 60.0) * (think(connection, 0, nth) - 60.0)
            };
            (0..100_000).map(of_one).sum::<f64>() / 100_000.0 / 3_600.0
        };
        for correlation in [product(|n| (n + 1, 0)), product(|n| (n, 1)), product(|n| (n + 2, 0))] {
            assert!(correlation.abs() < 5.0 / 316.2, "{correlation}");
        }
    }

    #[test]
    fn one_seed_is_one_story_and_another_seed_is_another() {
        let story = |seed| {
            let choices = Choices::new(seed);
            let all = (0..100).map(|n| choices.part(Choice::Jitter, n / 10, 0, (n % 10) as u32));
            all.collect::<Vec<_>>()
        };
        assert_eq!(story(1), story(1));
        let (one, other) = (story(1), story(2));
        assert!(one.iter().zip(&other).all(|(one, other)| one != other));
        assert!(one.iter().all(|part| *part > 0.0 && *part <= 1.0));
    }

    #[test]
    fn what_is_longer_than_anything_is_the_longest() {
        let endless = Lifetime::Pareto { least: LONGEST, alpha: 1.001 };
        assert_eq!(endless.at(f64::MIN_POSITIVE), LONGEST);
        assert_eq!(endless.mean(), LONGEST);
        assert_eq!(Lifetime::Exponential(MINUTE).at(1.0), Duration::ZERO);
    }

    /// By trying it: 10,000 connections, from when they are made.
    #[test]
    fn no_more_lives_end_within_a_time_than_are_said_to() {
        let choices = Choices::new(1);
        let ms = Duration::from_millis;
        let all = [
            Lifetime::Fixed(ms(700)),
            Lifetime::Fixed(ms(90_000)),
            Lifetime::Exponential(ms(2_000)),
            Lifetime::Exponential(ms(600_000)),
            Lifetime::Pareto { least: ms(500), alpha: 1.2 },
            Lifetime::Pareto { least: ms(20_000), alpha: 3.0 },
            Lifetime::Pareto { least: ms(70_000), alpha: 1.5 },
        ];
        for of in all {
            let ends = |connection: u64| {
                let (mut at, mut life) = (Duration::ZERO, 0);
                while at < MINUTE {
                    at += choices.lifetime(of, connection, life);
                    life += 1;
                }
                u64::from(life - 1)
            };
            let seen = (0..10_000).map(ends).sum::<u64>() as f64 / 10_000.0;
            let said = of.ends_within(MINUTE);
            // Of 10,000 a mean has a hundredth of the spread of one.
            assert!(seen <= said + 0.05 * said.sqrt().max(said / 5.0), "{seen} of {said}: {of:?}");
            assert!(said <= 2.0 * seen + 1.0, "{said} is far more than {seen}: {of:?}");
        }
    }
}
