//! The flags of the panel, and what they mean: the targets of its probes, and their rate.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use megaconn::base::constants::{BYSTANDER_IDLE_LEAST, BYSTANDER_RATE, BYSTANDER_RATE_MAX};
use megaconn::base::units;

/// What is typed.
#[derive(Args)]
#[command(next_help_heading = "Bystanders")]
pub(crate) struct BystanderFlags {
    /// Service that they ask
    ///
    /// What `megaconn serve --bystander` was given.
    #[arg(long, value_name = "ADDR:PORT", value_parser = units::peer_address)]
    pub(crate) bystander_service: Option<SocketAddr>,
    /// Another listener they connect to
    ///
    /// Repeatable. Nothing is sent to it.
    #[arg(long, hide_short_help = true, value_name = "ADDR:PORT", value_parser = units::peer_address)]
    pub(crate) bystander_connect: Vec<SocketAddr>,
    /// Another host they ping; repeatable
    #[arg(long, hide_short_help = true, value_name = "ADDR", value_parser = units::address)]
    pub(crate) ping: Vec<IpAddr>,
    /// A name they look up
    ///
    /// By the system's resolver.
    #[arg(long, hide_short_help = true, value_name = "NAME",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) resolve: Option<String>,
    /// Tries of each per second
    ///
    /// By an open-loop schedule: latency counts from when a try was due. At most 400;
    /// `schedule` at most 50.
    #[arg(long, hide_short_help = true, value_name = "N/s", default_value_t = BYSTANDER_RATE, value_parser = rate)]
    pub(crate) bystander_rate: u64,
    /// Time of the idle baseline
    ///
    /// And of the recovery after the run, and of the rest before traffic at each plateau. In 15 s there
    /// are 300 tries of each, which tell more than the 100 of the least, 5s: answers that are slow come
    /// in bursts, and count as fewer.
    #[arg(long, hide_short_help = true, value_name = "DUR", default_value = "15s", value_parser = idle)]
    pub(crate) bystander_idle: Duration,
}

fn rate(text: &str) -> Result<u64, String> {
    let most = BYSTANDER_RATE_MAX;
    let rate = units::rate(text)?;
    if rate > most as f64 {
        return Err(format!("{rate} is a load, and no bystander; fix: write {most} or less"));
    }
    let whole = (1..=most).find(|whole| *whole as f64 == rate);
    whole.ok_or_else(|| format!("`{text}` is no whole number; fix: write 1 to {most}"))
}

fn idle(text: &str) -> Result<Duration, String> {
    let idle = units::duration(text)?;
    let least = BYSTANDER_IDLE_LEAST.as_secs();
    let error =
        || format!("`{text}` is too short to know an idle host; fix: write {least}s or more");
    (idle >= BYSTANDER_IDLE_LEAST).then_some(idle).ok_or_else(error)
}

/// The targets of the probes, and their rate.
#[derive(Clone, Debug)]
pub(crate) struct ProbeTargets {
    /// Of each bystander.
    pub(crate) rate_per_s: u64,
    /// Time for which the idle host is watched, before and after.
    pub(crate) idle: Duration,
    /// The service of `serve --bystander`.
    pub(crate) service: Option<SocketAddr>,
    /// Hosts that are pinged; the target's is the first.
    pub(crate) ping: Vec<IpAddr>,
    /// Listeners besides the service.
    pub(crate) connect: Vec<SocketAddr>,
    /// A name that is looked up.
    pub(crate) resolve: Option<String>,
    /// Where a file may be.
    pub(crate) dir: Option<PathBuf>,
}

impl BystanderFlags {
    /// What they mean for a panel that pings `target` first, and has a file in `dir`.
    pub(crate) fn whom(&self, target: Option<IpAddr>, dir: Option<&Path>) -> ProbeTargets {
        ProbeTargets {
            rate_per_s: self.bystander_rate,
            idle: self.bystander_idle,
            service: self.bystander_service,
            ping: {
                let all = target.into_iter().chain(self.ping.iter().copied());
                let mut once = HashSet::new();
                all.filter(|host| once.insert(*host)).collect()
            },
            connect: self.bystander_connect.clone(),
            resolve: self.resolve.clone(),
            dir: dir.map(Path::to_owned),
        }
    }

    /// Whether one was given that names a bystander.
    pub(crate) fn names_a_target(&self) -> bool {
        let others = !self.ping.is_empty() || !self.bystander_connect.is_empty();
        others || self.bystander_service.is_some() || self.resolve.is_some()
    }
}

impl fmt::Display for ProbeTargets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = self.service.map_or("none".to_owned(), |service| service.to_string());
        write!(f, "{}/s each, idle {:?}, service {service}", self.rate_per_s, self.idle)
    }
}
