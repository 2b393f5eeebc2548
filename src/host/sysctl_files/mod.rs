//! What is set at boot: the lines of sysctl.conf and sysctl.d in the order in which they are
//! applied, each with its file and line, and the files and lines of which nothing is applied.
//!
//! The order is that of sysctl.d(5) and sysctl(8): by file name, whichever directory the file is
//! in. Of two files of one name, only the first directory's is read, also when it is a link to
//! `/dev/null` or to nothing. `/etc/sysctl.conf` comes last, unless a link gives it a place in the
//! order. systemd-sysctl reads it by such a link alone, `sysctl --system` of procps-ng always.
//!
//! A file may have any bytes. Those that are no UTF-8 are replaced, which changes no key and no
//! figure. A directory, a pipe and a device are never opened.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;

use crate::base::constants::SYSCTL_FILE_BYTES_MAX;
use crate::host::procfs::{ProcFs, Unread};
use crate::host::sysctl_files::line::{Said, fits, swapped};

mod line;

pub use line::Fault;

/// Directories, the one that takes precedence over the others first.
const DIRECTORIES: [&str; 5] =
    ["etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"];

/// The file that is older than the directories.
const OLD_FILE: &str = "etc/sysctl.conf";

/// One assignment of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The file below `/proc/sys`.
    pub path: String,
    /// The value, with single spaces between its words.
    pub value: String,
    /// The absolute path of the file and the number of the line, from 1.
    pub place: String,
    /// Whether a later line sets the same.
    pub is_overridden: bool,
}

impl Line {
    /// The sysctl's dotted name. A dot in the name of an interface is a slash in it.
    #[must_use]
    pub fn key(&self) -> String {
        swapped(&self.path)
    }

    /// Whether the line is for all sysctls that a pattern fits.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.path.contains(['*', '?', '['])
    }
}

/// A line that sets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongLine {
    /// The line as it stands, its beginning when it is long.
    pub text: String,
    /// The absolute path of the file and the number of the line, from 1.
    pub place: String,
    /// Why it sets nothing.
    pub fault: Fault,
}

/// Why nothing of a file or directory is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRead {
    /// It is a link to nothing.
    Dangling,
    /// It is a directory, a pipe or a device.
    NoFile,
    /// The kernel does not let it be read.
    Unreadable,
    /// It is longer than any file that is read here.
    TooLong,
    /// It is UTF-16, of which no line is an assignment.
    Utf16,
    /// Its name is no UTF-8.
    Name,
}

/// All that the files say.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Every line that sets something, in the order in which they are applied.
    pub lines: Vec<Line>,
    /// Every line that is neither an assignment nor a comment.
    pub wrong: Vec<WrongLine>,
    /// Every file and directory of which nothing is known, by its absolute path.
    pub unread: Vec<(String, NotRead)>,
    /// Paths that are excluded from patterns.
    excluded: Vec<String>,
}

impl Files {
    /// The lines that set the sysctl at `path`. A pattern does not set what has a line of its own.
    pub fn setting<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Line> {
        let has_own = self.lines.iter().any(|line| line.path == path)
            || self.excluded.iter().any(|excluded| fits(excluded, path));
        let sets = move |line: &&Line| match line.is_pattern() {
            true => !has_own && fits(&line.path, path),
            false => line.path == path,
        };
        self.lines.iter().filter(sets)
    }

    /// Says again which lines are overridden, when only those count that the kernel takes.
    pub fn override_by(&mut self, is_taken: impl Fn(&Line) -> bool) {
        let mut last = HashMap::new();
        for (index, line) in self.lines.iter().enumerate().filter(|(_, line)| is_taken(line)) {
            last.insert(line.path.clone(), index);
        }
        for (index, line) in self.lines.iter_mut().enumerate() {
            line.is_overridden = last.get(&line.path).is_some_and(|last| *last > index);
        }
    }
}

/// Every line that sets something, in the order in which they are applied.
#[must_use]
pub fn lines(procfs: &ProcFs) -> Vec<Line> {
    read(procfs).lines
}

