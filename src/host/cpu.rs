//! How much CPU time this process had, and how much it was ready to use, as the kernel counts it.
//!
//! `/proc/stat` counts the CPUs as a whole, which says little of a run on a host with other work. A
//! thread that is ready and does not run waits: other threads run, or its control group is at its
//! limit.

use crate::host::procfs::ProcFs;

/// The CPU time of a process up to a moment, or from one moment to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Milliseconds that its threads ran, all together.
    pub ran_ms: u64,
    /// Milliseconds that its threads were ready and did not run; 0 where the kernel does not say.
    pub waited_ms: u64,
    /// Milliseconds since it began.
    pub lived_ms: u64,
}

impl CpuTime {
    /// This process's, now; `None` when it cannot be read. Threads that have ended are not counted.
    #[must_use]
    pub fn read() -> Option<CpuTime> {
        let procfs = ProcFs::host();
        let text = |path: &str| procfs.read(path);
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let mut time = CpuTime {
            lived_ms: lived_ms(&text("proc/self/stat")?, &text("proc/uptime")?, ticks_per_second)?,
            ..CpuTime::default()
        };
        for thread in procfs.names("proc/self/task") {
            let schedstat = text(&format!("proc/self/task/{thread}/schedstat")).unwrap_or_default();
            let mut ns = schedstat.split_whitespace().map_while(|word| word.parse::<u64>().ok());
            time.ran_ms += ns.next().unwrap_or(0) / 1_000_000;
            time.waited_ms += ns.next().unwrap_or(0) / 1_000_000;
        }
        Some(time)
    }

    /// From `before` to now.
    #[must_use]
    pub fn since(self, before: CpuTime) -> CpuTime {
        CpuTime {
            ran_ms: self.ran_ms.saturating_sub(before.ran_ms),
            waited_ms: self.waited_ms.saturating_sub(before.waited_ms),
            lived_ms: self.lived_ms.saturating_sub(before.lived_ms),
        }
    }

    /// CPUs that it kept busy on average.
    #[must_use]
    pub fn ran(self) -> f64 {
        self.ran_ms as f64 / self.lived_ms.max(1) as f64
    }

    /// CPUs that it would have kept busy on average, without other programs and limits.
    #[must_use]
    pub fn wanted(self) -> f64 {
        (self.ran_ms + self.waited_ms) as f64 / self.lived_ms.max(1) as f64
    }
}

/// Names of the figures of a core's thread, and what they say.
pub const THREAD_FIGURES: [(&str, &str); 2] = [
    (
        "ran_us_total",
        "Microseconds that the core's thread ran. Rises by a million a second? The core is full: \
         more --cores.",
    ),
    (
        "waited_us_total",
        "Microseconds that the core's thread could have run, and others did. Rising? Something \
         else runs on its CPU: see top, or other --cores.",
    ),
];

/// How long a thread of this process has run and has waited since it began, in microseconds, as
/// [`THREAD_FIGURES`]; `None` when it cannot be read. The thread itself does nothing for it.
#[must_use]
pub fn thread_us(id: u64) -> Option<[u64; 2]> {
    let schedstat = ProcFs::host().read(&format!("proc/self/task/{id}/schedstat"))?;
    let mut ns = schedstat.split_whitespace().map(|word| word.parse::<u64>().ok());
    Some([ns.next()?? / 1_000, ns.next()?? / 1_000])
}

/// The kernel's id of the calling thread.
#[must_use]
pub fn own_thread() -> u64 {
    let id = rustix::thread::gettid().as_raw_nonzero().get();
    u64::try_from(id).expect("the number of a thread is positive")
}

/// How long a process has lived. Field 22 of `/proc/PID/stat` says when it began, in ticks since
/// the host did; `/proc/uptime` says how long ago that was.
fn lived_ms(stat: &str, uptime: &str, ticks_per_second: u64) -> Option<u64> {
    // The second field is a name in parentheses, which may contain any character.
    let (_, fields) = stat.rsplit_once(") ")?;
    let began = fields.split(' ').nth(22 - 3)?.parse::<u64>().ok()?;
    let (seconds, hundredths) = uptime.split_whitespace().next()?.split_once('.')?;
    let hundredths = hundredths.parse::<u64>().ok()?.checked_mul(10)?;
    let up_ms = seconds.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(hundredths)?;
    up_ms.checked_sub(began.checked_mul(1000)?.checked_div(ticks_per_second)?)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 9 0 0 0 150 50 0 0 20 0 5 0 1000 99 9\n";
        assert_eq!(lived_ms(stat, "30.25 59.00\n", 100), Some(20_250));
        assert_eq!(lived_ms("7 (x) S 1", "30.25 1.0", 100), None);
        assert_eq!(lived_ms(stat, "soon", 100), None);
    }

    #[test]
    fn a_busy_process_runs_or_waits() {
        let before = CpuTime::read().expect("/proc is there");
        let began = Instant::now();
        let mut now = before;
        while now.ran_ms < before.ran_ms + 100 {
            assert!(began.elapsed() < Duration::from_secs(60), "no time is counted");
            now = CpuTime::read().expect("as above");
        }
        let spent = now.since(before);
        assert!(spent.ran() > 0.0 && spent.wanted() >= spent.ran(), "{spent:?}");
        assert_eq!(now.since(now), CpuTime::default());
    }

    #[test]
    fn each_thread_has_its_own_time() {
        let worker = std::thread::spawn(|| {
            let (id, began) = (own_thread(), Instant::now());
            while thread_us(id).expect("/proc is there")[0] < 50_000 {
                assert!(began.elapsed() < Duration::from_secs(60), "no time is counted");
            }
            (id, thread_us(own_thread()).expect("as above"))
        });
        let before = thread_us(own_thread()).expect("as above");
        let (id, of_worker) = worker.join().expect("it found its time");
        let of_us = thread_us(own_thread()).expect("as above");
        assert!(of_worker[0] >= 50_000 && of_us[0] - before[0] < 50_000, "{of_us:?}");
        assert_ne!(id, own_thread());
        assert_eq!(thread_us(0), None, "no thread is 0");
    }
}
