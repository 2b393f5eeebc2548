//! What a client believes of a server: a view is what the server counted, whichever way it came, and
//! text that is cut, changed, doubled or another program's is an error or lacks something, and no
//! more.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use megaconn::base::errno::Errno;
use megaconn::observe::dump::Dump;
use megaconn::observe::metrics::Metrics;
use megaconn::observe::snapshot::{Snapshot, SnapshotError};
use megaconn::observe::stats::{ClientStats, ServerStats};
use proptest::prelude::*;
use proptest::sample::Index;

/// Cores that have counted something.
fn cores(counted: &[(u64, u64, i32)]) -> (Vec<u16>, Vec<Arc<ServerStats>>) {
    let core = |(accepted, connections, errno): &(u64, u64, i32)| {
        let stats = ServerStats::new();
        stats.accepted_total.add(*accepted);
        stats.set_connections(*connections);
        stats.failed[Errno(*errno).index()].add(1);
        Arc::new(stats)
    };
    let cpus = (0..counted.len()).map(|core| u16::try_from(3 * core).unwrap()).collect();
    (cpus, counted.iter().map(core).collect())
}

fn text_of(counted: &[(u64, u64, i32)]) -> String {
    let (cpus, stats) = cores(counted);
    Metrics::new(&cpus, &stats, &[]).text()
}

/// A place for dump lines that can be looked at.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lines_of(counted: &[(u64, u64, i32)]) -> String {
    let ((cpus, stats), lines) = (cores(counted), Lines::default());
    let mut dump = Dump::new(&cpus, &stats, Box::new(lines.clone()));
    dump.tick().unwrap();
    stats[0].accepted_total.add(1);
    dump.tick().unwrap();
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

