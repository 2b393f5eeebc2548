//! How much memory may still be taken before the kernel kills somebody for it: of the host, and of
//! every memory cgroup that this process is in.
//!
//! Read by the housekeeping thread at each of its looks, so the files stay open: a reading is three
//! reads for a cgroup and one for the host. The groups are those the process was in at its start.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::walls::tree::Tree;

/// What [`Room::limit`] says of the host as a whole.
pub const HOST: &str = "host";

/// One limit on memory, as it stood at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// [`HOST`], or the directory of the memory cgroup.
    pub limit: Arc<str>,
    /// All that there is, or that the cgroup may have.
    pub total_bytes: u64,
    /// What may still be taken: nobody uses it, or it is file cache that the kernel would drop.
    pub available_bytes: u64,
}

/// Where a limit holds, in words.
#[must_use]
pub fn place(limit: &str) -> String {
    if limit == HOST { "on this host".into() } else { format!("in cgroup {limit}") }
}

/// The limits that this process is under.
#[derive(Debug)]
pub struct Rooms {
    host: Option<File>,
    groups: Vec<Group>,
}

impl Rooms {
    /// The host and the memory cgroups of this process, as far as they can be seen.
    #[must_use]
    pub fn find(tree: &Tree) -> Rooms {
        let text = |path: &str| tree.read(path).unwrap_or_default();
        let (own, mounts) = (text("proc/self/cgroup"), text("proc/self/mountinfo"));
        let mounts = mounts.lines().filter_map(Mount::parse);
        Rooms {
            host: File::open(tree.path("proc/meminfo")).ok(),
            groups: mounts.flat_map(|mount| mount.groups(tree, &own)).collect(),
        }
    }

    /// Every limit as it stands now, the host's first; a cgroup without a limit is left out.
    pub fn read(&self) -> impl Iterator<Item = Room> {
        let host = self.host.as_ref().and_then(|file| Text::of(file).ok()?.host());
        host.into_iter().chain(self.groups.iter().filter_map(Group::room))
    }

    /// The limit that is nearest; `None` when none can be read.
    #[must_use]
    pub fn least(&self) -> Option<Room> {
        self.read().min_by_key(|room| room.available_bytes)
    }

    /// The smallest of all totals.
    #[must_use]
    pub fn total_bytes(&self) -> Option<u64> {
        self.read().map(|room| room.total_bytes).min()
    }
}

/// What the two hierarchies call the same things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Names {
    file_system: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// Of `memory.stat`: file cache of the group and all below it that nobody has used of late.
    cache: &'static str,
}

const VERSION_1: Names = Names {
    file_system: "cgroup",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    cache: "total_inactive_file",
};

const VERSION_2: Names = Names {
    file_system: "cgroup2",
    limit: "memory.max",
    usage: "memory.current",
    cache: "inactive_file",
};

/// Where a hierarchy that counts memory is mounted, from a line of `mountinfo`.
struct Mount<'a> {
    /// What of the hierarchy is mounted.
    root: &'a Path,
    point: &'a Path,
    names: &'static Names,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Mount<'a>> {
        let (place, kind) = line.split_once(" - ")?;
        let (mut place, mut kind) = (place.split(' ').skip(3), kind.split(' '));
        let (root, point) = (place.next()?, place.next()?);
        let (file_system, options) = (kind.next()?, kind.nth(1)?);
        let names = [&VERSION_1, &VERSION_2].into_iter().find(|n| n.file_system == file_system)?;
        let counts_memory = names == &VERSION_2 || options.split(',').any(|o| o == "memory");
        let mount = Mount { root: Path::new(root), point: Path::new(point), names };
        counts_memory.then_some(mount)
    }

    /// Our own group and those above it, up to the mount's root. A container may see the root alone,
    /// and under another name than its group has outside: then that is the one to read.
    fn groups(&self, tree: &Tree, own: &str) -> Vec<Group> {
        let path = own.lines().find_map(|line| self.own_path(line)).unwrap_or_default();
        let is_plain = |path: &&Path| !path.components().any(|part| part == Component::ParentDir);
        let below = Path::new(path).strip_prefix(self.root).ok().filter(is_plain);
        let each = below.unwrap_or(Path::new("")).ancestors();
        each.filter_map(|path| Group::open(tree, &self.point.join(path), self.names)).collect()
    }

    /// The path in a line of `/proc/self/cgroup`, if the line is of this hierarchy.
    fn own_path<'b>(&self, line: &'b str) -> Option<&'b str> {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_ours = match self.names == &VERSION_2 {
            true => number == "0" && controllers.is_empty(),
            false => controllers.split(',').any(|controller| controller == "memory"),
        };
        is_ours.then_some(path)
    }
}

/// One memory cgroup.
#[derive(Debug)]
struct Group {
    directory: Arc<str>,
    limit: File,
    usage: File,
    statistics: File,
    names: &'static Names,
}

impl Group {
    /// `None` when it is not there, or its hierarchy does not count memory.
    fn open(tree: &Tree, directory: &Path, names: &'static Names) -> Option<Group> {
        let seen: PathBuf = directory.strip_prefix("/").ok()?.components().collect();
        let open = |name: &str| File::open(tree.path(seen.join(name).to_str()?)).ok();
        Some(Group {
            directory: format!("/{}", seen.display()).into(),
            limit: open(names.limit)?,
            usage: open(names.usage)?,
            statistics: open("memory.stat")?,
            names,
        })
    }

    /// `None` when it has no limit, or is gone.
    fn room(&self) -> Option<Room> {
        let total_bytes = Text::of(&self.limit).ok()?.number().filter(|&n| n < NO_LIMIT_BYTES)?;
        let used = Text::of(&self.usage).ok()?.number()?;
        let cache = Text::of(&self.statistics).ok()?.field(self.names.cache).unwrap_or(0);
        let available_bytes = total_bytes.saturating_sub(used.saturating_sub(cache));
        Some(Room { limit: Arc::clone(&self.directory), total_bytes, available_bytes })
    }
}

/// From here on a limit is none: version 1 says so by the last page below 2^63 bytes.
const NO_LIMIT_BYTES: u64 = 1 << 62;

/// The beginning of a small file, read in one piece.
struct Text {
    bytes: [u8; Text::BYTES_MAX],
    length: usize,
}

impl Text {
    /// `meminfo` and `memory.stat` have less than 4 KiB, and what is looked for stands in it.
    const BYTES_MAX: usize = 8 * 1024;

    fn of(file: &File) -> io::Result<Text> {
        let mut text = Text { bytes: [0; Text::BYTES_MAX], length: 0 };
        text.length = file.read_at(&mut text.bytes, 0)?;
        Ok(text)
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default().lines()
    }

    /// A file that is one number; `max` is none.
    fn number(&self) -> Option<u64> {
        self.lines().next()?.trim().parse().ok()
    }

    /// The number behind a name.
    fn field(&self, name: &str) -> Option<u64> {
        let value = self.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', ':']));
        value?.split_whitespace().next()?.parse().ok()
    }

    fn host(&self) -> Option<Room> {
        let bytes = |name: &str| self.field(name)?.checked_mul(1024);
        let (total_bytes, available_bytes) = (bytes("MemTotal")?, bytes("MemAvailable")?);
        Some(Room { limit: HOST.into(), total_bytes, available_bytes })
    }
}

#[cfg(test)]
mod tests;
