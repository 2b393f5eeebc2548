//! What a core of a server counts.

use crate::base::side::Side;
use crate::observe::stats::common::{CommonStats, CommonTotals};
use crate::observe::stats::figure::{Counter, Gauge};
use crate::observe::stats::latency::Latency;
use crate::observe::stats::list::figures;
use crate::observe::stats::role::CoreStats;

figures! {
    /// The figures of one core of a server, on cache lines of their own.
    #[repr(align(128))]
    struct ServerStats: CommonStats;
    totals ServerTotals: CommonTotals;
    list {
        /// Slots that wait for a free buffer now. Above 0? Peers read slowly.
        buffers_awaited: Gauge,
        /// Sends that wait now for their peer to read. Many? Peers read slowly.
        sends_stalled: Gauge,
        /// Handshakes of TLS under way now, each with 6.5 KiB, and what came of others in as much. Many? Peers do not go on with them.
        handshakes_under_way: Gauge,
        /// Connections accepted.
        accepted_total: Counter,
        /// Accepts that failed. Rising? See `failed` for the error numbers.
        accept_failed_total: Counter,
        /// Time in which a listener waited for its turn of --accept-rate. Rising? More connect than it lets in: raise it, or --backlog.
        accept_paced_us_total: Counter,
        /// Connections reset because the server was full. Rising? Raise --max-connections, or memlock.
        refused_total: Counter,
        /// Connections reset because less memory than --memory-reserve was left. Rising? More memory,
        /// or fewer connections.
        refused_memory_total: Counter,
        /// Of these, because a memory cgroup of the server had no more. Rising? Raise its limit.
        refused_cgroup_total: Counter,
        /// Connections reset because their source address had --max-connections-per-source. Rising? Raise it, or see who connects.
        refused_per_source_total: Counter,
        /// Of those closed: the peer or the network broke them. Rising? See the peers.
        reset_total: Counter,
        /// Of those closed: their bytes made no sense to the protocol. Rising? See the peers.
        malformed_total: Counter,
        /// Of those closed: they took no bytes for too long. Rising? Peers read slowly.
        send_timeout_total: Counter,
        /// Of those closed: too many pushes were due behind one. Rising? Peers read slowly.
        backlog_total: Counter,
        /// Of those closed: they had not taken what was sent before when a text went to all. Rising? Peers read slowly.
        broadcast_closed_total: Counter,
        /// Of those closed: they held a buffer that others waited for. Rising? Peers read slowly, or leave a message unfinished.
        evicted_total: Counter,
        /// Of those closed: they sent nothing for --idle-timeout. Rising? Peers are gone, or quiet.
        idle_timeout_total: Counter,
        /// Handshakes done: of TLS, WebSocket and the PROXY protocol, one for each connection.
        handshakes_total: Counter,
        /// Of those closed: before their handshake was done, but for those refused or drained. Rising? See the peers.
        handshakes_failed_total: Counter,
        /// Of these: it was not done within --handshake-timeout. Rising? Peers that say nothing, or a core that is full.
        handshake_timeout_total: Counter,
        /// Of those closed: nothing came within --ping-every of a ping. Rising? Peers are gone, or answer no pings.
        ping_timeout_total: Counter,
        /// Of those closed: taken by --storm.
        dropped_total: Counter,
        /// Of those closed: ended in order by a drain.
        drained_total: Counter,
        /// Of those closed: cut when the time of a drain was up. Many? A longer --drain.
        drain_cut_total: Counter,
        /// Texts to all that every connection of the core was looked at for.
        broadcasts_total: Counter,
        /// Such texts on one connection that went out.
        broadcast_sent_total: Counter,
        /// The same that were left out, as what was sent before had not been taken. Rising? Peers read slowly.
        broadcast_skipped_total: Counter,
        /// Pings sent by --ping-every.
        pings_total: Counter,
        /// Pushes and pings that were due and found no free buffer. Rising? Peers read slowly.
        push_starved_total: Counter,
        /// Time from when a push or a ping was due to when its send began. High? The server's core is full.
        push_lateness_us: Latency,
    }
}

impl CoreStats for ServerStats {
    const SIDE: Side = Side::Server;
}
