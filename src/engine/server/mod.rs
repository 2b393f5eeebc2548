//! The server's end: one connection's whole life, top to bottom, over [`crate::engine::endpoint`].
//!
//! accept into a slot (`accept`) -> poll -> readable -> take a buffer, receive -> the protocol ->
//! send until all is gone -> receive what follows at once -> give the buffer back -> poll ...
//! (`serve`) -> end of stream, error, timeout (`timers`, `stall`), drain (`drain`) -> close -> free slot.
//! What a protocol sends first goes before it all, what its timer sends in between (`speak`), and texts to
//! all (`broadcast`).
//!
//! A server is one core's share: synchronous, single-threaded, and after start it allocates only when
//! the arena grows. The pump of the runtime calls `turn` of [`crate::engine::worker::Worker`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::base::constants::{
    ACCEPTS_PER_CORE, ACCEPTS_PER_LISTENER_MAX, BATCH_COMPLETIONS, HANDSHAKE_TIMEOUT, SEND_TIMEOUT,
    WHEEL_BUCKETS,
};
use crate::base::errno::Errno;
use crate::engine::close_reason::CloseReason;
use crate::engine::driver::Listen;
use crate::engine::endpoint::Endpoint;
use crate::engine::endpoint::end::End;
use crate::engine::endpoint::event::Event;
use crate::engine::protocol::Protocol;
use crate::engine::server::allowance::Allowance;
use crate::engine::server::drain::{Accepting, Command, Drain, MemoryLeft};
use crate::engine::server::listener::{Leaving, Listener};
use crate::engine::server::orders::{Broadcasts, SlowReader};
use crate::engine::server::pace::Pace;
use crate::engine::server::role::{Remainder, Serving, Stall};
use crate::engine::server::sources::Sources;
use crate::engine::server::spread::Spread;
use crate::engine::slot::{Queue, low_milliseconds};
use crate::engine::token::SlotId;
use crate::engine::wheel::Wheel;
use crate::observe::stats::ServerStats;

mod accept;
mod admission;
pub mod allowance;
mod broadcast;
pub mod drain;
mod handshakes;
mod leave;
mod listener;
pub mod orders;
mod pace;
pub mod role;
mod serve;
pub mod sources;
mod speak;
mod spread;
mod stall;
mod storm;
mod timers;

/// How often a protocol's timer may run out: a wheel counts milliseconds, and 24 days of them.
const TIMERS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(12 * 24 * 60 * 60);

/// What one core of a server is told.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Its number among the server's cores.
    pub core: usize,
    /// Listening sockets that the driver holds for this core.
    pub listeners: usize,
    /// Slots of one segment.
    pub slots_per_segment: u32,
    /// Connections at most, in this core.
    pub connections_max: u32,
    /// What is left of the connections that all cores may have together.
    pub allowance: Allowance,
    /// How many cores accept.
    pub accepting: Accepting,
    /// What is left of the connections that each source address may have, in all cores together.
    pub sources: Sources,
    /// Connections that this core accepts in a second at most.
    pub accept_rate: Option<f64>,
    /// Time after which a peer that sends nothing is closed.
    pub idle_timeout: Option<Duration>,
    /// Time after which a peer that takes nothing is closed.
    pub send_timeout: Duration,
    /// Time after which a peer whose handshake is not done is closed, where the protocol has one.
    pub handshake_timeout: Duration,
    /// Topics that connections are dealt to, 1 at least.
    pub topics: u16,
    /// What becomes of a peer that has not taken what was sent before a text to all.
    pub slow_reader: SlowReader,
}

impl ServerConfig {
    /// With no bound on connections, no idle timeout, and the send timeout of `serve`.
    #[must_use]
    pub fn new(listeners: usize, slots_per_segment: u32) -> ServerConfig {
        ServerConfig {
            core: 0,
            listeners,
            slots_per_segment,
            connections_max: u32::MAX,
            allowance: Allowance::default(),
            accepting: Accepting::default(),
            sources: Sources::default(),
            accept_rate: None,
            idle_timeout: None,
            send_timeout: SEND_TIMEOUT,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            topics: 1,
            slow_reader: SlowReader::Skip,
        }
    }
}

/// One core's share of the server, with the protocol that it speaks.
pub struct Server<D, P: Protocol> {
    /// Its driver, slots, queues and counters.
    pub end: Endpoint<D, Serving<P::State>, ServerStats>,
    protocol: P,
    config: ServerConfig,
    listeners: Box<[Listener]>,
    accepts_wanted: u32,
    /// The listener that gets the next free slot.
    accepts_first: usize,
    connections: u32,
    /// Of these, those that are closing because all cores together hold as many as they may.
    refused: u32,
    /// What is to be done with a buffer when the answer in it is out, by the buffer's number.
    remainders: Box<[Remainder]>,
    /// What was seen of the peer that does not take what is in a buffer, by the buffer's number.
    stalls: Box<[Stall]>,
    /// Slots by when to look at them next, for the protocol's timer or for their silence. A slot leaves
    /// it for a queue, and for as long as bytes of the timer are on their way.
    wheel: Wheel,
    spread: Spread,
    drain: Option<Drain>,
    leaving: Leaving,
    pace: Option<Pace>,
    /// The source of each connection, where those of one are limited.
    sources: HashMap<SlotId, IpAddr>,
    broadcasts: Broadcasts,
    memory: MemoryLeft,
    /// All that had come by this turn has been handled, so that a connection without data is really
    /// idle. After a time in which the core was kept from running, much has come that it does not know.
    queue_drained: bool,
    /// No accepting before this time: an accept failed, for want of something of the kernel's.
    accept_from_ms: u64,
}

