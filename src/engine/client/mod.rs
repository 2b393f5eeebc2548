//! The client's end: one connection's whole life, top to bottom, over [`crate::engine::endpoint`].
//!
//! tuple -> connect (`connect`) -> an opening where there is one (`opening`) -> poll, and hold -> one message out,
//! its answer verified, or texts that come unasked (`message`, `unasked`) -> hold -> shut down our direction -> the
//! server ends its own -> close -> free slot (`close`). One that is lost or dropped (`storm`) comes back (`reconnect`).
//! A short connection of churn (`churn`) carries its one message from the start: tuple -> connect -> message ->
//! answer -> close.
//!
//! An open connection stands in one queue: `resting`, `waiting` while a message is out, or `overdue`
//! when a text is; one that closes stands in `ending`. Each is in the order of time, so that its first
//! is the next to be due. What is due on one connection by a time of its own (`thinking`, `lifetimes`) stands in a heap
//! beside (`dues`). Phases come from the housekeeping thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::microseconds;
use crate::base::constants::{
    CONNECT_TIMEOUT, ECHO_TIMEOUT, HELD_UP_LOOK, MESSAGES_IN_FLIGHT, TICK_LATE_MS, TICK_MS,
};
use crate::base::errno::Errno;
use crate::engine::client::aside::{Aside, Short};
use crate::engine::client::choices::Choices;
use crate::engine::client::config::{ClientConfig, Pace};
use crate::engine::client::dues::{Dues, Lives, Reluctant};
use crate::engine::client::followed::Followed;
use crate::engine::client::growth::Growth;
use crate::engine::client::held_up::HeldUp;
use crate::engine::client::opened::Opened;
use crate::engine::client::phase::{Command, Phase};
use crate::engine::client::phase_state::PhaseState;
use crate::engine::client::returns::Returns;
use crate::engine::client::role::Calling;
use crate::engine::client::starved::Starved;
use crate::engine::client::tuple_allocator::TupleAllocator;
use crate::engine::driver::Dial;
use crate::engine::endpoint::Endpoint;
use crate::engine::endpoint::end::End;
use crate::engine::endpoint::event::Event;
use crate::engine::protocol::Expectation;
use crate::engine::slot::Queue;
use crate::engine::token::{Operation, SlotId};
use crate::observe::stats::{ClientStats, LossLog, LostCause};

mod aside;
mod broadcasts;
pub mod census;
mod choices;
mod churn;
mod close;
pub mod config;
mod connect;
mod dues;
mod fill;
pub mod followed;
mod growth;
mod held_up;
mod keepalive;
mod lifetimes;
mod message;
mod opened;
mod opening;
mod pacer;
pub mod phase;
mod phase_state;
mod reconnect;
mod reluctant;
mod reply;
mod returns;
pub mod role;
mod starved;
mod storm;
mod thinking;
pub mod tuple_allocator;
mod unasked;

/// One core's share of the client, with what it expects of the server.
pub struct Client<D, E: Expectation> {
    /// Its driver, slots, queues and counters.
    pub end: Endpoint<D, Calling<E::State>, ClientStats>,
    expectation: E,
    config: ClientConfig,
    phase: PhaseState,
    tuples: TupleAllocator,
    opened: Opened,
    growth: Growth,
    starved: Starved,
    /// Those whose handshake waits for its turn.
    shaking: Starved,
    /// A handshake had its turn, and there was no buffer: it waits for one that comes back.
    lacks_buffer: bool,
    returns: Returns,
    choices: Choices,
    /// Messages that are due by think times.
    thoughts: Dues,
    lives: Lives,
    reluctant: Reluctant,
    /// Bytes that go out and are no message, by the number of their buffer.
    asides: Box<[Aside]>,
    /// Short connections of an expectation that opens.
    shorts: HashMap<SlotId, Short>,
    losses: Arc<LossLog>,
    followed: Followed,
    /// Tuples that were taken, one after the other, since a short connection has begun.
    churn_tries: u32,
    /// Held connections that are open.
    connections: u64,
    /// Short connections that have begun and not ended.
    churning: u32,
    /// The rests in which something was due that could not begin.
    held_up: HeldUp,
    /// Whether it is held up by the bound on what may be in flight.
    is_at_bound: bool,
}

