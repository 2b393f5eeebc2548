//! What both ends do with a connection, once: take a turn, arm an operation and take its completion,
//! send until all is gone, grow by a segment, and close by a join.
//!
//! An endpoint knows slots and operations, and no meaning. It turns each completion into an [`Event`]
//! for its end, [`crate::engine::server`] or [`crate::engine::client`], which says what follows. It is
//! synchronous, single-threaded, and allocates only when the arena grows.

use std::sync::Arc;
use std::time::Duration;

use crate::base::constants::{BACK_OFF_MS, BATCH_COMPLETIONS, TICK_MS};
use crate::base::errno::Errno;
use crate::engine::arena::Arena;
use crate::engine::driver::{Completion, Driver, Readiness};
use crate::engine::endpoint::event::Event;
use crate::engine::queue::SlotQueue;
use crate::engine::slot::{ConnState, Queue, ReadSide, Role, WriteSide};
use crate::engine::storm::Storming;
use crate::engine::token::{Operation, SlotId};
use crate::observe::stats::CoreStats;

mod buffers;
mod close;
pub mod end;
pub mod event;
mod handshakes;
mod storm;

/// One end's slots with its role in them, its driver, its counters, and the clock of the present turn.
pub struct Endpoint<D, R, S> {
    /// Sockets and time.
    pub driver: D,
    /// The slots.
    pub arena: Arena<R>,
    /// By the number of the queue.
    queues: [SlotQueue; Queue::ALL.len()],
    /// What is counted.
    pub stats: Arc<S>,
    /// When the present turn began.
    pub now: Duration,
    /// The same in whole milliseconds.
    pub now_ms: u64,
    slots_per_segment: u32,
    buffers_used: u64,
    /// Of these, those of connections that close, or whose receive is being taken back: they come back
    /// by themselves.
    buffers_returning: u32,
    /// No growing before this time: the last try failed.
    grow_from_ms: u64,
    batch: Vec<Completion>,
    tick_at_ms: u64,
    /// When the handshakes that wait were last counted.
    handshakes_counted: Duration,
    /// Storms, by which connections are dropped on purpose.
    pub storms: Storming,
}

impl<D: Driver, R: Role, S: CoreStats> Endpoint<D, R, S> {
    /// An endpoint without segments.
    #[must_use]
    pub fn new(driver: D, slots_per_segment: u32, stats: Arc<S>) -> Endpoint<D, R, S> {
        Endpoint {
            driver,
            arena: Arena::new(slots_per_segment),
            queues: Queue::ALL.map(SlotQueue::new),
            stats,
            now: Duration::ZERO,
            now_ms: 0,
            slots_per_segment,
            buffers_used: 0,
            buffers_returning: 0,
            grow_from_ms: 0,
            batch: Vec::with_capacity(BATCH_COMPLETIONS),
            tick_at_ms: 0,
            handshakes_counted: Duration::ZERO,
            storms: Storming::default(),
        }
    }

    // ---- a turn ---------------------------------------------------------------------------

