//! What lifts walls: the three files have exactly what is short, and can be used as they are. What
//! is applied can be undone, lowers no amount, and is refused without rights.

use std::fs;
use std::path::Path;
use std::process::Command;

use fake_host::{FakeHost, demand};
use megaconn::plan::demand::Demand;
use megaconn::walls::reading::{Row, rows};
use megaconn::walls::remedy::{changes, files, left, prepare};
use namespaces::{in_namespaces, text, without_rights};

mod fake_host;
mod namespaces;

/// A host that is short of a little of each kind.
fn short() -> FakeHost {
    let host = FakeHost::plentiful();
    host.sysctl("fs.file-nr", "1000\t0\t101000").sysctl("fs.file-max", "101000");
    host.sysctl("net.core.somaxconn", "128").sysctl("net.ipv4.tcp_max_syn_backlog", "100");
    host.sysctl("net.ipv4.tcp_max_tw_buckets", "1000");
    host
}

fn read(host: &FakeHost, demand: &Demand) -> Vec<Row> {
    rows(&host.host(), demand)
}

/// Each file's path and text, as the line in notes/doctor.md takes them apart.
fn apart(text: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("# ==> ").and_then(|line| line.strip_suffix(" <==")) {
            Some(path) => files.push((path.to_owned(), String::new())),
            None => {
                let (_, text) = files.last_mut().expect("the first line names a file");
                *text += &format!("{line}\n");
            }
        }
    }
    files
}

/// The lines of a file that say something.
fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn the_files_hold_what_is_short_and_nothing_else() {
    let host = short();
    let demand = Demand { connections: 1_000_000, tuples: Some(2_000_000), ..demand() };
    let rows = rows(
        &megaconn::walls::host::Host {
            memlock: megaconn::walls::have::Have::Some(1 << 20),
            nofile: 100,
            slots_per_segment: 100,
            ..host.host()
        },
        &demand,
    );
    let files = apart(&files(&host.procfs(), &rows, "of a test"));
    let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/etc/sysctl.d/90-megaconn.conf",
            "/etc/security/limits.d/90-megaconn.conf",
            "/etc/systemd/system/megaconn.service.d/limits.conf"
        ]
    );
    assert_eq!(
        lines(&files[0].1),
        [
            "fs.file-max = 2097152",
            "net.netfilter.nf_conntrack_max = 2097152",
            "net.core.somaxconn = 4096",
            "net.ipv4.tcp_max_syn_backlog = 4096",
            "net.ipv4.tcp_max_tw_buckets = 2097152",
            "net.ipv4.tcp_max_orphans = 2097152",
        ]
    );
    let need = |id: &str| rows.iter().find(|row| row.id == id).and_then(|row| row.need);
    let (files_needed, bytes) = (need("nofile").unwrap_or(0), need("memlock").unwrap_or(0));
    let kib = bytes.div_ceil(1024);
    let mut limits = lines(&files[1].1);
    limits.sort_unstable();
    let expected = ["*    -", "root -"]
        .iter()
        .flat_map(|who| [format!("{who} memlock {kib}"), format!("{who} nofile {files_needed}")]);
    assert_eq!(limits, expected.collect::<Vec<_>>());
    let unit = [
        "[Service]".to_owned(),
        format!("LimitNOFILE={files_needed}"),
        format!("LimitMEMLOCK={kib}K"),
    ];
    assert_eq!(lines(&files[2].1), unit);
    assert!(files[2].1.contains("\n#MemoryMax="), "no hint of memory: {}", files[2].1);
}

#[test]
fn a_host_that_suffices_is_told_so() {
    let host = FakeHost::plentiful();
    let rows = read(&host, &demand());
    assert_eq!(changes(&host.procfs(), &rows), []);
    assert_eq!(left(&host.procfs(), &rows), Vec::<String>::new());
    let files = apart(&files(&host.procfs(), &rows, "of a test"));
    let said: Vec<Vec<&str>> = files.iter().map(|(_, text)| lines(text)).collect();
    assert_eq!(said, [vec![], vec![], vec!["[Service]"]]);
    assert!(files[0].1.contains("No sysctl is short") && files[1].1.contains("suffice"));
}

#[test]
fn what_no_file_lifts_is_said() {
    let host = FakeHost::plentiful();
    let demand = Demand { tuples: Some(28_232), ..demand() };
    let rows = read(&host, &demand);
    assert_eq!(changes(&host.procfs(), &rows), [], "the range of ports is left alone");
    let [left] = left(&host.procfs(), &rows).try_into().expect("one wall is left");
    assert!(left.starts_with("source-ports: --source"), "{left}");
    assert!(
        files(&host.procfs(), &rows, "of a test").contains(&format!("# Not for a file: {left}\n"))
    );
}

