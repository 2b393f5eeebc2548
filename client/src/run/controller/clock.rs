//! With --start-at: the run goes by the clock, and waits for each moment of its timetable.

use std::time::Duration;

use glommio::timer::Timer;
use megaconn::base::constants::LOOK_EVERY;
use megaconn::base::moments::wall_clock;
use megaconn::base::stderr::talk;
use megaconn::engine::client::phase::Command;
use megaconn::plan::timetable::{Span, Timetable};
use megaconn::runtime::commands::Commands;

use crate::run::controller::{Controller, Stopped};

impl Controller<'_> {
    /// The moments of the run.
    pub(super) fn timetable(&self) -> Option<&Timetable> {
        self.config.cut.timetable.as_ref()
    }

    /// The moments of the plateau that is taken now; none of one that was asked for on the way.
    pub(super) fn span(&self) -> Option<Span> {
        let taken = usize::try_from(self.plateaus_taken).ok()?.checked_sub(1)?;
        self.timetable()?.plateaus.get(taken).copied()
    }

    /// Waits until the run is to begin.
    pub(super) async fn await_start(
        &mut self,
        commands: &Commands<Command>,
    ) -> Result<(), Stopped> {
        let Some(start) = self.timetable().map(|table| table.start) else { return Ok(()) };
        let left = start.saturating_sub(wall_clock()).as_secs_f64();
        talk(&format!("waiting for {left:.1} s until the run begins"));
        self.await_moment(commands, start).await.map(drop)
    }

    /// Waits until `moment`, since 1970; by how much it had passed already.
    pub(super) async fn await_moment(
        &mut self,
        commands: &Commands<Command>,
        moment: Duration,
    ) -> Result<Duration, Stopped> {
        let late = wall_clock().saturating_sub(moment);
        loop {
            match moment.saturating_sub(wall_clock()) {
                Duration::ZERO => return Ok(late),
                // A look takes as long.
                left if left > 2 * LOOK_EVERY => self.look(commands).await?,
                left => {
                    Timer::new(left).await;
                }
            }
        }
    }

    /// Waits for the hold of the plateau that is taken now; how late it is, in seconds.
    pub(super) async fn await_hold(
        &mut self,
        commands: &Commands<Command>,
    ) -> Result<Option<f64>, Stopped> {
        let Some(span) = self.span() else { return Ok(None) };
        let late = self.await_moment(commands, span.holds).await?.as_secs_f64();
        if late > 0.0 {
            talk(&format!(
                "note: the hold begins {late:.1} s after its time; more --open-time, or a lower --rate?"
            ));
        }
        Ok(Some(late))
    }

    /// Whether a hold that began so long ago, without pauses, is over.
    pub(super) fn hold_is_over(&self, passed: Duration) -> bool {
        match self.span() {
            Some(span) => wall_clock() >= span.ends,
            None => passed >= self.config.load.hold,
        }
    }
}
