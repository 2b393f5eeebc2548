//! What can be changed while a run goes on, as it stands, and the time of a hold that can be paused.

use std::time::{Duration, Instant};

use megaconn::engine::client::config::Schedule;

use crate::run::control::Control;

/// What can be changed while a run goes on.
pub(crate) struct Steering {
    pub(crate) control: Option<Control>,
    pub(crate) began: Instant,
    pub(crate) connects_per_s: Option<f64>,
    pub(crate) schedule: Schedule,
    pub(crate) is_paused: bool,
    /// A sweep was asked for, by this order.
    pub(crate) sweep: Option<u64>,
    /// The plateau may be ended now.
    pub(crate) is_in_plateau: bool,
    /// As many are opened as there can be: their number is not to be changed meanwhile.
    pub(crate) is_filling: bool,
    /// The number was changed by an order.
    pub(crate) has_changed_connections: bool,
    pub(crate) phase: &'static str,
    /// All plateaus are over.
    pub(crate) is_ending: bool,
    pub(crate) wanted: u64,
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
            sweep: None,
            is_in_plateau: false,
            is_filling: false,
            has_changed_connections: false,
            phase: "starting",
            is_ending: false,
            wanted: 0,
        }
    }

    /// What the run does from now on.
    pub(crate) fn enter(&mut self, phase: &'static str) {
        self.phase = if self.is_ending { "ending" } else { phase };
    }

    /// A plateau of so many connections begins.
    pub(crate) fn begin_plateau(&mut self, connections: u64) {
        (self.wanted, self.is_in_plateau) = (connections, true);
    }

    /// Changes that were taken; none without control.
    pub(crate) fn control(&self) -> Option<&Control> {
        self.control.as_ref()
    }

    /// An order took effect.
    pub(crate) fn has_effect(&self, order: u64) {
        if let Some(control) = &self.control {
            let since = self.began.elapsed().as_millis();
            control.has_effect(order, since as f64 / 1_000.0);
        }
    }
}

/// The time of a hold, in which that of a pause does not count.
pub(crate) struct HoldTime {
    counted: Duration,
    seen_at: Instant,
}

impl HoldTime {
    pub(crate) fn begin() -> HoldTime {
        HoldTime { counted: Duration::ZERO, seen_at: Instant::now() }
    }

    /// How much of it has gone by; the time since the last look counts unless it `is_paused`.
    pub(crate) fn look(&mut self, is_paused: bool) -> Duration {
        let now = Instant::now();
        let passed = now - std::mem::replace(&mut self.seen_at, now);
        if !is_paused {
            self.counted += passed;
        }
        self.counted
    }
}
