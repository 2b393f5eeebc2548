//! By what an end was killed, as far as the kernel's log and its counts tell.

use megaconn::host::kernel_log::{KernelLog, Line};
use megaconn::host::oom_kills::OomKills;
use megaconn::host::procfs::ProcFs;

/// What the kernel logs and counts from a moment on.
pub(crate) struct Kills {
    log: Option<KernelLog>,
    lines: Vec<Line>,
    before: OomKills,
}

impl Kills {
    /// From now on.
    pub(crate) fn begin() -> Kills {
        let before = OomKills::read(&ProcFs::host());
        Kills { log: KernelLog::open(), lines: Vec::new(), before }
    }

    /// One line on process `pid`, a `name`, that `signal` killed.
    pub(crate) fn say(&mut self, name: &str, pid: u32, signal: i32) -> String {
        if let Some(log) = &mut self.log {
            self.lines.extend(log.lines_since());
        }
        let lines = self.log.is_some().then_some(&self.lines[..]);
        said(name, pid, signal, lines, self.before, OomKills::read(&ProcFs::host()))
    }
}

const SIGKILL: i32 = 9;

/// The line, from what the kernel logged, if that may be read, and what it counted.
fn said(
    name: &str,
    pid: u32,
    signal: i32,
    log: Option<&[Line]>,
    before: OomKills,
    now: OomKills,
) -> String {
    if signal != SIGKILL {
        return format!("{name} was killed by signal {signal}");
    }
    let rose = |from: Option<u64>, to: Option<u64>| from.zip(to).filter(|(from, to)| to > from);
    let (in_group, on_host) =
        (rose(before.in_group, now.in_group), rose(before.on_host, now.on_host));
    let line = log.and_then(|log| line_on(name, pid, log));
    let by = match (line, log, in_group, on_host) {
        (Some(line), ..) if line.starts_with("Memory cgroup") => {
            format!("the kernel: its memory cgroup was full ({line}); fix: a higher limit")
        }
        (Some(line), ..) => {
            format!("the kernel: the host was out of memory ({line}); fix: fewer connections")
        }
        (None, Some(_), ..) => "something else than the kernel, whose log has no word of it".into(),
        (None, None, Some((from, to)), _) => format!(
            "the kernel, it seems: its memory cgroup counts oom_kill {from} -> {to}; fix: a higher limit"
        ),
        (None, None, None, Some((from, to))) => format!(
            "the kernel, it seems: the host counts oom_kill {from} -> {to}; fix: fewer connections"
        ),
        (None, None, None, None) => {
            "something else, it seems: the kernel counts no kill for want of memory".into()
        }
    };
    format!("{name} was killed by signal {signal}, by {by}")
}

/// The kernel's line on a kill of this process. In a container, which has numbers of its own, it is found
/// by the name.
fn line_on<'a>(name: &str, pid: u32, log: &'a [Line]) -> Option<&'a str> {
    let of = |is_it: &dyn Fn((u32, &str)) -> bool| {
        log.iter().find(|line| line.killed().is_some_and(is_it))
    };
    let line = of(&|(killed, _)| killed == pid).or_else(|| of(&|(_, killed)| killed == name));
    line.map(|line| line.text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(signal: i32, log: Option<&[&str]>, group: [u64; 2], host: [u64; 2]) -> String {
        let line = |text: &&str| Line { text: (*text).to_owned(), at_us: 0 };
        let log: Option<Vec<Line>> = log.map(|log| log.iter().map(line).collect());
        let kills = |at: usize| OomKills { in_group: Some(group[at]), on_host: Some(host[at]) };
        said("megaconn", 4711, signal, log.as_deref(), kills(0), kills(1))
    }

    const SAME: [u64; 2] = [3, 3];

    #[test]
    fn the_kernels_own_line_names_the_limit() {
        let host = "Out of memory: Killed process 4711 (megaconn) total-vm:1kB";
        let group = "Memory cgroup out of memory: Killed process 4711 (megaconn) total-vm:1kB";
        let line = says(9, Some(&[host]), SAME, [3, 4]);
        assert!(
            line.contains("by the kernel: the host was out of memory (Out of memory"),
            "{line}"
        );
        let line = says(9, Some(&[group]), [3, 4], [3, 4]);
        assert!(line.contains("by the kernel: its memory cgroup was full"), "{line}");
        // A container has numbers of its own: then the name tells.
        let line = says(9, Some(&[&group.replace("4711", "99")]), SAME, SAME);
        assert!(line.contains("by the kernel: its memory cgroup was full"), "{line}");
    }

    #[test]
    fn lines_on_others_are_none() {
        let other = "Out of memory: Killed process 99 (megaconn-client) total-vm:1kB";
        for log in [&[other][..], &["megaconn[4711]: segfault at 0"], &[]] {
            let line = says(9, Some(log), SAME, SAME);
            assert!(line.contains("by something else than the kernel"), "{log:?}: {line}");
        }
    }

    #[test]
    fn without_the_log_the_counts_tell_what_they_can() {
        let line = says(9, None, [3, 4], [3, 4]);
        assert!(line.contains("its memory cgroup counts oom_kill 3 -> 4; fix: "), "{line}");
        let line = says(9, None, SAME, [3, 5]);
        assert!(line.contains("the host counts oom_kill 3 -> 5; fix: "), "{line}");
        assert!(says(9, None, SAME, SAME).contains("by something else, it seems"));
        let unknown = OomKills::default();
        let line = said("megaconn", 4711, 9, None, unknown, unknown);
        assert!(line.contains("by something else, it seems"), "{line}");
    }

    #[test]
    fn another_signal_is_named() {
        assert_eq!(says(11, None, SAME, SAME), "megaconn was killed by signal 11");
    }
}
