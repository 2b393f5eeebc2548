//! What is read, at any moment of a run, from the cores' counters, the kernel and the server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use megaconn::base::clock::unix_ms;
use megaconn::base::side::Side;
use megaconn::host::open_files;
use megaconn::observe::snapshot::{CoreSnapshot, Snapshot};
use megaconn::observe::stats::{
    BroadcastLog, ClientStats, ClientTotals, Counter, Figure, LossLog, Received,
};
use megaconn::plan::tuples::{TuplePlan, share};
use megaconn::results::broadcasts::Broadcasts;
use megaconn::results::cost::Memory;
use megaconn::results::lenient::{List, Maybe};
use megaconn::results::parts::ClockOffset;
use megaconn::results::result::{Descriptors, PerCore};

use crate::measure::clock;
use crate::measure::cost::MemorySamples;
use crate::measure::losses::LossAccount;
use crate::measure::server::ServerFigures;
use crate::measure::server_metrics::ServerMetrics;

/// Counters of our cores, and the server's as far as they can be seen.
pub(crate) struct Figures {
    cpus: Vec<u16>,
    stats: Vec<Arc<ClientStats>>,
    losses: Vec<Arc<LossLog>>,
    texts: Vec<Arc<BroadcastLog>>,
    pub(crate) server: Option<ServerFigures>,
    /// Connections that the server held before the run.
    server_before: Option<u64>,
    memory: MemorySamples,
}

impl Figures {
    /// Figures of cores on `cpus`. The server is seen by its metrics address, where one was given;
    /// else its dumps are looked for in `dir`.
    pub(crate) fn new(
        cpus: &[u16],
        stats: &[Arc<ClientStats>],
        (losses, texts): (Vec<Arc<LossLog>>, Vec<Arc<BroadcastLog>>),
        dir: Option<&Path>,
        metrics: Option<(ServerMetrics, Snapshot)>,
    ) -> Figures {
        let dumps = |dir| ServerFigures::of(dir, unix_ms().saturating_sub(TICK_ALLOWANCE_MS));
        let metrics = metrics.map(|(metrics, view)| ServerFigures::by(metrics, view));
        Figures {
            cpus: cpus.to_vec(),
            stats: stats.to_vec(),
            losses,
            texts,
            server: metrics.or_else(|| dir.map(dumps)),
            server_before: None,
            memory: MemorySamples::default(),
        }
    }

    /// What there is now is what no connection costs.
    pub(crate) fn mark_empty(&mut self) {
        self.refresh_server();
        self.server_before = self.server.as_ref().and_then(ServerFigures::connections);
        self.memory =
            MemorySamples::begin(self.server.as_ref().and_then(ServerFigures::resident_bytes));
    }

    /// How far the server's clock is ahead of ours, or why that is not known.
    pub(crate) fn clock(&self) -> Result<ClockOffset, String> {
        self.server.as_ref().and_then(ServerFigures::place).map_or_else(
            || Err("the server's metrics are not seen, and nothing else tells its time".into()),
            clock::ask,
        )
    }

    /// Looks at the server again.
    pub(crate) fn refresh_server(&mut self) {
        if let Some(server) = &mut self.server {
            server.refresh();
        }
    }

    /// The server as it is now, by its metrics address or its last dumps; `None` while it cannot be
    /// seen. It may take as long as a fetch may.
    pub(crate) fn server_view(&mut self) -> Option<Snapshot> {
        self.server.as_mut()?.look()
    }

    /// Connections that the server held before the run; 0 when it was not seen then.
    pub(crate) fn server_before(&self) -> Option<u64> {
        Some(self.server_before.unwrap_or(0))
    }

    /// Whether what is known of the server is of `ms` or later.
    pub(crate) fn server_is_of(&self, ms: u64) -> bool {
        self.server.as_ref().is_some_and(|server| server.is_of(ms))
    }

    /// Whether another process than at first has answered for the server.
    pub(crate) fn server_was_replaced(&self) -> bool {
        self.server.as_ref().is_some_and(ServerFigures::was_replaced)
    }

    /// Since when, and why, a server that was seen at the start cannot be seen any more.
    pub(crate) fn server_unseen(&self) -> Option<String> {
        self.server.as_ref()?.unseen()
    }

    /// One counter or gauge over all cores.
    pub(crate) fn sum<F: Figure<Total = u64>>(&self, of: impl Fn(&ClientStats) -> &F) -> u64 {
        F::total(self.stats.iter().map(|stats| of(stats)))
    }