impl<D: Dial, E: Expectation> Client<D, E> {
    /// A client that has nothing yet: segments come with connections.
    #[must_use]
    pub fn new(
        driver: D,
        config: ClientConfig,
        expectation: E,
        tuples: TupleAllocator,
        stats: Arc<ClientStats>,
        losses: Arc<LossLog>,
    ) -> Client<D, E> {
        let buffers = if E::OPENS { driver.buffers() } else { 0 };
        let choices = Choices::new(config.seed);
        Client {
            end: Endpoint::new(driver, config.slots_per_segment, stats),
            expectation,
            config,
            phase: PhaseState::new(),
            tuples,
            opened: Opened::default(),
            growth: Growth::default(),
            starved: Starved::new(),
            shaking: Starved::new(),
            lacks_buffer: false,
            returns: Returns::default(),
            choices,
            thoughts: Dues::default(),
            lives: Lives::default(),
            reluctant: Reluctant::default(),
            asides: vec![Aside::default(); buffers].into(),
            shorts: HashMap::new(),
            losses,
            followed: Followed::default(),
            churn_tries: 0,
            connections: 0,
            churning: 0,
            held_up: HeldUp::new(),
            is_at_bound: false,
        }
    }

    /// What is due cannot begin, because every connection that could carry it waits for the server.
    fn is_held_up(&self) -> bool {
        let is_thought = self.thoughts.first_by(self.end.now).is_some();
        let message = is_thought || self.phase.messages.due_by(self.end.now).is_some();
        let short = self.phase.churn.due_by(self.end.now).is_some();
        message && self.all_wait() || short && self.churning >= MESSAGES_IN_FLIGHT
    }

    fn all_wait(&self) -> bool {
        self.end.count(Queue::Resting) == 0 || self.end.count(Queue::Waiting) >= MESSAGES_IN_FLIGHT
    }

    /// As much is in flight as may be: 1,024 messages, or as many short connections.
    fn is_at_bound(&self) -> bool {
        self.end.count(Queue::Waiting).max(self.churning) >= MESSAGES_IN_FLIGHT
    }

    /// A core that rested while something was due waited for the server: that lag is not its own.
    fn count_held_up(&mut self) {
        let Some(waited) = self.held_up.ends(self.end.now) else { return };
        let us = microseconds(waited);
        self.end.stats.held_up_us_total.add(us);
        if std::mem::take(&mut self.is_at_bound) {
            self.end.stats.in_flight_bound_us_total.add(us);
        }
    }

    /// Counts how late something that was due at `due` begins, by the client's own fault.
    fn count_lag(&self, due: Duration) {
        self.end.stats.schedule_lag_us.record(self.held_up.own_lag(due, self.end.now));
    }

    /// Does what the phase asks for, within the bounds of what may be in flight.
    fn advance(&mut self) {
        self.start_departures();
        self.start_reluctant();
        let is_held = self.phase.holds() && !self.config.pace.is_paused;
        let fills_places = self.phase.now() == Phase::Hold && self.is_filling_places();
        if is_held || fills_places {
            self.start_returns();
        }
        let is_carried_out = match self.phase.now() {
            Phase::Connect { .. } | Phase::Fill { .. } | Phase::Messages | Phase::Sweep
                if self.config.pace.is_paused =>
            {
                false
            }
            Phase::Hold => {
                let is_out = self.end.count(Queue::Waiting) > 0 || self.churning > 0;
                !is_out && !self.is_filling_places()
            }
            Phase::Connect { .. } | Phase::Fill { .. } => self.start_connects(),
            Phase::Messages | Phase::Sweep => self.start_messages(),
            Phase::Traffic => {
                self.start_scheduled_messages();
                self.start_thoughts();
                self.start_churn();
                true
            }
            Phase::Close { .. } => self.start_closes(),
        };
        if is_carried_out {
            // A reader that sees that it is, sees what came of it.
            self.end.stats.set_connections(self.connections);
            self.phase.is_carried_out(self.end.driver.now(), &self.end.stats);
        }
    }

