//! `--keep-bystanders 'connect p99 < 5ms, ping loss < 0.1%'`: what is asked of bystanders, and whether
//! they did it. A clause is told only when there are enough samples that no single one decides.
//!
//! ```text
//! EXPR    = CLAUSE { "," CLAUSE }
//! CLAUSE  = KIND ( "p50" | "p90" | "p99" | "max" ) "<" DURATION
//!         | KIND "loss" "<" PERCENT "%"
//! ```

use std::fmt;
use std::str::FromStr;

use megaconn::base::units::{self, grouped};
use megaconn::results::bystanders::Latency;

use crate::bystanders::account::ProbeAccount;
use crate::bystanders::finding::SAMPLES_MIN;
use crate::bystanders::sentence::{percent, us};

/// The bystanders there are.
pub(crate) const KINDS: [&str; 7] =
    ["ping", "connect", "request", "udp", "resolve", "disk", "schedule"];

/// Percentiles that can be asked for, the lowest first.
const PERCENTILES: [Percentile; 4] = [
    Percentile { name: "p50", decides_below: 2, of: |latency| latency.p50 },
    Percentile { name: "p90", decides_below: 10, of: |latency| latency.p90 },
    Percentile { name: "p99", decides_below: 100, of: |latency| latency.p99 },
    Percentile { name: "max", decides_below: 1, of: |latency| latency.max },
];

/// What is asked for, at least one clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slo(Vec<Clause>);

/// One bystander, one bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    /// One of [`KINDS`].
    pub(crate) kind: &'static str,
    pub(crate) limit: Limit,
}

/// All are bounds that must not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Of the percentile at this place in the table.
    Latency { percentile: usize, below_us: u64 },
    /// Parts of a million.
    Loss { below_ppm: u64 },
}

#[derive(Clone, Copy)]
struct Percentile {
    name: &'static str,
    /// Among fewer samples than these a single one is the percentile; the greatest always is one.
    decides_below: u64,
    of: fn(&Latency) -> u64,
}

/// A clause, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClauseResult {
    pub(crate) clause: Clause,
    pub(crate) verdict: Verdict,
    /// With figures.
    pub(crate) sentence: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Held,
    /// Not probed, or too few samples.
    CannotBeTold,
    Broken,
}

impl Slo {
    /// The samples of one bystander in one phase that tell every clause.
    pub(crate) fn samples_needed(&self) -> u64 {
        self.0.iter().map(Clause::samples_needed).max().unwrap_or(0)
    }

    /// The kinds of bystander it is about.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().map(|clause| clause.kind)
    }

    /// `rows` are the bystanders of one phase. Several of a kind all have to keep the bound.
    pub(crate) fn judge(&self, rows: &[ProbeAccount]) -> Vec<ClauseResult> {
        self.0.iter().map(|clause| clause.judge(rows)).collect()
    }
}

impl Clause {
    /// As few as leave no single sample to decide: with a loss of 0.1 %, one of 1,001; of the p99, 100,
    /// of which the slowest is beyond it. Never fewer than anything takes.
    pub(crate) fn samples_needed(&self) -> u64 {
        let needed = match self.limit {
            Limit::Latency { percentile, .. } => PERCENTILES[percentile].decides_below,
            Limit::Loss { below_ppm } => 1_000_000 / below_ppm + 1,
        };
        needed.max(SAMPLES_MIN)
    }

    fn judge(&self, rows: &[ProbeAccount]) -> ClauseResult {
        let is_mine = |row: &&ProbeAccount| row.name.split(' ').next() == Some(self.kind);
        let judged = rows.iter().filter(is_mine).map(|row| self.judge_one(row));
        let (verdict, sentence) = judged.max_by_key(|(verdict, _)| *verdict).unwrap_or_else(|| {
            (Verdict::CannotBeTold, format!("{self}: cannot be told, {} was not probed", self.kind))
        });
        ClauseResult { clause: *self, verdict, sentence }
    }