    /// Connections that the cores close until `keep` are left: each keeps its part, or what it has.
    pub(crate) fn beyond(&self, keep: u64) -> u64 {
        let open = self.stats.iter().map(|stats| stats.connections.get()).enumerate();
        open.map(|(core, open)| open.saturating_sub(share(keep, self.stats.len(), core))).sum()
    }

    /// What is known of lost and failed connections; the first was lost `first_at` after the start.
    pub(crate) fn losses(&self, plan: &TuplePlan, first_at: Option<Duration>) -> LossAccount {
        let begun = self.stats.iter().map(|stats| stats.connect_started_total.get());
        let cores: Vec<_> = self.losses.iter().map(|log| log.read()).zip(begun).collect();
        LossAccount::new(plan, &cores, first_at)
    }

    /// Texts to all that have come.
    pub(crate) fn broadcasts(&self) -> Broadcasts {
        let (texts, beyond): (Vec<_>, Vec<u64>) = self.texts.iter().map(|log| log.read()).unzip();
        let texts = Received::merged(texts.into_iter().flatten());
        let received = self.sum(|stats| &stats.broadcasts_received_total);
        let missed = self.sum(|stats| &stats.broadcasts_missed_total);
        Broadcasts::of(&texts, received, missed, beyond.iter().sum())
    }

    /// Held connections lost so far, whatever the cause.
    pub(crate) fn lost(&self) -> u64 {
        self.stats.iter().flat_map(|stats| &stats.lost).map(Counter::get).sum()
    }

    /// All counters, gauges and histograms of our cores together, now.
    pub(crate) fn totals(&self) -> ClientTotals {
        ClientTotals::of(self.stats.iter().map(AsRef::as_ref))
    }

    /// How long the slowest core took for order `number`; `None` while one has not carried it out.
    pub(crate) fn took(&self, number: u64) -> Option<Duration> {
        let finished = |stats: &Arc<ClientStats>| stats.order_finished.get() == number;
        // In this order: a core says how long it took before it says that it has finished.
        let took_us = |stats: &Arc<ClientStats>| stats.order_took_us.get();
        self.stats
            .iter()
            .all(finished)
            .then(|| Duration::from_micros(self.stats.iter().map(took_us).max().unwrap_or(0)))
    }

    /// Growth of memory over the empty state with `held` connections; the server's is taken
    /// from a dump of `since_ms` or later.
    pub(crate) fn memory(&mut self, held: u64, since_ms: u64) -> Memory {
        self.refresh_server();
        let server = self.server.as_ref().filter(|server| server.is_of(since_ms));
        let resident = server.and_then(ServerFigures::resident_bytes);
        self.memory.add(held, resident)
    }

    /// Memory before the first connection and at each plateau since.
    pub(crate) fn memory_samples(&self) -> &MemorySamples {
        &self.memory
    }

    /// Open files of both processes.
    pub(crate) fn descriptors(&self) -> Descriptors {
        Descriptors {
            client: open_files::of_process().into(),
            server: self.server.as_ref().and_then(ServerFigures::open_files).into(),
        }
    }

    /// Every core of both sides.
    pub(crate) fn per_core(&self) -> List<PerCore> {
        let ours = self.own_cores();
        let ours = ours.iter().map(|core| per_core(Side::Client, core));
        let theirs = self.server.iter().flat_map(ServerFigures::cores);
        ours.chain(theirs.map(|core| per_core(Side::Server, core))).collect()
    }

    /// Our cores as they are now.
    pub(crate) fn own_cores(&self) -> Vec<CoreSnapshot> {
        CoreSnapshot::of_own(&self.cpus, self.stats.iter().map(AsRef::as_ref))
    }
}

fn per_core(side: Side, core: &CoreSnapshot) -> PerCore {
    PerCore {
        part: Maybe(None),
        side: side.name().into(),
        core: core.core.into(),
        cpu: u64::from(core.cpu).into(),
        connections_peak: core.connections_peak().into(),
        messages_total: core.messages().into(),
    }
}

/// A server's line from so long before the run is still the state before it.
const TICK_ALLOWANCE_MS: u64 = 2_500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_has_less_than_its_part_closes_nothing() {
        let stats = [400, 100].map(|open| {
            let stats = Arc::new(ClientStats::default());
            stats.connections.set(open);
            stats
        });
        let figures = Figures::new(&[0, 1], &stats, (Vec::new(), Vec::new()), None, None);
        assert_eq!([0, 201, 500, 900].map(|keep| figures.beyond(keep)), [500, 299, 150, 0]);
    }
}
