//! What is kept of each end between two turns: its open connections, and what it had counted.

use std::collections::{BTreeMap, BTreeSet};

use megaconn::drivers::sim::{End, Move, SimDriver};
use megaconn::engine::arena::Arena;
use megaconn::engine::slot::{ConnState, Role};
use megaconn::engine::token::{Generation, SlotId};
use megaconn::observe::stats::{ByCause, ClientStats, CommonStats, ServerStats};

/// Both ends, the server first.
pub(crate) type Ends = [Books; 2];

/// One end after its last turn. Connections go by the number of their peer.
#[derive(Default)]
pub(crate) struct Books {
    used: Used,
    /// Connections that are open.
    pub(crate) open: BTreeSet<usize>,
    /// Connections that were open once.
    pub(crate) seen: BTreeSet<usize>,
    /// Whether this end has ended each by a reset, as far as one turn tells.
    pub(crate) by_reset: BTreeMap<usize, bool>,
    /// Bytes of each stream that have been looked at: what came, what was sent.
    pub(crate) looked_at: BTreeMap<usize, [usize; 2]>,
    /// Connections that moved bytes while they ended, which no counter has.
    pub(crate) uncounted: BTreeSet<usize>,
    /// How many such bytes: what came, what was sent.
    pub(crate) uncounted_bytes: [u64; 2],
    /// Bytes that were counted: what came, what was sent.
    bytes: [u64; 2],
    /// Ends that were counted, by cause.
    causes: Vec<u64>,
    /// Connections that this end has ended in order, of its own accord.
    pub(crate) closed_by_us: u64,
}

/// The slots that an end uses.
pub(crate) type Used = Vec<(SlotId, Generation, ConnState)>;

pub(crate) fn used_slots<R: Role>(arena: &Arena<R>) -> Used {
    arena.iter_used().map(|(id, slot)| (id, slot.generation(), slot.state())).collect()
}

impl Books {
    /// Connections that have ended in this turn, behind which the slots are `used`.
    pub(crate) fn take_ended(
        &mut self,
        used: Used,
        end: End,
        driver: &mut SimDriver,
    ) -> Vec<usize> {
        if self.used == used {
            return Vec::new();
        }
        let (mut open, mut closing) = (BTreeSet::new(), BTreeSet::new());
        for &(id, _, state) in &used {
            let set = match state {
                ConnState::Open => &mut open,
                ConnState::Closing => &mut closing,
                ConnState::Accepting | ConnState::Connecting | ConnState::Free => continue,
            };
            // The descriptor of one that is closing may be closed already.
            set.extend(driver.peer_behind(id));
        }
        // A connect that failed is closed too, and was no connection.
        closing.retain(|&peer| end == End::Server || driver.peers()[peer].is_connected);
        self.used = used;
        let before = std::mem::replace(&mut self.open, open);
        let gone = before.difference(&self.open);
        let unseen = closing.difference(&self.seen);
        let ended: Vec<usize> = gone.chain(unseen).copied().collect();
        self.seen.extend(self.open.iter().chain(&ended));
        ended
    }

    /// `resets` of the connections that `ended` in one turn are to be ended by a reset.
    pub(crate) fn expect_resets(&mut self, ended: &[usize], resets: u64) {
        let is_certain = resets == 0 || resets == ended.len() as u64;
        let certain = ended.iter().filter(|_| is_certain);
        self.by_reset.extend(certain.map(|&peer| (peer, resets > 0)));
    }

    /// How much the counters of ends have risen since this was last called.
    pub(crate) fn rise_of_causes(&mut self, now: Vec<u64>) -> Vec<u64> {
        let before = std::mem::replace(&mut self.causes, now);
        let before = before.into_iter().chain(std::iter::repeat(0));
        self.causes.iter().zip(before).map(|(now, before)| now - before).collect()
    }

    /// Every byte that an open connection was told of is counted, and no other.
    pub(crate) fn count_bytes(&mut self, moves: &[Move], stats: &CommonStats) {
        let counted = [stats.recv_bytes_total.get(), stats.send_bytes_total.get()];
        for (way, is_receive) in [(0, true), (1, false)] {
            let moves = || moves.iter().filter(|step| step.is_receive == is_receive);
            let told: usize = moves().map(|step| step.bytes).sum();
            let is_ending = |step: &&Move| !self.open.contains(&step.peer);
            let of_ending: usize = moves().filter(is_ending).map(|step| step.bytes).sum();
            let rise = counted[way] - self.bytes[way];
            let uncounted = (told as u64).checked_sub(rise);
            let uncounted = uncounted.unwrap_or_else(|| panic!("{rise} bytes counted of {told}"));
            let is_right = uncounted <= of_ending as u64;
            assert!(
                is_right,
                "{uncounted} of {told} bytes are not counted: {moves:?}",
                moves = moves().collect::<Vec<_>>()
            );
            if uncounted > 0 {
                let ending = moves().filter(is_ending).map(|step| step.peer);
                self.uncounted.extend(ending);
            }
            self.uncounted_bytes[way] += uncounted;
        }
        self.bytes = counted;
    }
}

/// Those among the counters of a server's ends that end a connection by a reset.
pub(crate) const BY_RESET: [usize; 5] = [1, 2, 3, 6, 10];

/// The counters of a server's ends; resets by the peer come first.
pub(crate) fn causes_of_server(stats: &ServerStats) -> Vec<u64> {
    let counters = [
        &stats.reset_total,
        &stats.send_timeout_total,
        &stats.backlog_total,
        &stats.evicted_total,
        &stats.idle_timeout_total,
        &stats.drained_total,
        &stats.drain_cut_total,
        &stats.malformed_total,
        &stats.handshake_timeout_total,
        &stats.ping_timeout_total,
        &stats.broadcast_closed_total,
        &stats.dropped_total,
    ];
    counters.iter().map(|counter| counter.get()).collect()
}

/// The counters of a client's ends: losses by cause, exchanges of short connections that are done, openings
/// that failed, lives that were over, and those that a storm took.
pub(crate) fn causes_of_client(stats: &ClientStats) -> Vec<u64> {
    let sum = |cause: usize| stats.lost[cause].get() + stats.churn_lost[cause].get();
    (0..stats.lost.len())
        .map(sum)
        .chain([
            stats.churned_total.get(),
            stats.opening_failed_total.get(),
            stats.departures_total.get(),
            stats.dropped_total.get(),
        ])
        .collect()
}

pub(crate) fn sum(causes: &ByCause) -> u64 {
    causes.iter().map(|cause| cause.get()).sum()
}
