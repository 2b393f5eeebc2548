//! The progress line: a bar on a terminal, a plain line every two seconds elsewhere; of a hold,
//! which goes by time, every ten.

use std::fmt::Write;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use megaconn::base::stderr::talk;
use megaconn::base::units::grouped;

/// Count, rate and time to go of one phase.
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    started: Instant,
    /// It counts seconds.
    is_time: bool,
    bar: Option<ProgressBar>,
    said_at: Instant,
}

/// Time between two plain lines of a count, and of a time.
const LINE_EVERY: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

impl Progress {
    pub(crate) fn new(what: &'static str, total: u64) -> Progress {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total).with_message(what);
            let style = "{msg:<10} {bar:30} {human_pos}/{human_len} {rate} eta {eta}";
            let style = ProgressStyle::with_template(style).expect("the template is ours");
            bar.with_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
                // A line that cannot be written is drawn again.
                let _ = write!(out, "{}/s", grouped(rate(state.pos(), state.elapsed())));
            }))
        });
        let now = Instant::now();
        Progress { what, total, started: now, is_time: false, bar, said_at: now }
    }

    /// Of a phase that takes a given time: it counts in seconds.
    pub(crate) fn of_time(what: &'static str, time: Duration) -> Progress {
        let mut progress = Progress { is_time: true, ..Progress::new(what, time.as_secs()) };
        if let Some(bar) = progress.bar.take() {
            let style =
                ProgressStyle::with_template("{msg:<10} {bar:30} {human_pos} of {human_len} s");
            progress.bar = Some(bar.with_style(style.expect("the template is ours")));
        }
        progress
    }

    /// Ends it without a word.
    pub(crate) fn clear(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    pub(crate) fn at(&mut self, n: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(n),
            None if self.said_at.elapsed() >= LINE_EVERY[usize::from(self.is_time)] => {
                self.said_at = Instant::now();
                talk(&self.line(n));
            }
            None => {}
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

    fn line(&self, n: u64) -> String {
        if self.is_time {
            return format!("{} {n} of {} s", self.what, self.total);
        }
        let rate = rate(n, self.started.elapsed());
        let to_go = self.total.saturating_sub(n).checked_div(rate);
        let to_go = to_go.map_or("-".to_owned(), |s| s.to_string());
        let (n, total, rate) = (grouped(n), grouped(self.total), grouped(rate));
        format!("{} {n} of {total} ({rate}/s, {to_go} s to go)", self.what)
    }
}

/// Whole items per second.
pub(crate) fn rate(n: u64, took: Duration) -> u64 {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    n.saturating_mul(1000).checked_div(ms).unwrap_or(0)
}
