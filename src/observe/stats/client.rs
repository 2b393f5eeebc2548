//! What a core of a client counts.

use crate::base::side::Side;
use crate::observe::stats::common::{CommonStats, CommonTotals};
use crate::observe::stats::figure::{ByCause, ByErrno, Counter, Gauge};
use crate::observe::stats::latency::Latency;
use crate::observe::stats::list::figures;
use crate::observe::stats::role::CoreStats;

figures! {
    /// The figures of one core of a client, on cache lines of their own.
    #[repr(align(128))]
    struct ClientStats: CommonStats;
    totals ClientTotals: CommonTotals;
    list {
        /// Connects with the kernel now. As many as --connects-in-flight? The server answers slowly.
        connects_in_flight: Gauge,
        /// Messages now whose echo has not come. Many? The server answers slowly.
        messages_in_flight: Gauge,
        /// Connections that are being ended now. Many? The server is slow to close.
        closes_in_flight: Gauge,
        /// Lost connections that are to come back, and have not. Many for long? The server refuses, or is away.
        returns_waiting: Gauge,
        /// Places of connections whose lifetime was over, that are not filled again. Many for long? The server refuses,
        /// or is slow.
        places_waiting: Gauge,
        /// Connections that read slowly now, with --slow-readers.
        slow_readers: Gauge,
        /// Connections that do not read now, with --silent-readers.
        silent_readers: Gauge,
        /// Fewest connections since the hold began, with --lifetime. Far fewer than were asked for? See places_waiting.
        connections_least: Gauge,
        /// Connects started.
        connect_started_total: Counter,
        /// Connects that became connections.
        connected_total: Counter,
        /// Of those, the ones that had failed after all: the kernel said so at the first look at them, and
        /// they count as failed. Rising? Something between rejects connects by ICMP.
        connect_undone_total: Counter,
        /// Connects that failed. Rising? See `failed` for the error numbers.
        connect_failed_total: Counter,
        /// Of those, the ones that were connected, and ended before they counted as connections. Rising?
        /// The server refuses what is said first, or does not answer it.
        opening_failed_total: Counter,
        /// Handshakes of TLS with a certificate. Many with --tls-resume? The server gives no tickets, or takes
        /// none.
        handshakes_full_total: Counter,
        /// Handshakes of TLS that were resumed.
        handshakes_resumed_total: Counter,
        /// Connects that were asked for and not tried, because less memory than --memory-reserve was
        /// left. Rising? More memory, or fewer connections.
        connect_untried_total: Counter,
        /// Whether the core met a wall while it opened as many connections as there can be: 0 or 1. 1? It
        /// opens none any more; the verdict says which wall.
        wall_met: Gauge,
        /// Tuples passed over: something else, or TIME_WAIT, holds them. Rising? More --source.
        tuples_skipped_total: Counter,
        /// Connections that --storm has dropped.
        dropped_total: Counter,
        /// Lost or dropped connections that have come back.
        returned_total: Counter,
        /// Of these, the ones that were lost again within the longest wait of --reconnect, or while others of the core
        /// were not back: they had not come back for good.
        /// Rising? The server completes handshakes, and holds no more.
        lost_again_total: Counter,
        /// Connects of those that are to come back.
        reconnect_tries_total: Counter,
        /// Lost connections given up after --reconnect-max tries. Above 0? The server was away for longer.
        given_up_total: Counter,
        /// Lost connections that had not come back when fewer were to be held: they count as closed.
        closed_away_total: Counter,
        /// Lost connections that had not come back when the hold was over, with those.
        called_off_total: Counter,
        /// Connections whose lifetime was over, and that were closed in the hold.
        departures_total: Counter,
        /// Connections made in their places.
        arrivals_total: Counter,
        /// Connects for these places.
        arrival_tries_total: Counter,
        /// Places that were not filled when connections were closed.
        arrivals_called_off_total: Counter,
        /// Microseconds of all connections together in holds with --lifetime.
        connection_us_total: Counter,
        /// Messages sent on connections that read slowly, or not at all, which are in no other figure.
        reluctant_messages_total: Counter,
        /// Bytes that slow readers have read.
        reluctant_bytes_total: Counter,
        /// Slow readers that the server has ended. Rising? It ends who does not keep up, such as by a send timeout.
        slow_readers_ended_total: Counter,
        /// Silent readers that the server has ended. Rising? It ends who does not read, such as by a send timeout.
        silent_readers_ended_total: Counter,
        /// Messages sent.
        messages_sent_total: Counter,
        /// Echoes that were not the message that was sent: cross-wired, stale or damaged. Above 0?
        /// Either end, or what is between them, is broken.
        messages_mismatched_total: Counter,
        /// Echoes that came later than they may after their message was due. Rising? One of the
        /// ends, or what is between them, is too slow for the schedule.
        messages_late_total: Counter,
        /// Bytes of --keepalive-message that were sent.
        keepalives_sent_total: Counter,
        /// Answers to them that came. Fewer? Connections whose answer does not come are lost as silent.
        keepalives_answered_total: Counter,
        /// Pushes that did not come in time. Rising? The server, or what is between, is too slow.
        pushes_overdue_total: Counter,
        /// Overdue pushes that came after all; the others are missing. Rising? As those overdue.
        pushes_late_total: Counter,
        /// Texts to all that came, on each connection.
        broadcasts_received_total: Counter,
        /// Texts to all that a later one shows to be missing. Rising? The server leaves out those who read slowly.
        broadcasts_missed_total: Counter,
        /// Messages that were due on schedule and had not begun when it ended. Rising? The rate is
        /// more than the ends can do.
        messages_unsent_total: Counter,
        /// Short connections begun by churn.
        churn_started_total: Counter,
        /// Short connections whose exchange was verified.
        churned_total: Counter,
        /// Handshakes of TLS with a certificate on short connections. Many with --tls-resume? As of those held.
        churn_handshakes_full_total: Counter,
        /// Handshakes of TLS on short connections that were resumed.
        churn_handshakes_resumed_total: Counter,
        /// Short connections that did not connect. Rising? See their error numbers.
        churn_failed_total: Counter,
        /// Short connections that were due on schedule and had not begun when it ended. Rising? The
        /// rate is more than the ends can do.
        churn_unstarted_total: Counter,
        /// Connections that the peer did not end within the close timeout, and so were cut. Rising?
        /// It is slow to close.
        close_timeout_total: Counter,
        /// Microseconds of phases of traffic.
        traffic_us_total: Counter,
        /// Microseconds of rest while something was due and all that could begin it waited for the
        /// server. Rising? The server, or what is between, is behind, not the client.
        held_up_us_total: Counter,
        /// Of these, with as many messages in flight as a core may have, 1,024. Rising? The server
        /// answers slowly: more client --cores have more in flight.
        in_flight_bound_us_total: Counter,
        /// The last order that a core has carried out, by its number.
        order_finished: Gauge,
        /// Microseconds that it took the core.
        order_took_us: Gauge,
        /// Time from the connect to the connection. High? A CPU or the accept queue is full, or SYNs
        /// are lost.
        connect_latency_us: Latency,
        /// Time from there to when the server has agreed to what is said first, such as an upgrade. High?
        /// The server is slow to agree.
        opening_latency_us: Latency,
        /// Time from when a message was due to having verified its echo. High? The client's part is
        /// its schedule lag; the rest is of the server, or of what is between.
        message_latency_us: Latency,
        /// Time from when something of the client's was due to when it began: its own lag. High?
        /// The client is the limit, not the server.
        schedule_lag_us: Latency,
        /// Time between two pushes on one connection. Longer than --push-every? The server, or what
        /// is between, is late.
        push_gap_us: Latency,
        /// Time from the order of a text to all to its receipt on a connection, by one clock on one host. High? The
        /// server's core, or the client's, is full.
        broadcast_latency_us: Latency,
        /// Time from when a short connection was due to when it was connected. High? As of connects.
        churn_connect_latency_us: Latency,
        /// Time from when a short connection was due to having verified its exchange. High? As of
        /// connects and messages.
        churn_latency_us: Latency,
        /// Of the messages of connections that stayed, while others were to come back. High? Those that come back take
        /// the server's time from those that stayed.
        stayed_latency_us: Latency,
        /// Time from when a connection was lost to when it was back. High? The back-off is long, or the server refuses.
        return_latency_us: Latency,
        /// Lifetimes of the connections that have ended by them. Longer than asked for? Connections wait for an answer
        /// before they are closed.
        lifetime_us: Latency,
        /// Time from when a connection left its place to when another had it. High? The server is slow to take
        /// connections.
        arrival_latency_us: Latency,
        /// Connects for places of connections whose lifetime was over that failed, by error number. Rising? The number
        /// names the limit.
        arrival_failed: ByErrno,
        /// Connects of those that are to come back that failed, by error number. Rising? Many come back at once.
        reconnect_failed: ByErrno,
        /// Established connections that were lost, by cause. Rising? One of the ends, or what is
        /// between them, gives connections up.
        lost: ByCause,
        /// Short connections that did not connect, by error number. Rising? The number names the
        /// limit.
        churn_failed: ByErrno,
        /// Short connections lost before their exchange was done, by cause. Rising? As of lost ones.
        churn_lost: ByCause,
    }
}

impl CoreStats for ClientStats {
    const SIDE: Side = Side::Client;
}

impl ClientTotals {
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
}
