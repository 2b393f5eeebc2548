//! What each core counts: written by the core alone, read by anybody, never locked.
//!
//! Counters only rise; gauges show now; histograms are handed over whole and merged by the reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use histogram::Histogram;

use crate::base::errno::Errno;
pub use crate::observe::stats::latency::Latency;
pub(crate) use crate::observe::stats::latency::empty_histogram;
pub use crate::observe::stats::lost::{LOST_CAUSES, LostCause};

mod latency;
mod lost;

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
        self.0.store(n, Ordering::Release);
    }

    /// The figure now. Who reads a gauge sees all that was written before it was set.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

macro_rules! figures {
    (
        figures { $($(#[doc = $doc:literal])* $name:ident,)* }
        latencies { $($(#[doc = $latency_doc:literal])* $latency:ident,)* }
    ) => {
        /// The figures of one core, server or client, on cache lines of their own.
        #[derive(Debug)]
        #[repr(align(128))]
        pub struct CoreStats {
            $($(#[doc = $doc])* pub $name: Figure,)*
            $($(#[doc = $latency_doc])* pub $latency: Latency,)*
            /// The kernel's number of the core's thread, by which its CPU time is found; 0 before
            /// it runs.
            pub thread: Figure,
            /// Failed operations by error number, index 0 for unknown ones.
            pub failed: ByErrno,
            /// Churn connections that failed to connect, by error number.
            pub churn_failed: ByErrno,
            /// Lost connections by cause, in the order of [`crate::observe::stats::LOST_CAUSES`].
            pub lost: ByCause,
            /// Churn connections lost before their exchange was done, by cause.
            pub churn_lost: ByCause,
        }

        impl CoreStats {
            /// All zero.
            #[must_use]
            pub fn new() -> CoreStats {
                CoreStats {
                    $($name: Figure::default(),)*
                    $($latency: Latency::new(),)*
                    thread: Figure::default(),
                    failed: std::array::from_fn(|_| Figure::default()),
                    churn_failed: std::array::from_fn(|_| Figure::default()),
                    lost: ByCause::default(),
                    churn_lost: ByCause::default(),
                }
            }

            /// Name and value of every plain figure, in the order of the dump lines.
            pub fn figures(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.get()),)*].into_iter()
            }

            /// The figures of all `cores` together, as they stand now.
            #[must_use]
            pub fn totals(cores: &[Arc<CoreStats>]) -> Totals {
                let sum = |figure: fn(&CoreStats) -> &Figure| {
                    cores.iter().map(|core| figure(core).get()).sum()
                };
                let merged = |latency: fn(&CoreStats) -> &Latency| {
                    let each = cores.iter().map(|core| latency(core).load());
                    each.fold(empty_histogram(), |all, one| all.wrapping_add(&one).expect(ALIKE))
                };
                let each = |figures: &dyn Fn(&CoreStats, usize) -> u64, n: usize| {
                    (0..n).map(|i| cores.iter().map(|core| figures(core, i)).sum()).collect()
                };
                Totals {
                    $($name: sum(|core| &core.$name),)*
                    $($latency: merged(|core| &core.$latency),)*
                    failed: each(&|core, i| core.failed[i].get(), Errno::LIMIT),
                    churn_failed: each(&|core, i| core.churn_failed[i].get(), Errno::LIMIT),
                    lost: each(&|core, i| core.lost[i].get(), LOST_CAUSES.len()),
                    churn_lost: each(&|core, i| core.churn_lost[i].get(), LOST_CAUSES.len()),
                }
            }

            /// Name and copy of every histogram.
            pub fn latencies(&self) -> impl Iterator<Item = (&'static str, Histogram)> {
                [$((stringify!($latency), self.$latency.load()),)*].into_iter()
            }

            /// Name of every plain figure and what it says, in the order of [`CoreStats::figures`].
            pub fn help() -> impl Iterator<Item = (&'static str, &'static str)> {
                [$((stringify!($name), concat!($($doc),*).trim_ascii_start()),)*].into_iter()
            }

            /// Name of every histogram and what it says, in the order of [`CoreStats::latencies`].
            pub fn latency_help() -> impl Iterator<Item = (&'static str, &'static str)> {
                [$((stringify!($latency), concat!($($latency_doc),*).trim_ascii_start()),)*]
                    .into_iter()
            }
        }

        /// The figures of all cores together at one time, or how much they rose between two.
        /// Gauges are what they are now.
        #[derive(Clone, Debug)]
        pub struct Totals {
            $($(#[doc = $doc])* pub $name: u64,)*
            $($(#[doc = $latency_doc])* pub $latency: Histogram,)*
            /// By error number, as [`CoreStats::failed`].
            pub failed: Vec<u64>,
            /// By error number, as [`CoreStats::churn_failed`].
            pub churn_failed: Vec<u64>,
            /// By cause, as [`CoreStats::lost`].
            pub lost: Vec<u64>,
            /// By cause, as [`CoreStats::churn_lost`].
            pub churn_lost: Vec<u64>,
        }

        impl Totals {
            /// Whether a connection or a message failed, was lost, or was late.
            #[must_use]
            pub fn is_anything_amiss(&self) -> bool {
                let of_connections = [&self.failed, &self.lost, &self.churn_failed, &self.churn_lost];
                of_connections.iter().any(|counts| counts.iter().any(|n| *n > 0))
                    || self.messages_late_total
                        + self.messages_unsent_total
                        + self.pushes_overdue_total
                        + self.churn_unstarted_total
                        + self.close_timeout_total
                        > 0
            }

            /// What has been counted since `before`.
            #[must_use]
            pub fn since(&self, before: &Totals) -> Totals {
                let rise = |now: &[u64], before: &[u64]| {
                    now.iter().zip(before).map(|(now, before)| now - before).collect()
                };
                Totals {
                    $($name: if is_counter(stringify!($name)) {
                        self.$name - before.$name
                    } else {
                        self.$name
                    },)*
                    $($latency: self.$latency.wrapping_sub(&before.$latency).expect(ALIKE),)*
                    failed: rise(&self.failed, &before.failed),
                    churn_failed: rise(&self.churn_failed, &before.churn_failed),
                    lost: rise(&self.lost, &before.lost),
                    churn_lost: rise(&self.churn_lost, &before.churn_lost),
                }
            }
        }
    };
}

/// Why histograms can be added and subtracted.
const ALIKE: &str = "all histograms have one form";

/// Whether a figure by this name is a counter, which only rises, and no gauge.
#[must_use]
pub fn is_counter(name: &str) -> bool {
    name.ends_with("_total")
}

/// One figure for each error number, index 0 for unknown ones.
pub type ByErrno = [Figure; Errno::LIMIT];

/// One figure for each of [`LOST_CAUSES`].
pub type ByCause = [Figure; LOST_CAUSES.len()];

figures! {
    figures {
        /// Connections open now. Near --max-connections? The next ones are refused.
        connections,
        /// Most connections open at once.
        connections_peak,
        /// Segments of the arena now: one ring and table each. Many for few connections? `ulimit -n`
        /// is low.
        segments,
        /// Buffers in use now. Near the pool's size? Peers read slowly.
        buffers_used,
        /// Slots that wait for a free buffer now. Above 0? Peers read slowly.
        buffers_awaited,
        /// Sends that wait now for their peer to read. Many? Peers read slowly.
        sends_stalled,
        /// Connects with the kernel now. As many as --connects-in-flight? The server answers slowly.
        connects_in_flight,
        /// Messages now whose echo has not come. Many? The server answers slowly.
        messages_in_flight,
        /// Connections that are being ended now. Many? The server is slow to close.
        closes_in_flight,
        /// Connections accepted.
        accepted_total,
        /// Accepts that failed. Rising? See `failed` for the error numbers.
        accept_failed_total,
        /// Connections reset because the core was full. Rising? Raise --max-connections, or memlock.
        refused_total,
        /// Connections reset because less memory than --memory-reserve was left. Rising? More memory,
        /// or fewer connections.
        refused_memory_total,
        /// Of these, because a memory cgroup of the server had no more. Rising? Raise its limit.
        refused_cgroup_total,
        /// Connects started.
        connect_started_total,
        /// Connects that became connections.
        connected_total,
        /// Connects that failed. Rising? See `failed` for the error numbers.
        connect_failed_total,
        /// Connects that were asked for and not tried, because less memory than --memory-reserve was
        /// left. Rising? More memory, or fewer connections.
        connect_untried_total,
        /// Tuples passed over: something else, or TIME_WAIT, holds them. Rising? More --source.
        tuples_skipped_total,
        /// Connections whose descriptor was closed.
        closed_total,
        /// Of those closed: the peer or the network broke them. Rising? See the peers.
        reset_total,
        /// Of those closed: their bytes made no sense to the protocol. Rising? See the peers.
        malformed_total,
        /// Of those closed: they took no bytes for too long. Rising? Peers read slowly.
        send_timeout_total,
        /// Of those closed: too many pushes were due behind one. Rising? Peers read slowly.
        backlog_total,
        /// Of those closed: they held a buffer that others waited for. Rising? Peers read slowly.
        evicted_total,
        /// Of those closed: they sent nothing for --idle-timeout. Rising? Peers are gone, or quiet.
        idle_timeout_total,
        /// Of those closed: ended in order by a drain.
        drained_total,
        /// Of those closed: cut when the time of a drain was up. Many? A longer --drain.
        drain_cut_total,
        /// Bytes received.
        recv_bytes_total,
        /// Bytes sent.
        send_bytes_total,
        /// Receives that brought bytes (server: a message that TCP cut counts for each part), or
        /// messages verified (client).
        messages_total,
        /// Messages sent.
        messages_sent_total,
        /// Echoes that were not the message that was sent: cross-wired, stale or damaged. Above 0?
        /// Either end, or what is between them, is broken.
        messages_mismatched_total,
        /// Echoes that came later than they may after their message was due. Rising? One of the
        /// ends, or what is between them, is too slow for the schedule.
        messages_late_total,
        /// Pushes sent whole (server) or received whole (client).
        pushes_total,
        /// Pushes that did not come in time. Rising? The server, or what is between, is too slow.
        pushes_overdue_total,
        /// Overdue pushes that came after all; the others are missing. Rising? As those overdue.
        pushes_late_total,
        /// Messages that were due on schedule and had not begun when it ended. Rising? The rate is
        /// more than the ends can do.
        messages_unsent_total,
        /// Short connections begun by churn.
        churn_started_total,
        /// Short connections whose exchange was verified.
        churned_total,
        /// Short connections that did not connect. Rising? See their error numbers.
        churn_failed_total,
        /// Short connections that were due on schedule and had not begun when it ended. Rising? The
        /// rate is more than the ends can do.
        churn_unstarted_total,
        /// Readable slots that found no free buffer. Rising? Peers read slowly.
        recv_starved_total,
        /// Pushes that were due and found no free buffer. Rising? Peers read slowly.
        push_starved_total,
        /// Sends that found the peer's window full. Rising? Peers read slowly.
        send_stalled_total,
        /// Completions of an earlier life of a slot, dropped.
        stale_total,
        /// Completions handled.
        completions_total,
        /// Turns of the core's loop.
        turns_total,
        /// Connections that the peer did not end within the close timeout, and so were cut. Rising?
        /// It is slow to close.
        close_timeout_total,
        /// Microseconds of phases of traffic.
        traffic_us_total,
        /// Microseconds of rest while something was due and all that could begin it waited for the
        /// server. Rising? The server, or what is between, is behind, not the client.
        held_up_us_total,
        /// The last order that a core has carried out, by its number.
        order_finished,
        /// Microseconds that it took the core.
        order_took_us,
        /// Times the arena could not grow. Rising? `ulimit -l` or memory is short.
        grow_failed_total,
    }
    latencies {
        /// Time from the connect to the connection. High? A CPU or the accept queue is full, or SYNs
        /// are lost.
        connect_latency_us,
        /// Time from when a message was due to having verified its echo. High? The client's part is
        /// its schedule lag; the rest is of the server, or of what is between.
        message_latency_us,
        /// Time from when something of the client's was due to when it began: its own lag. High?
        /// The client is the limit, not the server.
        schedule_lag_us,
        /// Time from when a push was due to when its send began. High? The server's core is full.
        push_lateness_us,
        /// Time between two pushes on one connection. Longer than --push-every? The server, or what
        /// is between, is late.
        push_gap_us,
        /// Time from when a short connection was due to when it was connected. High? As of connects.
        churn_connect_latency_us,
        /// Time from when a short connection was due to having verified its exchange. High? As of
        /// connects and messages.
        churn_latency_us,
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn totals_are_of_all_cores_and_since_then() {
        let cores = [Arc::new(CoreStats::new()), Arc::new(CoreStats::new())];
        cores[0].messages_total.add(3);
        cores[1].lost[LostCause::Silent as usize].add(1);
        let before = CoreStats::totals(&cores);
        cores[1].messages_total.add(4);
        cores[1].connections.set(7);
        cores[0].message_latency_us.record(Duration::from_micros(50));
        let now = CoreStats::totals(&cores);
        assert_eq!((before.messages_total, now.messages_total), (3, 7));
        let since = now.since(&before);
        assert_eq!((since.messages_total, since.connections), (4, 7));
        assert_eq!(since.lost.iter().sum::<u64>(), 0);
        let recorded: u64 = since.message_latency_us.as_slice().iter().sum();
        assert_eq!(recorded, 1);
    }
}