    fn judge_one(&self, row: &ProbeAccount) -> (Verdict, String) {
        let needed = self.samples_needed();
        let (is_broken, figure) = match self.limit {
            Limit::Loss { below_ppm } => of_loss(row, below_ppm),
            Limit::Latency { percentile, below_us } => of_latency(row, percentile, below_us),
        };
        let (verdict, word) = match (is_broken, row.sent >= needed) {
            (true, _) => (Verdict::Broken, "broken"),
            (false, true) => (Verdict::Held, "held"),
            (false, false) => (Verdict::CannotBeTold, "cannot be told"),
        };
        let few = match verdict {
            Verdict::CannotBeTold => format!(", fewer than {} samples", grouped(needed)),
            _ => String::new(),
        };
        let sent = grouped(row.sent);
        (verdict, format!("{self}: {word}, {} {figure} of {sent}{few}", row.name))
    }
}

/// Whether it is broken whatever one single sample had done; and the figure.
fn of_loss(row: &ProbeAccount, below_ppm: u64) -> (bool, String) {
    let reaches =
        |lost: u64| u128::from(lost) * 1_000_000 >= u128::from(row.sent) * u128::from(below_ppm);
    let is_broken = row.lost > 1 && reaches(row.lost - 1)
        || row.sent > 1_000_000 / below_ppm && reaches(row.lost);
    let part = row.lost as f64 / row.sent.max(1) as f64;
    (is_broken, format!("lost {} ({})", grouped(row.lost), percent(part)))
}

/// The same. What is lost is slower than any bound: when the percentile is one of those, it is broken.
fn of_latency(row: &ProbeAccount, percentile: usize, below_us: u64) -> (bool, String) {
    let asked = PERCENTILES[percentile];
    let answers = row.sent - row.lost;
    let allowed = if asked.decides_below == 1 { 0 } else { row.sent / asked.decides_below };
    let is_lost = row.lost > allowed && (row.lost > 1 || row.sent >= asked.decides_below);
    if is_lost {
        return (true, format!("lost {}", grouped(row.lost)));
    }
    let Some(latency) = row.latency_us else { return (false, "no answer".into()) };
    // A lower percentile that is too slow needs fewer samples to be sure of.
    let is_sure =
        |lower: &Percentile| answers >= lower.decides_below && (lower.of)(&latency) >= below_us;
    let is_broken = PERCENTILES[..=percentile].iter().any(is_sure);
    (is_broken, format!("{} {}", asked.name, us((asked.of)(&latency) as f64)))
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Slo, String> {
        Ok(Slo(text.split(',').map(str::parse).collect::<Result<_, _>>()?))
    }
}

impl FromStr for Clause {
    type Err = String;

    fn from_str(text: &str) -> Result<Clause, String> {
        let text = text.trim();
        let error =
            || format!("`{text}` is no clause; fix: write `ping p99 < 5ms` or `ping loss < 0.1%`");
        let (what, bound) = text.split_once('<').ok_or_else(error)?;
        let mut words = what.split_whitespace();
        let (Some(kind), Some(measure), None) = (words.next(), words.next(), words.next()) else {
            return Err(error());
        };
        let kind = KINDS.into_iter().find(|known| *known == kind).ok_or_else(|| {
            format!("`{kind}` is no bystander; fix: write one of {}", KINDS.join(", "))
        })?;
        let percentile = PERCENTILES.iter().position(|percentile| percentile.name == measure);
        let limit = match (measure, percentile) {
            ("loss", _) => Limit::Loss { below_ppm: ppm(bound.trim())? },
            (_, Some(percentile)) => {
                Limit::Latency { percentile, below_us: microseconds(bound.trim())? }
            }
            _ => {
                let fix = "fix: write p50, p90, p99, max or loss";
                return Err(format!("`{measure}` is nothing that a bystander keeps; {fix}"));
            }
        };
        Ok(Clause { kind, limit })
    }
}

/// A duration as everywhere, and `500us`.
fn microseconds(text: &str) -> Result<u64, String> {
    let error = || format!("`{text}` is no bound of a latency; fix: write 500us, 5ms or 1s");
    let us = match text.strip_suffix("us") {
        Some(number) => units::positive_count(number).map_err(|_| error())?,
        None => {
            let duration = units::positive_duration(text).map_err(|_| error())?;
            u64::try_from(duration.as_micros()).map_err(|_| error())?
        }
    };
    // A latency is 32 bits of microseconds.
    u32::try_from(us).map(u64::from).map_err(|_| error())
}