fn counted() -> impl Strategy<Value = Vec<(u64, u64, i32)>> {
    let number = 0..u64::MAX >> 4;
    prop::collection::vec((number.clone(), number, -5..200), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_view_is_what_was_counted(counted in counted()) {
        let view = Snapshot::server_from_metrics(&text_of(&counted)).unwrap();
        let lines = lines_of(&counted);
        let dumped = Snapshot::server_from_dump_lines(lines.lines()).unwrap();

        let accepted = counted.iter().map(|(accepted, ..)| accepted).sum::<u64>();
        let connections = counted.iter().map(|(_, connections, _)| connections).sum::<u64>();
        let mut failed = BTreeMap::new();
        for (_, _, errno) in &counted {
            let name = Errno(i32::try_from(Errno(*errno).index()).unwrap()).to_string();
            *failed.entry(name).or_insert(0_u64) += 1;
        }
        for (view, accepted) in [(&view, accepted), (&dumped, accepted + 1)] {
            prop_assert_eq!(view.figures["accepted_total"], accepted);
            prop_assert_eq!(view.figures["connections"], connections);
            prop_assert_eq!(view.figures["closed_total"], 0);
            prop_assert_eq!(&view.failed, &failed);
            prop_assert_eq!(view.cores.len(), counted.len());
            for (core, (seen, counted)) in view.cores.iter().zip(&counted).enumerate() {
                prop_assert_eq!(seen.core, core as u64);
                prop_assert_eq!(u64::from(seen.cpu), 3 * core as u64);
                prop_assert_eq!(seen.figures["connections_peak"], counted.1);
            }
        }
        // Both ways lead to the same names; the host is seen by one of them alone.
        prop_assert!(view.figures.keys().eq(dumped.figures.keys()));
        prop_assert!(view.host.is_some() && dumped.host.is_none());
    }

    /// Whatever is done to a text, reading it ends, and what is read was there.
    #[test]
    fn a_spoilt_text_is_no_reason_to_panic(
        spoils in prop::collection::vec((any::<Index>(), any::<Index>(), 0..6_u8, any::<char>()), 1..8)
    ) {
        let counted = [(7, 3, libc::ECONNREFUSED), (8, 4, libc::EMFILE)];
        for text in [text_of(&counted), lines_of(&counted)] {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            for (line, at, how, c) in &spoils {
                if lines.is_empty() {
                    break;
                }
                let number = line.index(lines.len());
                match how {
                    0 => lines.truncate(number),
                    1 => { lines.remove(number); }
                    2 => lines.insert(at.index(lines.len()), lines[number].clone()),
                    how => {
                        let mut chars: Vec<char> = lines[number].chars().chain([*c]).collect();
                        let at = at.index(chars.len());
                        match how {
                            3 => chars[at] = *c,
                            4 => chars.truncate(at),
                            _ => chars.insert(at, *c),
                        }
                        lines[number] = chars.into_iter().collect();
                    }
                }
            }
            let spoilt = lines.join("\n") + "\n";
            for view in [
                Snapshot::server_from_metrics(&spoilt),
                Snapshot::server_from_dump_lines(spoilt.lines()),
            ].into_iter().flatten() {
                for (name, value) in &view.figures {
                    let each = view.cores.iter().filter_map(|core| core.figures.get(name));
                    prop_assert!(name.starts_with("process_") || each.sum::<u64>() == *value);
                }
            }
        }
    }

    #[test]
    fn anything_at_all_may_come(text in any::<String>(), ours in "megaconn_.{0,80}\n# EOF\n") {
        for text in [text, ours] {
            prop_assert!(Snapshot::server_from_metrics(&text).is_err());
            prop_assert!(Snapshot::server_from_dump_lines(text.lines()).is_err());
        }
    }
}

#[test]
fn a_text_that_is_cut_anywhere_is_an_error() {
    let text = text_of(&[(7, 3, libc::EMFILE)]);
    assert!(text.is_ascii() && text.len() > 10_000, "any place is one to cut at");
    // Everywhere near the end, and here and there before it.
    let near = text.len() - 300;
    for end in (0..near).step_by(509).chain(near..text.len()) {
        assert!(Snapshot::server_from_metrics(&text[..end]).is_err(), "cut at {end}");
    }
    let line = lines_of(&[(7, 3, libc::EMFILE)]);
    let line = line.lines().next().unwrap();
    for end in (0..line.len()).step_by(7) {
        assert!(Snapshot::server_from_dump_lines([&line[..end]]).is_err(), "cut at {end}");
    }
}

/// What `change` makes of a good text is refused with a word of `why`.
fn refused(change: impl Fn(&str) -> String, why: &str) {
    let text = change(&text_of(&[(7, 3, libc::EMFILE), (8, 4, libc::EMFILE)]));
    let error = Snapshot::server_from_metrics(&text).unwrap_err().to_string();
    assert!(error.contains(why), "`{error}` is no word of `{why}`");
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let accepted = "megaconn_accepted_total{side=\"server\",core=\"0\",cpu=\"0\"} ";
    for (value, why) in [
        ("NaN", "no whole number"),
        ("-7", "no whole number"),
        ("+7", "no whole number"),
        ("7.0", "no whole number"),
        ("1e3", "no whole number"),
        ("+Inf", "no whole number"),
        ("18446744073709551616", "no whole number"),
        ("", "no whole number"),
        ("7 1700000000", "no whole number"),
        ("18446744073709551615", "too large over all cores"),
    ] {
        let new = format!("{accepted}{value}\n");
        refused(|text| text.replace(&format!("{accepted}7\n"), &new), why);
    }
    let twice = |text: &str| text.replace(accepted, &format!("{accepted}6\n{accepted}"));
    refused(twice, "says again");
    refused(|text| text.replace("core=\"1\",cpu=\"3\"} 8\n", "core=\"1\",cpu=\"4\"} 8\n"), "cpu");
    refused(|text| text.replacen("cpu=\"3\"", "cpu=\"70000\"", 1), "cpu that is none");
    refused(|text| text.replacen("core=\"1\"", "core=\"one\"", 1), "no number");
    refused(|text| text.replacen("core=\"1\",", "", 1), "lacks a label");
    refused(|text| text.replacen("side=\"server\",core", "core", 1), "no side");
    refused(|text| text.replacen("{side=\"server\",core", "{side=\"server,core", 1), "no sample");
    refused(|text| text.replace("\n# EOF\n", "\n"), "cut short");
    refused(|text| text.replace("side=\"server\"", "side=\"client\""), "client, not of a server");
    let (client, lines) = (Arc::new(ClientStats::new()), Lines::default());
    Dump::new(&[0], &[client], Box::new(lines.clone())).tick().unwrap();
    let client = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let other = SnapshotError::OtherSide("client".into());
    assert_eq!(Snapshot::server_from_dump_lines(client.lines()), Err(other));
}

#[test]
fn what_is_missing_of_one_core_is_missing() {
    let text = text_of(&[(7, 3, libc::EMFILE), (8, 4, libc::EMFILE)]);
    let without: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("accepted_total{side=\"server\",core=\"1\""))
        .collect();
    assert!(without.len() + 1 == text.lines().count());
    let view = Snapshot::server_from_metrics(&(without.join("\n") + "\n")).unwrap();
    assert_eq!(view.figures.get("accepted_total"), None);
    assert_eq!(view.cores[0].figures["accepted_total"], 7);
    assert_eq!(view.figures["connections"], 7);
}

/// As node_exporter writes it, which ends without a mark of its end.
const OTHER_PROGRAM: &str = "# HELP go_goroutines Number of goroutines that currently exist.\n\
    # TYPE go_goroutines gauge\ngo_goroutines 8\n\
    node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 1.13427e+06\n\
    node_netstat_TcpExt_ListenOverflows 0\nnode_load1 NaN\n";

#[test]
fn another_program_is_told_from_ours() {
    for text in ["", "\n", "# EOF\n", OTHER_PROGRAM, &format!("{OTHER_PROGRAM}# EOF\n")] {
        assert_eq!(Snapshot::server_from_metrics(text), Err(SnapshotError::NotOurs), "{text}");
        assert!(Snapshot::server_from_dump_lines(text.lines()).is_err(), "{text}");
    }
    // What stands beside ours, as behind a proxy that joins two, is passed over.
    let ours = text_of(&[(7, 3, libc::EMFILE)]);
    let joined = Snapshot::server_from_metrics(&format!("{OTHER_PROGRAM}{ours}")).unwrap();
    assert_eq!(joined.figures["accepted_total"], 7);
}
