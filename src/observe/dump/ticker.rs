//! The thread that writes dumps: a tick in each interval, one more for each request, a last one at the
//! end. It is a thread of its own, so that no other thread waits for the reader of a pipe, or a disk.

use std::io::{self, Write, stdout};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::constants::{DUMP_END_TIMEOUT, READER_NICENESS};
use crate::base::files;
use crate::base::stderr::talk;
use crate::observe::dump::Dump;
use crate::observe::stats::CoreStats;

/// Why no thread writes dumps.
#[derive(Debug, thiserror::Error)]
#[error("no thread for dumps: {0}; fix: a higher `ulimit -u`, or sysctl kernel.threads-max")]
pub struct NoThread(io::Error);

/// The dumps of one process, on their way.
#[derive(Debug)]
pub struct Ticker {
    requests: SyncSender<()>,
    /// Closed when the last tick is written.
    end: Receiver<()>,
}

impl Ticker {
    /// Dumps the figures of one side's cores to `out`, now and in each interval `every`; without an
    /// `out` to stdout, and only when it is asked to.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn begin<S: CoreStats>(
        cpus: &[u16],
        stats: &[Arc<S>],
        out: Option<Box<dyn Write + Send>>,
        every: Duration,
    ) -> Result<Ticker, NoThread> {
        let every = out.as_ref().map(|_| every);
        let dump = Dump::new(cpus, stats, out.unwrap_or_else(|| Box::new(stdout())));
        // A request made while another one waits is for the same tick.
        let (requests, asked) = mpsc::sync_channel(1);
        let (at_end, end) = mpsc::channel();
        let run = move || {
            // The thread's own, though the call is named for a process. Its default will do, too.
            let _ = rustix::process::setpriority_process(None, READER_NICENESS);
            tick_until_end(dump, every, &asked);
            drop(at_end);
        };
        thread::Builder::new().name("dumps".into()).spawn(run).map_err(NoThread)?;
        Ok(Ticker { requests, end })
    }

    /// Asks for a tick in between. It is not waited for.
    pub fn tick(&self) {
        // Full: as above. No receiver: the thread's end was reported.
        let _ = self.requests.try_send(());
    }

    /// Writes the last tick, and waits for it, though not for ever.
    pub fn end(self) {
        drop(self.requests);
        if let Err(RecvTimeoutError::Timeout) = self.end.recv_timeout(DUMP_END_TIMEOUT) {
            talk(&format!("warning: the last dump could not be written in {DUMP_END_TIMEOUT:?}"));
        }
    }
}

/// Ticks in each interval `every`, and when it is `asked`, until no sender of requests is left. A place
/// that cannot be written to is given up, with one warning.
fn tick_until_end<S: CoreStats>(
    mut dump: Dump<S>,
    mut every: Option<Duration>,
    asked: &Receiver<()>,
) {
    let mut due = Instant::now();
    loop {
        let request = match every {
            Some(_) => asked.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => asked.recv().map_err(RecvTimeoutError::from),
        };
        let is_over = request == Err(RecvTimeoutError::Disconnected);
        if let Some(Err(error)) = (!is_over || every.is_some()).then(|| dump.tick()) {
            let told = files::told(&error, "a place that can be written");
            talk(&format!("warning: dumps cannot be written any more: {told}"));
            every = None;
        }
        if is_over {
            return;
        }
        if let Some(every) = every.filter(|_| request.is_err()) {
            // Ticks that could not be written in time are not written late.
            due = (due + every).max(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::observe::stats::ServerStats;

    /// Takes what is written, once it is let.
    #[derive(Clone, Default)]
    struct Place {
        bytes: Arc<Mutex<Vec<u8>>>,
        gate: Arc<Mutex<()>>,
        is_broken: bool,
    }

    impl Write for Place {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.is_broken {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let _gate = self.gate.lock().expect("no test panics with it");
            self.bytes.lock().expect("as above").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Place {
        fn lines(&self) -> usize {
            let bytes = self.bytes.lock().expect("as above");
            bytes.iter().filter(|byte| **byte == b'\n').count()
        }

        fn await_lines(&self, least: usize) {
            let began = Instant::now();
            while self.lines() < least {
                assert!(began.elapsed() < Duration::from_secs(30), "{} lines", self.lines());
                thread::sleep(Duration::from_millis(2));
            }
        }
    }

    fn begin(place: &Place, every: Duration) -> Ticker {
        let stats: [Arc<ServerStats>; 2] = Default::default();
        let out: Box<dyn Write + Send> = Box::new(place.clone());
        Ticker::begin(&[0, 1], &stats, Some(out), every).expect("a thread is free")
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn ticks_come_at_once_when_asked_and_at_the_end() {
        let place = Place::default();
        let ticker = begin(&place, HOUR);
        place.await_lines(2);
        ticker.tick();
        place.await_lines(4);
        ticker.end();
        assert_eq!(place.lines(), 6);
    }

    #[test]
    fn ticks_come_by_themselves() {
        let place = Place::default();
        let (began, every) = (Instant::now(), Duration::from_millis(20));
        let ticker = begin(&place, every);
        place.await_lines(20);
        assert!(began.elapsed() >= 9 * every, "ten ticks in {:?}", began.elapsed());
        ticker.end();
    }

    #[test]
    fn nothing_waits_for_a_reader_that_does_not_read() {
        let place = Place::default();
        let held = place.gate.lock().expect("as above");
        let ticker = begin(&place, Duration::from_millis(1));
        let began = Instant::now();
        (0..1000).for_each(|_| ticker.tick());
        assert!(began.elapsed() < DUMP_END_TIMEOUT, "requests are waited for");
        ticker.end();
        let took = began.elapsed();
        assert!(took >= DUMP_END_TIMEOUT && took < 10 * DUMP_END_TIMEOUT, "{took:?}");
        drop(held);
    }

    #[test]
    fn a_place_that_is_gone_is_given_up() {
        let place = Place { is_broken: true, ..Place::default() };
        let ticker = begin(&place, Duration::from_millis(1));
        ticker.end();
        assert_eq!(place.lines(), 0);
    }
}
