//! What is typed after `megaconn measure`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use megaconn::base::units;
use megaconn::base::wanted::Wanted;
use megaconn::plan::tuples::PortRange;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn measure\n  \
    megaconn measure --connections 10k,100k,1M --hold 10s -- run --message-every 10s -- serve --cores 0\n\n\
    Exit status: 0 every connection was established, verified and held; 1 something was not, or an end was\n\
    killed; 2 refused before starting, with the fix; 130 or 143 after a signal, with a partial report.")]
pub(crate) struct Flags {
    /// Connections to hold, in plateaus
    ///
    /// With several numbers, which rise, each is a plateau: opened on top of the one before, settled,
    /// measured and held. `max`, last or alone, opens until a limit of this host is met, or the memory
    /// reserve, and holds what there is then.
    #[arg(long, value_name = "N[,N...][,max]", value_delimiter = ',', default_value = "max")]
    pub(crate) connections: Vec<Wanted>,
    /// Time to hold a plateau
    #[arg(long, value_name = "DUR", default_value = "60s", value_parser = units::duration)]
    pub(crate) hold: Duration,
    /// Run directory [default: runs/DATE-TIME]
    ///
    /// Made if it is not there, in the present directory; DATE-TIME is of now, in UTC. What an earlier
    /// run left in it is set aside in `earlier-N`.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Ports of the server [default: 7000-7015]
    ///
    /// On 127.0.0.1. Without this flag sixteen others are chosen where one of these is taken.
    #[arg(long, value_name = "LO-HI")]
    pub(crate) ports: Option<PortRange>,
    /// Watch no bystanders
    ///
    /// Else pings, connects and requests of others go on beside the run, from an idle baseline before it
    /// until after it; without them it takes half a minute less.
    #[arg(long)]
    pub(crate) no_bystanders: bool,
    /// Flags for either end: `-- run FLAGS`, `-- serve FLAGS`
    ///
    /// Behind `run` stands what `megaconn-client run` takes, behind `serve` what `megaconn serve` takes;
    /// behind another `--` the other end may follow.
    #[arg(last = true, value_name = "run|serve FLAGS")]
    pub(crate) ends: Vec<OsString>,
}
