//! What a process has as a whole, beside what its cores count.

use crate::host::cpu::CpuTime;
use crate::host::meminfo::resident_bytes;
use crate::host::open_files;

/// Names of these figures, and what each says. All of them are gauges.
pub const PROCESS_FIGURES: [(&str, &str); 5] = [
    (
        "process_resident_bytes",
        "Resident memory of this process; what the kernel holds for its sockets is not in it. High \
         for few connections? Buffers and histograms are in it, too.",
    ),
    (
        "process_open_files",
        "Files this process has open; connections are none of them. Near `ulimit -n`? It is low.",
    ),
    ("process_ran_ms", "CPU time of this process. Rises by 1000 a second for each full CPU."),
    (
        "process_waited_ms",
        "Time in which its threads could have run, and others did. Rising? CPUs are short.",
    ),
    ("process_lived_ms", "Time since this process began."),
];

/// The figures of this process now, in the order of [`PROCESS_FIGURES`]; `None` for one that could
/// not be read, which is not the same as 0.
#[must_use]
pub fn read() -> [Option<u64>; PROCESS_FIGURES.len()] {
    let time = CpuTime::read();
    [
        resident_bytes(),
        open_files::of_process(),
        time.map(|time| time.ran_ms),
        time.map(|time| time.waited_ms),
        time.map(|time| time.lived_ms),
    ]
}
