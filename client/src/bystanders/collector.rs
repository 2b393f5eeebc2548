//! Where the samples of all bystanders go, and the one clock that they are on. Each thread of the panel
//! adds a few in each tick of its own; the housekeeping thread takes copies between phases.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use megaconn::base::clock::microseconds;
use megaconn::base::constants::BYSTANDER_SAMPLES_MAX;
use megaconn::observe::stats::Latency;

use crate::bystanders::sample::{Outcome, Sample};

/// What the threads of a panel share.
pub(crate) struct Collector {
    began: Instant,
    stop: AtomicBool,
    /// From when something was due to when it was begun.
    pub(crate) lag_us: Latency,
    collected: Mutex<Collected>,
}

/// What has been collected so far.
pub(crate) struct Collected {
    /// In the order in which they came to something, which is nearly that in which they were due.
    pub(crate) samples: Vec<Sample>,
    /// Samples for which there was no room.
    pub(crate) dropped: u64,
}

impl Collector {
    /// With room for the `expected` samples, which is resident from the start: what the panel keeps is
    /// not to be taken for what connections cost.
    pub(crate) fn new(expected: usize) -> Collector {
        let mut samples = vec![Sample::default(); expected.min(BYSTANDER_SAMPLES_MAX)];
        // A pattern that is not zero, so that the kernel gives every page now.
        samples.fill(Sample { latency_us: 1, ..Sample::default() });
        samples.clear();
        Collector {
            began: Instant::now(),
            stop: AtomicBool::new(false),
            lag_us: Latency::new(),
            collected: Mutex::new(Collected { samples, dropped: 0 }),
        }
    }

    /// Microseconds since the panel began.
    pub(crate) fn now_us(&self) -> u64 {
        microseconds(self.began.elapsed())
    }

    /// When that moment is.
    pub(crate) fn at(&self, us: u64) -> Instant {
        self.began + Duration::from_micros(us)
    }

    /// From now on nothing more is begun.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, probe: u8, due_us: u64, latency_us: u64, outcome: Outcome) {
        let mut collected = self.collected();
        if collected.samples.len() >= BYSTANDER_SAMPLES_MAX {
            collected.dropped += 1;
            return;
        }
        let latency_us = u32::try_from(latency_us).unwrap_or(u32::MAX);
        collected.samples.push(Sample { due_us, latency_us, probe, outcome });
    }

    /// A copy of the samples from the one with this number on: no probe waits for the thread that
    /// looks at them.
    pub(crate) fn samples_from(&self, first: usize) -> Vec<Sample> {
        self.collected().samples[first..].to_vec()
    }

    pub(crate) fn collected(&self) -> MutexGuard<'_, Collected> {
        // A thread that panicked with it has left it whole: both of its changes are single steps.
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
