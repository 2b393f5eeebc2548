//! The data path of the client: one connection's whole life, top to bottom.
//!
//! tuple -> connect -> poll, and hold -> one message out, its echo verified, or a push in -> hold ->
//! shut down our direction -> the server ends its own -> close -> free slot. A short connection of
//! churn carries its one message from the start: tuple -> connect -> message -> echo -> close.
//!
//! An open connection stands in one queue: `resting`, `waiting` while a message is out, or `overdue`
//! when a push is; one that ends stands in `ending`. Each is in the order of time, so that its first
//! is the next to be due. Orders come from the housekeeping thread.

use std::sync::Arc;
use std::time::Duration;

use crate::base::constants::{
    BACK_OFF_MS, BATCH_COMPLETIONS, CLOSE_TIMEOUT, CLOSES_IN_FLIGHT, CONNECT_TIMEOUT,
    CONNECTS_PER_TURN, ECHO_LATE_AFTER, ECHO_TIMEOUT, MESSAGES_IN_FLIGHT, SWEEPS_IN_FLIGHT,
    TICK_LATE_MS, TICK_MS,
};
use crate::base::errno::Errno;
use crate::engine::arena::{Arena, SlotQueue};
use crate::engine::driver::{Completion, Cut, Driver, POLL_ERROR, POLL_PEER_ENDED};
use crate::engine::protocol::message::Message;
use crate::engine::slot::{BufferId, Life, ReadSide, Unwinding, WriteSide};
use crate::engine::token::{Operation, SlotId};
use crate::engine::worker::{Core, Turn};
use crate::observe::stats::{CoreStats, LostCause};

use crate::engine::client::config::{Expect, ShardConfig};
use crate::engine::client::phase::{Command, Phase};
use crate::engine::client::phase_state::Agenda;
use crate::engine::client::pushes::{HAD_ONE, is_moved};
use crate::engine::client::tuple_allocator::{Supply, is_taken};

mod churn;
pub mod config;
mod pacer;
pub mod phase;
mod phase_state;
pub mod pushes;
pub mod tuple_allocator;

/// One core's share of the client.
pub struct Shard<D> {
    driver: D,
    arena: Arena,
    config: ShardConfig,
    stats: Arc<CoreStats>,
    agenda: Agenda,
    buffers_used: u64,
    supply: Supply,
    /// Tuples that were taken, one after the other, since a short connection has begun.
    churn_tries: u32,
    /// Held connections that are open.
    connections: u64,
    /// Short connections that have begun and not ended.
    churning: u32,
    connecting: SlotQueue,
    resting: SlotQueue,
    waiting: SlotQueue,
    overdue: SlotQueue,
    ending: SlotQueue,
    batch: Vec<Completion>,
    now: Duration,
    now_ms: u64,
    tick_at_ms: u64,
    back_off_until_ms: u64,
    /// When the core went to rest while something was due that could not begin.
    held_up_since: Option<Duration>,
}

impl<D: Driver> Shard<D> {
    /// A shard that has nothing yet: segments come with connections.
    pub fn new(driver: D, config: ShardConfig, supply: Supply, stats: Arc<CoreStats>) -> Shard<D> {
        Shard {
            driver,
            arena: Arena::new(config.slots_per_segment),
            config,
            stats,
            agenda: Agenda::new(),
            buffers_used: 0,
            supply,
            churn_tries: 0,
            connections: 0,
            churning: 0,
            connecting: SlotQueue::default(),
            resting: SlotQueue::default(),
            waiting: SlotQueue::default(),
            overdue: SlotQueue::default(),
            ending: SlotQueue::default(),
            batch: Vec::with_capacity(BATCH_COMPLETIONS),
            now: Duration::ZERO,
            now_ms: 0,
            tick_at_ms: 0,
            back_off_until_ms: 0,
            held_up_since: None,
        }
    }

