//! The data path of the server: one connection's whole life, top to bottom.
//!
//! accept into a slot -> poll -> readable -> take a buffer, recv -> send until all is gone -> recv what
//! follows at once -> give the buffer back -> poll ... -> end of stream, error, timeout -> close -> free
//! slot. A banner goes before it all, a push in between: a text in a buffer, and then the same send.
//!
//! A shard is one core's share: synchronous, single-threaded, and after start it allocates only
//! when the arena grows or shrinks. The pump in `launch` calls [`Core::turn`]; nobody else touches it.

use std::sync::Arc;
use std::time::Duration;

use crate::base::constants::{
    ACCEPTS_PER_CORE, ACCEPTS_PER_LISTENER_MAX, BACK_OFF_MS, BATCH_COMPLETIONS,
    DRAIN_CLOSES_PER_TURN, DRAIN_LOOKS_PER_TURN, REFUSALS_PER_VISIT, SEGMENT_LINGER_MS,
    STALL_GRACE, TICK_MS, WARM_MAX, WARM_TIME, WHEEL_BUCKETS,
};
use crate::base::errno::Errno;
use crate::base::units::Text;
use crate::engine::arena::{Arena, SlotQueue};
use crate::engine::close_reason::Ending;
use crate::engine::driver::{Completion, Cut, Driver, POLL_GONE};
use crate::engine::server::drain::{Command, Drain, MemoryLeft};
use crate::engine::server::traffic::{Mode, Spread};
use crate::engine::slot::{BufferId, Life, ReadSide, Unwinding, WriteSide, low_milliseconds};
use crate::engine::token::{Generation, Operation, SlotId, Token};
use crate::engine::wheel::Wheel;
use crate::engine::worker::{Core, Turn};
use crate::observe::stats::CoreStats;

pub mod drain;
mod texts;
pub mod traffic;

/// What one core of a server is told.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Listening sockets that the driver holds for this core.
    pub listeners: usize,
    /// Slots of one segment.
    pub slots_per_segment: u32,
    /// Connections at most, in this core.
    pub connections_max: u32,
    /// What becomes of bytes that arrive, and what is sent unasked.
    pub mode: Mode,
    /// What every connection is sent first.
    pub banner: Option<Text>,
    /// Time after which a peer that sends nothing is closed.
    pub idle_timeout: Option<Duration>,
    /// Time after which a peer that takes nothing is closed.
    pub send_timeout: Duration,
}

/// In [`crate::engine::slot::Slot::owed`]: the banner is not out whole.
const BANNER: u8 = 1;

/// In [`crate::engine::slot::Slot::owed`]: a push is due and has not begun.
const PUSH: u8 = 2;

/// In [`crate::engine::slot::Slot::owed`] of one that ends: it is cut by a reset.
const RESET: u8 = 4;

/// One core's share of the server.
pub struct Shard<D> {
    driver: D,
    arena: Arena,
    config: ShardConfig,
    stats: Arc<CoreStats>,
    listeners: Box<[Listener]>,
    accepts_wanted: u32,
    /// The listener that gets the next free slot.
    accepts_first: usize,
    connections: u32,
    buffers_used: u64,
    /// Buffers of connections that end, or cool: they come back by themselves.
    buffers_returning: u32,
    // A slot stands in one of these four, or in none: the wheel is left for another queue, and for
    // as long as a text is on its way.
    /// Slots without a buffer that are readable, or owe a text.
    starved: SlotQueue,
    /// Slots whose peer takes no bytes; each holds a buffer.
    stalled: SlotQueue,
    /// Slots that have just spoken, in the order of time: a receive waits, its buffer in hand.
    warm: SlotQueue,
    /// Slots by when to look at them next, for a push or for their silence.
    wheel: Wheel,
    spread: Spread,
    drain: Option<Drain>,
    memory: MemoryLeft,
    batch: Vec<Completion>,
    /// All that had come by this turn has been handled: who is silent now is silent. After a time in
    /// which the core was kept from running, many have been heard that it does not know of yet.
    hears_all: bool,
    now: Duration,
    now_ms: u64,
    tick_at_ms: u64,
    /// No accepting before this time: an accept failed, for want of something of the kernel's.
    accept_from_ms: u64,
    /// No growing before this time: the last try failed. Who comes meanwhile is refused.
    grow_from_ms: u64,
}