#[test]
fn a_value_that_is_more_than_enough_is_left() {
    let host = short();
    host.sysctl("net.core.somaxconn", "65535").sysctl("net.ipv4.tcp_mem", "8 9 99999999");
    let changes = changes(&host.procfs(), &read(&host, &demand()));
    let of = |key: &str| changes.iter().find(|change| change.key == key);
    assert!(of("net.ipv4.tcp_max_syn_backlog").is_some(), "{changes:?}");
    assert_eq!(of("net.core.somaxconn"), None, "the fix of syn-queue has it, too");
    let mem = of("net.ipv4.tcp_mem").expect("nine pages are few");
    let pages: Vec<u64> = mem.want.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(pages.len() == 3 && pages[1] > 9 && pages[2] >= 99_999_999, "{mem:?}");
}

#[test]
fn a_line_that_wins_over_ours_is_named() {
    let host = short();
    host.write("etc/sysctl.d/10-early.conf", "net.core.somaxconn = 128\n");
    host.write("etc/sysctl.d/99-late.conf", "\nnet.core.somaxconn = 64\n");
    host.write("etc/sysctl.conf", "fs.file-max = 1000\n");
    let files = files(&host.procfs(), &read(&host, &demand()), "of a test");
    assert!(files.contains("# /etc/sysctl.d/99-late.conf:2 sets it again, later, and wins"));
    assert!(files.contains("# /etc/sysctl.conf:1 sets it again, later, and wins"));
    assert!(!files.contains("10-early"), "{files}");
}

#[test]
fn what_is_applied_is_told_with_its_undoing_and_nothing_is_lowered() {
    let host = short();
    let before = read(&host, &demand());
    let wanted = changes(&host.procfs(), &before);
    let keys: Vec<&str> = wanted.iter().map(|change| change.key).collect();
    let expected = ["fs.file-max", "net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog"];
    assert_eq!(keys, [expected.as_slice(), &["net.ipv4.tcp_max_tw_buckets"]].concat());
    // Somebody takes one of them away in between, and raises another beyond us.
    fs::remove_file(host.procfs().sysctl_path("net.core.somaxconn")).expect("it was there");
    host.sysctl("net.ipv4.tcp_max_syn_backlog", "70000");
    let prepared = prepare(&host.procfs(), wanted).expect("we may write what we made");
    assert_eq!(host.procfs().number("fs.file-max"), Some(101_000), "nothing is changed yet");
    let undo = prepared.undo();
    let applied = prepared.apply(&host.procfs());
    let is_ok: Vec<bool> = applied.iter().map(|applied| applied.result.is_ok()).collect();
    assert_eq!(is_ok, [true, false, false, true]);
    assert_eq!(host.procfs().number("fs.file-max"), Some(262_144));
    assert_eq!(
        host.procfs().number("net.ipv4.tcp_max_syn_backlog"),
        Some(70_000),
        "it was lowered"
    );
    assert_eq!(host.procfs().number("net.ipv4.tcp_max_tw_buckets"), Some(262_144));
    let expected = "#!/bin/sh\n\
        # Undoes what megaconn doctor --fix apply did:\n\
        # fs.file-max: 101000 -> 262144  (file-max)\n\
        # net.core.somaxconn is 128, not 4096: it is not what it was, or cannot be read to be undone\n\
        # net.ipv4.tcp_max_syn_backlog is 100, not 4096: it is not what it was, or cannot be read to \
        be undone\n\
        # net.ipv4.tcp_max_tw_buckets: 1000 -> 262144  (tw-buckets)\n\
        sysctl -w 'net.ipv4.tcp_max_tw_buckets=1000'\n\
        sysctl -w 'fs.file-max=101000'\n";
    assert_eq!(undo, expected);
    // A second time there is nothing left to do for what was done.
    let again = changes(&host.procfs(), &read(&host, &demand()));
    assert!(again.iter().all(|change| change.key != "net.ipv4.tcp_max_tw_buckets"), "{again:?}");
}

// ---- the real thing, in namespaces ------------------------------------------------------------

#[test]
fn the_printed_files_are_taken_by_those_they_are_for() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    // As in notes/doctor.md, but for the root.
    let script = r#"
        set -e
        sysctl -qw net.ipv4.tcp_max_syn_backlog=64 net.ipv4.tcp_max_tw_buckets=100
        "$1" doctor --connections 1k --fix print |
            awk -v root="$2" '/^# ==> /{f=root $3; d=f; sub("/[^/]*$", "", d); system("mkdir -p " d)} {print > f}'
        sysctl -p "$2/etc/sysctl.d/90-megaconn.conf" || true
        sysctl -n net.ipv4.tcp_max_syn_backlog net.ipv4.tcp_max_tw_buckets
    "#;
    let output = match in_namespaces(script, place.path()) {
        Ok(output) => output,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    let said: Vec<&str> = stdout.lines().collect();
    assert!(said.ends_with(&["4096", "2048"]), "{stdout}{stderr}");
    let limits = fs::read_to_string(place.path().join("etc/security/limits.d/90-megaconn.conf"));
    let limits = limits.expect("the file was written");
    assert!(lines(&limits).iter().all(|line| line.split_whitespace().count() == 4), "{limits}");
    if let Err(why) = check_unit(place.path()) {
        eprintln!("SKIPPED: the drop-in: {why}");
    }
}

