//! What each core counts: written by the core alone, read by anybody, never locked.
//!
//! Counters only rise; gauges show now; histograms are handed over whole and merged by the reader.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use histogram::{AtomicHistogram, Histogram};

use crate::errno::Errno;

/// Histograms resolve 2^-5 (3 %) of a value; the smallest step is 1 microsecond.
const GROUPING_POWER: u8 = 5;

/// Histograms reach 2^32 microseconds, 71 minutes.
const MAX_VALUE_POWER: u8 = 32;

/// One figure of one core.
#[derive(Debug, Default)]
pub struct Figure(AtomicU64);

impl Figure {
    /// Adds to a counter. One writer, so a load and a store are enough.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The figure now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! figures {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// The figures of one core, server or client, on cache lines of their own.
        #[derive(Debug)]
        #[repr(align(128))]
        pub struct CoreStats {
            $($(#[doc = $doc])* pub $name: Figure,)*
            /// Failed operations by error number, index 0 for unknown ones.
            pub failed: [Figure; Errno::LIMIT],
            /// Lost connections by cause, in the order of [`crate::stats::LOST_CAUSES`].
            pub lost: [Figure; LOST_CAUSES.len()],
            /// Time from the connect to the connection.
            pub connect_latency_us: Latency,
            /// Time from sending a message to having verified its echo.
            pub message_latency_us: Latency,
        }

        impl CoreStats {
            /// All zero.
            #[must_use]
            pub fn new() -> CoreStats {
                CoreStats {
                    $($name: Figure::default(),)*
                    failed: std::array::from_fn(|_| Figure::default()),
                    lost: std::array::from_fn(|_| Figure::default()),
                    connect_latency_us: Latency::new(),
                    message_latency_us: Latency::new(),
                }
            }

            /// Name and value of every plain figure, in the order of the dump lines.
            pub fn figures(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.get()),)*].into_iter()
            }
        }
    };
}

figures! {
    /// Connections open now.
    connections,
    /// Most connections open at once.
    connections_peak,
    /// Segments of the arena now: one ring and table each.
    segments,
    /// Buffers in use now. Near the pool's size? Peers read slowly.
    buffers_used,
    /// Connections accepted.
    accepted_total,
    /// Accepts that failed. Rising? See `failed` for the error numbers.
    accept_failed_total,
    /// Connections reset because the core was full. Rising? Raise --max-connections, or memlock.
    refused_total,
    /// Connects started.
    connect_started_total,
    /// Connects that became connections.
    connected_total,
    /// Connects that failed.
    connect_failed_total,
    /// Tuples passed over because something else, or TIME_WAIT, holds them.
    tuples_skipped_total,
    /// Connections whose descriptor was closed.
    closed_total,
    /// Of these, closed because the peer or the network ended them with an error.
    reset_total,
    /// Of these, closed because they took no bytes for too long.
    send_timeout_total,
    /// Of these, closed because they held a buffer that others waited for.
    evicted_total,
    /// Bytes received.
    recv_bytes_total,
    /// Bytes sent.
    send_bytes_total,
    /// Receives that brought bytes (server: a message that TCP cut counts for each part), or
    /// messages verified (client).
    messages_total,
    /// Messages sent.
    messages_sent_total,
    /// Echoes that were not the message that was sent: cross-wired, stale or damaged.
    messages_mismatched_total,
    /// Readable slots that found no free buffer. Rising? Peers read slowly.
    recv_starved_total,
    /// Sends that found the peer's window full.
    send_stalled_total,
    /// Completions of an earlier life of a slot, dropped.
    stale_total,
    /// Completions handled.
    completions_total,
    /// Turns of the core's loop.
    turns_total,
    /// Connections that the peer did not end within the close timeout, and so were cut.
    close_timeout_total,
    /// The last phase that a client core has finished, by its number.
    phase_finished,
    /// Microseconds that it took the core.
    phase_took_us,
    /// Times the arena could not grow. Rising? `ulimit -l` or memory is short.
    grow_failed_total,
}

/// Why an established connection was lost, in the order of [`CoreStats::lost`].
pub const LOST_CAUSES: [&str; 6] = ["fin", "reset", "timeout", "silent", "mismatch", "local"];

/// A cause in [`LOST_CAUSES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LostCause {
    /// The peer ended it in order, unasked.
    Fin,
    /// The peer or the network reset it.
    Reset,
    /// The network gave up on it.
    Timeout,
    /// It did not answer.
    Silent,
    /// It answered with something else.
    Mismatch,
    /// This host ended it.
    Local,
}

impl CoreStats {
    /// Sets the gauge of open connections, and the peak.
    pub fn set_connections(&self, n: u64) {
        self.connections.set(n);
        if n > self.connections_peak.get() {
            self.connections_peak.set(n);
        }
    }
}

impl Default for CoreStats {
    fn default() -> CoreStats {
        CoreStats::new()
    }
}

/// A histogram of durations in microseconds.
#[derive(Debug)]
pub struct Latency(AtomicHistogram);

impl Latency {
    fn new() -> Latency {
        let histogram = AtomicHistogram::new(GROUPING_POWER, MAX_VALUE_POWER);
        Latency(histogram.expect("5 < 32 are legal powers"))
    }

    /// Counts one duration; longer than 71 minutes counts as 71 minutes.
    pub fn record(&self, duration: Duration) {
        let longest = u32::MAX;
        let us = u32::try_from(duration.as_micros()).unwrap_or(longest);
        self.0.increment(u64::from(us)).expect("32 bits are in range");
    }

    /// A copy.
    #[must_use]
    pub fn load(&self) -> Histogram {
        self.0.load()
    }
}