/// Above 0 % and up to 100 %, four digits behind the point.
fn ppm(text: &str) -> Result<u64, String> {
    let parsed = || {
        let number = text.strip_suffix('%')?.trim_end();
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |digits: &str, most| {
            (1..=most).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
        };
        if !is_number(whole, 3) || !is_number(part, 4) {
            return None;
        }
        let whole: u64 = whole.parse().ok()?;
        let part: u64 = format!("{part:0<4}").parse().ok()?;
        Some(whole * 10_000 + part).filter(|ppm| (1..=1_000_000).contains(ppm))
    };
    parsed().ok_or_else(|| format!("`{text}` is no part that is lost; fix: write 0.1% or 2%"))
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, clause) in self.0.iter().enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{clause}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind;
        match self.limit {
            Limit::Latency { percentile, below_us } => {
                let (number, unit) = match below_us {
                    us if us % 1_000_000 == 0 => (us / 1_000_000, "s"),
                    us if us % 1_000 == 0 => (us / 1_000, "ms"),
                    us => (us, "us"),
                };
                write!(f, "{kind} {} < {number}{unit}", PERCENTILES[percentile].name)
            }
            Limit::Loss { below_ppm } => {
                let digits = format!("{}.{:04}", below_ppm / 10_000, below_ppm % 10_000);
                let digits = digits.trim_end_matches('0').trim_end_matches('.');
                write!(f, "{kind} loss < {digits}%")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(name: &str, sent: u64, lost: u64, latency: [u64; 4]) -> ProbeAccount {
        let [p50, p90, p99, max] = latency;
        ProbeAccount {
            name: name.into(),
            sent,
            lost,
            latency_us: (sent > lost).then_some(Latency { p50, p90, p99, max }),
            ..ProbeAccount::default()
        }
    }

    fn verdict(clause: &str, row: ProbeAccount) -> Verdict {
        let keep: Slo = clause.parse().unwrap();
        keep.judge(&[row])[0].verdict
    }

    #[test]
    fn what_is_typed_is_what_it_prints_as() {
        for text in [
            "connect p99 < 5ms, ping loss < 0.1%",
            "udp p50 < 500us",
            "disk max < 2s, schedule p90 < 1ms, resolve loss < 100%",
        ] {
            assert_eq!(text.parse::<Slo>().unwrap().to_string(), text);
        }
        let loose: Slo = " connect  p99<5ms ,ping loss <0.10 %".parse().unwrap();
        assert_eq!(loose.to_string(), "connect p99 < 5ms, ping loss < 0.1%");
    }

    #[test]
    fn what_is_none_is_refused_with_a_fix() {
        for bad in [
            "",
            ",",
            "ping",
            "ping p99",
            "ping p99 < ",
            "ping p99 > 5ms",
            "ping p99 <= 5ms",
            "ping p95 < 5ms",
            "pong p99 < 5ms",
            "ping p99 < 5",
            "ping p99 < 0ms",
            "ping p99 < 0.5us",
            "ping p99 < 2h",
            "ping p99 < 1%",
            "ping loss < 5ms",
            "ping loss < 0%",
            "ping loss < 0.00001%",
            "ping loss < 101%",
            "ping loss < -1%",
            "ping loss < .1%",
            "ping loss < 0.1",
            "ping 10.0.0.9 loss < 1%",
            "ping p99 < 5ms,",
            "ping p99 < 5ms; udp p99 < 5ms",
        ] {
            let error = bad.parse::<Slo>().expect_err(bad);
            assert!(error.contains("; fix: write"), "{error}");
        }
    }

    #[test]
    fn no_single_sample_decides() {
        let needed = |text: &str| text.parse::<Slo>().unwrap().samples_needed();
        assert_eq!(needed("ping loss < 0.1%"), 1_001);
        assert_eq!(needed("ping p99 < 5ms"), 100);
        assert_eq!((needed("ping p50 < 5ms"), needed("ping loss < 50%")), (30, 30));
        assert_eq!(needed("ping p99 < 5ms, udp loss < 1%"), 101);

        let ping = |sent, lost| row("ping", sent, lost, [40, 60, 90, 9_000]);
        let of = verdict;
        assert_eq!(of("ping loss < 0.1%", ping(1_001, 1)), Verdict::Held);
        assert_eq!(of("ping loss < 0.1%", ping(1_000, 1)), Verdict::CannotBeTold);
        assert_eq!(of("ping loss < 0.1%", ping(1_001, 2)), Verdict::Broken);
        assert_eq!(of("ping loss < 0.1%", ping(50, 0)), Verdict::CannotBeTold);
        assert_eq!(of("ping loss < 0.1%", ping(50, 2)), Verdict::Broken);
        assert_eq!(of("ping loss < 100%", ping(500, 500)), Verdict::Broken);
    }

    #[test]
    fn a_latency_is_kept_broken_or_not_known() {
        let connect = |sent, lost, latency| row("connect", sent, lost, latency);
        let of = |row| verdict("connect p99 < 5ms", row);
        assert_eq!(of(connect(200, 0, [40, 60, 4_999, 90_000])), Verdict::Held);
        assert_eq!(of(connect(200, 0, [40, 60, 5_000, 90_000])), Verdict::Broken);
        assert_eq!(of(connect(50, 0, [40, 60, 90_000, 90_000])), Verdict::CannotBeTold);
        assert_eq!(of(connect(50, 0, [40, 6_000, 90_000, 90_000])), Verdict::Broken);
        assert_eq!(of(connect(200, 3, [40, 60, 90, 100])), Verdict::Broken);
        assert_eq!(of(connect(200, 2, [40, 60, 90, 100])), Verdict::Held);
        assert_eq!(of(connect(50, 1, [40, 60, 90, 100])), Verdict::CannotBeTold);
        assert_eq!(of(connect(0, 0, [0; 4])), Verdict::CannotBeTold);
        assert_eq!(of(connect(80, 80, [0; 4])), Verdict::Broken);
        let max = |row| verdict("connect max < 5ms", row);
        assert_eq!(max(connect(200, 0, [40, 60, 90, 6_000])), Verdict::Broken);
        assert_eq!(max(connect(200, 1, [40, 60, 90, 100])), Verdict::Broken);
        assert_eq!(max(connect(200, 0, [40, 60, 90, 100])), Verdict::Held);
    }

    #[test]
    fn verdicts_have_their_figures() {
        let keep: Slo = "ping p99 < 5ms, udp loss < 1%".parse().unwrap();
        let rows = [
            row("ping", 200, 0, [40, 60, 300, 400]),
            row("ping 10.0.0.9", 200, 0, [40, 60, 7_100, 9_000]),
        ];
        let judged = keep.judge(&rows);
        assert_eq!(judged[0].verdict, Verdict::Broken);
        assert_eq!(judged[0].sentence, "ping p99 < 5ms: broken, ping 10.0.0.9 p99 7.1 ms of 200");
        assert_eq!(judged[1].sentence, "udp loss < 1%: cannot be told, udp was not probed");
        let few = keep.judge(&[row("udp", 20, 1, [1; 4])]);
        assert_eq!(
            few[1].sentence,
            "udp loss < 1%: cannot be told, udp lost 1 (5.0 %) of 20, fewer than 101 samples"
        );
    }

    fn any_clause() -> impl Strategy<Value = Clause> {
        let latency = (0..PERCENTILES.len(), 1..u64::from(u32::MAX))
            .prop_map(|(percentile, below_us)| Limit::Latency { percentile, below_us });
        let loss = (1..=1_000_000_u64).prop_map(|below_ppm| Limit::Loss { below_ppm });
        (prop::sample::select(&KINDS[..]), prop_oneof![latency, loss])
            .prop_map(|(kind, limit)| Clause { kind, limit })
    }

    proptest! {
        #[test]
        fn any_expression_is_what_it_prints_as(clauses in prop::collection::vec(any_clause(), 1..6)) {
            let keep = Slo(clauses);
            prop_assert_eq!(keep.to_string().parse(), Ok(keep));
        }

        #[test]
        fn no_text_is_a_panic(text in ".{0,40}") {
            if let Ok(keep) = text.parse::<Slo>() {
                prop_assert_eq!(keep.to_string().parse(), Ok(keep));
            }
        }
    }
}
