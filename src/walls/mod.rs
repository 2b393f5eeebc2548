//! The walls: every limit that stops or disturbs many connections, one row each.
//!
//! A row says what the wall limits, how to read it and what a plan needs of it, what betrays it
//! while a run goes, and what lifts it. There are three readings of the table: `megaconn plan` and
//! `megaconn doctor` before a run ([`reading`]), and the verdict after it ([`verdict`]). Who adds a
//! wall adds a row to one of the parts of [`table`], and nothing else.

use std::fmt;

use crate::base::errno::Errno;
use crate::observe::stats::LostCause;
use crate::plan::Demand;
use crate::walls::case::{Case, Met};
use crate::walls::host::Host;

pub mod case;
pub mod diagnosis;
pub mod doctor;
pub mod host;
pub mod obsolete;
pub mod of_server;
pub mod reading;
pub mod remedy;
pub mod table;

/// One wall. The names are those that `result.json`, `plan` and `doctor` use.
pub struct Wall {
    /// Its name.
    pub id: &'static str,
    /// What it limits, in a clause.
    pub limits: &'static str,
    /// At which end of a connection it stands.
    pub at: At,
    /// What is counted.
    pub unit: &'static str,
    /// What this host has, what a plan needs, and how many connections that allows.
    pub read: fn(&Host, &Demand) -> Reading,
    /// What can become of a run that meets it.
    pub explains: &'static [Symptom],
    /// Whether it drops packets: what is late for it was sent again.
    pub drops: bool,
    /// What betrays it; one is enough.
    pub signs: &'static [Sign],
    /// What lifts it, the best first.
    pub fix: fn(&Host, &Demand) -> Vec<Fix>,
    /// What one should know besides.
    pub remark: &'static str,
}

/// An end of a connection, or what lies between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// `megaconn-client`, and its host.
    Client,
    /// The server, and its host.
    Server,
    /// Neither.
    Between,
}

impl Side {
    /// `"client"`, `"server"` or `"between"`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
            Side::Between => "between",
        }
    }
}

/// Where a wall stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// At one side only.
    One(Side),
    /// At the client or the server, wherever its sign is.
    Either,
}

impl At {
    /// The sides at which its signs are looked for.
    #[must_use]
    pub fn sides(self) -> &'static [Side] {
        match self {
            At::One(Side::Client) => &[Side::Client],
            At::One(Side::Server) => &[Side::Server],
            At::One(Side::Between) => &[Side::Between],
            At::Either => &[Side::Client, Side::Server],
        }
    }
}

/// What a wall has and what a plan needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What there is.
    pub have: Have,
    /// What the plan needs; `None` when nothing can be said before a run.
    pub need: Option<u64>,
    /// Connections that it allows; `None` when it bounds none.
    pub allows: Option<u64>,
    /// Whether too little of it stops a run, or only disturbs it.
    pub stops: bool,
}

/// What there is of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Have {
    /// So much.
    Some(u64),
    /// It does not bind this process.
    Unlimited,
    /// It could not be read.
    Unknown,
    /// It is nothing that one has.
    Nothing,
}

impl From<Option<u64>> for Have {
    fn from(number: Option<u64>) -> Have {
        number.map_or(Have::Unknown, Have::Some)
    }
}

impl Reading {
    /// A wall that nothing can be read of before it is met.
    pub const NOTHING: Reading =
        Reading { have: Have::Nothing, need: None, allows: None, stops: false };

    /// A wall that stops a run at `allows` connections; `u64::MAX` is a bound on something else.
    #[must_use]
    pub fn stops(have: Have, need: u64, allows: impl Fn(u64) -> u64) -> Reading {
        let allows = match have {
            Have::Some(have) => Some(allows(have)).filter(|allowed| *allowed != u64::MAX),
            _ => None,
        };
        Reading { have, need: Some(need), allows, stops: true }
    }

    /// A wall that only disturbs.
    #[must_use]
    pub fn disturbs(have: Have, need: u64) -> Reading {
        Reading { have, need: Some(need), allows: None, stops: false }
    }
}

