//! `--part`, `--run-id` and `--start-at`: what of a run this host does, and when. What the flags mean is read here, from
//! the environment of schedulers as well; `config` cuts the run by it.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use megaconn::base::moments;
use megaconn::base::units;
use megaconn::plan::parts::{RunPart, digits};
use megaconn::plan::sources::SourceSharing;

/// Parts of a run, as they are typed.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PartFlags {
    /// Part of a run, with others
    ///
    /// This is part K of N, from 1: of all connections, plateaus, rates and gates that are typed it does its share, and
    /// all parts do the whole. Each part is given the same flags, its own K, and the same --run-id. No part asks another;
    /// `megaconn merge` makes one run directory of theirs. `auto` reads K and N from the environment: of Slurm
    /// (SLURM_PROCID, SLURM_NTASKS), Open MPI (OMPI_COMM_WORLD_RANK, _SIZE), other MPIs (PMI_RANK, PMI_SIZE), or K from
    /// Kubernetes (JOB_COMPLETION_INDEX), which gives no N: that is `auto/N`, or MEGACONN_PARTS.
    #[arg(
        long,
        value_name = "K/N|auto|auto/N",
        hide_short_help = true,
        help_heading = "Parts of a run"
    )]
    pub(crate) part: Option<PartFlag>,
    /// Name of the run
    ///
    /// It stands in result.json and in the metrics. All parts of a run have one; without --seed random choices come from
    /// it. Default: none; with `--part auto` under Slurm the number of the job.
    #[arg(long, value_name = "TEXT", hide_short_help = true, help_heading = "Parts of a run", value_parser = run_id)]
    pub(crate) run_id: Option<String>,
    /// When to begin
    ///
    /// A moment of the wall clock, as 2026-11-30T21:00:00Z or in seconds since 1970; +DUR is from now. From then on
    /// plateaus go by the clock: each is opened, and held, at its time also when this host was done sooner, and the hold of
    /// one that is late ends at its time. So parts keep together without a connection between them.
    #[arg(long, value_name = "TIME|+DUR", hide_short_help = true, help_heading = "Parts of a run")]
    pub(crate) start_at: Option<StartAt>,
    /// Time to open each plateau
    ///
    /// With --start-at: from its beginning to its hold. Default: a quarter more than --rate takes, and 5 s.
    #[arg(long, value_name = "DUR", hide_short_help = true, help_heading = "Parts of a run",
          value_parser = units::positive_duration)]
    pub(crate) open_time: Option<Duration>,
    /// Whether parts share addresses
    ///
    /// shared: the parts have the same source addresses (one network namespace, or a NAT that keeps ports), and each has
    /// its own part of the ports. own: each host has addresses of its own, and uses all ports. auto: shared where a
    /// target is an address of the host itself, or with `--part auto` a scheduler says that a host has several parts;
    /// else own.
    #[arg(
        long,
        value_enum,
        value_name = "auto|own|shared",
        default_value = "auto",
        hide_short_help = true,
        help_heading = "Parts of a run",
        hide_possible_values = true
    )]
    pub(crate) part_sources: PartSources,
}

/// A part as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartFlag {
    Of(RunPart),
    /// What the environment says; so many there are, if that is typed.
    Auto(Option<u64>),
}

/// A moment as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartAt {
    /// Since 1970.
    At(Duration),
    /// From now.
    After(Duration),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PartSources {
    /// As this host can tell
    #[default]
    Auto,
    /// Each part has its own
    Own,
    /// All have the same
    Shared,
}

/// What the flags mean here and now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PartTyped {
    pub(crate) part: Option<RunPart>,
    pub(crate) run_id: Option<String>,
    pub(crate) sharing: SourceSharing,
    /// Since 1970.
    pub(crate) start: Option<Duration>,
    pub(crate) open_time: Option<Duration>,
}

impl PartFlags {
    /// What they mean at the moment `now`, where `variable` gives the environment.
    ///
    /// # Errors
    /// When there is no such part, or it cannot be told.
    pub(crate) fn read(
        &self,
        variable: impl Fn(&str) -> Option<String>,
        now: Duration,
    ) -> Result<PartTyped, String> {
        let part = match self.part {
            None => None,
            Some(PartFlag::Of(part)) => Some(part),
            Some(PartFlag::Auto(of)) => Some(automatic(&variable, of)?),
        };
        let is_auto = matches!(self.part, Some(PartFlag::Auto(_)));
        let of_job = || variable("SLURM_JOB_ID").filter(|id| is_auto && run_id(id).is_ok());
        let run_id = self.run_id.clone().or_else(of_job);
        let refused = |words: &str| Err(words.to_owned());
        if part.is_some() && run_id.is_none() {
            return refused(
                "--part: nothing tells parts of this run from those of another; fix: --run-id with one text for all of them",
            );
        }
        if part.is_none() && self.part_sources != PartSources::Auto {
            return refused("--part-sources is of parts, and this is a whole run; fix: add --part");
        }
        if self.start_at.is_none() && self.open_time.is_some() {
            return refused("--open-time is by the clock; fix: add --start-at");
        }
        let start = match self.start_at {
            Some(StartAt::At(at)) if at < now => {
                let late = now.saturating_sub(at).as_secs_f64();
                return Err(format!(
                    "--start-at: that was {late:.1} s ago, and the other parts have begun; fix: a later moment for all, or \
                     start this part sooner"
                ));
            }
            Some(StartAt::At(at)) => Some(at),
            Some(StartAt::After(time)) => Some(now + time),
            None => None,
        };
        let sharing = match self.part_sources {
            PartSources::Auto if is_auto && has_neighbours(&variable) => SourceSharing::Shared,
            PartSources::Auto => SourceSharing::Auto,
            PartSources::Own => SourceSharing::Own,
            PartSources::Shared => SourceSharing::Shared,
        };
        Ok(PartTyped { part, run_id, sharing, start, open_time: self.open_time })
    }
}

