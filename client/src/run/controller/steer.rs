//! A run under control: orders that have come are carried out between two looks, and its state is told.

use megaconn::base::stderr::talk;
use megaconn::engine::client::config::Schedule;
use megaconn::engine::client::phase::{Command, Phase};
use megaconn::observe::control::{Order, number};
use megaconn::runtime::commands::Commands;

use crate::run::control::Control;
use crate::run::controller::{Controller, Stopped};
use crate::run::cores;
use crate::run::steering::Steering;

impl Controller<'_> {
    /// Carries out what was ordered, and tells the state.
    pub(super) async fn steer(&mut self, commands: &Commands<Command>) -> Result<(), Stopped> {
        let Some(control) = self.steering.control.clone() else { return Ok(()) };
        let mut ended = Ok(());
        for (order, what) in control.take() {
            if ended.is_err() || self.is_to_wait(what) {
                control.give_back((order, what));
                break;
            }
            ended = self.carry_out(commands, order, what).await;
        }
        self.tell(&control);
        ended
    }

    /// What ends a plateau waits for one.
    fn is_to_wait(&self, what: Order) -> bool {
        let Steering { is_in_plateau, is_filling, .. } = self.steering;
        match what {
            Order::Connections(_) => !is_in_plateau || is_filling,
            Order::Stop => !is_in_plateau,
            _ => false,
        }
    }

    async fn carry_out(
        &mut self,
        commands: &Commands<Command>,
        order: u64,
        what: Order,
    ) -> Result<(), Stopped> {
        talk(&format!("control: {what}"));
        let steering = &mut self.steering;
        match what {
            Order::Connections(connections) => {
                steering.has_effect(order);
                if connections == steering.wanted {
                    return Ok(());
                }
                (steering.is_in_plateau, steering.has_changed_connections) = (false, true);
                self.plateaus.put_next(connections);
                return Err(Stopped::Changed);
            }
            Order::Stop => {
                steering.has_effect(order);
                steering.is_in_plateau = false;
                return Err(Stopped::Early("stopped by control".to_owned()));
            }
            Order::Sweep => {
                steering.sweep = Some(order);
                return Ok(());
            }
            Order::Rate(rate) => steering.connects_per_s = rate,
            Order::MessageRate(rate) => {
                steering.schedule = rate.map_or(Schedule::None, Schedule::PerSecond);
            }
            Order::Pause => steering.is_paused = true,
            Order::Resume => steering.is_paused = false,
        }
        let steering = &self.steering;
        let pace = if steering.is_paused {
            cores::pace(Some(0.0), Schedule::None, None, 1)
        } else {
            let churn = self.config.traffic.churn_per_s();
            let cores = self.plan.cpus.len();
            cores::pace(steering.connects_per_s, steering.schedule, churn, cores)
        };
        commands.broadcast(Command::Pace(pace)).await;
        steering.has_effect(order);
        Ok(())
    }

    /// A sweep in the hold, when one was ordered; `true` when the traffic is to go on after it.
    pub(super) fn take_sweep_order(&mut self) -> bool {
        let order = self.steering.sweep.take();
        order.inspect(|order| self.steering.has_effect(*order)).is_some()
    }

    fn tell(&self, control: &Control) {
        let (steering, figures) = (&self.steering, &self.figures);
        let connections = figures.sum(|s| &s.connections);
        let failed = figures.sum(|s| &s.connect_failed_total);
        let (lost, messages) = (figures.lost(), figures.sum(|s| &s.messages_total));
        let message_rate = match steering.schedule {
            Schedule::None => None,
            Schedule::Every(interval) => Some(connections as f64 / interval.as_secs_f64()),
            Schedule::PerSecond(rate) => Some(rate),
        };
        control.tell(|state| {
            steering.phase.clone_into(&mut state.phase);
            state.seconds = steering.began.elapsed().as_secs_f64();
            state.paused = steering.is_paused;
            state.connections = connections;
            state.wanted_connections = steering.wanted;
            (state.failed, state.lost, state.messages) = (failed, lost, messages);
            state.rate = steering.connects_per_s.and_then(number);
            state.message_rate = message_rate.and_then(number);
            state.memory_reserve_met = self.memory.reserve_met().is_some();
        });
    }

    /// From now on nothing can be changed: the plateaus are over, or all of it.
    pub(super) fn ends(&mut self, phase: &'static str) {
        (self.steering.is_ending, self.steering.phase) = (true, phase);
        if let Some(control) = self.steering.control.clone() {
            self.tell(&control);
        }
    }

    /// What a phase is called in the state.
    pub(super) fn enter_phase(&mut self, phase: Phase) {
        self.steering.enter(phase.verb());
    }
}
