//! A run under control: orders that have come are carried out between two looks, and its state is told.

use megaconn::base::stderr::talk;
use megaconn::engine::client::config::{Pace, Schedule};
use megaconn::engine::client::phase::Command;
use megaconn::observe::control::{Order, number};
use megaconn::runtime::commands::Commands;

use crate::run::control::Control;
use crate::run::controller::{Controller, Stopped};
use crate::run::cores;
use crate::run::stage::Stage;

impl Controller<'_> {
    /// Carries out what was ordered, and tells the state.
    pub(super) async fn steer(&mut self, commands: &Commands<Command>) -> Result<(), Stopped> {
        let Some(control) = self.steering.control.clone() else { return Ok(()) };
        self.steering.look();
        let mut ended = Ok(());
        while ended.is_ok()
            && let Some((order, what)) = control.take(|order| self.steering.stage.takes(order))
        {
            ended = self.carry_out(commands, order, what).await;
        }
        self.tell(&control);
        ended
    }

    /// The number that an order asks for which waits for a plateau, when no other comes.
    pub(super) fn waiting_connections(&mut self) -> Option<u64> {
        let control = self.steering.control.as_ref()?;
        let (order, what) = control.take(|order| matches!(order, Order::Connections(_)))?;
        self.steering.has_effect(order);
        let Order::Connections(connections) = what else { return None };
        talk(&format!("control: {what}"));
        (self.steering.is_ordered, self.steering.has_changed_connections) = (true, true);
        Some(connections)
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
                (steering.stage, steering.is_ordered) = (Stage::Between, true);
                steering.wanted = connections;
                steering.has_changed_connections = true;
                self.plateaus.put_next(connections);
                return Err(Stopped::Changed);
            }
            Order::Stop => {
                steering.has_effect(order);
                steering.stage = Stage::Between;
                return Err(Stopped::Early("stopped by control".to_owned()));
            }
            Order::Sweep => {
                steering.sweeps.push(order);
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
        let (churn, cores) = (self.config.traffic.churn_per_s(), self.plan.cpus.len());
        let pace = cores::pace(steering.connects_per_s, steering.schedule, churn, cores);
        let pace = Pace { is_paused: steering.is_paused, ..pace };
        commands.broadcast(Command::Pace(pace)).await;
        steering.has_effect(order);
        Ok(())
    }

    /// Whether a sweep was ordered.
    pub(super) fn take_sweep_orders(&mut self) -> bool {
        let orders = std::mem::take(&mut self.steering.sweeps);
        orders.iter().for_each(|order| self.steering.has_effect(*order));
        !orders.is_empty()
    }

    fn tell(&self, control: &Control) {
        let (steering, figures) = (&self.steering, &self.figures);
        let connections = figures.sum(|s| &s.connections);
        let failed = figures.sum(|s| &s.connect_failed_total);
        let (lost, messages) = (figures.lost(), figures.sum(|s| &s.messages_total));
        let message_rate = match steering.schedule {
            Schedule::None => None,
            Schedule::Every(interval) | Schedule::Exponential(interval) => {
                Some(connections as f64 / interval.as_secs_f64())
            }
            Schedule::PerSecond(rate) => Some(rate),
        };
        control.tell(steering.stage, |state| {
            let phase = match steering.stage {
                Stage::Ending => "ending",
                Stage::Over => "over",
                _ => steering.phase,
            };
            phase.clone_into(&mut state.phase);
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

    /// From now on so many connections may be asked for at most: there can be no more.
    pub(super) fn tell_most(&self, connections: u64) {
        if let Some(control) = &self.steering.control {
            control.tell(self.steering.stage, |state| {
                (state.most_connections, state.most_by) = (connections, "max".to_owned());
            });
        }
    }

    /// From now on nothing can be changed: the plateaus are over, or all of it.
    pub(super) fn ends(&mut self, stage: Stage) {
        self.steering.stage = stage;
        if let Some(control) = self.steering.control.clone() {
            self.tell(&control);
        }
    }
}
