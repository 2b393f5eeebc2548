//! The table itself, in files by subject. The precedence of a row decides its place, not its file:
//! of two walls that could explain the same loss as surely, the one with the lower number is named.

use std::sync::LazyLock;

use crate::walls::wall::Wall;

mod addresses;
mod cpu;
mod files;
mod handshake;
mod io_uring;
mod kernel_tables;
mod memory;
mod openings;
mod outside;
mod own_limit;
mod packets;
mod peers;
mod row;
mod server_acts;
mod target;
mod tcp_memory;

/// The rows of each subject.
const SUBJECTS: [&[Wall]; 15] = [
    addresses::ROWS,
    cpu::ROWS,
    files::ROWS,
    handshake::ROWS,
    io_uring::ROWS,
    kernel_tables::ROWS,
    memory::ROWS,
    openings::ROWS,
    outside::ROWS,
    own_limit::ROWS,
    packets::ROWS,
    peers::ROWS,
    server_acts::ROWS,
    target::ROWS,
    tcp_memory::ROWS,
];

/// Every wall, by its precedence.
static WALLS: LazyLock<Vec<&'static Wall>> = LazyLock::new(|| {
    let mut walls: Vec<&Wall> = SUBJECTS.into_iter().flatten().collect();
    walls.sort_by_key(|wall| wall.precedence);
    walls
});

/// Every wall, by its precedence.
pub fn all() -> impl Iterator<Item = &'static Wall> {
    WALLS.iter().copied()
}

/// The wall of this name.
#[must_use]
pub fn find(id: &str) -> Option<&'static Wall> {
    all().find(|wall| wall.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::walls::sign::Sign;

    #[test]
    fn every_row_has_a_name_of_its_own_and_says_something() {
        let mut names = HashSet::new();
        for wall in all() {
            assert!(names.insert(wall.id), "two rows are called {}", wall.id);
            assert!(!wall.limits.is_empty(), "{} limits nothing", wall.id);
            assert!(!wall.remark.is_empty(), "{} leaves its reader alone", wall.id);
            let is_explained = wall.explains.is_empty() || !wall.signs.is_empty();
            assert!(is_explained, "{} explains what nothing betrays", wall.id);
        }
    }

    #[test]
    fn every_row_has_a_precedence_of_its_own() {
        let mut precedences = HashSet::from([row::BLANK.precedence]);
        for wall in all() {
            let is_new = precedences.insert(wall.precedence);
            assert!(is_new, "{}: precedence {} is not its own", wall.id, wall.precedence);
        }
        assert!(all().is_sorted_by_key(|wall| wall.precedence));
    }

    /// Lines as Linux 6.1, 6.12 and 6.18 write them (the texts of their images, and what this host
    /// wrote), with the wall that each is a sign of.
    const LINES: &[(&str, &str)] = &[
        ("file-max", "VFS: file-max limit 5805 reached"),
        ("orphans", "TCP: too many orphaned sockets"),
        ("tcp-mem", "TCP: out of memory -- consider tuning tcp_mem"),
        ("conntrack", "nf_conntrack: nf_conntrack: table full, dropping packet"),
        ("conntrack", "nf_conntrack: nf_conntrack: table full in netns 4026532, dropping packet"),
        ("neighbours", "neighbour: arp_cache: neighbor table overflow!"),
        ("neighbours", "neighbour: ndisc_cache: neighbor table overflow!"),
        (
            "syncookies",
            "TCP: request_sock_TCP: Possible SYN flooding on port 80. Sending cookies.  ",
        ),
        (
            "syncookies",
            "TCP: request_sock_TCP: Possible SYN flooding on port [::]:80. Sending cookies.",
        ),
        ("memory", "Out of memory: Killed process 9 (megaconn) total-vm:1kB"),
        (
            "memory",
            "Out of memory (oom_kill_allocating_task): Killed process 9 (megaconn) total-vm:",
        ),
        ("cgroup-memory", "Memory cgroup out of memory: Killed process 9 (megaconn) total-vm:1kB"),
    ];

    #[test]
    fn what_the_table_looks_for_is_what_the_kernel_writes() {
        let logged = |wall: &Wall| -> Vec<&str> {
            let text = |sign: &Sign| match sign {
                Sign::Logged(text) => Some(*text),
                _ => None,
            };
            wall.signs.iter().filter_map(text).collect()
        };
        for wall in all() {
            for text in logged(wall) {
                let of_it = |line: &&(&str, &str)| line.1.contains(text);
                let walls: Vec<&str> = LINES.iter().filter(of_it).map(|line| line.0).collect();
                assert!(!walls.is_empty(), "no kernel writes {text:?}");
                assert!(walls.iter().all(|id| *id == wall.id), "{text:?} is of {walls:?}");
            }
        }
        for (id, line) in LINES {
            let texts = logged(find(id).unwrap());
            let is_known = texts.iter().any(|text| line.contains(text));
            assert!(texts.is_empty() || is_known, "{id} does not know {line:?}");
        }
    }
}