/// What can become of a connection, or of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Symptom {
    /// Connects failed so.
    Failed(Errno),
    /// Connections were lost so.
    Lost(LostCause),
    /// Connections were not even tried.
    Untried,
    /// Messages, pushes or short connections were late, or not begun in time; or a gate on latency
    /// was not met.
    Late,
    /// The server did not end connections in time.
    NotEnded,
    /// A gate was missed, and nothing of the above says how.
    Missed,
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Symptom::Failed(errno) => write!(f, "connects failed ({errno})"),
            Symptom::Lost(cause) => write!(f, "connections lost ({})", cause.name()),
            Symptom::Untried => f.write_str("connections not tried"),
            Symptom::Late => f.write_str("late or not begun in time"),
            Symptom::NotEnded => f.write_str("connections not ended in time"),
            Symptom::Missed => f.write_str("gates missed"),
        }
    }
}

/// What betrays a wall. Each is looked for at the sides where the wall may stand.
#[derive(Clone, Copy)]
pub enum Sign {
    /// A counter of the kernel rose: likely, since others may have made it rise.
    Rises(&'static str),
    /// Counters or lines of the kernel, looked at together; how, in a clause.
    Kernel(&'static str, fn(&Case, Side) -> Option<Met>),
    /// One of the program's own figures rose.
    Counted(&'static str),
    /// An operation of the program failed so.
    Errno(Errno),
    /// The kernel's log has a line with this in it; how often is not known.
    Logged(&'static str),
    /// What became of the run, looked at closely; what it is, in a clause. Like an error number it is
    /// the loss itself, and says nothing when another wall explains it better.
    Became(&'static str, fn(&Case, Side) -> Option<Met>),
    /// Anything else; what it is, in a clause.
    Seen(&'static str, fn(&Case, Side) -> Option<Met>),
}

impl Sign {
    /// Whether the kernel keeps it, and not one of the programs.
    #[must_use]
    pub fn is_of_kernel(&self) -> bool {
        matches!(self, Sign::Rises(_) | Sign::Kernel(..) | Sign::Logged(_))
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sign::Rises(counter) => write!(f, "{counter} rises"),
            Sign::Counted(figure) => write!(f, "{figure} rises"),
            Sign::Errno(errno) => write!(f, "{errno}"),
            Sign::Logged(text) => write!(f, "kernel log: {text}"),
            Sign::Kernel(what, _) | Sign::Became(what, _) | Sign::Seen(what, _) => {
                f.write_str(what)
            }
        }
    }
}

/// What lifts a wall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// A sysctl, and the least value that is enough.
    Sysctl(&'static str, String),
    /// A limit of the process by its name in limits.conf (`nofile`, `memlock`), in its unit there.
    Limit(&'static str, u64),
    /// A flag of ours.
    Flag(String),
    /// Another command.
    Command(String),
    /// Nothing that one can type.
    Advice(&'static str),
}

impl Fix {
    /// How long it lasts.
    #[must_use]
    pub fn lasts(&self) -> &'static str {
        match self {
            Fix::Sysctl(..) => "until reboot; for good in /etc/sysctl.d",
            Fix::Limit(..) => {
                "in this shell; for good in /etc/security/limits.d or the systemd unit"
            }
            Fix::Flag(_) => "in this run",
            Fix::Command(_) => "as long as what it sets",
            Fix::Advice(_) => "",
        }
    }
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fix::Sysctl(name, value) if value.contains(' ') => {
                write!(f, "sysctl -w {name}='{value}'")
            }
            Fix::Sysctl(name, value) => write!(f, "sysctl -w {name}={value}"),
            Fix::Limit("nofile", files) => write!(f, "ulimit -n {files}"),
            Fix::Limit("memlock", kib) => write!(f, "ulimit -l {kib}"),
            Fix::Limit("nproc", threads) => write!(f, "ulimit -u {threads}"),
            Fix::Limit(name, value) => write!(f, "limit {name} {value}"),
            Fix::Flag(text) | Fix::Command(text) => f.write_str(text),
            Fix::Advice(text) => f.write_str(text),
        }
    }
}
