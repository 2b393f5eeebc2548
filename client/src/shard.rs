//! The data path of the client: one connection's whole life, top to bottom.
//!
//! tuple -> connect -> poll, and hold -> one message out, its echo verified -> hold -> shut down our
//! direction -> the server ends its own -> close -> free slot.
//!
//! A connection that is open stands in one queue: `resting`, or `waiting` for its echo; one that
//! ends stands in `ending`. Phases come from the housekeeping thread; nothing else does.

use std::sync::Arc;
use std::time::Duration;

use megaconn::arena::{Arena, SlotQueue};
use megaconn::conn::{BufferId, Life, ReadSide, Unwinding, WriteSide};
use megaconn::core::{Core, Turn};
use megaconn::driver::{Completion, Cut, Driver, POLL_ERROR, POLL_PEER_ENDED};
use megaconn::errno::Errno;
use megaconn::limits::{
    BACK_OFF_MS, BATCH_COMPLETIONS, CLOSE_TIMEOUT, CLOSES_IN_FLIGHT, CONNECT_TIMEOUT,
    CONNECTS_IN_FLIGHT, CONNECTS_PER_TURN, ECHO_TIMEOUT, MESSAGES_IN_FLIGHT, TICK_MS,
    TUPLES_SKIPPED_SPARE,
};
use megaconn::plan::tuples::TuplePlan;
use megaconn::stats::{CoreStats, LostCause};
use megaconn::token::{Operation, SlotId};
use megaconn::wire::Message;

use crate::pacer::Pacer;
use crate::phase::Phase;

/// What one core of a client is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardConfig {
    /// Which core this is, and so which part of the plan is its own.
    pub(crate) core: usize,
    /// Connections to open.
    pub(crate) connections: u64,
    /// Slots of one segment.
    pub(crate) slots_per_segment: u32,
    /// Connects per second; `None` is as fast as they go.
    pub(crate) rate_per_s: Option<f64>,
    /// Length of a message.
    pub(crate) message_bytes: u16,
    /// Messages on each connection, one after the other.
    pub(crate) message_count: u16,
    /// Tells this run's messages from any other's.
    pub(crate) run: u64,
}

/// One core's share of the client.
pub(crate) struct Shard<D> {
    driver: D,
    arena: Arena,
    config: ShardConfig,
    plan: Arc<TuplePlan>,
    stats: Arc<CoreStats>,
    phase: Phase,
    phase_since: Duration,
    buffers_used: u64,
    next_tuple: u64,
    /// Connects that are to be started still; a skipped tuple gives its connect back.
    to_start: u64,
    skipped: u64,
    connections: u64,
    connecting: SlotQueue,
    resting: SlotQueue,
    waiting: SlotQueue,
    ending: SlotQueue,
    batch: Vec<Completion>,
    now: Duration,
    now_ms: u64,
    tick_at_ms: u64,
    pacer: Pacer,
    back_off_until_ms: u64,
}

impl<D: Driver> Shard<D> {
    /// A shard that has nothing yet: segments come with connections.
    pub(crate) fn new(
        driver: D,
        config: ShardConfig,
        plan: Arc<TuplePlan>,
        stats: Arc<CoreStats>,
    ) -> Shard<D> {
        Shard {
            driver,
            arena: Arena::new(config.slots_per_segment),
            config,
            plan,
            stats,
            phase: Phase::Hold,
            phase_since: Duration::ZERO,
            buffers_used: 0,
            next_tuple: 0,
            to_start: config.connections,
            skipped: 0,
            connections: 0,
            connecting: SlotQueue::default(),
            resting: SlotQueue::default(),
            waiting: SlotQueue::default(),
            ending: SlotQueue::default(),
            batch: Vec::with_capacity(BATCH_COMPLETIONS),
            now: Duration::ZERO,
            now_ms: 0,
            tick_at_ms: 0,
            pacer: Pacer::new(config.rate_per_s),
            back_off_until_ms: 0,
        }
    }