    // ---- what comes due -------------------------------------------------------------------

    /// Gives up what has waited too long.
    fn give_up_waits(&mut self, late_ms: u64) {
        if self.expectation.is_unasked() {
            self.count_all_overdue();
        }
        // A core that was kept from running handles what has come before it gives a connection up.
        if late_ms > u64::from(TICK_LATE_MS) {
            return;
        }
        while let Some(id) =
            self.end.first(Queue::Connecting).filter(|&id| self.end.waited(id) >= CONNECT_TIMEOUT)
        {
            // The kernel answers with ECANCELED, or with what had happened meanwhile.
            self.end.driver.cancel(self.end.arena[id].token(Operation::Connect, id));
            self.end.restart_wait(id, Queue::Connecting);
        }
        while let Some(id) =
            self.end.first(Queue::Waiting).filter(|&id| self.end.waited(id) >= ECHO_TIMEOUT)
        {
            self.lose(id, LostCause::Silent);
        }
        if E::OPENS {
            self.give_up_openings();
            self.give_up_asides();
        }
        self.give_up_closes();
    }

    /// How long the core may sleep when no bell rings.
    fn deadline(&self) -> Option<Duration> {
        if !self.shaking.is_empty() && !self.lacks_buffer {
            return Some(Duration::ZERO);
        }
        if self.may_drop() {
            return Some(Duration::ZERO);
        }
        let waits = self.end.count(Queue::Connecting)
            + self.end.count(Queue::Opening)
            + self.end.count(Queue::Aside)
            + self.end.count(Queue::Waiting)
            + self.end.count(Queue::Ending);
        let is_held_to_time = self.expectation.is_unasked() && self.connections > 0;
        let ticks = (waits > 0 || is_held_to_time).then_some(Duration::from_millis(TICK_MS.into()));
        let paced = self.phase.wait(self.end.now, self.end.count(Queue::Resting) > 0);
        let holds = self.phase.holds() || self.phase.now() == Phase::Hold;
        let returns = if holds { self.returns.sleep(self.end.now) } else { None };
        let thoughts = self.think_mean().and_then(|_| self.thoughts.sleep(self.end.now));
        let ends = self.lives_end().then(|| self.lives.ends.sleep(self.end.now)).flatten();
        let own = returns.into_iter().chain(thoughts).chain(ends).chain(self.reluctant_sleep());
        paced.into_iter().chain(ticks).chain(own).chain(self.keepalive_wait()).min()
    }
}

impl<D: Dial, E: Expectation> Client<D, E> {
    /// What goes on by a time of its own is counted up to now.
    fn end_schedules(&mut self, now: Duration) {
        self.end_thinking(now);
        self.count_population(now);
    }

    fn change_pace(&mut self, pace: Pace, now: Duration) {
        let before = self.config.pace;
        let is_other = before.is_paused != pace.is_paused;
        let thinks_anew = is_other || before.schedule != pace.schedule;
        if thinks_anew {
            self.end_schedules(now);
        }
        self.config.pace = pace;
        let stats = &self.end.stats;
        let connections = self.prompt_connections();
        self.phase.change_pace(&self.config, before, connections, now, stats);
        if thinks_anew {
            self.begin_thinking(now);
            self.begin_reluctant_sends(now);
            self.begin_population(now);
        }
    }
}

impl<D: Dial, E: Expectation> End for Client<D, E> {
    type Driver = D;
    type Role = Calling<E::State>;
    type Stats = ClientStats;
    type Command = Command;