#[derive(Default)]
struct Listener {
    /// Slots into which an accept is with the kernel.
    accepts: SlotQueue,
    watched: bool,
}

impl<D: Driver> Shard<D> {
    /// A shard with its first segment open and its accepts armed.
    ///
    /// # Errors
    /// When the first segment's ring cannot be made.
    pub fn new(driver: D, config: ShardConfig, stats: Arc<CoreStats>) -> Result<Shard<D>, Errno> {
        let each = ACCEPTS_PER_CORE / config.listeners.max(1);
        let has_timers = config.idle_timeout.is_some() || config.mode.push_every().is_some();
        let mut shard = Shard {
            driver,
            arena: Arena::new(config.slots_per_segment),
            stats,
            listeners: (0..config.listeners).map(|_| Listener::default()).collect(),
            accepts_wanted: u32::try_from(each.clamp(1, ACCEPTS_PER_LISTENER_MAX))
                .expect("accepts are few"),
            accepts_first: 0,
            connections: 0,
            buffers_used: 0,
            buffers_returning: 0,
            starved: SlotQueue::default(),
            stalled: SlotQueue::default(),
            warm: SlotQueue::default(),
            wheel: if has_timers { Wheel::new(WHEEL_BUCKETS) } else { Wheel::default() },
            spread: Spread::default(),
            drain: None,
            memory: MemoryLeft::Enough,
            config,
            batch: Vec::with_capacity(BATCH_COMPLETIONS),
            hears_all: true,
            now: Duration::ZERO,
            now_ms: 0,
            tick_at_ms: 0,
            accept_from_ms: 0,
            grow_from_ms: 0,
        };
        shard.grow()?;
        shard.arm_accepts();
        Ok(shard)
    }

