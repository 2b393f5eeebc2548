//! A part of a run: what one of several hosts has of connections, rates, ports, seeds and numbers. All parts together
//! are the whole, and no two have anything in common. Each knows its own number alone, and none asks another.

use std::fmt;
use std::str::FromStr;

/// No run has more parts: as many as the low bits of the number hold by which the messages of one are told from others.
pub const PARTS_MAX: u64 = 1 << NUMBER_BITS;

const NUMBER_BITS: u32 = 20;

/// One part of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunPart {
    /// From 0.
    index: u64,
    of: u64,
}

impl RunPart {
    /// The part of this number, from 1.
    ///
    /// # Errors
    /// When there is no such part.
    pub fn new(number: u64, of: u64) -> Result<RunPart, String> {
        match number.checked_sub(1) {
            _ if of == 0 || of > PARTS_MAX => {
                Err(format!("{number}/{of}: there are from 1 to {PARTS_MAX} parts; fix: write 1/2"))
            }
            None => {
                Err(format!("0/{of}: parts are counted from 1; fix: write 1/{of} to {of}/{of}"))
            }
            Some(index) if index >= of => {
                Err(format!("{number}/{of}: there is no such part; fix: write 1/{of} to {of}/{of}"))
            }
            Some(index) => Ok(RunPart { index, of }),
        }
    }

    /// Its number, from 1.
    #[must_use]
    pub fn number(self) -> u64 {
        self.index + 1
    }

    /// How many parts there are.
    #[must_use]
    pub fn of(self) -> u64 {
        self.of
    }

    /// What it has of `total` things, as evenly as can be.
    #[must_use]
    pub fn share(self, total: u64) -> u64 {
        total / self.of + u64::from(self.index < total % self.of)
    }

    /// What it has of a rate: all have the same.
    #[must_use]
    pub fn rate(self, whole: f64) -> f64 {
        whole / self.of as f64
    }

    /// When a core's first thing is due, as a part of its own interval: cores of all parts take turns.
    #[must_use]
    pub fn turn(self, core: usize, cores: usize) -> f64 {
        (self.index as f64 + core as f64 / cores as f64) / self.of as f64
    }

    /// Which of `ports` are its own, where parts have the same sources: as many in a row for each.
    #[must_use]
    pub fn ports(self, ports: &[u16]) -> &[u16] {
        let (all, index) = (ports.len() as u64, self.index);
        let before = index * (all / self.of) + index.min(all % self.of);
        // Both are at most the number of ports.
        let [from, len] = [before, self.share(all)].map(|n| usize::try_from(n).unwrap_or(0));
        &ports[from..from + len]
    }

    /// What its random choices come from. No two parts of a run have one.
    #[must_use]
    pub fn seed(self, whole: u64) -> u64 {
        // An odd factor and the steps of splitmix64 (Steele, Lea, Flood, 2014) are one-to-one: other parts have others.
        let step = whole.wrapping_add(self.index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let step = (step ^ (step >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let step = (step ^ (step >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        step ^ (step >> 31)
    }

    /// What its messages are told by from those of other parts, whatever each has drawn.
    #[must_use]
    pub fn message_run(self, drawn: u64) -> u64 {
        (drawn & !(PARTS_MAX - 1)) | self.index
    }

    /// The fewest of its `own` things with which `least` of the `whole` can be there still, if all other parts have theirs.
    #[must_use]
    pub fn least(own: u64, least: u64, whole: u64) -> u64 {
        own.saturating_sub(whole.saturating_sub(least))
    }
}

/// `3/10`.
impl fmt::Display for RunPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number(), self.of)
    }
}

impl FromStr for RunPart {
    type Err = String;

    fn from_str(text: &str) -> Result<RunPart, String> {
        let numbers =
            text.split_once('/').and_then(|(number, of)| Some((digits(number)?, digits(of)?)));
        let (number, of) =
            numbers.ok_or_else(|| format!("`{text}` is no part; fix: write 1/2, 2/2 or auto"))?;
        RunPart::new(number, of)
    }
}

/// A number of digits alone.
#[must_use]
pub fn digits(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn all(of: u64) -> impl Iterator<Item = RunPart> {
        (1..=of).map(move |number| RunPart::new(number, of).expect("it is one of them"))
    }

    #[test]
    fn a_part_is_counted_from_1() {
        let part = |text: &str| text.parse::<RunPart>();
        assert_eq!(part("3/10").map(|part| (part.number(), part.of())), Ok((3, 10)));
        assert_eq!(part("3/10").map(|part| part.to_string()).as_deref(), Ok("3/10"));
        for (bad, said) in [
            ("0/10", "from 1"),
            ("11/10", "no such part"),
            ("1/0", "from 1 to"),
            ("1/1048577", "from 1 to"),
            ("1", "no part"),
            ("/", "no part"),
            ("+1/2", "no part"),
            ("1/2/3", "no part"),
            ("1/99999999999999999999999", "no part"),
        ] {
            let error = part(bad).expect_err(bad);
            assert!(error.contains(said) && error.contains("fix: "), "{bad}: {error}");
        }
    }

    #[test]
    fn all_parts_are_the_whole_and_have_nothing_in_common() {
        let ports: Vec<u16> = (32_768..=60_999).filter(|port| port % 7 != 0).collect();
        for of in [1, 2, 3, 10, 1_000, 30_000] {
            for total in [0, 1, 999, 1_000_000_007] {
                assert_eq!(all(of).map(|part| part.share(total)).sum::<u64>(), total);
            }
            let dealt: Vec<u16> = all(of).flat_map(|part| part.ports(&ports).to_vec()).collect();
            assert_eq!(dealt, ports, "{of}");
            let seeds: HashSet<u64> = all(of).map(|part| part.seed(7)).collect();
            let runs: HashSet<u64> = all(of).map(|part| part.message_run(part.seed(1))).collect();
            assert_eq!((seeds.len() as u64, runs.len() as u64), (of, of));
            let rate: f64 = all(of).map(|part| part.rate(12_345.0)).sum();
            assert!((rate - 12_345.0).abs() < 1e-6, "{rate}");
        }
    }

    #[test]
    fn cores_of_all_parts_take_turns() {
        let turns: Vec<f64> =
            all(2).flat_map(|part| [0, 1].map(|core| part.turn(core, 2))).collect();
        assert_eq!(turns, [0.0, 0.25, 0.5, 0.75]);
    }

    #[test]
    fn a_part_misses_what_the_whole_is_sure_to_miss() {
        assert_eq!(RunPart::least(50, 100, 100), 50, "each must have its own");
        assert_eq!(RunPart::least(50, 90, 100), 40);
        assert_eq!(RunPart::least(50, 10, 100), 0);
    }
}
