//! What memory is used, as the kernel itself counts it.

use std::collections::BTreeMap;
use std::fs;

/// Resident bytes of this process, from `/proc/self/statm`; `None` when it cannot be read.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Files this process has open; direct descriptors are none of them.
#[must_use]
pub fn open_files() -> Option<u64> {
    // The directory that is being read is one more.
    fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1) as u64)
}

/// Fields of `/proc/meminfo`, in bytes.
#[derive(Clone, Debug, Default)]
pub struct MemInfo(BTreeMap<String, u64>);

impl MemInfo {
    /// The host's memory now.
    #[must_use]
    pub fn read() -> MemInfo {
        MemInfo::parse(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
    }

    /// From the text of `/proc/meminfo`; lines that are none are passed over.
    #[must_use]
    pub fn parse(text: &str) -> MemInfo {
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            let kib: u64 = value.trim().strip_suffix(" kB")?.trim().parse().ok()?;
            Some((name.to_owned(), kib * 1024))
        };
        MemInfo(text.lines().filter_map(field).collect())
    }

    /// One field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }
}

/// What the kernel holds for itself at one moment.
#[derive(Clone, Debug, Default)]
pub struct KernelMemory {
    /// Bytes by slab cache, where `/proc/slabinfo` may be read (root).
    pub by_slab: Option<BTreeMap<String, u64>>,
    /// All slab memory, by slabinfo where it may be read, else by meminfo.
    slab: Option<u64>,
    /// Tables, rings' areas and other memory that is no slab.
    other: u64,
}

/// Fields of meminfo that hold kernel memory outside of the slabs.
const OTHER_KERNEL_FIELDS: [&str; 4] = ["VmallocUsed", "Percpu", "KernelStack", "PageTables"];

impl KernelMemory {
    /// The kernel's memory now.
    #[must_use]
    pub fn read() -> KernelMemory {
        let info = MemInfo::read();
        let by_slab = fs::read_to_string("/proc/slabinfo").ok().map(|text| parse_slabinfo(&text));
        let slab = by_slab.as_ref().map(|slabs| slabs.values().sum()).or_else(|| info.get("Slab"));
        let other = OTHER_KERNEL_FIELDS.iter().filter_map(|field| info.get(field)).sum();
        KernelMemory { by_slab, slab, other }
    }

    /// Bytes grown since `before`; `None` when neither source could be read.
    #[must_use]
    pub fn grown_since(&self, before: &KernelMemory) -> Option<i64> {
        let now = i64::try_from(self.slab?.checked_add(self.other)?).ok()?;
        Some(now - i64::try_from(before.slab?.checked_add(before.other)?).ok()?)
    }

    /// Bytes grown since `before` by slab cache, largest first left to the reader; caches that
    /// did not grow are left out.
    #[must_use]
    pub fn slabs_grown_since(&self, before: &KernelMemory) -> Option<BTreeMap<String, u64>> {
        let before = before.by_slab.as_ref()?;
        let grown = self.by_slab.as_ref()?.iter().filter_map(|(name, bytes)| {
            let grown = bytes.checked_sub(before.get(name).copied().unwrap_or(0))?;
            (grown > 0).then(|| (name.clone(), grown))
        });
        Some(grown.collect())
    }
}

/// Bytes by cache: slabs times pages per slab, from the columns that `slabinfo(5)` names.
fn parse_slabinfo(text: &str) -> BTreeMap<String, u64> {
    let page = rustix::param::page_size() as u64;
    let cache = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let pages_per_slab: u64 = fields.get(5)?.parse().ok()?;
        let slabs: u64 = fields.get(14)?.parse().ok()?;
        Some((fields[0].to_owned(), slabs * pages_per_slab * page))
    };
    text.lines().filter_map(cache).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_bytes() {
        let info = MemInfo::parse("MemTotal:       24684012 kB\nHugePages_Total:       0\nnoise\n");
        assert_eq!(info.get("MemTotal"), Some(24_684_012 * 1024));
        assert_eq!(info.get("HugePages_Total"), None);
    }

    #[test]
    fn slabinfo_counts_whole_slabs() {
        let text = "slabinfo - version: 2.1\n# name <active_objs> ...\n\
            TCP 100 130 2432 13 8 : tunables 0 0 0 : slabdata 10 10 0\n";
        let page = rustix::param::page_size() as u64;
        assert_eq!(parse_slabinfo(text), BTreeMap::from([("TCP".to_owned(), 10 * 8 * page)]));
    }

    #[test]
    fn this_process_is_resident() {
        assert!(resident_bytes().unwrap() > 100_000);
    }
}
