//! What the kernel counts of a network namespace and its host, at one moment. Names are the
//! kernel's, after the name of their table. A counter that is absent was not measured.

use std::collections::BTreeMap;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::host::procfs::ProcFs;
use crate::host::{cgroup, links, neighbour_tables};

/// Counters that only rise, by names like `TcpExt.ListenOverflows`, `Tcp.RetransSegs`,
/// `softnet.dropped`, `arp_cache.table_fulls`, `nf_conntrack.drop`, `vmstat.oom_kill`,
/// `cpu0.busy_ticks`, `eth0.rx_missed_errors`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// All of them, now.
    #[must_use]
    pub fn read(procfs: &ProcFs) -> Counters {
        let mut counters = Counters::default();
        let text = |path: &str| procfs.read(path).unwrap_or_default();
        for path in ["proc/net/netstat", "proc/net/snmp"] {
            counters.add_named(&text(path));
        }
        counters.add_softnet(&text("proc/net/softnet_stat"));
        for table in ["arp_cache", "ndisc_cache", "nf_conntrack"] {
            counters.add_table(table, &text(&format!("proc/net/stat/{table}")));
        }
        if procfs.is_host() && counters.get("arp_cache.table_fulls").is_none() {
            for (table, fulls) in neighbour_tables::overflows() {
                counters.set(&format!("{table}.table_fulls"), fulls);
            }
        }
        counters.add_vmstat(&text("proc/vmstat"));
        counters.add_cpus(&text("proc/stat"));
        for link in links::all(procfs) {
            for (name, value) in link.counters {
                counters.set(&format!("{}.{name}", link.name), value);
            }
        }
        for (name, value) in cgroup::counters(procfs) {
            counters.set(name, value);
        }
        counters
    }

    /// The same, with counters of network cards that only `ethtool` shows, where it is installed.
    /// It is run once for each card, so this is for single moments and not for a clock.
    #[must_use]
    pub fn read_with_cards(procfs: &ProcFs) -> Counters {
        let mut counters = Counters::read(procfs);
        for card in links::all(procfs).into_iter().filter(|link| link.is_card) {
            let output = Command::new("ethtool").args(["-S", &card.name]).output();
            if let Ok(output) = output {
                counters.add_ethtool(&String::from_utf8_lossy(&output.stdout));
            }
        }
        counters
    }

    /// The same for another program of this host: what control groups count is `theirs`, or not measured.
    #[must_use]
    pub fn with_groups_of(mut self, theirs: Option<&Counters>) -> Counters {
        self.retain(|name, _| !name.starts_with(cgroup::PREFIX));
        let groups = theirs.into_iter().flat_map(Counters::iter);
        groups
            .filter(|(name, _)| name.starts_with(cgroup::PREFIX))
            .for_each(|(name, value)| self.set(name, value));
        self
    }

    /// One counter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// Sets one counter.
    pub fn set(&mut self, name: &str, value: u64) {
        self.0.insert(name.to_owned(), value);
    }

    /// Keeps the counters for which `keep` is true.
    pub fn retain(&mut self, keep: impl Fn(&str, u64) -> bool) {
        self.0.retain(|name, value| keep(name, *value));
    }

    /// All, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// By how much a counter rose since `before`; `None` when either was not measured.
    #[must_use]
    pub fn rise(&self, before: &Counters, name: &str) -> Option<u64> {
        Some(self.get(name)?.saturating_sub(before.get(name)?))
    }

    /// Pairs of lines, names above values, as `netstat` and `snmp` have them.
    fn add_named(&mut self, text: &str) {
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let mut names = names.split_whitespace();
            let mut values = values.split_whitespace();
            let (table, same) = (names.next(), values.next());
            let Some(table) = table.filter(|_| table == same).and_then(|t| t.strip_suffix(':'))
            else {
                return;
            };
            for (name, value) in names.zip(values) {
                // Tcp.MaxConn, which may be -1, is no counter.
                if let Ok(value) = value.parse() {
                    self.set(&format!("{table}.{name}"), value);
                }
            }
        }
    }

    /// One line for each CPU, in hexadecimal: packets, dropped, times squeezed, and more.
    fn add_softnet(&mut self, text: &str) {
        for (column, name) in [(1, "softnet.dropped"), (2, "softnet.time_squeeze")] {
            let cell =
                |line: &str| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok();
            if let Some(sum) = sum_of(text.lines().map(cell)) {
                self.set(name, sum);
            }
        }
    }

    /// A line of names, then one line for each CPU, in hexadecimal. The first column is a level.
    fn add_table(&mut self, table: &str, text: &str) {
        let mut lines = text.lines();
        let names = lines.next().unwrap_or_default();
        let rows: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
        for (column, name) in names.split_whitespace().enumerate().skip(1) {
            let cell = |row: &Vec<&str>| u64::from_str_radix(row.get(column)?, 16).ok();
            if let Some(sum) = sum_of(rows.iter().map(cell)) {
                self.set(&format!("{table}.{name}"), sum);
            }
        }
    }

    fn add_vmstat(&mut self, text: &str) {
        for line in text.lines() {
            if let Some(("oom_kill", value)) = line.split_once(' ')
                && let Ok(value) = value.trim().parse()
            {
                self.set("vmstat.oom_kill", value);
            }
        }
    }

    /// Ticks of each CPU, busy and all: user, nice, system, idle, iowait, irq, softirq, steal.
    fn add_cpus(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some(number) = words.next().and_then(|word| word.strip_prefix("cpu")) else {
                continue;
            };
            let ticks: Vec<u64> = words.take(8).map_while(|word| word.parse().ok()).collect();
            if number.is_empty() || ticks.len() < 5 {
                continue;
            }
            let all = ticks.iter().fold(0, |sum: u64, ticks| sum.saturating_add(*ticks));
            self.set(&format!("cpu{number}.ticks"), all);
            self.set(
                &format!("cpu{number}.busy_ticks"),
                all.saturating_sub(ticks[3]).saturating_sub(ticks[4]),
            );
        }
    }

    /// `name: value` on each line. Only the allowances of cloud networks are taken: connections can
    /// exhaust them.
    fn add_ethtool(&mut self, text: &str) {
        for line in text.lines() {
            if let Some((name, value)) = line.split_once(':')
                && name.trim().ends_with("_allowance_exceeded")
                && let Ok(value) = value.trim().parse::<u64>()
            {
                let name = format!("ethtool.{}", name.trim());
                self.set(&name, self.get(&name).unwrap_or(0).saturating_add(value));
            }
        }
    }
}