    /// Submits what was caused, handles what has completed.
    fn take_turn(&mut self) -> Turn {
        self.driver.wake();
        self.driver.submit();
        let mut batch = std::mem::take(&mut self.batch);
        self.driver.reap(&mut batch);
        self.now = self.driver.now();
        self.now_ms = u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX);
        let had_work = !batch.is_empty();
        self.hears_all = batch.len() < BATCH_COMPLETIONS;
        self.wheel.keep_up(low_milliseconds(self.now));
        for completion in batch.drain(..) {
            self.step(completion);
        }
        self.batch = batch;
        self.stats.turns_total.add(1);
        self.look_at_due();
        self.drain();
        self.tick();
        self.stats.set_connections(u64::from(self.connections));
        self.stats.buffers_used.set(self.buffers_used);
        self.stats.buffers_awaited.set(self.starved.len().into());
        self.stats.sends_stalled.set(self.stalled.len().into());
        if had_work {
            return Turn::Busy;
        }
        match self.deadline() {
            Some(Duration::ZERO) => Turn::Busy,
            deadline => self.driver.rest(deadline),
        }
    }

    /// One completion: the one match on what was asked.
    pub fn step(&mut self, Completion { token, result }: Completion) {
        self.stats.completions_total.add(1);
        if token.operation() == Operation::PollListener {
            return self.on_waiting(usize::from(token.slot().index()));
        }
        let id = token.slot();
        let Some(slot) = self.arena.current(token) else {
            // A cancel answers after the slot it spoke of is gone, as a rule.
            return if token.operation() != Operation::Cancel {
                self.stats.stale_total.add(1)
            };
        };
        match token.operation() {
            Operation::Accept => self.on_accept(id, result),
            Operation::PollReadable => {
                slot.read = ReadSide::Idle;
                self.on_readable(id, result);
            }
            Operation::Recv => {
                match std::mem::replace(&mut slot.read, ReadSide::Idle) {
                    ReadSide::Awaiting if slot.is_queued() => self.warm.remove(&mut self.arena, id),
                    ReadSide::Cooling if slot.life() == Life::Open => self.buffers_returning -= 1,
                    _ => {}
                }
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
                slot.write = WriteSide::Cut;
                self.unwind(id);
            }
            Operation::Close => {
                slot.write = WriteSide::Cut;
                self.on_close(id);
            }
            Operation::Cancel => {}
            other @ (Operation::Connect | Operation::PollListener) => {
                unreachable!("a server never asks for {other:?} on a slot")
            }
        }
    }

    // ---- a connection arrives -------------------------------------------------------------

    /// Keeps the wanted number of accepts outstanding on every listener, as far as slots go: a
    /// first one on each before a second one on any, so that few slots serve all.
    fn arm_accepts(&mut self) {
        if self.drain.is_some() {
            return;
        }
        let count = self.listeners.len();
        for wanted in 1..=self.accepts_wanted {
            for listener in (self.accepts_first..count).chain(0..self.accepts_first) {
                if self.listeners[listener].accepts.len() < wanted {
                    let Some(id) = self.slot_to_accept() else {
                        return self.watch_full_listeners();
                    };
                    self.arm_accept(id, listener);
                }
            }
        }
    }

    fn accepting_rests(&self) -> bool {
        self.now_ms < self.accept_from_ms
    }

    fn slot_to_accept(&mut self) -> Option<SlotId> {
        let is_short = self.memory != MemoryLeft::Enough;
        let is_full = is_short || self.arena.used() >= self.config.connections_max;
        if is_full || self.accepting_rests() {
            return None;
        }
        self.arena.take().or_else(|| self.grow_and_take())
    }

    fn grow_and_take(&mut self) -> Option<SlotId> {
        if self.now_ms < self.grow_from_ms {
            return None;
        }
        if let Err(errno) = self.grow() {
            self.stats.grow_failed_total.add(1);
            self.stats.failed[errno.index()].add(1);
            self.grow_from_ms = self.now_ms + u64::from(BACK_OFF_MS);
        }
        self.arena.take()
    }

    fn grow(&mut self) -> Result<(), Errno> {
        let number = self.arena.next_segment().ok_or(Errno::ENOSPC)?;
        self.driver.open_segment(number, self.config.slots_per_segment)?;
        self.arena.grow(number);
        self.stats.segments.set(self.arena.segments() as u64);
        Ok(())
    }

    fn arm_accept(&mut self, id: SlotId, listener: usize) {
        let slot = &mut self.arena[id];
        slot.go(Life::Accepting);
        slot.number = u32::try_from(listener).expect("listeners are few");
        self.driver.accept(slot.token(Operation::Accept, id), listener);
        self.listeners[listener].accepts.push(&mut self.arena, id);
    }

    fn on_accept(&mut self, id: SlotId, result: Result<u32, Errno>) {
        let listener = self.arena[id].number as usize;
        self.listeners[listener].accepts.remove(&mut self.arena, id);
        match result {
            Ok(_) => {
                self.stats.accepted_total.add(1);
                self.connections += 1;
                self.arena[id].go(Life::Open);
                self.arena[id].wait_from(self.now);
                self.arm_poll(id);
                self.plan_first_push(id);
                if self.config.banner.is_some() {
                    self.arena[id].owed = BANNER;
                    self.give_buffer_and_send_text(id);
                } else {
                    self.await_due(id);
                }
            }
            Err(errno) => {
                self.arena.free(id, self.now_ms);
                self.on_accept_failed(errno);
            }
        }
        self.arm_accepts();
    }

    fn on_accept_failed(&mut self, errno: Errno) {
        // A cancelled accept is our own: its segment retires. So is one whose listener has ended.
        if errno == Errno::ECANCELED || self.drain.is_some() {
            return;
        }
        self.stats.accept_failed_total.add(1);
        self.stats.failed[errno.index()].add(1);
        // An aborted handshake is one peer's business; anything else would fail again at once.
        if errno != Errno::ECONNABORTED {
            self.accept_from_ms = self.now_ms + u64::from(BACK_OFF_MS);
        }
    }

    // ---- the core is full: accept and reset -----------------------------------------------

    /// Watches the listeners that have no accept outstanding, to refuse what arrives there.
    fn watch_full_listeners(&mut self) {
        if self.accepting_rests() {
            return;
        }
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            if listener.accepts.is_empty() && !listener.watched {
                listener.watched = true;
                let number = u16::try_from(index).expect("listeners are few");
                let slot = SlotId::new(0, number);
                let token = Token::new(Operation::PollListener, Generation::default(), slot);
                self.driver.poll_listener(token, index);
            }
        }
    }

    fn on_waiting(&mut self, listener: usize) {
        self.listeners[listener].watched = false;
        if self.drain.is_some() {
            return;
        }
        self.arm_accepts();
        // While accepting rests nobody is refused: the tick accepts again, or watches again.
        let may_refuse = self.listeners[listener].accepts.is_empty() && !self.accepting_rests();
        if may_refuse && !self.move_accept_to(listener) {
            let refused = self.driver.refuse(listener, REFUSALS_PER_VISIT);
            self.count_refused(refused as u64);
            // Even to refuse takes a file for a moment.
            if refused == 0 {
                self.accept_from_ms = self.now_ms + u64::from(BACK_OFF_MS);
            }
        }
    }

    fn count_refused(&self, refused: u64) {
        let stats = &self.stats;
        match self.memory {
            MemoryLeft::Enough => return stats.refused_total.add(refused),
            MemoryLeft::ShortOnHost => {}
            MemoryLeft::ShortInCgroup => stats.refused_cgroup_total.add(refused),
        }
        stats.refused_memory_total.add(refused);
    }

    /// When the core is not full, but its last slots wait for connections of other listeners, one
    /// of them is freed for `listener`, which has a connection now.
    fn move_accept_to(&mut self, listener: usize) -> bool {
        let is_full = self.connections >= self.config.connections_max;
        let richest = self.listeners.iter().max_by_key(|other| other.accepts.len());
        let accept = richest.and_then(|other| other.accepts.first()).filter(|_| !is_full);
        if let Some(id) = accept {
            self.accepts_first = listener;
            self.driver.cancel(self.arena[id].token(Operation::Accept, id));
        }
        accept.is_some()
    }

    /// While memory is short the core is as good as full: its accepts are taken back. Who is accepted
    /// before the kernel has done so is held as any other. When it is enough again, the next to come
    /// finds the listener watched, and accepting goes on.
    fn on_memory(&mut self, left: MemoryLeft) {
        self.memory = left;
        let is_short = left != MemoryLeft::Enough;
        for listener in self.listeners.iter_mut().filter(|_| is_short) {
            for _ in 0..listener.accepts.len() {
                let id = listener.accepts.pop(&mut self.arena).expect("as many as there are");
                listener.accepts.push(&mut self.arena, id);
                self.driver.cancel(self.arena[id].token(Operation::Accept, id));
            }
        }
    }

    // ---- it is idle, until it is readable -------------------------------------------------

    fn arm_poll(&mut self, id: SlotId) {
        let slot = &mut self.arena[id];
        slot.read = ReadSide::Polling;
        self.driver.poll(slot.token(Operation::PollReadable, id));
    }

    fn on_readable(&mut self, id: SlotId, result: Result<u32, Errno>) {
        match result {
            _ if self.arena[id].life() == Life::Closing => self.unwind(id),
            Ok(_) if self.arena[id].write != WriteSide::Idle || self.arena[id].owed != 0 => {
                self.arena[id].read = ReadSide::Held
            }
            Ok(_) => self.give_buffer_and_recv(id),
            Err(_) => self.end(id, Ending::Reset),
        }
    }

    fn give_buffer_and_recv(&mut self, id: SlotId) {
        match self.driver.take_buffer() {
            Some(buffer) => {
                self.buffers_used += 1;
                self.arm_recv(id, buffer);
            }
            None => {
                self.stats.recv_starved_total.add(1);
                self.leave_queue(id);
                self.arena[id].read = ReadSide::Starved;
                self.starved.push(&mut self.arena, id);
                self.evict_for_starved();
            }
        }
    }

    // ---- bytes in -------------------------------------------------------------------------

    fn arm_recv(&mut self, id: SlotId, buffer: BufferId) {
        let slot = &mut self.arena[id];
        slot.buffer = buffer;
        slot.read = ReadSide::Receiving;
        self.driver.recv(slot.token(Operation::Recv, id), buffer, 0);
    }

    fn on_recv(&mut self, id: SlotId, result: Result<u32, Errno>) {
        match result {
            _ if self.arena[id].life() == Life::Closing => self.unwind(id),
            // All that came before the end has been answered, so our end may follow.
            Ok(0) => self.end(id, Ending::Finished),
            Ok(bytes) => {
                self.stats.recv_bytes_total.add(u64::from(bytes));
                self.stats.messages_total.add(1);
                let is_brisk = self.arena[id].waited(self.now) < WARM_TIME;
                self.arena[id].wait_from(self.now);
                let is_echo = matches!(self.config.mode, Mode::Echo);
                if is_echo {
                    self.arm_send_of(id, u16::try_from(bytes).expect("it stays in its buffer"));
                } else {
                    self.use_or_drop_buffer(id);
                }
                // Who speaks often needs no poll: what follows is awaited once the echo is out.
                if !(is_echo && is_brisk) {
                    self.arm_poll(id);
                }
            }
            // It has cooled.
            Err(Errno::ECANCELED) => self.rest(id),
            Err(Errno::EAGAIN) => {
                // It was readable: who waited for our buffer until now is not to pay for it.
                self.arena[id].wait_from(self.now);
                self.use_or_drop_buffer(id);
                self.arm_poll(id);
            }
            Err(_) => self.end(id, Ending::Reset),
        }
    }

    /// What came is dealt with: a push that came due meanwhile goes out in the same buffer.
    fn use_or_drop_buffer(&mut self, id: SlotId) {
        match self.arena[id].buffer {
            buffer if self.arena[id].owes(PUSH) => self.arm_text(id, buffer),
            _ => {
                self.drop_buffer(id);
                self.await_due(id);
            }
        }
    }

    // ---- bytes out, until all are gone ----------------------------------------------------

    fn arm_send_of(&mut self, id: SlotId, bytes: u16) {
        let slot = &mut self.arena[id];
        (slot.start, slot.end) = (0, bytes);
        self.arm_send(id);
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
                    self.arm_poll_writable(id);
                } else {
                    self.on_sent_whole(id);
                }
            }
            Err(Errno::EAGAIN) => self.arm_poll_writable(id),
            Err(_) => self.end(id, Ending::Reset),
        }
    }

    fn on_sent_whole(&mut self, id: SlotId) {
        if self.arena[id].owes(BANNER) {
            self.arena[id].owed &= !BANNER;
        } else if let Some(every) = self.config.mode.push_every() {
            self.stats.pushes_total.add(1);
            // From when this one was due, not from when it went: none is skipped.
            let slot = &mut self.arena[id];
            slot.set_due_ms(slot.due_ms().wrapping_add(low_milliseconds(every)));
        }
        if self.arena[id].read == ReadSide::Idle {
            return self.await_more(id);
        }
        self.drop_buffer(id);
        self.await_due(id);
        if self.arena[id].read == ReadSide::Held {
            self.give_buffer_and_recv(id);
        }
    }

    fn arm_poll_writable(&mut self, id: SlotId) {
        self.stats.send_stalled_total.add(1);
        self.leave_queue(id);
        let slot = &mut self.arena[id];
        slot.write = WriteSide::Stalled;
        slot.stall_from(self.now);
        self.driver.poll(slot.token(Operation::PollWritable, id));
        self.stalled.push(&mut self.arena, id);
    }

    fn on_writable(&mut self, id: SlotId, result: Result<u32, Errno>) {
        if self.arena[id].life() == Life::Closing {
            return self.unwind(id);
        }
        self.stalled.remove(&mut self.arena, id);
        match result {
            Ok(events) if events & POLL_GONE == 0 => self.arm_send(id),
            Ok(_) | Err(_) => self.end(id, Ending::Reset),
        }
    }

    /// Puts a slot's buffer back, or hands it to the slot that has waited the longest for one.
    fn drop_buffer(&mut self, id: SlotId) {
        let buffer = std::mem::replace(&mut self.arena[id].buffer, BufferId::NONE);
        if buffer == BufferId::NONE {
            return;
        }
        if let Some(waiting) = self.starved.pop(&mut self.arena) {
            if self.arena[waiting].owed != 0 {
                self.arm_text(waiting, buffer);
            } else {
                self.arm_recv(waiting, buffer);
                self.await_due(waiting);
            }
        } else {
            self.driver.give_buffer(buffer);
            self.buffers_used -= 1;
        }
    }

    /// When slots wait for a buffer, the peer that has been silent the longest with one gives it
    /// back, and then the one that has taken no bytes the longest gives way.
    fn evict_for_starved(&mut self) {
        while self.starved.len() > self.buffers_returning && self.cool_first() {}
        let mut evictions = self.starved.len().saturating_sub(self.buffers_returning);
        while let Some(id) = self.stalled.first().filter(|_| evictions > 0) {
            if self.arena[id].stalled_for(self.now) < STALL_GRACE {
                return;
            }
            evictions -= 1;
            self.end(id, Ending::Evicted);
        }
    }

    // ---- it has just spoken, and may go on ------------------------------------------------

    /// Receives what follows without a poll before, for as long as the connection is warm.
    fn await_more(&mut self, id: SlotId) {
        if self.warm.len() >= WARM_MAX || !self.starved.is_empty() {
            return self.rest(id);
        }
        self.leave_queue(id);
        let slot = &mut self.arena[id];
        slot.read = ReadSide::Awaiting;
        self.driver.await_bytes(slot.token(Operation::Recv, id), slot.buffer);
        self.warm.push(&mut self.arena, id);
    }

    /// Takes back the receive of the slot that has been silent the longest, if one waits.
    fn cool_first(&mut self) -> bool {
        let Some(id) = self.warm.pop(&mut self.arena) else { return false };
        let slot = &mut self.arena[id];
        slot.read = ReadSide::Cooling;
        self.driver.cancel(slot.token(Operation::Recv, id));
        self.buffers_returning += 1;
        true
    }

    /// Goes back to where it is idle: a poll, and no buffer.
    fn rest(&mut self, id: SlotId) {
        self.drop_buffer(id);
        self.arm_poll(id);
        self.await_due(id);
    }

    // ---- the end: a join of both sides, then the close ------------------------------------

    /// Begins the end of a connection. Whatever is still with the kernel is made to complete.
    fn end(&mut self, id: SlotId, ending: Ending) {
        if let Some(counter) = ending.counter(&self.stats) {
            counter.add(1);
        }
        if let Some(drain) = &mut self.drain {
            drain.ended += 1;
        }
        self.leave_queue(id);
        let slot = &mut self.arena[id];
        slot.go(Life::Closing);
        slot.owed = if ending.is_hard() { RESET } else { 0 };
        if matches!(slot.read, ReadSide::Starved | ReadSide::Held) {
            slot.read = ReadSide::Idle;
        }
        if slot.write == WriteSide::Stalled {
            self.driver.cancel(slot.token(Operation::PollWritable, id));
        }
        let slot = &self.arena[id];
        if slot.buffer != BufferId::NONE && slot.read != ReadSide::Cooling {
            self.buffers_returning += 1;
        }
        self.unwind(id);
    }

    /// Takes the next step of the end: the descriptor is closed once nothing of the slot is with
    /// the kernel.
    fn unwind(&mut self, id: SlotId) {
        match self.arena[id].unwinding() {
            Unwinding::Wait => {}
            Unwinding::Cut => {
                let slot = &mut self.arena[id];
                let cut = if slot.owes(RESET) { Cut::Reset } else { Cut::Both };
                slot.write = WriteSide::Cutting;
                self.driver.shutdown(slot.token(Operation::Shutdown, id), cut);
            }
            Unwinding::Close => {
                if self.arena[id].buffer != BufferId::NONE {
                    self.buffers_returning -= 1;
                    self.drop_buffer(id);
                }
                let slot = &mut self.arena[id];
                slot.write = WriteSide::Closing;
                self.driver.close(slot.token(Operation::Close, id));
            }
        }
    }

    fn on_close(&mut self, id: SlotId) {
        // Linux frees the descriptor whatever close says.
        self.stats.closed_total.add(1);
        self.connections -= 1;
        self.arena.free(id, self.now_ms);
        self.arm_accepts();
    }

    // ---- all go: a drain ------------------------------------------------------------------

    fn begin_drain(&mut self, time: Duration) {
        self.driver.stop_listening();
        self.drain = Some(Drain::new(self.driver.now(), time, self.connections));
    }

    /// Ends connections that rest as fast as the pace demands; when the time is up, all.
    fn drain(&mut self) {
        let mut looks = DRAIN_LOOKS_PER_TURN;
        for _ in 0..DRAIN_CLOSES_PER_TURN {
            let Some(drain) = self.drain.as_mut().filter(|_| self.hears_all) else { return };
            let ending = if drain.is_over(self.now) { Ending::DrainCut } else { Ending::Drained };
            let Some(id) = drain.next(&self.arena, self.now, &mut looks) else { return };
            self.end(id, ending);
        }
    }

    // ---- what comes due -------------------------------------------------------------------

    fn tick(&mut self) {
        if self.now_ms < self.tick_at_ms {
            return;
        }
        self.tick_at_ms = self.now_ms + u64::from(TICK_MS);
        let (patience, is_backlog) = self.config.mode.patience(self.config.send_timeout);
        while let Some(id) = self.stalled.first().filter(|_| self.hears_all) {
            if self.arena[id].stalled_for(self.now) < patience {
                break;
            }
            self.end(id, if is_backlog { Ending::Backlog } else { Ending::SendTimeout });
        }
        while self.warm.first().is_some_and(|id| self.arena[id].waited(self.now) >= WARM_TIME) {
            self.cool_first();
        }
        self.evict_for_starved();
        self.retire_segment();
        self.arm_accepts();
    }

    /// Gives the highest segment back when the lower ones have had room for all for a while.
    fn retire_segment(&mut self) {
        let Some(segment) = self.arena.retiring() else { return };
        match segment.empty_since_ms {
            Some(since) if self.now_ms - since >= u64::from(SEGMENT_LINGER_MS) => {
                self.arena.shrink(segment.number);
                self.driver.close_segment(segment.number);
                self.stats.segments.set(self.arena.segments() as u64);
            }
            Some(_) => {}
            // Only accepts left? They move down.
            None if segment.used as usize <= ACCEPTS_PER_CORE => {
                for id in self.arena.accepting_in(segment.number).collect::<Vec<_>>() {
                    self.driver.cancel(self.arena[id].token(Operation::Accept, id));
                }
            }
            None => {}
        }
    }

    /// How long the core may sleep when nobody rings.
    fn deadline(&self) -> Option<Duration> {
        let is_deaf = |listener: &Listener| {
            listener.accepts.is_empty() && !listener.watched && self.drain.is_none()
        };
        let has_deadlines = !self.stalled.is_empty()
            || !self.starved.is_empty()
            || !self.warm.is_empty()
            || self.grow_from_ms > self.now_ms
            || self.listeners.iter().any(is_deaf)
            || self.arena.retiring().is_some();
        let tick = has_deadlines.then(|| Duration::from_millis(u64::from(TICK_MS)));
        let sweep = self.drain.filter(|_| self.connections > 0);
        let sweep = sweep.map(|drain| drain.sleep(self.now));
        [tick, sweep, self.wheel.sleep(self.now)].into_iter().flatten().min()
    }

    // ---- for the tests --------------------------------------------------------------------

    /// The driver, for a test that plays the world.
    pub fn driver(&mut self) -> &mut D {
        &mut self.driver
    }

    /// The slots, for a test that counts them.
    #[must_use]
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Connections open or closing.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.connections
    }
}

impl<D: Driver> Core for Shard<D> {
    type Command = Command;

    fn turn(&mut self) -> Turn {
        self.take_turn()
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Drain(time) => self.begin_drain(time),
            Command::Memory(left) => self.on_memory(left),
        }
    }
}
