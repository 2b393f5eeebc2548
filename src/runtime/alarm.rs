//! Wakes every executor of a process now and then, from a thread of its own.
//!
//! An executor may go to sleep beside a runnable task, see [`PREEMPT_TIMER`]. A timer of its own would not
//! end that: where the task that waits for it is the runnable one, nothing is left to fire. A wake from
//! another thread does.
//!
//! [`PREEMPT_TIMER`]: crate::base::constants::PREEMPT_TIMER

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::base::constants::HEARTBEAT;

/// The thread; it ends with this.
pub(super) struct Alarm {
    sleepers: Arc<Mutex<Vec<Sleeper>>>,
    _end: Sender<()>,
}

/// One executor.
#[derive(Default)]
struct Sleeper {
    /// That of its heartbeat; `None` before it began, and after it ended.
    waker: Option<Waker>,
    /// Beats since it last answered.
    unanswered: u32,
}

/// A task that each beat wakes, and its executor with it. It never ends.
pub(super) struct Heartbeat {
    sleepers: Arc<Mutex<Vec<Sleeper>>>,
    number: usize,
}

impl Alarm {
    /// Begins to beat.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(super) fn begin() -> io::Result<Alarm> {
        let sleepers = Arc::<Mutex<Vec<Sleeper>>>::default();
        let (end, ends) = mpsc::channel::<()>();
        let theirs = Arc::clone(&sleepers);
        let run = move || {
            while ends.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                lock(&theirs).iter_mut().for_each(Sleeper::beat);
            }
        };
        thread::Builder::new().name("alarm".into()).spawn(run)?;
        Ok(Alarm { sleepers, _end: end })
    }

    /// The heartbeat of one executor more.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        let mut all = lock(&self.sleepers);
        all.push(Sleeper::default());
        Heartbeat { sleepers: Arc::clone(&self.sleepers), number: all.len() - 1 }
    }
}

impl Sleeper {
    /// Each wake is a reference to the task until it is answered, and a task of glommio counts them in 16
    /// bits: one that does not answer is woken after twice the time, and so on.
    fn beat(&mut self) {
        let Some(waker) = &self.waker else { return };
        self.unanswered = self.unanswered.saturating_add(1);
        if self.unanswered.is_power_of_two() {
            waker.wake_by_ref();
        }
    }
}

impl Future for Heartbeat {
    type Output = ();

    fn poll(self: Pin<&mut Heartbeat>, context: &mut Context<'_>) -> Poll<()> {
        let sleeper = &mut lock(&self.sleepers)[self.number];
        sleeper.unanswered = 0;
        if sleeper.waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            sleeper.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        // Its executor may not be there any more when the next beat comes.
        lock(&self.sleepers)[self.number].waker = None;
    }
}

fn lock(sleepers: &Mutex<Vec<Sleeper>>) -> MutexGuard<'_, Vec<Sleeper>> {
    sleepers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;
    use std::time::{Duration, Instant};

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Counter(AtomicU32);

    impl Wake for Counter {
        fn wake(self: Arc<Counter>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_that_answers_is_woken_at_each_beat_and_none_after_its_end() {
        let alarm = Alarm::begin().expect("there is a thread");
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&counter));
        let mut context = Context::from_waker(&waker);
        let mut heartbeat = alarm.heartbeat();
        let began = Instant::now();
        for beats in 1..=5 {
            assert!(Pin::new(&mut heartbeat).poll(&mut context).is_pending());
            while counter.0.load(Ordering::Relaxed) < beats {
                assert!(began.elapsed() < Duration::from_secs(20), "it does not beat");
                thread::sleep(Duration::from_millis(5));
            }
        }
        drop(heartbeat);
        let woken = counter.0.load(Ordering::Relaxed);
        thread::sleep(HEARTBEAT * 3);
        assert_eq!(counter.0.load(Ordering::Relaxed), woken);
    }

    #[test]
    fn a_task_that_does_not_answer_is_woken_more_and_more_seldom() {
        let counter = Arc::new(Counter::default());
        let waker = Some(Waker::from(Arc::clone(&counter)));
        let mut sleeper = Sleeper { waker, unanswered: 0 };
        (0..1_000_000).for_each(|_| sleeper.beat());
        assert_eq!(counter.0.load(Ordering::Relaxed), 20);
    }
}
