//! What the kernel wrote into its log during a run: lines of `/dev/kmsg`, and what a line names.
//! The table of the walls says which wall a line is a sign of.
//!
//! A line is of the whole host. Only the process or the port that it names can tie it to a run. The
//! absence of a line proves nothing: the kernel leaves lines out when there are many, writes
//! `file-max` only when more files are open than at its last such line, and `SYN flooding` once for
//! each listener.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

/// Bytes of one record at most, as the kernel bounds it.
const RECORD_BYTES_MAX: usize = 8192;

/// The kernel's log from a moment on.
#[derive(Debug)]
pub struct KernelLog {
    file: File,
}

/// One line that the kernel wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As `dmesg` shows it, without its time.
    pub text: String,
    /// When it was written, in microseconds of the kernel's own clock.
    pub at_us: u64,
}

impl KernelLog {
    /// From now on; `None` where it may not be read: for want of CAP_SYSLOG with
    /// `kernel.dmesg_restrict = 1`, or in a container.
    #[must_use]
    pub fn open() -> Option<KernelLog> {
        let mut file =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").ok()?;
        file.seek(SeekFrom::End(0)).ok()?;
        Some(KernelLog { file })
    }

    /// The lines since the last call, or since the log was opened. Lines that the kernel has
    /// overwritten meanwhile are lost.
    pub fn lines_since(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut record = vec![0; RECORD_BYTES_MAX];
        loop {
            // Each read gives one record.
            match self.file.read(&mut record) {
                Ok(0) => return lines,
                Ok(length) => {
                    lines.extend(parse(&String::from_utf8_lossy(&record[..length])));
                }
                // Records were overwritten. The next read gives the oldest that is left.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return lines,
            }
        }
    }
}

/// A record is `priority,sequence,microseconds,flags;text`, and lines that describe a device. The
/// facility of the kernel is 0. A line of another facility was written by a program and is ignored.
fn parse(record: &str) -> Option<Line> {
    let (head, rest) = record.split_once(';')?;
    let mut fields = head.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let at_us = fields.nth(1)?.parse().ok()?;
    let is_of_kernel = priority >> 3 == 0;
    is_of_kernel.then(|| Line { text: rest.lines().next().unwrap_or_default().to_owned(), at_us })
}

impl Line {
    /// The process that was killed for want of memory, by its number and its name.
    #[must_use]
    pub fn killed(&self) -> Option<(u32, &str)> {
        let (_, rest) = self.text.split_once("ut of memory")?;
        let (_, rest) = rest.split_once(": Killed process ")?;
        let (pid, rest) = rest.split_once(" (")?;
        // A name may contain parentheses.
        let (name, _) = rest.split_once(") total-vm:").or_else(|| rest.rsplit_once(')'))?;
        Some((pid.parse().ok()?, name))
    }

    /// The port of the listener that the kernel takes to be flooded. Linux 6.2 and newer write the
    /// address before it.
    #[must_use]
    pub fn flooded_port(&self) -> Option<u16> {
        let (_, rest) = self.text.split_once("Possible SYN flooding on port ")?;
        let (place, _) = rest.split_once(". ")?;
        place.rsplit(':').next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { text: text.to_owned(), at_us: 0 }
    }

    #[test]
    fn a_record_is_a_line_of_the_kernel_or_none() {
        let record = "6,4711,13843228382,-;VFS: file-max limit 5805 reached\n SUBSYSTEM=x\n";
        let text = "VFS: file-max limit 5805 reached".to_owned();
        assert_eq!(parse(record), Some(Line { text, at_us: 13_843_228_382 }));
        assert_eq!(parse("12,4712,13843228382,-;Out of memory: says a program\n"), None);
        assert!(parse("3,1,2,-,caller=T1;four fields or five").is_some());
        for broken in ["", "6,1", "x,1,2,-;text", "6,1,x,-;text", "6,1,2,-"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_killed_process_is_named() {
        let rest = " total-vm:1kB, anon-rss:2kB, UID:0 pgtables:4kB oom_score_adj:0";
        for head in [
            "Out of memory",
            "Out of memory (oom_kill_allocating_task)",
            "Memory cgroup out of memory",
        ] {
            let line = line(&format!("{head}: Killed process 4711 (a (b) c){rest}"));
            assert_eq!(line.killed(), Some((4711, "a (b) c")), "{head}");
        }
        assert_eq!(line("TCP: out of memory -- consider tuning tcp_mem").killed(), None);
        assert_eq!(line("Killed process 4711 (x)").killed(), None);
    }

    #[test]
    fn a_flooded_port_is_named_in_every_wording() {
        let cases = [
            ("7950. Sending cookies.  Check SNMP counters.", Some(7950)),
            ("0.0.0.0:7950. Sending cookies.", Some(7950)),
            ("127.0.0.1:7950. Dropping request.", Some(7950)),
            ("[::]:7950. Sending cookies.", Some(7950)),
            ("[2001:db8::1]:7950. Sending cookies.", Some(7950)),
            ("70000. Sending cookies.", None),
        ];
        for (rest, port) in cases {
            let line =
                line(&format!("TCP: request_sock_TCP: Possible SYN flooding on port {rest}"));
            assert_eq!(line.flooded_port(), port, "{rest}");
        }
    }

    /// The kernel writes a line of help when it is asked for: `sysrq: HELP : ...`.
    #[test]
    fn what_the_kernel_writes_is_read_once() {
        let Some(mut log) = KernelLog::open() else {
            eprintln!("SKIPPED: reading the kernel's log, because /dev/kmsg may not be read here");
            return;
        };
        if let Err(error) = std::fs::write("/proc/sysrq-trigger", "h") {
            eprintln!("SKIPPED: reading the kernel's log, because no line can be made: {error}");
            return;
        }
        let lines = log.lines_since();
        assert!(lines.iter().any(|line| line.text.contains("sysrq: HELP")), "{lines:?}");
        assert!(log.lines_since().iter().all(|line| !lines.contains(line)), "read twice");
    }
}
