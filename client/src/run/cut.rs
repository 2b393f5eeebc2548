//! What one part of a run has of what was typed for all of it, and when its plateaus begin.

use std::time::Duration;

use megaconn::base::constants::SETTLE;
use megaconn::base::units::grouped;
use megaconn::plan::parts::RunPart;
use megaconn::plan::sources::SourceSharing;
use megaconn::plan::timetable::{Pace, Timetable};

use crate::run::flags::Flags;
use crate::run::part::PartTyped;

/// The part, and the whole of which it is one.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) part: Option<RunPart>,
    pub(crate) run_id: Option<String>,
    pub(crate) sharing: SourceSharing,
    /// Held connections of the whole run at each plateau.
    pub(crate) whole: Vec<u64>,
    /// With --start-at.
    pub(crate) timetable: Option<Timetable>,
}

impl Cut {
    /// Takes from `flags`, which are for the `whole`, what this part has of their rates.
    ///
    /// # Errors
    /// What cannot be cut, with the fix.
    pub(crate) fn new(
        typed: PartTyped,
        flags: &mut Flags,
        whole: &[u64],
        to_max: bool,
    ) -> Result<Cut, String> {
        let PartTyped { part, run_id, sharing, start, open_time } = typed;
        let searches = flags.keep_bystanders.is_some();
        if (part.is_some() || start.is_some()) && (to_max || searches) {
            let (flag, what) = if to_max {
                ("--connections max", "max")
            } else {
                ("--keep-bystanders", "a search")
            };
            return Err(format!(
                "{flag}: {what} finds its numbers on the way, and parts and a clock need them before; fix: --connections \
                 with numbers, or a run by itself without --part and --start-at"
            ));
        }
        let timetable = start
            .map(|start| {
                let pace = Pace {
                    plateaus: whole,
                    rate_per_s: flags.load.rate,
                    open: open_time,
                    baseline: if flags.bystanders { flags.panel.bystander_idle } else { Duration::ZERO },
                    before_hold: SETTLE + settled(flags),
                    hold: flags.load.hold,
                };
                Timetable::new(start, &pace).ok_or_else(|| {
                    "--start-at: nothing says how long the opening takes, and so when each plateau is held; fix: --rate 1k/s, \
                     or --open-time 60s"
                        .to_owned()
                })
            })
            .transpose()?;
        if let Some(part) = part {
            let few = whole.iter().find(|connections| (1..part.of()).contains(*connections));
            if let Some(few) = few {
                return Err(format!(
                    "--part {part}: {} connections are fewer than parts, and a part would have none; fix: --connections \
                     {} or more, or fewer parts",
                    grouped(*few),
                    part.of()
                ));
            }
            let rates =
                [&mut flags.load.rate, &mut flags.traffic.message_rate, &mut flags.traffic.churn];
            rates.into_iter().flatten().for_each(|rate| *rate = part.rate(*rate));
        }
        Ok(Cut { part, run_id, sharing, whole: whole.to_vec(), timetable })
    }

    /// What it has of so many things.
    pub(crate) fn share(&self, total: u64) -> u64 {
        self.part.map_or(total, |part| part.share(total))
    }

    /// What random choices come from, of the seed of the whole run.
    pub(crate) fn seed(&self, whole: u64) -> u64 {
        self.part.map_or(whole, |part| part.seed(whole))
    }

    /// When the first thing of a core is due, as a part of its own interval.
    pub(crate) fn turn(&self, core: usize, cores: usize) -> f64 {
        self.part.map_or_else(|| core as f64 / cores as f64, |part| part.turn(core, cores))
    }

    /// With which ports of the host its connections are made.
    pub(crate) fn of_sources(&self) -> Option<(RunPart, SourceSharing)> {
        Some((self.part?, self.sharing))
    }
}

/// Bystanders see connections at rest before those carry anything.
fn settled(flags: &Flags) -> Duration {
    let traffic = &flags.traffic;
    let is_any = traffic.message_every.is_some()
        || traffic.message_rate.is_some()
        || traffic.ping_every.is_some()
        || traffic.churn.is_some()
        || flags.lifetime.told().is_some()
        || matches!(
            traffic.expect,
            crate::run::flags::Expect::Push | crate::run::flags::Expect::Broadcast
        );
    if flags.bystanders && is_any { flags.panel.bystander_idle } else { Duration::ZERO }
}
