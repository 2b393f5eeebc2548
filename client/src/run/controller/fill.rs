//! The plateau of as many connections as there can be, opened step by step.

use std::time::{Duration, Instant};

use megaconn::base::stderr::talk;
use megaconn::base::units::grouped;
use megaconn::engine::client::phase::{Command, Phase};
use megaconn::engine::protocol::expect::Expect;
use megaconn::observe::stats::ClientTotals;
use megaconn::results::max::Max;
use megaconn::results::plateau::Plateau;
use megaconn::results::result::RunResult;
use megaconn::runtime::commands::Commands;

use crate::output::result;
use crate::run::controller::{Controller, Stopped};
use crate::run::filling::{Filling, Opened};

/// Without a loss for so long, those of the opening are over.
const QUIET: Duration = Duration::from_secs(1);

/// After so long they are taken to be over: the server ends connections one after the other.
const QUIET_TIMEOUT: Duration = Duration::from_secs(15);

/// Connections of the first step. Each next one has as many as there are before it.
const FIRST_STEP: u64 = 1_000;

impl Controller<'_> {
    /// Whether the plateau of `connections` is that of as many as there can be.
    pub(super) fn is_max(&self, connections: u64) -> bool {
        self.plan.max.is_some() && connections == self.plan.connections()
    }

    /// Opens until a wall is met, in steps: each is verified before the next one. The kernel completes
    /// handshakes for a server that accepts none of them, and a step that shows it is but half of all.
    pub(super) async fn fill(
        &mut self,
        commands: &Commands<Command>,
        plateau: &mut Plateau,
    ) -> Result<(), Stopped> {
        let most = self.plan.connections();
        self.filling = Some(Filling::begin(self.figures.totals(), &self.plan.host));
        let mut opened = Opened::default();
        let mut goal = self.figures.sum(|s| &s.connections);
        loop {
            // Of those that were asked for some may be gone: the goal is not what is open.
            let step = goal.max(FIRST_STEP).min(most - goal.min(most));
            goal += step;
            let before = self.figures.totals();
            self.open(commands, (Phase::Fill { most: goal }, step), &mut opened, plateau).await?;
            self.await_end_of_losses(commands, before.lost.iter().sum()).await?;
            self.verify(commands).await?;
            let counted = self.figures.totals().since(&before);
            let is_over = self.filling.as_mut().is_none_or(|it| it.is_over_after(&counted));
            if goal >= most || is_over || self.memory.reserve_met().is_some() {
                return Ok(());
            }
        }
    }

    /// Opens connections, about so many, and takes into the plateau how many were `opened` in it and how
    /// long that took.
    pub(super) async fn open(
        &mut self,
        commands: &Commands<Command>,
        (phase, new): (Phase, u64),
        opened: &mut Opened,
        plateau: &mut Plateau,
    ) -> Result<(), Stopped> {
        let (began, connected) = (Instant::now(), self.figures.sum(|s| &s.connected_total));
        let paused = self.steering.paused;
        let took = self.phase(commands, phase, new).await;
        let time = took.as_ref().map_or_else(|_| began.elapsed(), |took| *took);
        self.steering.look();
        opened.time += time.saturating_sub(self.steering.paused - paused);
        opened.connections += self.figures.sum(|s| &s.connected_total) - connected;
        result::opened(&mut plateau.connect, opened.connections, opened.time);
        took.map(drop)
    }

    /// Asks each connection for a proof that it is served, where the server answers.
    async fn verify(&mut self, commands: &Commands<Command>) -> Result<(), Stopped> {
        let (open, before) = (self.figures.sum(|s| &s.connections), self.figures.totals());
        if open == 0 || !matches!(self.config.traffic.expect, Expect::Echo(_)) {
            return Ok(());
        }
        self.phase(commands, Phase::Sweep, open).await?;
        let swept = self.figures.totals().since(&before);
        if let Some(filling) = &mut self.filling {
            filling.verified(&swept);
        }
        Ok(())
    }

    /// Whether the cores are to open nothing more, because one of them has met a wall or few files are left
    /// to others; `true` once.
    pub(super) fn has_met_wall(&mut self) -> bool {
        let is_core_at_wall = self.figures.sum(|s| &s.wall_met) > 0;
        self.filling.as_mut().is_some_and(|filling| filling.is_to_end(is_core_at_wall))
    }

    /// A server that is full may end connections that were established a moment after.
    async fn await_end_of_losses(
        &mut self,
        commands: &Commands<Command>,
        before: u64,
    ) -> Result<(), Stopped> {
        let began = Instant::now();
        let mut last = (before, began);
        while began.elapsed() < QUIET_TIMEOUT {
            let lost = self.figures.lost();
            if lost != last.0 {
                last = (lost, Instant::now());
            }
            if lost == before || last.1.elapsed() >= QUIET {
                break;
            }
            self.look(commands).await?;
        }
        Ok(())
    }

    /// Each connection was opened and verified, or given up; how many are held.
    pub(super) fn filled(&mut self) -> u64 {
        let after = self.figures.totals();
        let held = after.connections;
        if let Some(filling) = &mut self.filling {
            filling.ends(after);
        }
        talk(&format!("no more can be opened: {} connections are held", grouped(held)));
        held
    }

    /// Takes into the plateau and the result how many there were, and what of it was the end itself.
    pub(super) fn take_max(
        &self,
        plateau: &mut Plateau,
        result: &mut RunResult,
        totals: &ClientTotals,
    ) {
        let (Some(filling), Some(plan)) = (&self.filling, &self.plan.max) else { return };
        let max = Max {
            expected_wall: plan.expected_wall.to_owned().into(),
            expected_connections: plan.expected.into(),
            ..filling.max()
        };
        filling.leave_out(plateau, totals);
        plateau.failed = plateau.failed.without(&max.failed);
        plateau.lost = plateau.lost.without(&max.lost);
        // What was asked for is what there could be.
        let connections = (*max.connections).unwrap_or(plateau.established.or_zero());
        plateau.connections = connections.into();
        result.target_connections = connections.into();
        result.max = max.into();
    }
}
