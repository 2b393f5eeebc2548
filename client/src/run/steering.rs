//! What can be changed while a run goes on, as it stands.

use std::time::{Duration, Instant};

use megaconn::engine::client::config::Schedule;

use crate::run::control::Control;
use crate::run::stage::Stage;

/// What can be changed while a run goes on.
pub(crate) struct Steering {
    pub(crate) control: Option<Control>,
    pub(crate) began: Instant,
    pub(crate) connects_per_s: Option<f64>,
    pub(crate) schedule: Schedule,
    pub(crate) is_paused: bool,
    /// For how long it was, by the last look.
    pub(crate) paused: Duration,
    looked_at: Instant,
    /// A sweep was asked for, by these orders.
    pub(crate) sweeps: Vec<u64>,
    pub(crate) stage: Stage,
    /// The number was changed by an order.
    pub(crate) has_changed_connections: bool,
    /// The next plateau is one that an order asks for.
    pub(crate) is_ordered: bool,
    pub(crate) phase: &'static str,
    pub(crate) wanted: u64,
}

/// When a hold began, and for how long the run had been paused by then.
#[derive(Clone, Copy)]
pub(crate) struct HoldClock {
    pub(crate) began: Instant,
    pub(crate) paused: Duration,
}

impl HoldClock {
    /// The time of the hold so far; that of its pauses does not count.
    pub(crate) fn passed(&self, steering: &Steering) -> Duration {
        self.began.elapsed().saturating_sub(steering.paused - self.paused)
    }
}

impl Steering {
    /// As it was asked for by flags.
    pub(crate) fn new(
        control: Option<Control>,
        connects_per_s: Option<f64>,
        schedule: Schedule,
    ) -> Steering {
        Steering {
            control,
            began: Instant::now(),
            connects_per_s,
            schedule,
            is_paused: false,
            paused: Duration::ZERO,
            looked_at: Instant::now(),
            sweeps: Vec::new(),
            stage: Stage::Between,
            has_changed_connections: false,
            is_ordered: false,
            phase: "starting",
            wanted: 0,
        }
    }

    /// A plateau of so many connections begins.
    pub(crate) fn begin_plateau(&mut self, connections: u64) {
        (self.wanted, self.stage) = (connections, Stage::Plateau);
    }

    /// Counts the time of a pause.
    pub(crate) fn look(&mut self) {
        let now = Instant::now();
        let passed = now - std::mem::replace(&mut self.looked_at, now);
        if self.is_paused {
            self.paused += passed;
        }
    }

    /// An order took effect.
    pub(crate) fn has_effect(&self, order: u64) {
        if let Some(control) = &self.control {
            let since = self.began.elapsed().as_millis();
            control.has_effect(order, since as f64 / 1_000.0);
        }
    }
}