    fn take_turn(&mut self) -> Turn {
        self.driver.wake();
        self.driver.submit();
        let mut batch = std::mem::take(&mut self.batch);
        self.driver.reap(&mut batch);
        self.now = self.driver.now();
        self.now_ms = u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX);
        self.count_held_up();
        let had_work = !batch.is_empty();
        for completion in batch.drain(..) {
            self.step(completion);
        }
        self.batch = batch;
        self.stats.turns_total.add(1);
        self.tick();
        self.advance();
        self.stats.set_connections(self.connections);
        self.stats.buffers_used.set(self.buffers_used);
        self.stats.connects_in_flight.set(self.connecting.len().into());
        self.stats.messages_in_flight.set(self.waiting.len().into());
        self.stats.closes_in_flight.set(self.ending.len().into());
        if had_work {
            return Turn::Busy;
        }
        self.held_up_since = self.is_held_up().then_some(self.now);
        self.driver.rest(self.deadline())
    }

    /// What is due cannot begin, because everybody who could begin it waits for the server.
    fn is_held_up(&self) -> bool {
        let message = self.agenda.messages.due_by(self.now).is_some();
        let short = self.agenda.churn.due_by(self.now).is_some();
        message && self.waits_for_all() || short && self.churning >= MESSAGES_IN_FLIGHT
    }

    fn waits_for_all(&self) -> bool {
        self.resting.is_empty() || self.waiting.len() >= MESSAGES_IN_FLIGHT
    }

    /// A core that rested while something was due waited for others: that lag is not its own.
    fn count_held_up(&mut self) {
        if let Some(since) = self.held_up_since.take() {
            let us = (self.now - since).as_micros();
            self.stats.held_up_us_total.add(u64::try_from(us).unwrap_or(u64::MAX));
        }
    }

    /// Does what the phase asks for, within the bounds of what may be in flight.
    fn advance(&mut self) {
        let is_carried_out = match self.agenda.phase() {
            Phase::Hold => self.waiting.is_empty() && self.churning == 0,
            Phase::Connect { .. } => self.start_connects(),
            Phase::Messages | Phase::Sweep => self.start_messages(),
            Phase::Traffic => {
                self.start_scheduled_messages();
                self.start_churn();
                true
            }
            Phase::Close { .. } => self.start_closes(),
        };
        if is_carried_out {
            // Whoever sees that it is, sees what came of it.
            self.stats.set_connections(self.connections);
            self.agenda.is_carried_out(self.driver.now(), &self.stats);
        }
    }

    /// One completion: the one match on what was asked.
    fn step(&mut self, Completion { token, result }: Completion) {
        self.stats.completions_total.add(1);
        let id = token.slot();
        let Some(slot) = self.arena.current(token) else {
            // A cancel answers after the slot it spoke of is gone, as a rule.
            return if token.operation() != Operation::Cancel {
                self.stats.stale_total.add(1)
            };
        };
        match token.operation() {
            Operation::Connect => self.on_connect(id, result),
            Operation::PollReadable => {
                slot.read = ReadSide::Idle;
                self.on_readable(id, result);
            }
            Operation::Recv => {
                slot.read = ReadSide::Idle;
                self.on_recv(id, result);
            }
            Operation::Send => {
                slot.write = WriteSide::Idle;
                self.on_send(id, result);
            }
            Operation::PollWritable => {
                slot.write = WriteSide::Idle;
                self.on_writable(id, result);
            }
            Operation::Shutdown => self.on_shutdown(id),
            Operation::Close => {
                slot.write = WriteSide::Cut;
                self.on_close(id);
            }
            Operation::Cancel => {}
            other @ (Operation::Accept | Operation::PollListener) => {
                unreachable!("a client never asks for {other:?}")
            }
        }
    }

    // ---- a connection begins --------------------------------------------------------------

    /// Starts connects; whether all have been answered.
    fn start_connects(&mut self) -> bool {
        let mut allowance = CONNECTS_PER_TURN;
        while allowance > 0 && self.agenda.to_start > 0 && self.may_connect() {
            let Some(due) = self.agenda.connects.due_by(self.now) else { break };
            allowance -= 1;
            self.arm_connect(due);
        }
        self.agenda.to_start == 0 && self.connecting.is_empty()
    }

    fn may_connect(&self) -> bool {
        self.connecting.len() < self.config.connects_in_flight
            && self.now_ms >= self.back_off_until_ms
    }

    fn arm_connect(&mut self, due: Duration) {
        let Some(id) = self.arena.take().or_else(|| self.grow()) else { return };
        let Some((number, tuple)) = self.supply.held() else {
            self.arena.untake(id, self.now_ms);
            return self.give_up(Errno::EADDRNOTAVAIL);
        };
        self.agenda.to_start -= 1;
        self.stats.connect_started_total.add(1);
        let token = self.arena[id].token(Operation::Connect, id);
        match self.driver.connect(token, tuple.source, tuple.target) {
            Ok(()) => {
                self.agenda.connects.has_begun();
                if self.config.connects_per_s.is_some() {
                    self.stats.schedule_lag_us.record(self.now - due);
                }
                self.on_connecting(id, number);
            }
            Err(errno) => {
                self.arena.untake(id, self.now_ms);
                self.count_failed(errno);
            }
        }
    }

    fn on_connecting(&mut self, id: SlotId, number: u32) {
        let slot = &mut self.arena[id];
        slot.go(Life::Connecting);
        slot.number = number;
        slot.wait_from(self.now);
        self.connecting.push(&mut self.arena, id);
    }

    /// Opens another segment and takes its first slot.
    fn grow(&mut self) -> Option<SlotId> {
        let number = self.arena.next_segment()?;
        match self.driver.open_segment(number, self.config.slots_per_segment) {
            Ok(()) => {
                self.arena.grow(number);
                self.stats.segments.set(self.arena.segments() as u64);
                self.arena.take()
            }
            Err(errno) => {
                self.stats.grow_failed_total.add(1);
                self.back_off_until_ms = self.now_ms + u64::from(BACK_OFF_MS);
                // Nothing on its way that could free a slot? Then there will never be one.
                if self.connecting.is_empty() && self.ending.is_empty() {
                    self.give_up(errno);
                }
                None
            }
        }
    }

    /// Counts every connect that was not started yet as failed.
    fn give_up(&mut self, errno: Errno) {
        self.stats.connect_failed_total.add(self.agenda.to_start);
        self.stats.failed[errno.index()].add(self.agenda.to_start);
        self.agenda.to_start = 0;
    }

    fn on_connect(&mut self, id: SlotId, result: Result<u32, Errno>) {
        self.connecting.remove(&mut self.arena, id);
        let errno = match result {
            Ok(_) if self.is_short(id) => return self.send_short_message(id),
            Ok(_) => return self.hold(id),
            // Only a connect that takes too long is cancelled.
            Err(Errno::ECANCELED) => Errno::ETIMEDOUT,
            Err(errno) => errno,
        };
        if self.is_short(id) {
            self.on_short_failed(id, errno);
        } else {
            self.count_failed(errno);
        }
        self.begin_end(id);
        self.unwind(id);
    }

    fn hold(&mut self, id: SlotId) {
        self.connections += 1;
        self.stats.connected_total.add(1);
        self.stats.connect_latency_us.record(self.waited(id));
        let slot = &mut self.arena[id];
        slot.go(Life::Open);
        if let Expect::Push(pushes) = &self.config.expect {
            pushes.opened(slot, self.now);
        }
        self.resting.push(&mut self.arena, id);
        self.arm_poll(id);
    }

    /// A tuple that is taken is passed over, its connect is made with another; anything else counts.
    fn count_failed(&mut self, errno: Errno) {
        if is_taken(errno) {
            self.supply.skip();
            self.agenda.start(1, &self.stats);
            self.stats.tuples_skipped_total.add(1);
        } else {
            self.stats.connect_failed_total.add(1);
            self.stats.failed[errno.index()].add(1);
        }
    }

    // ---- it is held, until it is readable -------------------------------------------------

    fn arm_poll(&mut self, id: SlotId) {
        let slot = &mut self.arena[id];
        slot.read = ReadSide::Polling;
        self.driver.poll(slot.token(Operation::PollReadable, id));
    }

    fn on_readable(&mut self, id: SlotId, result: Result<u32, Errno>) {
        let events = result.unwrap_or(POLL_ERROR);
        let slot = &self.arena[id];
        if slot.life() == Life::Closing {
            // Its end answers ours. Bytes before it have no reader any more.
            return self.unwind(id);
        }
        let peer_ended = events & POLL_PEER_ENDED != 0 && events & POLL_ERROR == 0;
        let may_have_sent = slot.owed > 0 || matches!(self.config.expect, Expect::Push(_));
        if peer_ended && !may_have_sent {
            return self.lose(id, LostCause::Fin);
        }
        if slot.write != WriteSide::Idle {
            // The buffer is still on its way out; the send's completion comes back here.
            self.arena[id].read = ReadSide::Held;
            return;
        }
        self.arm_recv(id);
    }

    // ---- one message out ------------------------------------------------------------------

    /// Sends what is left to send of this phase; whether every echo has come.
    fn start_messages(&mut self) -> bool {
        // A sweep measures no latency, and may meet a server that answers nobody.
        let is_sweep = self.agenda.phase() == Phase::Sweep;
        let most = if is_sweep { SWEEPS_IN_FLIGHT } else { MESSAGES_IN_FLIGHT };
        let mut allowance = MESSAGES_IN_FLIGHT;
        while self.agenda.to_send.min(allowance.into()) > 0
            && self.waiting.len() < most
            && self.speak(self.now)
        {
            allowance -= 1;
            self.agenda.to_send -= 1;
        }
        (self.agenda.to_send == 0 || self.resting.is_empty()) && self.waiting.is_empty()
    }

    fn start_scheduled_messages(&mut self) {
        while self.waiting.len() < MESSAGES_IN_FLIGHT {
            let Some(due) = self.agenda.messages.due_by(self.now).filter(|&due| self.speak(due))
            else {
                return;
            };
            self.agenda.messages.has_begun();
            self.stats.schedule_lag_us.record(self.now - due);
        }
    }

    /// Sends a message that was due at `due` on the connection that has rested the longest.
    fn speak(&mut self, due: Duration) -> bool {
        // One that was readable unasked holds its buffer; its receive says in a moment what it is.
        let is_quiet = |id: &SlotId| self.arena[*id].read == ReadSide::Polling;
        let Some(id) = self.resting.first().filter(is_quiet) else { return false };
        let Some(buffer) = self.take_buffer() else { return false };
        self.resting.remove(&mut self.arena, id);
        let slot = &mut self.arena[id];
        slot.wait_from(self.now);
        slot.owed = 1;
        slot.sequence = slot.sequence.wrapping_add(1);
        self.waiting.push(&mut self.arena, id);
        self.stats.messages_sent_total.add(1);
        self.write_message(id, buffer, due);
        self.arm_send(id);
        true
    }

    fn write_message(&mut self, id: SlotId, buffer: BufferId, due: Duration) {
        let slot = &mut self.arena[id];
        slot.buffer = buffer;
        (slot.start, slot.end) = (0, self.config.message_bytes);
        let message = Message {
            run: self.config.run,
            connection: self.supply.identity(slot.number),
            sequence: u32::from(slot.sequence),
            due,
        };
        message.write(self.driver.bytes(buffer, 0..self.config.message_bytes));
    }

    fn arm_send(&mut self, id: SlotId) {
        let slot = &mut self.arena[id];
        slot.write = WriteSide::Sending;
        let token = slot.token(Operation::Send, id);
        self.driver.send(token, slot.buffer, slot.start..slot.end);
    }

    fn on_send(&mut self, id: SlotId, result: Result<u32, Errno>) {
        match result {
            _ if self.arena[id].life() == Life::Closing => self.unwind(id),
            Ok(bytes) => {
                self.stats.send_bytes_total.add(u64::from(bytes));
                let slot = &mut self.arena[id];
                slot.start += u16::try_from(bytes).expect("a send stays within its buffer");
                if slot.start < slot.end {
                    return self.arm_poll_writable(id);
                }
                (slot.start, slot.end) = (0, 0);
                self.drop_buffer(id);
                if matches!(self.config.expect, Expect::Nothing) {
                    self.rest(id);
                }
                if self.arena[id].read == ReadSide::Held {
                    self.arm_recv(id);
                }
            }
            Err(Errno::EAGAIN) => self.arm_poll_writable(id),
            Err(errno) => self.lose(id, LostCause::of(errno)),
        }
    }

    fn arm_poll_writable(&mut self, id: SlotId) {
        self.stats.send_stalled_total.add(1);
        let slot = &mut self.arena[id];
        slot.write = WriteSide::Stalled;
        self.driver.poll(slot.token(Operation::PollWritable, id));
    }

    fn on_writable(&mut self, id: SlotId, result: Result<u32, Errno>) {
        match result {
            _ if self.arena[id].life() == Life::Closing => self.unwind(id),
            Ok(_) => self.arm_send(id),
            Err(errno) => self.lose(id, LostCause::of(errno)),
        }
    }

    /// Nothing is out on it any more.
    fn rest(&mut self, id: SlotId) {
        self.arena[id].owed = 0;
        self.waiting.remove(&mut self.arena, id);
        self.resting.push(&mut self.arena, id);
    }

    // ---- bytes in: an echo to be verified, a push, or nothing of ours ----------------------

    fn arm_recv(&mut self, id: SlotId) {
        if self.arena[id].buffer == BufferId::NONE {
            let Some(buffer) = self.take_buffer() else {
                // It stays readable: the poll says so again when those before it are done.
                self.stats.recv_starved_total.add(1);
                return self.arm_poll(id);
            };
            self.arena[id].buffer = buffer;
        }
        let slot = &mut self.arena[id];
        slot.read = ReadSide::Receiving;
        self.driver.recv(slot.token(Operation::Recv, id), slot.buffer, slot.end);
    }

    fn on_recv(&mut self, id: SlotId, result: Result<u32, Errno>) {
        match result {
            _ if self.arena[id].life() == Life::Closing => self.unwind(id),
            Ok(0) => self.lose(id, LostCause::Fin),
            Ok(bytes) => {
                self.stats.recv_bytes_total.add(u64::from(bytes));
                let slot = &mut self.arena[id];
                slot.end += u16::try_from(bytes).expect("a receive stays within its buffer");
                match self.config.expect {
                    Expect::Echo if self.arena[id].owed > 0 => self.on_part_of_echo(id),
                    Expect::Push(_) => self.on_pushed(id),
                    Expect::Echo | Expect::Nothing => self.mismatch(id),
                }
            }
            Err(Errno::EAGAIN) => {
                if self.arena[id].end == 0 {
                    self.drop_buffer(id);
                }
                self.arm_poll(id);
            }
            Err(errno) => self.lose(id, LostCause::of(errno)),
        }
    }

    fn on_part_of_echo(&mut self, id: SlotId) {
        match self.arena[id].end.cmp(&self.config.message_bytes) {
            std::cmp::Ordering::Less => self.arm_poll(id),
            std::cmp::Ordering::Equal => self.verify(id),
            std::cmp::Ordering::Greater => self.mismatch(id),
        }
    }

    fn verify(&mut self, id: SlotId) {
        let slot = &self.arena[id];
        let (connection, sequence) = (self.supply.identity(slot.number), u32::from(slot.sequence));
        let read = Message::read(self.driver.bytes(slot.buffer, 0..slot.end));
        let is_ours = |echo: &Message| {
            echo.run == self.config.run
                && echo.connection == connection
                && echo.sequence == sequence
                && echo.due <= self.now
        };
        match read.ok().filter(is_ours) {
            Some(echo) => self.on_echo(id, echo),
            None => self.mismatch(id),
        }
    }

    fn on_echo(&mut self, id: SlotId, echo: Message) {
        let took = self.now - echo.due;
        let slot = &mut self.arena[id];
        (slot.start, slot.end) = (0, 0);
        self.drop_buffer(id);
        if self.is_short(id) {
            self.stats.churned_total.add(1);
            self.stats.churn_latency_us.record(took);
            self.leave_queue(id);
            self.begin_end(id);
            return self.end_short(id);
        }
        self.stats.messages_total.add(1);
        // A sweep asks whether they live, not how fast.
        if self.agenda.phase() != Phase::Sweep {
            self.stats.message_latency_us.record(took);
            self.stats.messages_late_total.add(u64::from(took > ECHO_LATE_AFTER));
        }
        self.rest(id);
        self.arm_poll(id);
    }

    /// A part of the stream of pushes.
    fn on_pushed(&mut self, id: SlotId) {
        let Expect::Push(pushes) = &self.config.expect else { return self.mismatch(id) };
        let slot = &mut self.arena[id];
        let bytes = self.driver.bytes(slot.buffer, 0..slot.end);
        let had_one = slot.sequence & HAD_ONE != 0;
        let Some((place, texts)) = pushes.follow(slot.sequence, bytes) else {
            return self.mismatch(id);
        };
        (slot.sequence, slot.end) = (place, 0);
        if texts > 0 {
            let queue = if is_moved(slot) { &mut self.overdue } else { &mut self.resting };
            queue.remove(&mut self.arena, id);
            pushes.arrived(&mut self.arena[id], texts, had_one, self.now, &self.stats);
            self.resting.push(&mut self.arena, id);
        }
        self.drop_buffer(id);
        self.arm_poll(id);
    }

    /// Bytes that are not what was to come.
    fn mismatch(&mut self, id: SlotId) {
        self.stats.messages_mismatched_total.add(1);
        self.lose(id, LostCause::Mismatch);
    }

    fn take_buffer(&mut self) -> Option<BufferId> {
        let buffer = self.driver.take_buffer()?;
        self.buffers_used += 1;
        Some(buffer)
    }

    fn give_buffer(&mut self, buffer: BufferId) {
        self.buffers_used -= 1;
        self.driver.give_buffer(buffer);
    }

    fn drop_buffer(&mut self, id: SlotId) {
        let buffer = std::mem::replace(&mut self.arena[id].buffer, BufferId::NONE);
        if buffer != BufferId::NONE {
            self.give_buffer(buffer);
        }
    }

    // ---- the end: ours, or one that came over us ------------------------------------------

    /// Ends connections that rest until so many are left as are to be; whether that is so. Once a whole
    /// window of ends was waited for in vain, the server is gone, and its answers are waited for no more.
    fn start_closes(&mut self) -> bool {
        let is_gone = self.stats.close_timeout_total.get() >= u64::from(CLOSES_IN_FLIGHT);
        let cut = if is_gone { Cut::Both } else { self.config.close };
        let keep = self.agenda.keep;
        while self.connections > keep && self.ending.len() < CLOSES_IN_FLIGHT {
            let first = self.resting.pop(&mut self.arena);
            let Some(id) = first.or_else(|| self.overdue.pop(&mut self.arena)) else { break };
            self.connections -= 1;
            self.begin_end(id);
            self.arm_shutdown(id, cut);
        }
        self.connections <= keep && u64::from(self.arena.used()) == self.connections
    }

    /// A connection that was open is no more, for a cause that is not ours to choose.
    fn lose(&mut self, id: SlotId, cause: LostCause) {
        if self.is_short(id) {
            self.churning -= 1;
            self.stats.churn_lost[cause as usize].add(1);
        } else {
            self.connections -= 1;
            self.stats.lost[cause as usize].add(1);
            let slot = &self.arena[id];
            self.agenda.has_lost(slot.owed > 0, slot.waited(self.now), self.now);
        }
        self.leave_queue(id);
        self.begin_end(id);
        let slot = &self.arena[id];
        let (write, poll) = (slot.write, slot.token(Operation::PollWritable, id));
        if write == WriteSide::Stalled {
            self.driver.cancel(poll);
        }
        self.unwind(id);
    }

    fn leave_queue(&mut self, id: SlotId) {
        let slot = &self.arena[id];
        let queue = match self.config.expect {
            Expect::Push(_) if is_moved(slot) => &mut self.overdue,
            Expect::Echo | Expect::Nothing if slot.owed > 0 => &mut self.waiting,
            _ => &mut self.resting,
        };
        queue.remove(&mut self.arena, id);
    }

    fn begin_end(&mut self, id: SlotId) {
        let slot = &mut self.arena[id];
        slot.go(Life::Closing);
        slot.wait_from(self.now);
        if slot.read == ReadSide::Held {
            slot.read = ReadSide::Idle;
        }
        self.ending.push(&mut self.arena, id);
    }

    fn arm_shutdown(&mut self, id: SlotId, cut: Cut) {
        let slot = &mut self.arena[id];
        slot.write = if cut == Cut::Sending { WriteSide::Ending } else { WriteSide::Cutting };
        self.driver.shutdown(slot.token(Operation::Shutdown, id), cut);
    }

    /// Our direction is ended: the poll that is with the kernel tells when the server ends its own.
    fn on_shutdown(&mut self, id: SlotId) {
        let slot = &mut self.arena[id];
        let was_cut = slot.write == WriteSide::Cutting;
        slot.write = if was_cut { WriteSide::Cut } else { WriteSide::Idle };
        if slot.is_joined() {
            self.unwind(id);
        }
    }

    /// Takes the next step of an end that is not waiting for the server's: the descriptor is
    /// closed once nothing of the slot is with the kernel.
    fn unwind(&mut self, id: SlotId) {
        match self.arena[id].unwinding() {
            Unwinding::Wait => {}
            Unwinding::Cut => self.arm_shutdown(id, Cut::Both),
            Unwinding::Close => {
                self.drop_buffer(id);
                let slot = &mut self.arena[id];
                slot.write = WriteSide::Closing;
                self.driver.close(slot.token(Operation::Close, id));
            }
        }
    }

    fn on_close(&mut self, id: SlotId) {
        // Linux frees the descriptor whatever close says.
        self.stats.closed_total.add(1);
        self.ending.remove(&mut self.arena, id);
        self.arena.free(id, self.now_ms);
    }

    // ---- what comes due -------------------------------------------------------------------

    fn tick(&mut self) {
        if self.now_ms < self.tick_at_ms {
            return;
        }
        let late_ms = self.now_ms - self.tick_at_ms;
        self.tick_at_ms = self.now_ms + u64::from(TICK_MS);
        if let Expect::Push(pushes) = &self.config.expect {
            let queues = [&mut self.resting, &mut self.overdue];
            pushes.count_all_overdue(queues, &mut self.arena, self.now, &self.stats);
        }
        // Who was kept from running hears the others before it gives them up.
        if late_ms > u64::from(TICK_LATE_MS) {
            return;
        }
        let waits_too_long = |shard: &Self, id: &SlotId| shard.waited(*id) >= CONNECT_TIMEOUT;
        while let Some(id) = self.connecting.first().filter(|id| waits_too_long(self, id)) {
            // The kernel answers with ECANCELED, or with what had happened meanwhile.
            self.driver.cancel(self.arena[id].token(Operation::Connect, id));
            restart_wait(&mut self.connecting, &mut self.arena, id, self.now);
        }
        while let Some(id) = self.waiting.first().filter(|&id| self.waited(id) >= ECHO_TIMEOUT) {
            self.lose(id, LostCause::Silent);
        }
        while let Some(id) = self.ending.first().filter(|&id| self.waited(id) >= CLOSE_TIMEOUT) {
            restart_wait(&mut self.ending, &mut self.arena, id, self.now);
            // Only the server's end is waited for in vain; a slow close is the kernel's affair.
            if self.arena[id].unwinding() == Unwinding::Cut {
                self.stats.close_timeout_total.add(1);
                self.unwind(id);
            }
        }
    }

    fn waited(&self, id: SlotId) -> Duration {
        self.arena[id].waited(self.now)
    }

    /// How long the core may sleep when nobody rings.
    fn deadline(&self) -> Option<Duration> {
        let waits = self.connecting.len() + self.waiting.len() + self.ending.len();
        let is_held_to_time = matches!(self.config.expect, Expect::Push(_)) && self.connections > 0;
        let ticks = (waits > 0 || is_held_to_time).then_some(Duration::from_millis(TICK_MS.into()));
        let paced = self.agenda.wait(self.now, !self.resting.is_empty());
        paced.into_iter().chain(ticks).min()
    }
}