/// Reads all files.
#[must_use]
pub fn read(procfs: &ProcFs) -> Files {
    let mut read = Files::default();
    for file in files(procfs, &mut read.unread) {
        match procfs.config_text(&file, SYSCTL_FILE_BYTES_MAX) {
            Ok(text) => add_text(&mut read, &file, &text),
            Err(why) => read.unread.extend(not_read(procfs, &file, why)),
        }
    }
    read.override_by(|_| true);
    read
}

/// Characters of a wrong line that are kept.
const WRONG_LINE_CHARS: usize = 60;

fn add_text(read: &mut Files, file: &str, text: &str) {
    // The mark of UTF-16 is no UTF-8, so two characters that replace it are seen here.
    if text.starts_with("\u{fffd}\u{fffd}") && text.contains('\0') {
        read.unread.push((format!("/{file}"), NotRead::Utf16));
        return;
    }
    for (index, line) in text.split('\n').enumerate() {
        let place = format!("/{file}:{}", index + 1);
        match line::read(line) {
            Said::Nothing => {}
            Said::Value(path, value) => {
                read.lines.push(Line { path, value, place, is_overridden: false });
            }
            Said::Excluded(path) => read.excluded.push(path),
            Said::Wrong(fault) => {
                let text = line.trim().chars().take(WRONG_LINE_CHARS);
                // What would move the cursor of a terminal is not shown.
                let text = text.map(|c| if c.is_control() { ' ' } else { c }).collect();
                read.wrong.push(WrongLine { text, place, fault });
            }
        }
    }
}

/// What is said of a file without a text; `None` for a mask, and when there is no such file.
fn not_read(procfs: &ProcFs, file: &str, why: Unread) -> Option<(String, NotRead)> {
    let why = match why {
        Unread::Absent if procfs.path(file).is_symlink() => NotRead::Dangling,
        Unread::Absent => return None,
        Unread::NoFile if procfs.is_null(file) => return None,
        Unread::NoFile => NotRead::NoFile,
        Unread::Unreadable(_) => NotRead::Unreadable,
        Unread::TooLong => NotRead::TooLong,
    };
    Some((format!("/{file}"), why))
}

