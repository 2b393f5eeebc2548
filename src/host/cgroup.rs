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
        // Of a line without an end the path may be that of another group.
        Ok(text) => text.ends_with('\n') && is_in_sight(procfs, text, &mounts, controller),
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

/// What the groups of this process have counted of their own limits, by name: how often, and for how many
/// milliseconds, a CPU quota held it up, how often `memory.high` did, and how often `pids.max` refused a
/// thread. What no group counts is left out.
#[must_use]
pub fn counters(procfs: &ProcFs) -> Vec<(&'static str, u64)> {
    let sum = |controller: &str, file: &str, field: &str, unit: u64| {
        let texts = directories(procfs, controller).into_iter().filter_map(|group| {
            let text = procfs.read(group.path.join(file).to_str()?)?;
            let value =
                text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(' '))?;
            value.trim().parse::<u64>().ok().map(|n| n / unit)
        });
        texts.reduce(u64::saturating_add)
    };
    let throttled_ms = sum("cpu", "cpu.stat", "throttled_usec", 1_000)
        .or_else(|| sum("cpu", "cpu.stat", "throttled_time", 1_000_000));
    [
        (THROTTLED, sum("cpu", "cpu.stat", "nr_throttled", 1)),
        (THROTTLED_MS, throttled_ms),
        (MEMORY_HIGH, sum("memory", "memory.events", "high", 1)),
        (PIDS_MAX, sum("pids", "pids.events", "max", 1)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

/// How all their names begin.
pub const PREFIX: &str = "cgroup.";

/// Periods in which a CPU quota was used up.
pub const THROTTLED: &str = "cgroup.nr_throttled";

/// Milliseconds for which it then held threads up.
pub const THROTTLED_MS: &str = "cgroup.throttled_ms";

/// Times that `memory.high` held the process up.
pub const MEMORY_HIGH: &str = "cgroup.memory_high";

/// Threads that `pids.max` refused.
pub const PIDS_MAX: &str = "cgroup.pids_max";

/// Hundredths of a CPU that the groups of this process let it have; `Ok(None)` without a quota.
///
/// # Errors
/// When no hierarchy can be seen, so that nothing is known.
pub fn cpu_quota_percent(procfs: &ProcFs) -> Result<Option<u64>, NoHierarchy> {
    let groups = directories(procfs, "cpu");
    if groups.is_empty() {
        return Err(NoHierarchy);
    }
    let number = |text: Option<&str>| text?.trim().parse::<u64>().ok();
    let quotas = groups.iter().filter_map(|group| {
        let text = |name: &str| procfs.read(group.path.join(name).to_str()?);
        let (quota, period) = match group.version {
            1 => {
                let (quota, period) = (text("cpu.cfs_quota_us")?, text("cpu.cfs_period_us")?);
                (number(Some(&quota))?, number(Some(&period))?)
            }
            _ => {
                let both = text("cpu.max")?;
                let mut words = both.split_whitespace();
                (number(words.next())?, number(words.next())?)
            }
        };
        (quota.saturating_mul(100)).checked_div(period)
    });
    Ok(quotas.min())
}

/// No hierarchy of control groups is in sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHierarchy;

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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A tree with `files`, in a group `box` of each hierarchy that is mounted.
    fn tree(mounts: &str, own: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, ProcFs) {
        let root = tempfile::tempdir().unwrap();
        let always = [("proc/self/cgroup", own), ("proc/self/mountinfo", mounts)];
        for (path, text) in always.iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let procfs = ProcFs::at(root.path());
        (root, procfs)
    }

    #[test]
    fn quotas_and_what_they_cost_are_read_in_both_versions() {
        let (_root, version_2) = tree(
            "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "0::/box\n",
            &[
                ("sys/fs/cgroup/box/cpu.max", "50000 100000\n"),
                (
                    "sys/fs/cgroup/box/cpu.stat",
                    "usage_usec 9\nnr_throttled 7\nthrottled_usec 8000\n",
                ),
                ("sys/fs/cgroup/box/memory.events", "low 0\nhigh 3\nmax 5\n"),
                ("sys/fs/cgroup/box/pids.events", "max 2\n"),
            ],
        );
        assert_eq!(cpu_quota_percent(&version_2), Ok(Some(50)));
        assert_eq!(
            counters(&version_2),
            [(THROTTLED, 7), (THROTTLED_MS, 8), (MEMORY_HIGH, 3), (PIDS_MAX, 2)]
        );
        let (_root, version_1) = tree(
            "30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
            "4:cpu:/box\n",
            &[
                ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
                ("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "150000\n"),
                ("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n"),
                (
                    "sys/fs/cgroup/cpu/box/cpu.stat",
                    "nr_periods 9\nnr_throttled 1\nthrottled_time 5000000\n",
                ),
            ],
        );
        assert_eq!(cpu_quota_percent(&version_1), Ok(Some(150)));
        assert_eq!(counters(&version_1), [(THROTTLED, 1), (THROTTLED_MS, 5)]);
    }

    #[test]
    fn without_a_quota_there_is_none_and_without_a_hierarchy_nothing_is_known() {
        let mount = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let (_root, free) =
            tree(mount, "0::/box\n", &[("sys/fs/cgroup/box/cpu.max", "max 100000\n")]);
        assert_eq!(cpu_quota_percent(&free), Ok(None));
        let (_root, hidden) = tree("", "0::/box\n", &[]);
        assert_eq!((cpu_quota_percent(&hidden), counters(&hidden)), (Err(NoHierarchy), vec![]));
    }
}
