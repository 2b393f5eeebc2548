//! What lifts a wall: a sysctl, a limit, a flag, a command or advice.

use std::fmt;

use serde::{Serialize, Serializer};

/// Sysctls that are a choice and not an amount: the value that the plan needs is set, be it lower
/// or higher.
pub const CHOICES: [&str; 2] = ["kernel.io_uring_disabled", "net.ipv4.tcp_tw_reuse"];

/// What lifts a wall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// A sysctl, and the least value that is enough.
    Sysctl(&'static str, String),
    /// A limit of the process by its name in limits.conf (`nofile`, `memlock`), in its unit there.
    Limit(&'static str, u64),
    /// A flag of `megaconn` or `megaconn-client`.
    Flag(String),
    /// A flag of `megaconn` or `megaconn-client` that is an amount, and the least value that is enough.
    Raise(&'static str, u64),
    /// More cores for one of the programs, in the words of a flag.
    Cores(&'static str),
    /// Another command.
    Command(String),
    /// Advice that is no command.
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
            Fix::Flag(_) | Fix::Raise(..) | Fix::Cores(_) => "in this run",
            Fix::Command(_) => "as long as what it sets",
            Fix::Advice(_) => "",
        }
    }
}

/// As JSON it is its text.
impl Serialize for Fix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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
            Fix::Raise(flag, value) => write!(f, "{flag} {value}"),
            Fix::Cores(text) | Fix::Advice(text) => f.write_str(text),
        }
    }
}