/// Where schedulers say how many processes a host has; of several hosts the first counts, as `2(x3)`.
const ON_ONE_HOST: [&str; 4] = [
    "SLURM_STEP_TASKS_PER_NODE",
    "SLURM_TASKS_PER_NODE",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MPI_LOCALNRANKS",
];

/// Whether a scheduler says that other parts are on the same host, and so have its addresses.
fn has_neighbours(variable: &impl Fn(&str) -> Option<String>) -> bool {
    let of_host = |name| {
        let text = variable(name)?;
        digits(text.split(['(', ',']).next()?)
    };
    ON_ONE_HOST.into_iter().filter_map(of_host).any(|processes| processes > 1)
}

/// Which schedulers say which part this is: by a number from 0, and how many there are.
const SCHEDULERS: [(&str, Option<&str>); 4] = [
    ("JOB_COMPLETION_INDEX", None),
    ("SLURM_PROCID", Some("SLURM_NTASKS")),
    ("OMPI_COMM_WORLD_RANK", Some("OMPI_COMM_WORLD_SIZE")),
    ("PMI_RANK", Some("PMI_SIZE")),
];

/// How many parts there are, where a scheduler does not say it. The second is usual in manifests of Kubernetes.
const PARTS: [&str; 2] = ["MEGACONN_PARTS", "JOB_COMPLETIONS"];

/// The part that the environment says, of so many if that was typed.
fn automatic(
    variable: &impl Fn(&str) -> Option<String>,
    of: Option<u64>,
) -> Result<RunPart, String> {
    let number = |name: &'static str| match variable(name) {
        None => Ok(None),
        Some(text) => digits(text.trim()).map(|n| Some((name, n))).ok_or_else(|| {
            format!("--part auto: {name} is `{text}`, which is no number; fix: --part 1/2")
        }),
    };
    let agreed = |all: &[(&'static str, u64)]| match all {
        [] => Ok(None),
        [first, rest @ ..] => match rest.iter().find(|other| other.1 != first.1) {
            None => Ok(Some(first.1)),
            Some(other) => Err(format!(
                "--part auto: {}={} and {}={} contradict each other; fix: unset the one that is not meant, or --part 1/2",
                first.0, first.1, other.0, other.1
            )),
        },
    };
    let (mut ranks, mut sizes) = (Vec::new(), Vec::new());
    for (rank, size) in SCHEDULERS {
        let Some(told) = number(rank)? else { continue };
        ranks.push(told);
        sizes.extend(size.map(number).transpose()?.flatten());
    }
    for name in PARTS {
        sizes.extend(number(name)?);
    }
    sizes.extend(of.map(|of| ("--part auto/N", of)));
    let Some(index) = agreed(&ranks)? else {
        let names = SCHEDULERS.map(|(rank, _)| rank).join(", ");
        return Err(format!(
            "--part auto: no scheduler says which part this is ({names}); fix: --part 1/2"
        ));
    };
    let Some(of) = agreed(&sizes)? else {
        return Err(format!(
            "--part auto: {} says which part this is, and nothing says of how many; fix: --part auto/N, or MEGACONN_PARTS=N",
            ranks[0].0
        ));
    };
    // They count from 0.
    RunPart::new(index.saturating_add(1), of).map_err(|why| format!("--part auto: {why}"))
}

/// Bytes of the name of a run: it is a label of metrics.
const RUN_ID_BYTES: usize = 128;

fn run_id(text: &str) -> Result<String, String> {
    let is_plain = !text.is_empty() && text.len() <= RUN_ID_BYTES;
    let has_odd = text.chars().any(|c| c.is_control() || c == '"' || c == '\\');
    let error = || {
        format!(
            "`{}` is no name of a run; fix: 1 to {RUN_ID_BYTES} bytes without quotes",
            text.escape_debug()
        )
    };
    (is_plain && !has_odd).then(|| text.to_owned()).ok_or_else(error)
}

impl FromStr for PartFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<PartFlag, String> {
        match text.strip_prefix("auto") {
            Some("") => Ok(PartFlag::Auto(None)),
            Some(of) => {
                let of = of.strip_prefix('/').and_then(digits).filter(|of| *of > 0);
                let error = || format!("`{text}` is no part; fix: write auto, auto/10 or 1/10");
                Ok(PartFlag::Auto(Some(of.ok_or_else(error)?)))
            }
            None => text.parse().map(PartFlag::Of),
        }
    }
}

impl FromStr for StartAt {
    type Err = String;

    fn from_str(text: &str) -> Result<StartAt, String> {
        match text.strip_prefix('+') {
            Some(time) => units::duration(time).map(StartAt::After),
            None => moments::moment(text).map(StartAt::At),
        }
    }
}

#[cfg(test)]
mod tests;
