//! What a core of either end counts.

use crate::observe::stats::figure::{ByErrno, Counter, Gauge};
use crate::observe::stats::list::figures;

figures! {
    /// The figures that a server's core and a client's core both have.
    struct CommonStats;
    totals CommonTotals;
    list {
        /// Connections open now. Near --max-connections? The next ones are refused.
        connections: Gauge,
        /// Most connections open at once.
        connections_peak: Gauge,
        /// Segments of the arena now: one ring and table each. Many for few connections? `ulimit -n`
        /// is low.
        segments: Gauge,
        /// Buffers in use now. Near the pool's size? Peers read slowly.
        buffers_used: Gauge,
        /// Handshakes of TLS that wait for their turn now. Many? The core is full.
        handshakes_waiting: Gauge,
        /// Microseconds in which some waited. Near the time that the core has lived? It is full of them.
        handshakes_waited_us_total: Counter,
        /// Connections whose descriptor was closed.
        closed_total: Counter,
        /// Bytes received.
        recv_bytes_total: Counter,
        /// Bytes sent.
        send_bytes_total: Counter,
        /// Receives that brought bytes (server: a message that TCP cut counts for each part), or
        /// messages verified (client).
        messages_total: Counter,
        /// Pushes sent whole (server) or received whole (client).
        pushes_total: Counter,
        /// Readable slots that found no free buffer. Rising? Peers read slowly.
        recv_starved_total: Counter,
        /// Sends that found the peer's window full. Rising? Peers read slowly.
        send_stalled_total: Counter,
        /// Completions of an earlier life of a slot, dropped.
        stale_total: Counter,
        /// Completions handled.
        completions_total: Counter,
        /// Turns of the core's loop.
        turns_total: Counter,
        /// Times the arena could not grow. Rising? `ulimit -l` or memory is short.
        grow_failed_total: Counter,
        /// Failed operations by error number. Rising? The number names the limit.
        failed: ByErrno,
    }
    unpublished {
        /// The kernel's number of the core's thread, by which its CPU time is found; 0 before it
        /// runs.
        thread: Gauge,
    }
}

impl CommonStats {
    /// Sets the gauge of open connections, and the peak.
    pub fn set_connections(&self, n: u64) {
        self.connections.set(n);
        if n > self.connections_peak.get() {
            self.connections_peak.set(n);
        }
    }
}