    fn take_turn(&mut self) -> Turn {
        self.driver.wake();
        self.driver.submit();
        let mut batch = std::mem::take(&mut self.batch);
        self.driver.reap(&mut batch);
        self.now = self.driver.now();
        self.now_ms = u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX);
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
        if had_work || !self.driver.rest() { Turn::Busy } else { Turn::Idle(self.deadline()) }
    }

    /// Does what the phase asks for, within the bounds of what may be in flight.
    fn advance(&mut self) {
        let finished = match self.phase {
            Phase::Hold => true,
            Phase::Connect => self.start_connects(),
            Phase::Messages => self.start_messages(),
            Phase::Close => self.start_closes(),
        };
        if finished && self.stats.order_finished.get() != self.phase as u64 {
            let took = self.driver.now() - self.phase_since;
            self.stats.order_took_us.set(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            self.stats.order_finished.set(self.phase as u64);
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
            Operation::Shutdown => {
                let was_cut = slot.write == WriteSide::Cutting;
                slot.write = if was_cut { WriteSide::Cut } else { WriteSide::Idle };
                self.on_shutdown(id);
            }
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
        while allowance > 0 && self.may_connect() {
            allowance -= 1;
            self.arm_connect();
        }
        self.to_start == 0 && self.connecting.is_empty()
    }

    fn may_connect(&self) -> bool {
        self.to_start > 0
            && self.connecting.len() < CONNECTS_IN_FLIGHT
            && self.now_ms >= self.back_off_until_ms
            && self.pacer.is_due(self.now)
    }

    fn arm_connect(&mut self) {
        let Some(id) = self.arena.take().or_else(|| self.grow()) else { return };
        let tuple = self.plan.of_core(self.config.core, self.next_tuple);
        let Some(tuple) = tuple.filter(|_| self.skipped <= self.skips_max()) else {
            self.arena.untake(id, self.now_ms);
            return self.give_up(Errno::EADDRNOTAVAIL);
        };
        let token = self.arena[id].token(Operation::Connect, id);
        let number = u32::try_from(self.next_tuple).expect("a core's part is below 2^32");
        self.next_tuple += 1;
        self.to_start -= 1;
        self.stats.connect_started_total.add(1);
        match self.driver.connect(token, tuple.source, tuple.target) {
            Ok(()) => {
                self.pacer.has_begun();
                let slot = &mut self.arena[id];
                slot.go(Life::Connecting);
                slot.number = number;
                slot.wait_from(self.now);
                self.connecting.push(&mut self.arena, id);
            }
            Err(errno) => {
                self.arena.untake(id, self.now_ms);
                self.count_failed(errno);
            }
        }
    }

    fn skips_max(&self) -> u64 {
        self.config.connections.saturating_add(TUPLES_SKIPPED_SPARE)
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
        self.stats.connect_failed_total.add(self.to_start);
        self.stats.failed[errno.index()].add(self.to_start);
        self.to_start = 0;
    }

    fn on_connect(&mut self, id: SlotId, result: Result<u32, Errno>) {
        self.connecting.remove(&mut self.arena, id);
        match result {
            Ok(_) => {
                self.arena[id].go(Life::Open);
                self.connections += 1;
                self.stats.connected_total.add(1);
                self.stats.connect_latency_us.record(self.waited(id));
                self.resting.push(&mut self.arena, id);
                self.arm_poll(id);
            }
            Err(errno) => {
                self.count_failed(if errno == Errno::ECANCELED { Errno::ETIMEDOUT } else { errno });
                let slot = &mut self.arena[id];
                slot.go(Life::Closing);
                slot.wait_from(self.now);
                self.ending.push(&mut self.arena, id);
                self.unwind(id);
            }
        }
    }

    /// A tuple that is taken is passed over, its connect is made with another; anything else counts.
    fn count_failed(&mut self, errno: Errno) {
        if matches!(errno, Errno::EADDRNOTAVAIL | Errno::EADDRINUSE) {
            self.skipped += 1;
            self.to_start += 1;
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
        let peer_ended = events & POLL_PEER_ENDED != 0 && events & POLL_ERROR == 0;
        if slot.life() == Life::Closing {
            // Its end answers ours. Bytes before it have no reader any more.
            return self.unwind(id);
        }
        if slot.owed == 0 && peer_ended {
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

    /// Sends on connections that have messages left; whether every echo has come.
    fn start_messages(&mut self) -> bool {
        while self.waiting.len() < MESSAGES_IN_FLIGHT {
            let Some(id) = self.resting.first() else { break };
            if self.arena[id].sequence >= self.config.message_count {
                // The queue is in order: everybody behind has sent all as well.
                break;
            }
            if self.arena[id].read != ReadSide::Polling {
                // It was readable unasked; its receive says in a moment whether it is lost, and
                // holds the slot's buffer until then.
                return false;
            }
            let Some(buffer) = self.take_buffer() else { return false };
            self.resting.remove(&mut self.arena, id);
            self.write_message(id, buffer);
        }
        let next = self.resting.first().map(|id| self.arena[id].sequence);
        self.waiting.is_empty() && next.is_none_or(|sent| sent >= self.config.message_count)
    }

    fn write_message(&mut self, id: SlotId, buffer: BufferId) {
        let connection = self.connection_number(id);
        let slot = &mut self.arena[id];
        slot.owed = 1;
        slot.wait_from(self.now);
        slot.sequence += 1;
        slot.buffer = buffer;
        (slot.start, slot.end) = (0, self.config.message_bytes);
        let message = Message {
            run: self.config.run,
            connection,
            sequence: u32::from(slot.sequence),
            sent_ns: nanoseconds(self.now),
        };
        message.write(self.driver.bytes(buffer, 0..self.config.message_bytes));
        self.stats.messages_sent_total.add(1);
        self.waiting.push(&mut self.arena, id);
        self.arm_send(id);
    }

    fn connection_number(&self, id: SlotId) -> u64 {
        let index = u64::from(self.arena[id].number);
        self.plan.of_core(self.config.core, index).map_or(u64::MAX, |tuple| tuple.number)
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
                if self.arena[id].read == ReadSide::Held {
                    self.arm_recv(id);
                }
            }
            Err(Errno::EAGAIN) => self.arm_poll_writable(id),
            Err(errno) => self.lose(id, cause_of(errno)),
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
            Err(errno) => self.lose(id, cause_of(errno)),
        }
    }

    // ---- its echo in, and verified --------------------------------------------------------

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
                let is_asked_for = slot.owed > 0 && slot.end <= self.config.message_bytes;
                if !is_asked_for {
                    self.mismatch(id);
                } else if slot.end < self.config.message_bytes {
                    self.arm_poll(id);
                } else {
                    self.verify(id);
                }
            }
            Err(Errno::EAGAIN) => {
                if self.arena[id].end == 0 {
                    self.drop_buffer(id);
                }
                self.arm_poll(id);
            }
            Err(errno) => self.lose(id, cause_of(errno)),
        }
    }

    fn verify(&mut self, id: SlotId) {
        let connection = self.connection_number(id);
        let slot = &self.arena[id];
        let sequence = u32::from(slot.sequence);
        let read = Message::read(self.driver.bytes(slot.buffer, 0..slot.end));
        let is_ours = |echo: &Message| {
            echo.run == self.config.run
                && echo.connection == connection
                && echo.sequence == sequence
                && echo.sent_ns <= nanoseconds(self.now)
        };
        match read.ok().filter(is_ours) {
            Some(echo) => self.on_echo(id, echo),
            None => self.mismatch(id),
        }
    }

    fn on_echo(&mut self, id: SlotId, echo: Message) {
        self.stats.messages_total.add(1);
        let took_ns = nanoseconds(self.now) - echo.sent_ns;
        self.stats.message_latency_us.record(Duration::from_nanos(took_ns));
        self.waiting.remove(&mut self.arena, id);
        self.arm_poll(id);
        let slot = &mut self.arena[id];
        (slot.start, slot.end, slot.owed) = (0, 0, 0);
        if slot.sequence < self.config.message_count && self.phase == Phase::Messages {
            let buffer = std::mem::replace(&mut slot.buffer, BufferId::NONE);
            self.write_message(id, buffer);
        } else {
            self.drop_buffer(id);
            self.resting.push(&mut self.arena, id);
        }
    }

    /// Bytes that are not the echo of what was sent here last.
    fn mismatch(&mut self, id: SlotId) {
        self.stats.messages_mismatched_total.add(1);
        self.lose(id, LostCause::Mismatch);
    }

    fn take_buffer(&mut self) -> Option<BufferId> {
        let buffer = self.driver.take_buffer()?;
        self.buffers_used += 1;
        Some(buffer)
    }

    fn drop_buffer(&mut self, id: SlotId) {
        let buffer = std::mem::replace(&mut self.arena[id].buffer, BufferId::NONE);
        if buffer != BufferId::NONE {
            self.buffers_used -= 1;
            self.driver.give_buffer(buffer);
        }
    }

    // ---- the end: ours, or one that came over us ------------------------------------------

    /// Ends our direction on connections that rest; whether all are closed.
    fn start_closes(&mut self) -> bool {
        while self.ending.len() < CLOSES_IN_FLIGHT {
            let Some(id) = self.resting.pop(&mut self.arena) else { break };
            self.begin_end(id);
            self.arm_shutdown(id, Cut::Sending);
        }
        self.arena.used() == 0
    }

    /// A connection that was open is no more, for a cause that is not ours to choose.
    fn lose(&mut self, id: SlotId, cause: LostCause) {
        self.stats.lost[cause as usize].add(1);
        let queue = if self.arena[id].owed > 0 { &mut self.waiting } else { &mut self.resting };
        queue.remove(&mut self.arena, id);
        self.begin_end(id);
        let slot = &self.arena[id];
        let (write, poll) = (slot.write, slot.token(Operation::PollWritable, id));
        if write == WriteSide::Stalled {
            self.driver.cancel(poll);
        }
        self.unwind(id);
    }

    fn begin_end(&mut self, id: SlotId) {
        let slot = &mut self.arena[id];
        slot.go(Life::Closing);
        slot.wait_from(self.now);
        if slot.read == ReadSide::Held {
            slot.read = ReadSide::Idle;
        }
        self.connections -= 1;
        self.ending.push(&mut self.arena, id);
    }

    fn arm_shutdown(&mut self, id: SlotId, cut: Cut) {
        let slot = &mut self.arena[id];
        slot.write = if cut == Cut::Sending { WriteSide::Ending } else { WriteSide::Cutting };
        self.driver.shutdown(slot.token(Operation::Shutdown, id), cut);
    }

    /// Our direction is ended: the poll that is with the kernel tells when the server ends its own.
    fn on_shutdown(&mut self, id: SlotId) {
        if self.arena[id].is_joined() {
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
        self.tick_at_ms = self.now_ms + u64::from(TICK_MS);
        while let Some(id) =
            self.connecting.first().filter(|&id| self.waited(id) >= CONNECT_TIMEOUT)
        {
            // The kernel answers with ECANCELED, or with what had happened meanwhile.
            self.driver.cancel(self.arena[id].token(Operation::Connect, id));
            self.restart_wait(id, Wait::Connect);
        }
        while let Some(id) = self.waiting.first().filter(|&id| self.waited(id) >= ECHO_TIMEOUT) {
            self.lose(id, LostCause::Silent);
        }
        while let Some(id) = self.ending.first().filter(|&id| self.waited(id) >= CLOSE_TIMEOUT) {
            self.restart_wait(id, Wait::End);
            // Only the server's end is waited for in vain; a slow close is the kernel's affair.
            if self.arena[id].unwinding() == Unwinding::Cut {
                self.stats.close_timeout_total.add(1);
                self.unwind(id);
            }
        }
    }

    fn restart_wait(&mut self, id: SlotId, wait: Wait) {
        let queue = match wait {
            Wait::Connect => &mut self.connecting,
            Wait::End => &mut self.ending,
        };
        queue.remove(&mut self.arena, id);
        self.arena[id].wait_from(self.now);
        queue.push(&mut self.arena, id);
    }

    fn waited(&self, id: SlotId) -> Duration {
        self.arena[id].waited(self.now)
    }

    /// How long the core may sleep when nobody rings.
    fn deadline(&self) -> Option<Duration> {
        let paces = self.phase == Phase::Connect && self.to_start > 0;
        if paces && self.connecting.len() < CONNECTS_IN_FLIGHT {
            return Some(Pacer::STEP);
        }
        let waits = self.connecting.len() + self.waiting.len() + self.ending.len();
        (waits > 0 || paces).then(|| Duration::from_millis(u64::from(TICK_MS)))
    }
}

/// The queue in which a slot's wait is begun anew.
#[derive(Clone, Copy)]
enum Wait {
    Connect,
    End,
}

impl<D: Driver> Core for Shard<D> {
    type Command = Phase;

    fn turn(&mut self) -> Turn {
        self.take_turn()
    }

    fn obey(&mut self, phase: Phase) {
        self.phase = phase;
        self.phase_since = self.driver.now();
        if phase == Phase::Connect {
            self.pacer.start(self.phase_since);
        }
    }
}

/// What an error of an established connection says of its end.
fn cause_of(errno: Errno) -> LostCause {
    match errno {
        Errno::ECONNRESET | Errno::EPIPE => LostCause::Reset,
        Errno::ETIMEDOUT | Errno::EHOSTUNREACH | Errno::ENETUNREACH => LostCause::Timeout,
        _ => LostCause::Local,
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "shard_sim_tests.rs"]
mod sim_tests;
