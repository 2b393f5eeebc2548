//! The control groups that this process is in, in both versions, as far as they can be seen.

use std::path::{Component, Path, PathBuf};

use crate::host::procfs::{ProcFs, Unread};

/// The directory of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// 1 or 2.
    pub version: u8,
    /// Where it is, without a leading slash.
    pub path: PathBuf,
}

/// The groups of this process for one controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Its own group and the groups above it, as far as they exist. A group of version 2 may lack the
    /// controller's files.
    pub directories: Vec<Directory>,
    /// Whether the process's own group is among them, or there is none. If not, a limit of a group that
    /// is not in sight may hold.
    pub is_whole: bool,
}

/// The group of this process for `controller`, such as `memory`, and the groups above it, as far as
/// they exist.
#[must_use]
pub fn directories(procfs: &ProcFs, controller: &str) -> Vec<Directory> {
    find(procfs, controller).directories
}

/// The groups of this process for `controller`, and whether they are all.
#[must_use]
pub fn find(procfs: &ProcFs, controller: &str) -> Groups {
    let own = procfs.text("proc/self/cgroup");
    let mounts = procfs.read("proc/self/mountinfo").unwrap_or_default();
    let mounts: Vec<_> = mounts.lines().filter_map(|line| Mount::parse(line, controller)).collect();
    let text = own.as_deref().unwrap_or_default();
    let each = mounts.iter().flat_map(|mount| mount.directories(text, controller));
    let is_whole = match &own {
        Ok(text) => is_in_sight(procfs, text, &mounts, controller),
        // Others of the process's files are there, so this kernel has no groups.
        Err(Unread::Absent) => !procfs.names("proc/self").is_empty(),
        Err(_) => false,
    };
    Groups { directories: each.collect(), is_whole }
}

/// Whether the group that counts for `controller` is below a mount. A controller is in one hierarchy:
/// in one of version 1 that names it, or else in that of version 2.
fn is_in_sight(procfs: &ProcFs, own: &str, mounts: &[Mount<'_>], controller: &str) -> bool {
    let is_of = |version| own.lines().any(|line| own_path(line, version, controller).is_some());
    let Some(version) = [1, 2].into_iter().find(|version| is_of(*version)) else { return false };
    let is_there = |mount: &Mount<'_>| {
        let place = mount.below(own, controller).and_then(|below| mount.directory(below));
        place.is_some_and(|place| {
            place.path.to_str().is_some_and(|path| !procfs.names(path).is_empty())
        })
    };
    mounts.iter().any(|mount| mount.version == version && is_there(mount))
}

/// The path of a group in a line of `/proc/self/cgroup`, if the line is of the hierarchy of this version
/// that `controller` is in.
fn own_path<'a>(line: &'a str, version: u8, controller: &str) -> Option<&'a Path> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let is_it = match version {
        1 => controllers.split(',').any(|name| name == controller),
        _ => number == "0" && controllers.is_empty(),
    };
    is_it.then_some(Path::new(path))
}

/// Where a hierarchy with the controller is mounted, from a line of `mountinfo`.
struct Mount<'a> {
    version: u8,
    /// The part of the hierarchy that is mounted.
    root: &'a Path,
    point: &'a Path,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str, controller: &str) -> Option<Mount<'a>> {
        let (place, kind) = line.split_once(" - ")?;
        let (mut place, mut kind) = (place.split(' ').skip(3), kind.split(' '));
        let (root, point) = (place.next()?, place.next()?);
        let (file_system, options) = (kind.next()?, kind.nth(1)?);
        let version = match file_system {
            "cgroup" if options.split(',').any(|option| option == controller) => 1,
            "cgroup2" => 2,
            _ => return None,
        };
        Some(Mount { version, root: Path::new(root), point: Path::new(point) })
    }

    /// The group of this process and those above it, up to the mount's root. A container may see
    /// the root alone, under another name than the group has outside. Then the root is read.
    fn directories(&self, own: &str, controller: &str) -> Vec<Directory> {
        let each = self.below(own, controller).unwrap_or(Path::new("")).ancestors();
        each.filter_map(|path| self.directory(path)).collect()
    }

    /// The process's own group, as seen from the mount's root; `None` when it is not below that.
    fn below<'b>(&self, own: &'b str, controller: &str) -> Option<&'b Path> {
        let path = own.lines().find_map(|line| own_path(line, self.version, controller))?;
        let is_plain = |path: &&Path| !path.components().any(|part| part == Component::ParentDir);
        path.strip_prefix(self.root).ok().filter(is_plain)
    }

    fn directory(&self, path: &Path) -> Option<Directory> {
        let full: PathBuf = self.point.join(path);
        let path = full.strip_prefix("/").ok()?.components().collect();
        Some(Directory { version: self.version, path })
    }
}
