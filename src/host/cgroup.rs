//! The control groups that this process is in, in both versions, as far as they can be seen.

use std::path::{Component, Path, PathBuf};

use crate::host::procfs::ProcFs;

/// The directory of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// 1 or 2.
    pub version: u8,
    /// Where it is, without a leading slash.
    pub path: PathBuf,
}

/// The group of this process for `controller`, such as `memory`, and the groups above it, as far as
/// they exist. A group of version 2 may lack the controller's files.
#[must_use]
pub fn directories(procfs: &ProcFs, controller: &str) -> Vec<Directory> {
    let text = |path: &str| procfs.read(path).unwrap_or_default();
    let (own, mounts) = (text("proc/self/cgroup"), text("proc/self/mountinfo"));
    let mounts = mounts.lines().filter_map(|line| Mount::parse(line, controller));
    mounts.flat_map(|mount| mount.directories(&own, controller)).collect()
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
        let path = own.lines().find_map(|line| self.own_path(line, controller)).unwrap_or_default();
        let is_plain = |path: &&Path| !path.components().any(|part| part == Component::ParentDir);
        let below = Path::new(path).strip_prefix(self.root).ok().filter(is_plain);
        let each = below.unwrap_or(Path::new("")).ancestors();
        let seen = |path| {
            let full: PathBuf = self.point.join(path);
            let path = full.strip_prefix("/").ok()?.components().collect();
            Some(Directory { version: self.version, path })
        };
        each.filter_map(seen).collect()
    }

    /// The path in a line of `/proc/self/cgroup`, if the line is of this hierarchy.
    fn own_path<'b>(&self, line: &'b str, controller: &str) -> Option<&'b str> {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_ours = match self.version {
            1 => controllers.split(',').any(|name| name == controller),
            _ => number == "0" && controllers.is_empty(),
        };
        is_ours.then_some(path)
    }
}
