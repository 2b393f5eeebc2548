//! What an end is asked by its endpoint: what follows from an event, and what is due.

use std::time::Duration;

use crate::engine::driver::Driver;
use crate::engine::endpoint::Endpoint;
use crate::engine::endpoint::event::Event;
use crate::engine::slot::Role;
use crate::engine::worker::{Turn, Wakeup, Worker};
use crate::observe::stats::CoreStats;

/// What makes an endpoint an end: it says what follows from each event, and what is due.
pub trait End {
    /// Its sockets and time.
    type Driver: Driver;

    /// What it keeps in a slot.
    type Role: Role;

    /// What it counts.
    type Stats: CoreStats;

    /// What the housekeeping thread may tell it.
    type Command: Send + 'static;

    /// The endpoint under it.
    fn endpoint(&mut self) -> &mut Endpoint<Self::Driver, Self::Role, Self::Stats>;

    /// A turn begins: its clock is read, and `completions` are to be handled.
    fn begin(&mut self, completions: usize);

    /// Does what follows from an event.
    fn on_event(&mut self, event: Event);

    /// Gives up what has waited too long; the tick is late by `late_ms`.
    fn tick(&mut self, late_ms: u64);

    /// Does what is due, once all that had completed is handled.
    fn act(&mut self);

    /// Nothing had completed: how long the core may sleep when no bell rings; zero is not at all.
    fn sleep(&mut self) -> Option<Duration>;

    /// Takes a command, between two turns.
    fn handle_command(&mut self, command: Self::Command);
}

impl<E: End<Driver: Wakeup>> Worker for E {
    type Command = E::Command;
    type Wakeup = E::Driver;

    /// Submits what was caused, handles what has completed, does what is due.
    fn turn(&mut self) -> Turn {
        let mut batch = self.endpoint().begin_turn();
        let had_work = !batch.is_empty();
        self.begin(batch.len());
        for completion in batch.drain(..) {
            if let Some(event) = self.endpoint().complete(completion) {
                self.on_event(event);
            }
        }
        self.endpoint().keep_batch(batch);
        if let Some(late_ms) = self.endpoint().take_tick() {
            self.tick(late_ms);
        }
        self.act();
        if had_work {
            return Turn::Busy;
        }
        match self.sleep() {
            Some(Duration::ZERO) => Turn::Busy,
            deadline => Turn::Idle(deadline),
        }
    }

    fn handle_command(&mut self, command: E::Command) {
        End::handle_command(self, command);
    }

    fn wakeup(&mut self) -> &mut E::Driver {
        &mut self.endpoint().driver
    }
}
