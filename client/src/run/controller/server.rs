//! What the controller waits to see of the server: that its figures are of now, and that it is empty.

use std::time::{Duration, Instant};

use megaconn::base::constants::{SERVER_EMPTY_TIMEOUT, SERVER_TICK_TIMEOUT};
use megaconn::base::stderr::talk;
use megaconn::engine::client::phase::Command;
use megaconn::runtime::commands::Commands;

use crate::run::controller::{Controller, Stopped};

/// Time between two lines that say what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(5);

impl Controller<'_> {
    /// Waits for a dump of the server that shows what is held, if it dumps at all.
    pub(super) async fn await_server_tick(
        &mut self,
        commands: &Commands<Command>,
        since_ms: u64,
    ) -> Result<(), Stopped> {
        let began = Instant::now();
        while began.elapsed() < SERVER_TICK_TIMEOUT {
            self.figures.refresh_server();
            let server = self.figures.server.as_ref().filter(|s| s.at_ms().is_some());
            if server.is_none_or(|server| server.is_of(since_ms)) {
                break;
            }
            self.look(commands).await?;
        }
        Ok(())
    }

    /// Seconds from `began_ms` until the server was seen with no more connections than it had before
    /// the run; `None` when it was not, or cannot be seen.
    pub(super) async fn server_emptied(
        &mut self,
        commands: &Commands<Command>,
        began_ms: u64,
    ) -> Result<Option<f64>, Stopped> {
        let began = Instant::now();
        let mut said_at = began;
        while began.elapsed() < SERVER_EMPTY_TIMEOUT {
            if said_at.elapsed() >= SAY_EVERY {
                said_at = Instant::now();
                let left = (SERVER_EMPTY_TIMEOUT - began.elapsed()).as_secs();
                talk(&format!(
                    "waiting for the server to be seen empty, for {left} s more at most"
                ));
            }
            self.figures.refresh_server();
            let Some(server) = self.figures.server.as_ref().filter(|s| s.at_ms().is_some()) else {
                break;
            };
            if server.unseen().is_some() {
                break;
            }
            if server.is_of(began_ms) && server.connections() <= self.figures.server_before() {
                let ms = server.at_ms().unwrap_or(began_ms) - began_ms;
                return Ok(Some(ms as f64 / 1e3));
            }
            self.look(commands).await?;
        }
        Ok(None)
    }
}
