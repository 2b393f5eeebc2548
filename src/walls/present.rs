//! Fixes held against what is there: a fix that sets what is set already, or that asks for more cores
//! where there is no CPU for them, is none.

use crate::host::cgroup;
use crate::plan::demand::Demand;
use crate::walls::fix::{CHOICES, Fix};
use crate::walls::have::Have;
use crate::walls::host::Host;

/// What is known of the end that a fix is for.
#[derive(Clone, Copy)]
pub struct Present<'a> {
    /// This host.
    pub host: &'a Host,
    /// Whether that end is under this host's kernel, so that sysctls are those that it has.
    pub is_this_kernel: bool,
    /// Whether that end is this process, or would be, so that limits are those that it has.
    pub is_this_process: bool,
    /// Cores of that end; `None` when they are not known.
    pub cores: Option<u64>,
    /// Length of the accept queues that the server asks for; `None` when it is not known.
    pub backlog: Option<u64>,
}

impl<'a> Present<'a> {
    /// What a plan finds on this host.
    #[must_use]
    pub fn of_plan(host: &'a Host, demand: &Demand) -> Present<'a> {
        Present {
            host,
            is_this_kernel: true,
            is_this_process: true,
            cores: Some(demand.cores),
            backlog: Some(demand.backlog),
        }
    }

    /// Those of `fixes` that change something. Where none does and the wall was met all the same, what is
    /// there is too little: then those that are amounts, with twice of that.
    #[must_use]
    pub fn useful(&self, fixes: &[Fix]) -> Vec<Fix> {
        let lifting: Vec<Fix> = fixes.iter().filter(|fix| self.lifts(fix)).cloned().collect();
        if !lifting.is_empty() {
            return lifting;
        }
        let beyond: Vec<Fix> = fixes.iter().filter_map(|fix| self.beyond(fix)).collect();
        match (beyond.is_empty(), fixes) {
            (true, [_, ..]) => vec![Fix::Advice("more machines, or a larger one; or ask for less")],
            _ => beyond,
        }
    }

    /// Whether a fix raises what it says it raises.
    #[must_use]
    pub fn lifts(&self, fix: &Fix) -> bool {
        match fix {
            Fix::Sysctl(..) => !self.is_this_kernel || !self.host.has(fix),
            Fix::Limit(name, value) => match self.limit(name) {
                Have::Some(have) => *value > have,
                Have::Unlimited => false,
                Have::Unknown | Have::Nothing => true,
            },
            Fix::Raise("serve --backlog", value) => self.backlog.is_none_or(|have| *value > have),
            Fix::Cores(_) => self.has_more_cpus(),
            Fix::Raise(..) | Fix::Flag(_) | Fix::Command(_) | Fix::Advice(_) => true,
        }
    }

    /// The same amount, beyond what is there.
    fn beyond(&self, fix: &Fix) -> Option<Fix> {
        match fix {
            Fix::Sysctl(name, _) if CHOICES.contains(name) || *name == PORT_RANGE => None,
            Fix::Sysctl(name, value) => {
                let twice = |n: u64| n.saturating_mul(2).min(i32::MAX.unsigned_abs().into());
                let have = self.host.procfs.numbers(name)?;
                let most = have.iter().map(|have| twice(*have).to_string());
                let most: Vec<String> = most.collect();
                // What is at its end cannot be raised.
                let is_more = have.iter().any(|have| twice(*have) > *have);
                is_more.then(|| Fix::Sysctl(name, most.join(" "))).filter(|_| !value.is_empty())
            }
            Fix::Limit(name, value) => match self.limit(name) {
                Have::Some(have) if have < u64::MAX / 2 => {
                    Some(Fix::Limit(name, (2 * have).max(*value)))
                }
                _ => None,
            },
            Fix::Raise("serve --backlog", _) | Fix::Cores(_) => None,
            Fix::Raise(..) | Fix::Flag(_) | Fix::Command(_) | Fix::Advice(_) => Some(fix.clone()),
        }
    }

    /// A limit of this process, in the unit of limits.conf.
    fn limit(&self, name: &str) -> Have {
        if !self.is_this_process {
            return Have::Unknown;
        }
        match (name, self.host.memlock) {
            ("nofile", _) => Have::Some(self.host.nofile),
            ("memlock", Have::Some(bytes)) => Have::Some(bytes / 1024),
            ("memlock", have) => have,
            ("nproc", _) => self.host.nproc,
            _ => Have::Unknown,
        }
    }

    /// Whether that end may have more CPUs than it has cores.
    fn has_more_cpus(&self) -> bool {
        let cpus = if self.is_this_process {
            cpus_allowed(self.host)
        } else if self.is_this_kernel {
            cpus_of_host(self.host)
        } else {
            None
        };
        self.cores.zip(cpus).is_none_or(|(cores, cpus)| cores < cpus)
    }
}

/// The client's own flags choose source ports; a wider range than all of it there is not.
const PORT_RANGE: &str = "net.ipv4.ip_local_port_range";

/// CPUs of the host.
fn cpus_of_host(host: &Host) -> Option<u64> {
    let stat = host.procfs.read("proc/stat")?;
    let is_cpu = |line: &&str| {
        let number = line.strip_prefix("cpu").and_then(|rest| rest.chars().next());
        number.is_some_and(|first| first.is_ascii_digit())
    };
    Some(stat.lines().filter(is_cpu).count() as u64).filter(|cpus| *cpus > 0)
}

/// CPUs that this process may use at once: those of its set, and whole ones of its quota.
fn cpus_allowed(host: &Host) -> Option<u64> {
    let status = host.procfs.read("proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let set: Option<u64> = list.and_then(|list| list.trim().split(',').map(cpus_in).sum());
    let quotas = cgroup::directories(&host.procfs, "cpu");
    let quota = quotas.iter().filter_map(|group| quota(host, group.path.to_str()?)).min();
    [set, quota].into_iter().flatten().min()
}

/// How many a part of a list like `0,2-5` names.
fn cpus_in(part: &str) -> Option<u64> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    last.parse::<u64>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
}

/// Whole CPUs of the quota of a group, at least one.
fn quota(host: &Host, directory: &str) -> Option<u64> {
    let read = |file: &str| host.procfs.read(&format!("{directory}/{file}"));
    let whole = |quota: &str, period: &str| -> Option<u64> {
        let (quota, period) = (quota.trim().parse::<u64>().ok()?, period.trim().parse().ok()?);
        Some(quota.checked_div(period)?.max(1))
    };
    if let Some(max) = read("cpu.max") {
        let (quota, period) = max.trim().split_once(' ')?;
        return whole(quota, period);
    }
    whole(&read("cpu.cfs_quota_us")?, &read("cpu.cfs_period_us")?)
}
