//! The turns of one core: the pump turns its worker while there is work, and sleeps when there is none.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use futures_lite::future;
use glommio::timer::Timer;

use crate::base::constants::YIELD_AFTER;
use crate::engine::worker::{Turn, Worker};
use crate::runtime::sleep::Sleep;

/// What waits for the pump between two turns, and wakes it.
pub(super) struct Inbox<M> {
    commands: VecDeque<M>,
    is_stopped: bool,
    /// The pump is not to sleep: something has happened since it last looked.
    is_rung: bool,
    pump: Option<Waker>,
}

impl<M> Inbox<M> {
    /// An empty one, for the pump and for the tasks that wake it.
    pub(super) fn new() -> Rc<RefCell<Inbox<M>>> {
        let commands = VecDeque::new();
        Rc::new(RefCell::new(Inbox { commands, is_stopped: false, is_rung: false, pump: None }))
    }

    /// Leaves a command for the next turn.
    pub(super) fn put(&mut self, command: M) {
        self.commands.push_back(command);
        self.ring();
    }

    /// The pump is to end.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
        self.ring();
    }

    /// The pump is to turn.
    pub(super) fn ring(&mut self) {
        self.is_rung = true;
        if let Some(pump) = self.pump.take() {
            pump.wake();
        }
    }

    fn poll_rung(&mut self, pump: &Waker) -> Poll<()> {
        if std::mem::take(&mut self.is_rung) {
            return Poll::Ready(());
        }
        self.pump = Some(pump.clone());
        Poll::Pending
    }
}

/// Turns the worker until the inbox is stopped; `false` when it panicked. A panic that passed through
/// glommio would end the process before it could be reported.
pub(super) async fn pump<W: Worker>(mut worker: W, inbox: Rc<RefCell<Inbox<W::Command>>>) -> bool {
    let executor = glommio::executor();
    let (mut sleep, mut yielded_at) = (Sleep::new(), Instant::now());
    while !inbox.borrow().is_stopped {
        let turn = panic::catch_unwind(AssertUnwindSafe(|| {
            while let Some(command) = inbox.borrow_mut().commands.pop_front() {
                worker.handle_command(command);
            }
            sleep.on_wake(worker.wakeup());
            match worker.turn() {
                Turn::Idle(at_most) => sleep.prepare_to_sleep(worker.wakeup(), at_most),
                Turn::Busy => Turn::Busy,
            }
        }));
        let Ok(turn) = turn else { return false };
        match turn {
            Turn::Busy => {
                if yielded_at.elapsed() >= YIELD_AFTER {
                    executor.yield_task_queue_now().await;
                    yielded_at = Instant::now();
                }
            }
            Turn::Idle(deadline) => {
                let rung = future::poll_fn(|cx| inbox.borrow_mut().poll_rung(cx.waker()));
                let time_is_up = async {
                    match deadline {
                        Some(deadline) => drop(Timer::new(deadline).await),
                        None => future::pending().await,
                    }
                };
                future::or(rung, time_is_up).await;
            }
        }
    }
    true
}
