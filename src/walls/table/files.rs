//! Open files: of a process and of the host.

use crate::base::errno::Errno;
use crate::observe::stats::LostCause;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::have::{Have, Reading};
use crate::walls::host::Host;
use crate::walls::place::Place;
use crate::walls::run_facts::{NoMore, RunFacts};
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::io_uring::grow_refused;
use crate::walls::table::row::{BLANK, round_up};
use crate::walls::wall::Wall;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "nofile",
        precedence: 60,
        limits: "open files of a process: rings and listeners; connections are none",
        unit: "files",
        read: |host, demand| {
            let own = Host::own_files(demand);
            let need = host.segments(demand).saturating_add(own);
            Reading::stops(Have::Some(host.nofile), need, |have| {
                have.saturating_sub(own).saturating_mul(host.slots_per_segment)
            })
        },
        explains: &[
            Symptom::Failed(Errno::EMFILE),
            // To refuse a connection takes a file as well. A connection that is not accepted waits
            // in the accept queue.
            Symptom::Lost(LostCause::Silent),
            Symptom::Failed(Errno::ETIMEDOUT),
        ],
        signs: &[
            Sign::Errno(Errno::EMFILE),
            Sign::Seen("a segment was refused (EMFILE)", files_used_up),
        ],
        absent: "no segment and no socket was refused for want of a file (EMFILE)",
        fix: |host, demand| {
            let need = host.segments(demand).saturating_add(Host::own_files(demand));
            vec![Fix::Limit("nofile", need)]
        },
        remark: "no wall for connections, which are direct descriptors; it is the size of a segment, \
                 and bounds listeners, metrics and other sockets made by plain calls",
        ..BLANK
    },
    Wall {
        id: "nr-open",
        precedence: 70,
        limits: "what the limit on open files can be raised to",
        unit: "files",
        read: |host, demand| {
            let need = host.segments(demand).saturating_add(Host::own_files(demand));
            Reading::disturbs(host.have("fs.nr_open"), need)
        },
        fix: |host, demand| {
            let need = host.segments(demand).saturating_add(Host::own_files(demand));
            vec![Fix::Sysctl("fs.nr_open", need.to_string())]
        },
        remark: "setrlimit and ulimit -n fail above it",
        ..BLANK
    },
    Wall {
        id: "file-max",
        precedence: 80,
        limits: "open files of the host; every socket is one",
        unit: "files",
        read: |host, demand| {
            let ends = demand.ends.count();
            let need = demand.connections.saturating_mul(ends);
            Reading::stops(host.files_left(), need, |have| have / ends)
        },
        explains: &[
            Symptom::NoMore,
            Symptom::Failed(Errno::ENFILE),
            Symptom::Failed(Errno::ETIMEDOUT),
            Symptom::Lost(LostCause::Silent),
            Symptom::Lost(LostCause::Reset),
        ],
        signs: &[
            Sign::Errno(Errno::ENFILE),
            Sign::Seen("few files are left for other programs", few_left),
            Sign::Kernel(
                "the kernel logs it, and the server's errors cannot be seen",
                files_logged,
            ),
        ],
        absent: "the host had a file for every socket (no ENFILE)",
        fix: |host, demand| {
            let used = host.procfs.numbers("fs.file-nr").map_or(0, |numbers| numbers[0]);
            let need = demand.connections.saturating_mul(demand.ends.count()).saturating_add(used);
            let most = round_up(need);
            vec![Fix::Sysctl("fs.file-max", most.to_string())]
        },
        remark: "CAP_SYS_ADMIN passes it",
        ..BLANK
    },
];

/// As many connections as there can be were opened, but for the files that other programs need.
fn few_left(run: &RunFacts, side: Place) -> Option<Evidence> {
    let Some(NoMore::Files(text)) = &run.facts.no_more else { return None };
    let (count, confidence) = (Some(run.count(Symptom::NoMore)), Confidence::Certain);
    let evidence = Evidence { text: text.clone(), count, confidence };
    Some(evidence).filter(|_| side == Place::Client)
}

/// The host had no file left, and the process may be a server that does not report it. A server
/// that is seen counts it by itself, as the client does.
fn files_logged(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side).filter(|_| side == Place::Server)?;
    let lines = run.log_of(side).filter(|_| end.figures.is_empty())?;
    let line = lines.iter().find(|line| line.contains("VFS: file-max limit"))?;
    let text = format!("kernel log: {line}");
    Some(Evidence { text, count: None, confidence: Confidence::Likely })
}

/// The count is of attempts. It does not tell how many connections were kept out.
fn files_used_up(run: &RunFacts, side: Place) -> Option<Evidence> {
    grow_refused(run, side, Errno::EMFILE)
}
