//! What is tried on the host itself, or waits in a library: a thread each, because each of these calls
//! waits. They tell an effect of the network from a machine that is starved.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::ToSocketAddrs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use megaconn::base::clock::microseconds;
use megaconn::base::constants::{BYSTANDER_DISK_BYTES, BYSTANDER_SLEEP, BYSTANDER_TIMEOUT};

use crate::bystanders::collector::Collector;
use crate::bystanders::rounds::Rounds;
use crate::bystanders::sample::Outcome;

/// Does `try_it`, which waits, whenever it is due; it says by how much it was late by itself, and is of
/// when it began then, else the latency is the time since it was due. What was due
/// within a second before it is stopped, and never begun, is no loss.
pub(crate) fn run(
    place: u8,
    mut rounds: Rounds,
    collector: &Collector,
    mut try_it: impl FnMut() -> io::Result<Option<Duration>>,
) {
    while !collector.is_stopped() {
        let Some((_, due_us)) = rounds.due(collector.now_us()) else {
            let next = collector.at(rounds.next_us());
            thread::sleep(next.saturating_duration_since(Instant::now()));
            continue;
        };
        let began_us = collector.now_us();
        if began_us.saturating_sub(due_us) > microseconds(BYSTANDER_TIMEOUT) {
            // Those before it took so long that it had no answer in time.
            collector.add(place, due_us, began_us - due_us, Outcome::TimedOut);
            continue;
        }
        let came_to = try_it();
        let since_us = collector.now_us().saturating_sub(due_us);
        let (latency_us, outcome) = match came_to {
            Ok(Some(late)) => {
                collector.add(place, began_us, microseconds(late), Outcome::Answered);
                continue;
            }
            Ok(None) if since_us > microseconds(BYSTANDER_TIMEOUT) => (since_us, Outcome::TimedOut),
            Ok(None) => (since_us, Outcome::Answered),
            Err(_) => (since_us, Outcome::Failed),
        };
        collector.add(place, due_us, latency_us, outcome);
    }
    // What the end cut short is neither answered nor lost.
    while let Some((_, due_us)) = rounds.due(collector.now_us()) {
        let late_us = collector.now_us().saturating_sub(due_us);
        if late_us > microseconds(BYSTANDER_TIMEOUT) {
            collector.add(place, due_us, late_us, Outcome::TimedOut);
        }
    }
}

/// `schedule`: how much longer a sleep takes than was asked for.
pub(crate) fn schedule() -> io::Result<Option<Duration>> {
    let began = Instant::now();
    thread::sleep(BYSTANDER_SLEEP);
    Ok(Some(began.elapsed().saturating_sub(BYSTANDER_SLEEP)))
}

/// `resolve`: a name looked up by the system's resolver.
pub(crate) fn resolve(name: &str) -> io::Result<Option<Duration>> {
    (name, 0).to_socket_addrs().map(|_| None)
}

/// `disk`: 4 KiB written, made durable, and read back.
pub(crate) struct Disk {
    file: File,
    number: u8,
}

impl Disk {
    /// A file in `dir` that has no name.
    pub(crate) fn new(dir: &Path) -> io::Result<Disk> {
        let path = dir.join(".bystander");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        // It lives as long as it is open, and is gone with the process however that ends.
        std::fs::remove_file(&path)?;
        Ok(Disk { file, number: 0 })
    }

    pub(crate) fn try_it(&mut self) -> io::Result<Option<Duration>> {
        self.number = self.number.wrapping_add(1);
        let bytes = [self.number; BYSTANDER_DISK_BYTES];
        self.file.write_all_at(&bytes, 0)?;
        self.file.sync_all()?;
        let mut back = [0; BYSTANDER_DISK_BYTES];
        self.file.read_exact_at(&mut back, 0)?;
        if back == bytes { Ok(None) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(try_it: impl FnMut() -> io::Result<Option<Duration>>) -> Vec<(u64, u32, Outcome)> {
        let collector = Collector::new(16);
        let rounds = Rounds::new(0, Duration::from_millis(5));
        let mut left = 12;
        let mut try_it = try_it;
        run(5, rounds, &collector, || {
            left -= 1;
            if left == 0 {
                collector.stop();
            }
            try_it()
        });
        let samples = collector.collected().samples.clone();
        samples.iter().map(|s| (s.due_us, s.latency_us, s.outcome)).collect()
    }

    #[test]
    fn a_try_that_waits_makes_the_next_ones_late_and_drops_none() {
        let mut first = true;
        let seen = outcomes(|| {
            if std::mem::take(&mut first) {
                thread::sleep(Duration::from_millis(40));
            }
            Ok(None)
        });
        let due: Vec<u64> = seen.iter().map(|(due_us, ..)| *due_us).collect();
        assert_eq!(due, (0..12).map(|n| n * 5_000).collect::<Vec<u64>>());
        assert!(
            seen[0].1 >= 40_000 && seen[1].1 >= 35_000,
            "it counts from when it was due: {seen:?}"
        );
    }

    #[test]
    fn what_the_end_cuts_short_is_no_loss() {
        let collector = Collector::new(16);
        let mut tries = 0;
        run(5, Rounds::new(0, Duration::from_millis(5)), &collector, || {
            tries += 1;
            // Several more become due while the last one goes on.
            thread::sleep(Duration::from_millis(if tries == 3 { 30 } else { 1 }));
            if tries == 3 {
                collector.stop();
            }
            Ok(None)
        });
        let samples = collector.collected().samples.clone();
        assert!(samples.iter().all(|sample| sample.outcome == Outcome::Answered), "{samples:?}");
        assert_eq!(samples.len(), 3);
    }

    #[test]
    fn errors_are_failures_and_what_says_its_own_lateness_is_believed() {
        assert!(
            outcomes(|| Err(io::ErrorKind::Other.into())).iter().all(|s| s.2 == Outcome::Failed)
        );
        let late = outcomes(|| Ok(Some(Duration::from_micros(77))));
        assert!(late[..12].iter().all(|s| (s.1, s.2) == (77, Outcome::Answered)), "{late:?}");
    }

    #[test]
    fn a_file_takes_and_gives_back_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("there is a place for temporary files");
        let mut disk = Disk::new(dir.path()).expect("a file can be made");
        for _ in 0..300 {
            disk.try_it().expect("it is written and read");
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 0);
        assert!(Disk::new(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn this_host_has_a_name_for_itself_and_none_for_what_is_not() {
        assert!(resolve("localhost").is_ok());
        assert!(resolve("no-such-host.invalid").is_err());
        assert!(schedule().expect("a sleep ends").is_some());
    }
}
