//! What a core file of a server has of its connections. The server is the program, and the secrets are those that
//! `openssl s_client` says it has agreed on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::common::{Program, cores, free_ports, until};
use crate::openssl::{MISSING, Peer, is_there};

/// Connections whose secrets are looked for.
const CONNECTIONS: usize = 20;

/// Bytes of a secret that are looked for: all of one with SHA-256.
const NEEDLE: usize = 32;

/// The traffic secrets of TLS 1.3, or the master secret of TLS 1.2, in a file as `SSLKEYLOGFILE` has it.
fn secrets_in(log: &Path) -> Vec<[u8; NEEDLE]> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let of_line = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next()?;
        let is_one = name.ends_with("_TRAFFIC_SECRET_0") || name == "CLIENT_RANDOM";
        let digits = words.nth(1).filter(|_| is_one)?;
        let byte = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..NEEDLE).map(byte).collect();
        bytes?.try_into().ok()
    };
    text.lines().filter_map(of_line).collect()
}

/// Which of these are somewhere in the bytes, most of which are pages of zeros.
fn found(needles: &[[u8; NEEDLE]], bytes: &[u8]) -> BTreeSet<usize> {
    const PAGE: usize = 4096;
    let mut begins = vec![false; 1 << 16];
    let pair = |bytes: &[u8]| usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
    needles.iter().for_each(|needle| begins[pair(needle)] = true);
    let mut found = BTreeSet::new();
    for (number, page) in bytes.chunks(PAGE).enumerate() {
        if page == &[0; PAGE][..page.len()] {
            continue;
        }
        let (start, end) = (number * PAGE, number * PAGE + page.len());
        let around = start.saturating_sub(NEEDLE)..bytes.len().min(end + NEEDLE);
        for window in bytes[around].windows(NEEDLE).filter(|window| begins[pair(window)]) {
            found.extend(needles.iter().position(|needle| needle == window));
        }
    }
    found
}

/// Which of these are in memory that a process may write, of mappings that are left out of core files or not.
fn found_in_memory(id: u32, needles: &[[u8; NEEDLE]], is_left_out: bool) -> BTreeSet<usize> {
    let memory = File::open(format!("/proc/{id}/mem")).unwrap();
    let mappings = fs::read_to_string(format!("/proc/{id}/smaps")).unwrap();
    let mut found_in_all = BTreeSet::new();
    let mut range = 0..0;
    for line in mappings.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((start, end)) = first.split_once('-') {
            let at = |text| u64::from_str_radix(text, 16).unwrap_or_default();
            range = at(start)..at(end);
        } else if first == "VmFlags:" {
            let flags: Vec<_> = words.collect();
            if flags.contains(&"wr") && flags.contains(&"dd") == is_left_out {
                let size = usize::try_from(range.end - range.start).unwrap();
                let mut bytes = vec![0; size];
                if memory.read_exact_at(&mut bytes, range.start).is_ok() {
                    found_in_all.append(&mut found(needles, &bytes));
                }
            }
        }
    }
    found_in_all
}

#[test]
fn secrets_of_connections_are_not_in_a_core_file() {
    if !is_there() {
        return eprintln!("{MISSING}");
    }
    let directory = tempfile::tempdir().unwrap();
    let listen = free_ports(Ipv4Addr::LOCALHOST.into(), 1).to_string();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\""]);
    shell.args([env!("CARGO_BIN_EXE_megaconn"), "serve", "--listen", &listen]);
    shell.args(["--cores", &cores(1), "--tls-self-signed"]).current_dir(directory.path());
    let mut server = Program::start(&mut shell);
    assert!(server.says("listening on"), "{:#?}", server.finish());

    let mut peers = Vec::new();
    let [mut traffic, mut master] = [Vec::new(), Vec::new()];
    for number in 0..CONNECTIONS {
        let log = directory.path().join(format!("log-{number}"));
        let path = log.to_str().unwrap();
        let (version, secrets, count) = match number % 2 {
            0 => ("-tls1_3", &mut traffic, 2),
            _ => ("-tls1_2", &mut master, 1),
        };
        let flags = ["s_client", "-connect", &listen, version, "-keylogfile", path];
        let mut peer = Peer::new(&flags);
        peer.type_line("some words");
        peer.prints("some words");
        until("its secrets are told", || secrets_in(&log).len() == count);
        secrets.extend(secrets_in(&log));
        peers.push(peer);
    }
    // A session of TLS 1.3 has its secrets. One of TLS 1.2 has keys that were made of its own.
    let all: BTreeSet<usize> = (0..traffic.len()).collect();
    let kept = found_in_memory(server.id(), &traffic, true);
    assert_eq!(kept, all, "they are not where they are kept");
    let secrets = [traffic, master].concat();
    let dumped = found_in_memory(server.id(), &secrets, false);
    assert_eq!(dumped, BTreeSet::new(), "these are in memory that a core file has");
    // Where a program takes core files there is no file to look into, and the flags of the mappings have to do.
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.trim() == "core" {
        server.signal(Signal::ABORT);
        server.finish();
        let is_core = |name: &str| name.starts_with("core");
        let files = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap());
        let core = files.into_iter().find(|entry| entry.file_name().to_str().is_some_and(is_core));
        let core = fs::read(core.expect("there is a core file").path()).unwrap();
        assert!(core.len() > 1 << 20, "a core file of {} bytes has nothing", core.len());
        assert_eq!(found(&secrets, &core), BTreeSet::new());
    }
    drop(peers);
}