impl<D: Listen, P: Protocol> Server<D, P> {
    /// A server with its first segment open and its accepts armed.
    ///
    /// # Errors
    /// When the first segment's ring cannot be made.
    ///
    /// # Panics
    /// When the protocol's timer runs out more often than each millisecond, or less than each 12 days.
    pub fn new(
        driver: D,
        config: ServerConfig,
        protocol: P,
        stats: Arc<ServerStats>,
    ) -> Result<Server<D, P>, Errno> {
        let each = ACCEPTS_PER_CORE / config.listeners.max(1);
        let has_timers =
            P::SHAKES || config.idle_timeout.is_some() || protocol.timer_every().is_some();
        let every = protocol.timer_every();
        assert!(every.is_none_or(|every| TIMERS.contains(&every)), "a timer of {every:?}");
        let stalls = vec![Stall::default(); driver.buffers()].into();
        let buffers = if P::KEEPS { driver.buffers() } else { 0 };
        let pace = config.accept_rate.map(|rate| Pace::new(rate, config.listeners, driver.now()));
        let mut server = Server {
            end: Endpoint::new(driver, config.slots_per_segment, stats),
            protocol,
            listeners: (0..config.listeners).map(|_| Listener::default()).collect(),
            accepts_wanted: u32::try_from(each.clamp(1, ACCEPTS_PER_LISTENER_MAX))
                .expect("accepts are few"),
            accepts_first: 0,
            connections: 0,
            refused: 0,
            remainders: vec![Remainder::default(); buffers].into(),
            stalls,
            wheel: if has_timers { Wheel::new(WHEEL_BUCKETS) } else { Wheel::default() },
            spread: Spread::default(),
            drain: None,
            leaving: Leaving::default(),
            pace,
            sources: HashMap::new(),
            broadcasts: Broadcasts::default(),
            memory: MemoryLeft::Enough,
            config,
            queue_drained: true,
            accept_from_ms: 0,
        };
        server.end.grow()?;
        server.arm_accepts();
        // Whoever made it may say now that it accepts.
        server.end.driver.submit();
        Ok(server)
    }

    // ---- for the tests --------------------------------------------------------------------

    /// Connections open or closing.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.connections
    }
}

impl<D: Listen, P: Protocol> End for Server<D, P> {
    type Driver = D;
    type Role = Serving<P::State>;
    type Stats = ServerStats;
    type Command = Command;

    fn endpoint(&mut self) -> &mut Endpoint<D, Serving<P::State>, ServerStats> {
        &mut self.end
    }

    fn begin(&mut self, completions: usize) {
        self.queue_drained = completions < BATCH_COMPLETIONS;
        self.wheel.advance_to(low_milliseconds(self.end.now));
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Waiting(listener) => self.on_waiting(listener),
            Event::Accepted(id, result) => self.on_accept(id, result),
            Event::Readable(id, result) => self.on_readable(id, result),
            Event::Received(id) => self.on_received(id),
            // All that came before the end has been answered, so our end may follow.
            Event::Ended(id) => self.close(id, CloseReason::Finished),
            Event::Nothing(id) => self.on_nothing(id),
            Event::TakenBack(id) => self.become_idle(id),
            Event::Sent(id) => self.on_sent(id),
            Event::Stalled(id) => self.on_stalled(id),
            Event::Writable(id, result) => self.on_writable(id, result),
            Event::Unacked(id, result) => self.on_unacked(id, result),
            Event::Failed(id, _) => self.close(id, CloseReason::Reset),
            Event::Returned(buffer) => self.hand_on(buffer),
            Event::Closed => self.on_closed(),
            Event::Connected(..) => unreachable!("a server asks for no connect"),
        }
    }

    fn tick(&mut self, _late_ms: u64) {
        self.give_up_waits();
    }

    fn act(&mut self) {
        self.look_at_due();
        self.go_on_with_handshakes();
        self.drain();
        self.close_stormed();
        self.let_go_when_done();
        self.keep_pace();
        if self.broadcasts.is_active() {
            self.go_on_with_broadcast();
        }
        self.end.set_gauges(u64::from(self.connections - self.refused));
        self.end.stats.buffers_awaited.set(self.end.count(Queue::Starved).into());
        self.end.stats.sends_stalled.set(self.stalled().into());
    }

    fn sleep(&mut self) -> Option<Duration> {
        self.deadline()
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Drain(time) => self.begin_drain(time),
            Command::Memory(left) => self.on_memory(left),
            Command::Drop(part) => self.end.storms.add(part),
            Command::LetGo => self.begin_to_leave(),
            Command::LookAnew => self.look_anew(),
            Command::Broadcast(order) => self.take_order(order),
        }
    }
}