/// Whether a rise of the counter with this name means that something went wrong.
#[must_use]
pub fn tells_of_harm(name: &str) -> bool {
    HARM.iter().any(|word| name.contains(word))
}

/// Parts of the names of such counters.
const HARM: [&str; 22] = [
    "Abort",
    "Bad",
    "Collisions",
    "Cookie",
    "Drop",
    "Err",
    "Fail",
    "Lost",
    "Loss",
    "NoRoutes",
    "Overflow",
    "Pressure",
    "Prune",
    "Retrans",
    "Timeout",
    "drop",
    "error",
    "fail",
    "full",
    "oom",
    "squeeze",
    "exceeded",
];

/// The sum; `None` when a term is missing or there are no terms.
fn sum_of(terms: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    let mut terms = terms.peekable();
    terms.peek()?;
    terms.try_fold(0, |sum: u64, term| sum.checked_add(term?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_read_in_its_own_form() {
        let mut counters = Counters::default();
        counters.add_named(
            "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 3 7\nTcp: MaxConn\nTcp: -1\n",
        );
        counters.add_softnet("0000000a 00000002 00000001\n0000000a 0000000f 00000000\n");
        counters.add_table("arp_cache", "entries allocs table_fulls\n2 a 1\n2 1 2\n");
        counters.add_vmstat("pgfault 12\noom_kill 3\n");
        counters.add_ethtool("NIC statistics:\n     conntrack_allowance_exceeded: 4\n     tx: 9\n");
        counters.add_ethtool("     conntrack_allowance_exceeded: 5\n");
        counters.add_cpus("cpu  9 9 9 9 9\ncpu1 1 2 3 40 5 6 7 8 9 9\n");
        let expected = [
            ("TcpExt.ListenOverflows", 7),
            ("TcpExt.SyncookiesSent", 3),
            ("arp_cache.allocs", 11),
            ("arp_cache.table_fulls", 3),
            ("cpu1.busy_ticks", 27),
            ("cpu1.ticks", 72),
            ("ethtool.conntrack_allowance_exceeded", 9),
            ("softnet.dropped", 17),
            ("softnet.time_squeeze", 1),
            ("vmstat.oom_kill", 3),
        ];
        assert_eq!(counters.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_not_there_was_not_measured() {
        let (before, now) = (Counters::default(), Counters::read(&ProcFs::host()));
        assert_eq!(now.rise(&before, "TcpExt.ListenOverflows"), None);
        assert_eq!(now.rise(&now, "TcpExt.ListenOverflows"), Some(0), "this host has netstat");
        let mut broken = Counters::default();
        broken.add_named("TcpExt: A B\nIpExt: 1 2\n");
        broken.add_softnet("zz zz zz\n");
        broken.add_table("arp_cache", "entries table_fulls\n1 zz\n");
        assert_eq!(broken, before);
    }
}