    fn endpoint(&mut self) -> &mut Endpoint<D, Calling<E::State>, ClientStats> {
        &mut self.end
    }

    fn begin(&mut self, _completions: usize) {
        self.count_held_up();
        self.count_population(self.end.now);
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected(id, result) => self.on_connect(id, result),
            Event::Readable(id, result) => self.on_readable(id, result),
            Event::Received(id) => self.hear(id),
            Event::Ended(id) => self.lose(id, LostCause::Fin),
            Event::Nothing(id) => self.poll_again(id),
            Event::TakenBack(id) => self.on_error(id, Errno::ECANCELED),
            Event::Sent(id) => self.on_sent(id),
            // The poll for room tells when it goes on.
            Event::Stalled(_) | Event::Unacked(..) => {}
            Event::Writable(id, Ok(_)) => self.end.arm_send(id),
            Event::Writable(id, Err(errno)) | Event::Failed(id, errno) => self.on_error(id, errno),
            Event::Returned(buffer) => self.end.give_buffer(buffer),
            Event::Closed => {}
            Event::Accepted(..) | Event::Waiting(_) => {
                unreachable!("a client asks for no accept")
            }
        }
    }

    fn tick(&mut self, late_ms: u64) {
        self.give_up_waits(late_ms);
    }

    fn act(&mut self) {
        // Before anything new takes a buffer.
        self.feed_starved();
        self.take_handshakes();
        self.drop_stormed();
        self.advance();
        self.look_for_least();
        self.start_keepalives();
        self.end.set_gauges(self.connections);
        self.end.stats.connects_in_flight.set(self.connecting().into());
        if E::COSTLY {
            self.end.count_handshakes_waiting(self.shaking.len());
        }
        self.end.stats.messages_in_flight.set(self.end.count(Queue::Waiting).into());
        self.end.stats.returns_waiting.set(self.returns.len() as u64);
        self.set_reluctant_gauges();
        self.end.stats.places_waiting.set(self.returns.departed as u64);
        self.end.stats.closes_in_flight.set(self.end.count(Queue::Ending).into());
    }

    fn sleep(&mut self) -> Option<Duration> {
        if !self.is_held_up() {
            return self.deadline();
        }
        let is_any_open = self.connections > 0 || self.churning > 0;
        self.held_up.begins(self.end.now, is_any_open);
        self.is_at_bound = self.is_at_bound();
        self.deadline().into_iter().chain(is_any_open.then_some(HELD_UP_LOOK)).min()
    }

    fn handle_command(&mut self, command: Command) {
        let (now, connections) = (self.end.driver.now(), self.connections);
        match command {
            Command::Do(command) => {
                if !matches!(command.phase, Phase::Hold | Phase::Traffic | Phase::Sweep) {
                    self.end.storms.end();
                }
                if matches!(command.phase, Phase::Close { .. }) {
                    self.tuples.release();
                    self.call_off_returns(command.phase);
                }
                // A connect that is out will be a connection: the controller lets short ones end first.
                let open = connections + u64::from(self.connecting());
                self.end_schedules(now);
                self.begin_reluctant(command.phase);
                let connections = self.prompt_connections();
                let stats = &self.end.stats;
                self.phase.take(
                    command,
                    &self.config,
                    &self.tuples,
                    (connections, open),
                    now,
                    stats,
                );
                self.begin_thinking(now);
                self.begin_reluctant_sends(now);
                self.begin_population(now);
                self.begin_least();
                self.growth = Growth::since(self.connects_answered(), self.connections);
            }
            Command::Storm(part) => self.end.storms.add(part),
            Command::OpenNoMore => self.phase.open_no_more(now, &self.end.stats),
            Command::Pace(pace) => self.change_pace(pace, now),
            Command::Churn(targets) => {
                self.end.driver.learn_targets(&targets.known);
                self.expectation.learn_targets(&targets.known, &targets.like);
                self.tuples.churn_to(targets);
            }
        }
    }
}