/// Has systemd read the drop-in, or says why it cannot.
fn check_unit(root: &Path) -> Result<(), String> {
    let drop_in = "etc/systemd/system/megaconn.service.d/limits.conf";
    let text = fs::read_to_string(root.join(drop_in)).expect("the file was written");
    // What is behind a # counts as well: it is what a user removes.
    let text =
        text.replace("#Limit", "Limit").replace("#Tasks", "Tasks").replace("#Memory", "Memory");
    assert_eq!(lines(&text).len(), 5, "{text}");
    let unit = "[Service]\nExecStart=/bin/true\n";
    fs::write(root.join(drop_in), &text).expect("our own file can be written");
    fs::write(root.join("etc/systemd/system/megaconn.service"), unit).expect("a place of ours");
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").arg(root.join("etc/systemd/system/megaconn.service"));
    let output = verify.output().map_err(|error| format!("systemd-analyze: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("limits.conf"), "{said}");
    Ok(())
}

#[test]
fn what_was_applied_in_a_namespace_is_undone_by_what_was_printed() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let script = r#"
        set -e
        keys="net.ipv4.tcp_max_syn_backlog net.ipv4.tcp_max_tw_buckets"
        sysctl -qw net.ipv4.tcp_max_syn_backlog=64 net.ipv4.tcp_max_tw_buckets=100
        # What others do to the host meanwhile may be short as well, and is not ours to set.
        "$1" doctor --connections 1k --fix apply > "$2/undo.sh" || test $? = 1
        sysctl -n $keys
        sh "$2/undo.sh" > /dev/null
        sysctl -n $keys
    "#;
    let output = match in_namespaces(script, place.path()) {
        Ok(output) => output,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stdout.lines().collect::<Vec<_>>(), ["4096", "2048", "64", "100"], "{stderr}");
    assert!(stderr.contains("net.ipv4.tcp_max_tw_buckets: 100 -> 2048, until reboot"), "{stderr}");
}

#[test]
fn what_only_the_host_may_change_is_reported_beside_what_was_applied() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let script = r#"
        sysctl -qw net.ipv4.tcp_max_tw_buckets=100
        "$1" doctor --connections 900M --source 127.0.0.0/8 --fix apply; echo "status $?"
        sysctl -n net.ipv4.tcp_max_tw_buckets
    "#;
    // Root of such a namespace may set what is the namespace's, and not what is the host's.
    let output = match in_namespaces(script, place.path()) {
        Ok(output) => output,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(stdout.contains("status 1\n2147483647\n"), "{stdout}{stderr}");
    assert!(stdout.contains("sysctl -w 'net.ipv4.tcp_max_tw_buckets=100'\n"), "{stdout}");
    assert!(!stdout.contains("\nsysctl -w 'fs.file-max="), "it was not set: {stdout}");
    assert!(stderr.contains("fs.file-max: not set to 2147483648: "), "{stderr}");
    assert!(stderr.contains("memory is still short"), "{stderr}");
}

#[test]
fn without_rights_nothing_is_applied() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let mut command = without_rights(env!("CARGO_BIN_EXE_megaconn"), place.path());
    let flags = ["doctor", "--connections", "900M", "--source", "127.0.0.0/8", "--fix", "apply"];
    let output = match command.args(flags).output() {
        Ok(output) => output,
        Err(error) => return eprintln!("SKIPPED: nobody may run the program here: {error}"),
    };
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), stdout.as_str()), (Some(2), ""), "{stderr}");
    let [line] = stderr.lines().collect::<Vec<_>>().try_into().expect("one line refuses");
    assert!(line.starts_with("error: --fix apply: ") && line.contains("fix: sudo"), "{line}");
    assert!(line.contains("net.ipv4.tcp_max_tw_buckets"), "{line}");
}

#[test]
fn what_root_passes_is_lifted_for_others() {
    let host = fs::read_to_string("/proc/sys/fs/file-max").unwrap_or_default();
    if host.trim().parse::<u64>().is_ok_and(|most| most >= 1_800_000_000) {
        return eprintln!("SKIPPED: fs.file-max is enough for anything here: {host}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_megaconn"));
    command.args(["doctor", "--connections", "900M", "--source", "127.0.0.0/8", "--fix", "print"]);
    let output = command.output().expect("the program can be run");
    let files = text(&output.stdout);
    assert!(files.contains("\nfs.file-max = 2147483648\n"), "{files}");
    assert_eq!(output.status.code(), Some(1), "memory for them is no matter of files: {files}");
}
