//! What is set at boot: the lines of sysctl.conf and sysctl.d in the order in which they are
//! applied, each with its file and line.
//!
//! The order is that of sysctl.d(5) and sysctl(8): by file name, whichever directory the file is
//! in. Of two files of one name, only the first directory's is read. `/etc/sysctl.conf` comes last,
//! unless a link gives it a place in the order.

use std::collections::BTreeMap;

use crate::host::procfs::ProcFs;

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
    /// The sysctl's dotted name.
    #[must_use]
    pub fn key(&self) -> String {
        self.path.replace('/', ".")
    }

    /// Whether the line is for all sysctls that a pattern fits.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.path.contains(['*', '?', '['])
    }
}

/// Every line that sets something, in the order in which they are applied.
#[must_use]
pub fn lines(procfs: &ProcFs) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for file in files(procfs) {
        let text = procfs.read(&file).unwrap_or_default();
        for (index, line) in text.lines().enumerate() {
            if let Some((path, value)) = assignment(line) {
                let place = format!("/{file}:{}", index + 1);
                lines.iter_mut().filter(|l| l.path == path).for_each(|l| l.is_overridden = true);
                lines.push(Line { path, value, place, is_overridden: false });
            }
        }
    }
    lines
}

/// The files that are read, in their order.
fn files(procfs: &ProcFs) -> Vec<String> {
    let mut by_name = BTreeMap::new();
    for directory in DIRECTORIES {
        for name in procfs.names(directory).into_iter().filter(|name| name.ends_with(".conf")) {
            by_name.entry(name.clone()).or_insert_with(|| format!("{directory}/{name}"));
        }
    }
    let old = procfs.path(OLD_FILE).canonicalize().ok();
    // Debian links it as 99-sysctl.conf, and boot reads it by that name.
    let is_old = |file: &String| old.is_some() && procfs.path(file).canonicalize().ok() == old;
    let mut files: Vec<String> = by_name.into_values().collect();
    match files.iter_mut().find(|file| is_old(file)) {
        Some(link) => OLD_FILE.clone_into(link),
        None => files.push(OLD_FILE.to_owned()),
    }
    files
}

/// Path and value of a line that sets something.
fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (key, value) = line.split_once('=')?;
    // A leading dash says that a failure is ignored.
    let key = key.trim().trim_start_matches('-').trim();
    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
    (!key.is_empty()).then(|| (path(key), value))
}

/// The file of a key. When its first separator is a dot, dots and slashes are swapped.
fn path(key: &str) -> String {
    let is_dotted = key.find(['.', '/']).is_some_and(|at| key[at..].starts_with('.'));
    let swapped = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    if is_dotted { key.chars().map(swapped).collect() } else { key.to_owned() }
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
    fn read(root: &Path) -> Vec<(String, String, bool)> {
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
        assert_eq!(read(root.path()), expected.map(|(p, v, w)| (p.to_owned(), v.to_owned(), w)));
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
        assert_eq!(read(root.path()), expected.map(|(p, v, w)| (p.to_owned(), v.to_owned(), w)));
    }

    #[test]
    fn keys_are_paths() {
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
        assert_eq!(read(tempfile::tempdir().unwrap().path()), []);
    }
}
