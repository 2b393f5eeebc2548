//! What goes on beside the cores of a server: memory is watched, a signal is waited for, and after
//! SIGTERM the connections are drained.

use std::sync::Arc;
use std::time::{Duration, Instant};

use glommio::timer::Timer;
use megaconn::base::constants::{DRAIN_SLACK, LOOK_EVERY, SHARED_LOOK_EVERY};
use megaconn::base::stderr::talk;
use megaconn::base::units::grouped;
use megaconn::engine::server::drain::{Accepting, Command, MemoryLeft};
use megaconn::engine::storm::Storms;
use megaconn::host::headroom::HOST;
use megaconn::observe::dump::ticker::Ticker;
use megaconn::observe::stats::ServerStats;
use megaconn::runtime::commands::Commands;
use megaconn::runtime::hand_over::give::Giver;
use megaconn::runtime::memory_reserve::{Change, LogThrottle, ReserveWatchdog};
use megaconn::runtime::signals::{Signals, Stop};

/// Why a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A signal asks it to.
    Stop(Stop),
    /// This process accepts in its place.
    TakenOver(u32),
}

/// Other servers that have the listening sockets as well.
#[derive(Clone, Copy)]
pub(crate) struct Others<'a> {
    /// By which one may take over.
    pub(crate) giver: Option<&'a Giver>,
    /// Whether the sockets were given to this process, and so perhaps to others: one that ends, however it does, may have
    /// been woken for a connection that then waits for nobody, so the cores look anew every now and then.
    pub(crate) share_sockets: bool,
}

/// Watches memory, has the cores drop what the `storms` take, and waits for a signal to stop, or for a server that takes
/// over; a signal that asks for it has
/// `reload` called. `None` when a core has died.
pub(crate) async fn housekeep(
    signals: &Signals,
    commands: &Commands<Command>,
    dumps: &Ticker,
    memory: &mut ReserveWatchdog,
    mut storms: Storms,
    reload: impl Fn(),
    others: Others<'_>,
) -> Option<End> {
    let mut throttle = LogThrottle::default();
    let (began, mut looked_at) = (Instant::now(), Instant::now());
    loop {
        if others.share_sockets && looked_at.elapsed() >= SHARED_LOOK_EVERY {
            looked_at = Instant::now();
            commands.broadcast(Command::LookAnew).await;
        }
        if let Some(change) = memory.look() {
            let (left, headroom, then) = match &change {
                Change::Enough(headroom) => {
                    (MemoryLeft::Enough, headroom, "enough again: accepting")
                }
                Change::Short(headroom) => {
                    let is_of_host = &*headroom.limit == HOST;
                    let short = [MemoryLeft::ShortInCgroup, MemoryLeft::ShortOnHost];
                    (short[usize::from(is_of_host)], headroom, "short: new connections are refused")
                }
            };
            if throttle.admits(&change, Instant::now()) {
                talk(&format!("memory is {then} ({})", memory.describe(headroom)));
            }
            commands.broadcast(Command::Memory(left)).await;
        }
        while let Some(drop) = storms.take_due(began.elapsed()) {
            talk(&format!("storm: {drop}"));
            commands.broadcast(Command::Drop(drop)).await;
        }
        let stop = signals.stop();
        if signals.take_dump_request() {
            dumps.tick();
        }
        if signals.take_reload_request() {
            reload();
        }
        if stop.is_some() || !commands.all_run() {
            return stop.map(End::Stop);
        }
        if let Some(pid) = others.giver.and_then(Giver::successor) {
            return Some(End::TakenOver(pid));
        }
        let mut next = storms.next_in(began.elapsed()).unwrap_or(Duration::MAX);
        if others.share_sockets {
            next = next.min(SHARED_LOOK_EVERY.saturating_sub(looked_at.elapsed()));
        }
        Timer::new(memory.look_again_in().min(next)).await;
    }
}

/// Has the cores let go of the listening sockets, which other processes have as well, and waits until no accept
/// of theirs is with the kernel.
pub(crate) async fn let_go(commands: &Commands<Command>, accepting: &Accepting) {
    let began = Instant::now();
    commands.broadcast(Command::LetGo).await;
    while commands.all_run() && accepting.cores() > 0 && began.elapsed() < DRAIN_SLACK {
        Timer::new(LOOK_EVERY).await;
    }
}

/// Has the cores end their connections, until none is left or the time is up. A second signal ends the
/// process at once.
pub(crate) async fn drain(
    signals: &Signals,
    commands: &Commands<Command>,
    stats: &[Arc<ServerStats>],
    dumps: &Ticker,
    within: Duration,
) {
    let sum = |figure: fn(&ServerStats) -> u64| stats.iter().map(|core| figure(core)).sum::<u64>();
    let began = Instant::now();
    let closed_before = sum(|core| core.closed_total.get());
    talk(&format!("draining within {:?}; a second signal ends at once", within));
    commands.broadcast(Command::Drain(within)).await;
    while commands.all_run() && began.elapsed() < within + DRAIN_SLACK {
        // A core may have accepted a connection that it has not counted yet: it is looked at again.
        Timer::new(LOOK_EVERY).await;
        if sum(|core| core.connections.get()) == 0 {
            break;
        }
        if signals.take_dump_request() {
            dumps.tick();
        }
    }
    let left = sum(|core| core.connections.get());
    let gone = sum(|core| core.closed_total.get()) - closed_before + left;
    // A connection that is left now ends with the process, if its core has not begun to cut it.
    let cut = sum(|core| core.drain_cut_total.get()).max(left);
    talk(&format!(
        "drained {} connections in {:.1} s, cut {}",
        grouped(gone.saturating_sub(cut)),
        began.elapsed().as_secs_f64(),
        grouped(cut)
    ));
}