    /// Submits what was caused, takes what has completed, and reads the clock.
    fn begin_turn(&mut self) -> Vec<Completion> {
        self.driver.submit();
        let mut batch = std::mem::take(&mut self.batch);
        self.driver.reap(&mut batch);
        self.now = self.driver.now();
        self.now_ms = u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX);
        self.stats.turns_total.add(1);
        batch
    }

    /// Keeps the memory of a batch, which is empty by now, for the next turn.
    fn keep_batch(&mut self, batch: Vec<Completion>) {
        self.batch = batch;
    }

    /// Sets the gauges that both ends have.
    pub fn set_gauges(&self, connections: u64) {
        self.stats.set_connections(connections);
        self.stats.buffers_used.set(self.buffers_used);
    }

    /// By how many milliseconds a tick is late that is due in this turn; `None` when none is.
    fn take_tick(&mut self) -> Option<u64> {
        let late_ms = self.now_ms.checked_sub(self.tick_at_ms)?;
        self.tick_at_ms = self.now_ms + u64::from(TICK_MS);
        Some(late_ms)
    }

    /// When the next tick is due, by the core's clock in milliseconds.
    #[must_use]
    pub fn tick_at_ms(&self) -> u64 {
        self.tick_at_ms
    }

    /// One completion: the one match on what was asked. `None` when nothing follows from it.
    #[inline]
    fn complete(&mut self, Completion { token, result }: Completion) -> Option<Event> {
        self.stats.completions_total.add(1);
        let (operation, id) = (token.operation(), token.slot());
        if operation == Operation::PollListener {
            return Some(Event::Waiting(usize::from(id.index())));
        }
        let Some(slot) = self.arena.current(token) else {
            // A cancel answers after the slot it spoke of is gone, as a rule, and a question may.
            if !matches!(operation, Operation::Cancel | Operation::Unacked) {
                self.stats.stale_total.add(1);
            }
            return None;
        };
        let is_closing = slot.state() == ConnState::Closing;
        match operation {
            Operation::Accept => Some(Event::Accepted(id, result)),
            Operation::Connect => Some(Event::Connected(id, result)),
            Operation::PollReadable => {
                slot.read = ReadSide::Idle;
                if is_closing {
                    return self.close_further(id);
                }
                if slot.write != WriteSide::Idle {
                    // Its buffer is on its way out: it is received when that is gone.
                    slot.read = ReadSide::Deferred;
                    return None;
                }
                Some(Event::Readable(id, result.map(Readiness::from_events)))
            }
            Operation::Recv => {
                let was = std::mem::replace(&mut slot.read, ReadSide::Idle);
                if is_closing {
                    return self.close_further(id);
                }
                if let Ok(bytes) = result {
                    slot.end += u16::try_from(bytes).expect("a receive stays within its buffer");
                    self.stats.recv_bytes_total.add(u64::from(bytes));
                }
                match was {
                    ReadSide::RecvArmed => self.remove(id, Queue::Warm),
                    ReadSide::Cancelling => self.buffers_returning -= 1,
                    _ => {}
                }
                Some(match result {
                    Ok(0) => Event::Ended(id),
                    Ok(_) => Event::Received(id),
                    Err(Errno::EAGAIN) => Event::Nothing(id),
                    Err(Errno::ECANCELED) => Event::TakenBack(id),
                    Err(errno) => Event::Failed(id, errno),
                })
            }
            Operation::Send => {
                slot.write = WriteSide::Idle;
                if is_closing {
                    self.send_further(id, result)
                } else {
                    Some(self.on_send(id, result))
                }
            }
            Operation::PollWritable => {
                slot.write = WriteSide::Idle;
                if is_closing && slot.role.leaves() && result.is_ok() {
                    self.arm_send(id);
                    return None;
                }
                if is_closing {
                    return self.close_further(id);
                }
                Some(Event::Writable(id, result.map(Readiness::from_events)))
            }
            Operation::Shutdown => {
                let is_of_both = slot.write == WriteSide::ShuttingDown;
                slot.write = if is_of_both { WriteSide::ShutDown } else { WriteSide::Idle };
                // When only our direction is ended, a poll tells when the peer ends its own.
                if slot.is_joined() { self.close_further(id) } else { None }
            }
            Operation::Close => {
                slot.write = WriteSide::ShutDown;
                self.free_closed(id);
                Some(Event::Closed)
            }
            Operation::Unacked => (!is_closing).then_some(Event::Unacked(id, result)),
            Operation::Cancel => None,
            Operation::PollListener => unreachable!("it was looked at above"),
        }
    }

    // ---- it is idle, until it is readable -------------------------------------------------

    /// Asks to be told when the slot is readable or has ended: what an idle connection costs.
    #[inline]
    pub fn arm_poll(&mut self, id: SlotId) {
        let slot = &mut self.arena[id];
        slot.read = ReadSide::Polling;
        self.driver.poll(slot.token(Operation::PollReadable, id));
    }

    /// Receives bytes that are there into the slot's buffer, behind those that it has.
    #[inline]
    pub fn arm_recv(&mut self, id: SlotId) {
        let slot = &mut self.arena[id];
        slot.read = ReadSide::Receiving;
        self.driver.recv(slot.token(Operation::Recv, id), slot.buffer, slot.end);
    }

    /// Receives bytes as soon as there are some, the slot's buffer in hand: the slot stands in the queue
    /// of the warm ones until then.
    pub fn arm_await(&mut self, id: SlotId) {
        let slot = &mut self.arena[id];
        slot.read = ReadSide::RecvArmed;
        self.driver.await_bytes(slot.token(Operation::Recv, id), slot.buffer);
        self.push(id, Queue::Warm);
    }

    /// Takes back the receive of the slot that has been warm the longest, if there is one.
    #[inline]
    pub fn cancel_oldest_await(&mut self) -> bool {
        let Some(id) = self.first(Queue::Warm) else { return false };
        self.cancel_await(id);
        true
    }

    /// Takes back the receive of a slot that is warm.
    #[inline]
    pub fn cancel_await(&mut self, id: SlotId) {
        self.remove(id, Queue::Warm);
        let slot = &mut self.arena[id];
        slot.read = ReadSide::Cancelling;
        self.driver.cancel(slot.token(Operation::Recv, id));
        self.buffers_returning += 1;
    }

    // ---- bytes out, until all are gone ----------------------------------------------------

    /// Sends the bytes of the slot's buffer from `start` to `end`.
    #[inline]
    pub fn arm_send(&mut self, id: SlotId) {
        let slot = &mut self.arena[id];
        slot.write = WriteSide::Sending;
        let token = slot.token(Operation::Send, id);
        self.driver.send(token, slot.buffer, slot.start..slot.end);
    }

    fn on_send(&mut self, id: SlotId, result: Result<u32, Errno>) -> Event {
        match result {
            Ok(bytes) => {
                self.stats.send_bytes_total.add(u64::from(bytes));
                let slot = &mut self.arena[id];
                slot.start += u16::try_from(bytes).expect("a send stays within its buffer");
                if slot.start < slot.end {
                    return self.arm_poll_writable(id);
                }
                (slot.start, slot.end) = (0, 0);
                Event::Sent(id)
            }
            Err(Errno::EAGAIN) => self.arm_poll_writable(id),
            Err(errno) => Event::Failed(id, errno),
        }
    }

    fn arm_poll_writable(&mut self, id: SlotId) -> Event {
        self.stats.send_stalled_total.add(1);
        let slot = &mut self.arena[id];
        slot.write = WriteSide::Stalled;
        self.driver.poll(slot.token(Operation::PollWritable, id));
        Event::Stalled(id)
    }

    /// Asks how many bytes that went to the peer are not acknowledged.
    pub fn ask_unacked(&mut self, id: SlotId) {
        self.driver.unacked(self.arena[id].token(Operation::Unacked, id));
    }

    /// Takes the poll for room back, so that a send tries whether there is some.
    pub fn cancel_poll_writable(&mut self, id: SlotId) {
        self.driver.cancel(self.arena[id].token(Operation::PollWritable, id));
    }

    // ---- queues, each in the order of time ------------------------------------------------

    /// Puts a slot that stands in no queue at the end of one.
    #[inline]
    pub fn push(&mut self, id: SlotId, queue: Queue) {
        self.queues[queue as usize].push(&mut self.arena, id);
    }

    /// Takes a slot out of `queue`, wherever it stands in it.
    ///
    /// # Panics
    /// When it stands in another one, or in none.
    #[inline]
    pub fn remove(&mut self, id: SlotId, queue: Queue) {
        self.queues[queue as usize].remove(&mut self.arena, id);
    }

    /// Takes a slot out of the queue in which it stands, if any.
    #[inline]
    pub fn leave_queue(&mut self, id: SlotId) {
        match self.arena[id].queue() {
            Queue::None => {}
            queue => self.remove(id, queue),
        }
    }

    /// Takes the slot that has stood in `queue` the longest.
    #[inline]
    pub fn pop(&mut self, queue: Queue) -> Option<SlotId> {
        self.queues[queue as usize].pop(&mut self.arena)
    }

    /// The slot that has stood in `queue` the longest.
    #[must_use]
    #[inline]
    pub fn first(&self, queue: Queue) -> Option<SlotId> {
        self.queues[queue as usize].first()
    }

    /// The slot that stands behind `id` in its queue.
    #[must_use]
    pub fn behind(&self, id: SlotId) -> Option<SlotId> {
        let next = self.arena[id].next;
        (next != SlotId::NONE).then_some(next)
    }

    /// Slots in `queue`.
    #[must_use]
    pub fn count(&self, queue: Queue) -> u32 {
        self.queues[queue as usize].len()
    }

    /// How long a slot's present wait has lasted.
    #[must_use]
    pub fn waited(&self, id: SlotId) -> Duration {
        self.arena[id].waited(self.now)
    }

    /// Begins a slot's wait anew, at the end of its queue.
    pub fn restart_wait(&mut self, id: SlotId, queue: Queue) {
        self.remove(id, queue);
        self.arena[id].wait_from(self.now);
        self.push(id, queue);
    }

    // ---- segments -------------------------------------------------------------------------

    /// Whether a segment may be added: a try that failed is not repeated at once.
    #[must_use]
    pub fn may_grow(&self) -> bool {
        self.now_ms >= self.grow_from_ms
    }

    /// A free slot, if need be of another segment; `None` while no segment may be added.
    ///
    /// # Errors
    /// Those of [`Endpoint::grow`], after which none is added for a moment.
    #[inline]
    pub fn take_slot(&mut self) -> Result<Option<SlotId>, Errno> {
        match self.arena.take() {
            None if self.may_grow() => {
                self.grow()?;
                Ok(self.arena.take())
            }
            slot => Ok(slot),
        }
    }

    /// Adds a segment.
    ///
    /// # Errors
    /// `ENOSPC` when a core may have no more of them; what the driver said otherwise.
    pub fn grow(&mut self) -> Result<(), Errno> {
        self.open_segment().inspect_err(|_| {
            self.stats.grow_failed_total.add(1);
            self.grow_from_ms = self.now_ms + u64::from(BACK_OFF_MS);
        })
    }

    fn open_segment(&mut self) -> Result<(), Errno> {
        let number = self.arena.next_segment().ok_or(Errno::ENOSPC)?;
        self.driver.open_segment(number, self.slots_per_segment)?;
        self.arena.grow(number);
        self.count_segments();
        Ok(())
    }

    /// Gives the empty segment `number` back.
    pub fn shrink(&mut self, number: u16) {
        self.arena.shrink(number);
        self.driver.close_segment(number);
        self.count_segments();
    }

    fn count_segments(&self) {
        self.stats.segments.set(self.arena.segments() as u64);
    }
}