/// Begins a slot's wait anew, at the end of its queue.
fn restart_wait(queue: &mut SlotQueue, arena: &mut Arena, id: SlotId, now: Duration) {
    queue.remove(arena, id);
    arena[id].wait_from(now);
    queue.push(arena, id);
}

/// Where the slots of a core are, for the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Connects that are to be started still.
    pub to_start: u64,
    /// Held connections that are open.
    pub connections: u64,
    /// Short connections that have begun and not ended.
    pub churning: u32,
    /// Slots with a connect in flight.
    pub connecting: u32,
    /// Open slots on which nothing is out.
    pub resting: u32,
    /// Open slots whose message is out.
    pub waiting: u32,
    /// Open slots whose push is overdue.
    pub overdue: u32,
    /// Slots that are closing.
    pub ending: u32,
}

impl<D: Driver> Shard<D> {
    // ---- for the tests --------------------------------------------------------------------

    /// Where the slots are, for a test that counts them.
    pub fn census(&self) -> Census {
        Census {
            to_start: self.agenda.to_start,
            connections: self.connections,
            churning: self.churning,
            connecting: self.connecting.len(),
            resting: self.resting.len(),
            waiting: self.waiting.len(),
            overdue: self.overdue.len(),
            ending: self.ending.len(),
        }
    }

    /// The slots, for a test that counts them.
    #[must_use]
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// The driver, for a test that plays the world.
    pub fn driver(&mut self) -> &mut D {
        &mut self.driver
    }

    /// The driver, for a test that looks at the world.
    #[must_use]
    pub fn world(&self) -> &D {
        &self.driver
    }

    /// The time of the present turn and of the next tick, for a test that models both.
    #[must_use]
    pub fn times(&self) -> (Duration, u64) {
        (self.now, self.tick_at_ms)
    }

    /// What is counted.
    #[must_use]
    pub fn stats(&self) -> &CoreStats {
        &self.stats
    }
}

impl<D: Driver> Core for Shard<D> {
    type Command = Command;

    fn turn(&mut self) -> Turn {
        self.take_turn()
    }

    fn obey(&mut self, command: Command) {
        let (now, connections) = (self.driver.now(), self.connections);
        match command {
            Command::Do(order) => {
                if matches!(order.phase, Phase::Close { .. }) {
                    self.supply.release();
                }
                self.agenda.take(order, &self.config, &self.supply, connections, now, &self.stats);
            }
            Command::OpenNoMore => self.agenda.open_no_more(now, &self.stats),
        }
    }
}
