//! The progress line: a bar on a terminal, a plain line every two seconds elsewhere; of a hold, which
//! goes by time, and of a wait, every ten. It says what is waited for and until when. A time to go that
//! would grow is not told.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use megaconn::base::stderr::talk;
use megaconn::base::units::grouped;

/// Count, pace and time to go of one phase.
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    /// What is without an answer for so long is given up.
    patience: Duration,
    started: Instant,
    /// It counts seconds.
    is_time: bool,
    is_paused: bool,
    bar: Option<ProgressBar>,
    said_at: Instant,
    moved: Moved,
}

/// What has been seen to move.
struct Moved {
    n: u64,
    at: Instant,
    /// When it was to be over, by the best pace so far.
    over_at: Option<Instant>,
}

/// Time between two plain lines of a count, and of a time or a wait.
const LINE_EVERY: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// Without a move for so long, that is what is told.
const STILL_AFTER: Duration = Duration::from_secs(2);

impl Progress {
    /// Of a phase with `total` things, of which each is given up after `patience`.
    pub(crate) fn new(what: &'static str, total: u64, patience: Duration) -> Progress {
        let template = match total {
            0 => "{msg:<10} {prefix}",
            _ => "{msg:<10} {bar:30} {human_pos}/{human_len} {prefix}",
        };
        Progress::with(what, total, patience, template)
    }

    /// Of a phase that takes a given time: it counts in seconds.
    pub(crate) fn of_time(what: &'static str, time: Duration) -> Progress {
        let template = "{msg:<10} {bar:30} {human_pos} of {human_len} s";
        let progress = Progress::with(what, time.as_secs(), Duration::ZERO, template);
        Progress { is_time: true, ..progress }
    }

    fn with(what: &'static str, total: u64, patience: Duration, template: &str) -> Progress {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(template).expect("the template is ours");
            ProgressBar::new(total).with_message(what).with_style(style)
        });
        let now = Instant::now();
        let moved = Moved { n: 0, at: now, over_at: None };
        Progress {
            what,
            total,
            patience,
            started: now,
            is_time: false,
            is_paused: false,
            bar,
            said_at: now,
            moved,
        }
    }

    /// Ends it without a word.
    pub(crate) fn clear(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// So much of it is done; in a pause nothing is to move.
    pub(crate) fn at(&mut self, n: u64, is_paused: bool) {
        let now = Instant::now();
        self.is_paused = is_paused;
        self.grow(n);
        if n != self.moved.n || is_paused {
            (self.moved.n, self.moved.at) = (n, now);
        }
        let every = LINE_EVERY[usize::from(self.is_time || self.total == 0)];
        let every = if self.bar.is_some() { LINE_EVERY[0] / 10 } else { every };
        if now - self.said_at < every {
            return;
        }
        self.said_at = now;
        match self.bar.clone() {
            Some(bar) => {
                bar.set_prefix(self.pace(n, now));
                bar.set_position(n);
            }
            None => talk(&self.line(n, now)),
        }
    }

    /// Ends the phase, which took the time `took`.
    pub(crate) fn done(self, n: u64, took: Duration) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.total == 0 {
            return;
        }
        let rate = rate(n, took);
        let (what, n) = (self.what, grouped(n));
        talk(&format!("{what} {n} done in {:.1} s ({}/s)", took.as_secs_f64(), grouped(rate)));
    }

    /// The total is how many there are to be by what was known when it began. What comes in addition, as an
    /// answer to what was out before, belongs to it.
    fn grow(&mut self, n: u64) {
        if self.total > 0 && n > self.total {
            self.total = n;
            self.bar.iter().for_each(|bar| bar.set_length(n));
        }
    }

    fn line(&mut self, n: u64, now: Instant) -> String {
        let pace = self.pace(n, now);
        let (what, of) = (self.what, grouped(self.total));
        match self.total {
            _ if self.is_time && self.is_paused => {
                format!("{what} {n} of {} s, paused", self.total)
            }
            _ if self.is_time => format!("{what} {n} of {} s", self.total),
            0 => format!("{what}: {pace}"),
            _ => format!("{what} {} of {of} ({pace})", grouped(n)),
        }
    }

    /// How fast it goes and when it will be over, or what is waited for.
    fn pace(&mut self, n: u64, now: Instant) -> String {
        if self.is_paused {
            return "paused".to_owned();
        }
        let patience = self.patience.as_secs();
        let still = now - self.moved.at;
        if self.total == 0 {
            let for_s = (now - self.started).as_secs();
            return format!(
                "the last answers are waited for, each for {patience} s at most; {for_s} s so far"
            );
        }
        if still >= STILL_AFTER {
            let still = still.as_secs();
            return format!(
                "nothing for {still} s; what has no answer in {patience} s is given up"
            );
        }
        let rate = rate(n, now - self.started);
        let Some(to_go) = self.total.saturating_sub(n).checked_div(rate) else {
            return "nothing yet".to_owned();
        };
        let over_at = now + Duration::from_secs(to_go.min(YEAR_S));
        let best = *self.moved.over_at.get_or_insert(over_at);
        self.moved.over_at = Some(best.min(over_at));
        let rate = grouped(rate);
        // A second more or less is how it was rounded.
        if over_at > best + Duration::from_secs(1) {
            return format!("{rate}/s, slower than before");
        }
        format!("{rate}/s, {to_go} s to go")
    }
}

/// No time to go is longer, so that it can be added to now.
const YEAR_S: u64 = 365 * 24 * 3_600;

/// Whole items per second.
pub(crate) fn rate(n: u64, took: Duration) -> u64 {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    n.saturating_mul(1000).checked_div(ms).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// The lines after these seconds, with what was done by then.
    fn lines(total: u64, seen: &[(u64, u64)]) -> Vec<String> {
        let mut progress = Progress::new("opening", total, PATIENCE);
        let began = progress.started;
        let line = |(second, n): &(u64, u64)| {
            let now = began + Duration::from_secs(*second);
            progress.grow(*n);
            if *n != progress.moved.n {
                (progress.moved.n, progress.moved.at) = (*n, now);
            }
            progress.line(*n, now)
        };
        seen.iter().map(line).collect()
    }

    #[test]
    fn a_time_to_go_does_not_grow() {
        let lines = lines(10_000, &[(2, 2_000), (4, 4_000), (6, 4_100), (9, 4_100), (14, 9_900)]);
        assert_eq!(
            lines,
            [
                "opening 2,000 of 10,000 (1,000/s, 8 s to go)",
                "opening 4,000 of 10,000 (1,000/s, 6 s to go)",
                "opening 4,100 of 10,000 (683/s, slower than before)",
                "opening 4,100 of 10,000 (nothing for 3 s; what has no answer in 10 s is given up)",
                "opening 9,900 of 10,000 (707/s, slower than before)",
            ]
        );
    }

    #[test]
    fn a_total_is_not_passed() {
        let lines = lines(1_000, &[(1, 900), (2, 1_100)]);
        assert_eq!(lines[1], "opening 1,100 of 1,100 (550/s, 0 s to go)");
    }

    #[test]
    fn what_has_no_count_says_what_is_waited_for_and_until_when() {
        let expected =
            "opening: the last answers are waited for, each for 10 s at most; 7 s so far";
        assert_eq!(lines(0, &[(7, 0)]), [expected]);
    }
}