/// The files that are read, in their order.
fn files(procfs: &ProcFs, unread: &mut Vec<(String, NotRead)>) -> Vec<String> {
    let mut by_name = BTreeMap::new();
    for directory in DIRECTORIES {
        let names = match procfs.raw_names(directory) {
            Ok(names) => names,
            Err(why) => {
                unread.extend(not_read(procfs, directory, why));
                continue;
            }
        };
        for name in names.into_iter().filter(|name| name.as_encoded_bytes().ends_with(b".conf")) {
            match OsString::into_string(name) {
                Ok(name) => {
                    by_name.entry(name.clone()).or_insert_with(|| format!("{directory}/{name}"));
                }
                Err(name) => {
                    let path = format!("/{directory}/{}", name.to_string_lossy());
                    unread.push((path, NotRead::Name));
                }
            }
        }
    }
    let old = procfs.path(OLD_FILE).canonicalize().ok();
    // Debian links it as 99-sysctl.conf, and boot reads it by that name. A mask is no such link.
    let is_old = |file: &String| {
        old.is_some() && !procfs.is_null(file) && procfs.path(file).canonicalize().ok() == old
    };
    let mut files: Vec<String> = by_name.into_values().collect();
    match files.iter_mut().find(|file| is_old(file)) {
        Some(link) => OLD_FILE.clone_into(link),
        None => files.push(OLD_FILE.to_owned()),
    }
    files
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Place, value and whether it holds, of all lines.
    fn held(root: &Path) -> Vec<(String, String, bool)> {
        let lines = lines(&ProcFs::at(root));
        lines.into_iter().map(|l| (l.place, l.value, !l.is_overridden)).collect()
    }

    #[test]
    fn a_later_name_wins_and_a_same_name_masks() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "usr/lib/sysctl.d/50-a.conf", "net.core.somaxconn = 1\n");
        write(root.path(), "etc/sysctl.d/50-a.conf", "\nnet.core.somaxconn=2\n");
        write(root.path(), "usr/local/lib/sysctl.d/60-b.conf", "-net/core/somaxconn =  3  \n");
        write(root.path(), "etc/sysctl.d/70-c.conf.old", "net.core.somaxconn=4\n");
        write(root.path(), "etc/sysctl.conf", "# x\n; net.core.somaxconn=5\nnet.core.somaxconn=6");
        let expected = [
            ("/etc/sysctl.d/50-a.conf:2", "2", false),
            ("/usr/local/lib/sysctl.d/60-b.conf:1", "3", false),
            ("/etc/sysctl.conf:3", "6", true),
        ];
        assert_eq!(held(root.path()), expected.map(|(p, v, w)| (p.to_owned(), v.to_owned(), w)));
    }

    #[test]
    fn a_file_that_is_linked_into_the_row_is_read_once_and_there() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "etc/sysctl.conf", "fs.file-max = 1\n");
        write(root.path(), "usr/lib/sysctl.d/99-z.conf", "fs.file-max = 2\n");
        fs::create_dir(root.path().join("etc/sysctl.d")).unwrap();
        symlink("../sysctl.conf", root.path().join("etc/sysctl.d/99-sysctl.conf")).unwrap();
        symlink("/dev/null", root.path().join("etc/sysctl.d/10-x.conf")).unwrap();
        write(root.path(), "usr/lib/sysctl.d/10-x.conf", "fs.file-max = 3\n");
        let expected =
            [("/etc/sysctl.conf:1", "1", false), ("/usr/lib/sysctl.d/99-z.conf:1", "2", true)];
        assert_eq!(held(root.path()), expected.map(|(p, v, w)| (p.to_owned(), v.to_owned(), w)));
    }

    #[test]
    fn keys_are_paths() {
        let assignment = |line| match line::read(line) {
            Said::Value(path, value) => Some((path, value)),
            _ => None,
        };
        let written = |line| assignment(line).map(|(path, _)| path);
        assert_eq!(written("net.ipv4.tcp_mem=1 2 3").unwrap(), "net/ipv4/tcp_mem");
        assert_eq!(written("net/ipv4/tcp_mem = 1").unwrap(), "net/ipv4/tcp_mem");
        let of_interface = "net/ipv4/conf/eth0.200/forwarding";
        assert_eq!(written("net.ipv4.conf.eth0/200.forwarding=1").unwrap(), of_interface);
        assert_eq!(written("net/ipv4/conf/eth0.200/forwarding=1").unwrap(), of_interface);
        for nothing in ["", "-net.ipv4.conf.*.rp_filter", "= 1", "# a = 1", "a b"] {
            assert_eq!(written(nothing), None, "{nothing:?} sets something");
        }
        let spaced = assignment("net.ipv4.tcp_mem =\t1  2\t3 ").unwrap().1;
        assert_eq!(spaced, "1 2 3");
    }

    #[test]
    fn nothing_is_set_where_there_are_no_files() {
        assert_eq!(held(tempfile::tempdir().unwrap().path()), []);
    }

    #[test]
    fn a_pattern_fits_names_and_no_more() {
        for (pattern, path, is_so) in [
            ("net/*/tcp_mem", "net/ipv4/tcp_mem", true),
            ("net/*", "net/ipv4/tcp_mem", false),
            ("net/core/so*x*nn", "net/core/somaxconn", true),
            ("net/core/so*x*nm", "net/core/somaxconn", false),
            ("net/ipv[46]/tcp_?em", "net/ipv4/tcp_mem", true),
            ("net/ipv[!4]/tcp_mem", "net/ipv4/tcp_mem", false),
            ("net/ipv[0-9]/tcp_mem", "net/ipv4/tcp_mem", true),
            ("net/ipv[4/tcp_mem", "net/ipv4/tcp_mem", false),
            ("[]]", "]", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, path), is_so, "{pattern} and {path}");
        }
    }
}
