//! How much memory is used, as the kernel counts it.

use std::collections::BTreeMap;

use crate::host::procfs::ProcFs;

/// Resident bytes of this process, from `/proc/self/statm`; `None` when it cannot be read.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let statm = ProcFs::host().read("proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

/// Fields of `/proc/meminfo`, in bytes.
#[derive(Clone, Debug, Default)]
pub struct MemInfo(BTreeMap<String, u64>);

impl MemInfo {
    /// The host's memory now.
    #[must_use]
    pub fn read() -> MemInfo {
        MemInfo::of(&ProcFs::host()).unwrap_or_default()
    }

    /// The memory of the host below `procfs`; `None` when it cannot be read.
    #[must_use]
    pub fn of(procfs: &ProcFs) -> Option<MemInfo> {
        Some(MemInfo::parse(&procfs.read("proc/meminfo")?))
    }

    /// From the text of `/proc/meminfo`. Lines of another form are skipped.
    #[must_use]
    pub fn parse(text: &str) -> MemInfo {
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            let kib: u64 = value.trim().strip_suffix(" kB")?.trim().parse().ok()?;
            Some((name.to_owned(), kib.checked_mul(1024)?))
        };
        MemInfo(text.lines().filter_map(field).collect())
    }

    /// One field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }
}

/// The kernel's own memory at one moment.
#[derive(Clone, Debug, Default)]
pub struct KernelMemory {
    /// Bytes by slab cache, where `/proc/slabinfo` may be read (root).
    by_slab: Option<BTreeMap<String, u64>>,
    /// All slab memory, by slabinfo where it may be read, else by meminfo.
    slabs: Option<u64>,
    /// The kernel's memory outside of slabs; `None` when meminfo has none of the fields.
    outside_slabs: Option<u64>,
}

/// Fields of meminfo that hold kernel memory outside of the slabs.
const OUTSIDE_SLABS: [&str; 4] = ["VmallocUsed", "Percpu", "KernelStack", "PageTables"];

/// The parts of a connection in the kernel, and the slab caches that hold them.
pub const SLAB_LAYERS: [(&str, &[&str]); 5] = [
    ("tcp", &["TCP", "TCPv6"]),
    ("inode", &["sock_inode_cache"]),
    ("filp", &["filp"]),
    ("dentry", &["dentry"]),
    ("io_uring", &["io_kiocb"]),
];

/// Slabs that are in none of [`SLAB_LAYERS`].
pub const OTHER_SLABS: &str = "other_slabs";
/// All slabs, where `/proc/slabinfo` may not be read and they cannot be told apart.
pub const ALL_SLABS: &str = "slabs";
/// Page tables, kernel stacks, vmalloc and per-CPU memory.
pub const NO_SLAB: &str = "outside_slabs";

impl KernelMemory {
    /// The kernel's memory now.
    #[must_use]
    pub fn read() -> KernelMemory {
        KernelMemory::parse(ProcFs::host().read("proc/slabinfo").as_deref(), &MemInfo::read())
    }

    /// From the text of `/proc/slabinfo`, where it could be read, and `/proc/meminfo`.
    #[must_use]
    pub fn parse(slabinfo: Option<&str>, meminfo: &MemInfo) -> KernelMemory {
        let by_slab = slabinfo.map(parse_slabinfo).filter(|slabs| !slabs.is_empty());
        let sum = |numbers: &mut dyn Iterator<Item = u64>| numbers.fold(0, u64::saturating_add);
        let slabs = by_slab.as_ref().map(|slabs| sum(&mut slabs.values().copied()));
        let outside: Vec<u64> = OUTSIDE_SLABS.iter().filter_map(|f| meminfo.get(f)).collect();
        KernelMemory {
            slabs: slabs.or_else(|| meminfo.get("Slab")),
            by_slab,
            outside_slabs: (!outside.is_empty()).then(|| sum(&mut outside.into_iter())),
        }
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.slabs?.checked_add(self.outside_slabs?)
    }

    /// Bytes by slab cache; `None` where `/proc/slabinfo` may not be read.
    #[must_use]
    pub fn by_slab(&self) -> Option<&BTreeMap<String, u64>> {
        self.by_slab.as_ref()
    }

    /// Bytes by layer; their sum is [`KernelMemory::bytes`]. With slabinfo, the layers are those of
    /// [`SLAB_LAYERS`] that this kernel has a cache of, [`OTHER_SLABS`] and [`NO_SLAB`]. Without
    /// it, they are [`ALL_SLABS`] and [`NO_SLAB`]. A layer that could not be read is absent.
    #[must_use]
    pub fn by_layer(&self) -> BTreeMap<&'static str, u64> {
        let mut layers = BTreeMap::new();
        layers.extend(self.outside_slabs.map(|bytes| (NO_SLAB, bytes)));
        let Some(by_slab) = &self.by_slab else {
            layers.extend(self.slabs.map(|bytes| (ALL_SLABS, bytes)));
            return layers;
        };
        let mut other = self.slabs.unwrap_or(0);
        for (layer, caches) in SLAB_LAYERS {
            let mut found = caches.iter().filter_map(|cache| by_slab.get(*cache)).peekable();
            if found.peek().is_some() {
                let bytes = found.fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
                other = other.saturating_sub(bytes);
                layers.insert(layer, bytes);
            }
        }
        layers.insert(OTHER_SLABS, other);
        layers
    }
}

/// Bytes by cache: slabs times pages per slab, from the columns that `slabinfo(5)` names.
fn parse_slabinfo(text: &str) -> BTreeMap<String, u64> {
    let page = rustix::param::page_size() as u64;
    let cache = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let pages_per_slab: u64 = fields.get(5)?.parse().ok()?;
        let slabs: u64 = fields.get(14)?.parse().ok()?;
        Some((fields[0].to_owned(), slabs.checked_mul(pages_per_slab)?.checked_mul(page)?))
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
    fn layers_are_all_of_the_kernels_memory() {
        let page = rustix::param::page_size() as u64;
        let meminfo = MemInfo::parse(
            "Slab: 900 kB\nVmallocUsed: 1 kB\nPercpu: 2 kB\nKernelStack: 3 kB\nPageTables: 4 kB\n",
        );
        let slabinfo = "slabinfo - version: 2.1\n\
            TCP 1 13 2368 13 8 : tunables 0 0 0 : slabdata 10 10 0\n\
            TCPv6 1 13 2368 13 8 : tunables 0 0 0 : slabdata 1 1 0\n\
            filp 1 21 192 21 1 : tunables 0 0 0 : slabdata 5 5 0\n\
            kmalloc-32 1 128 32 128 1 : tunables 0 0 0 : slabdata 7 7 0\n";
        let memory = KernelMemory::parse(Some(slabinfo), &meminfo);
        let layers = [
            ("filp", 5 * page),
            (OTHER_SLABS, 7 * page),
            (NO_SLAB, 10 * 1024),
            ("tcp", 11 * 8 * page),
        ];
        assert_eq!(memory.by_layer(), BTreeMap::from(layers), "a kernel without io_kiocb has none");
        assert_eq!(memory.bytes(), Some(memory.by_layer().values().sum()));

        // An unreadable slabinfo, and one with nothing in it.
        for slabinfo in [None, Some("")] {
            let memory = KernelMemory::parse(slabinfo, &meminfo);
            let layers = [(NO_SLAB, 10 * 1024), (ALL_SLABS, 900 * 1024)];
            assert_eq!(memory.by_layer(), BTreeMap::from(layers));
            assert_eq!(memory.bytes(), Some(910 * 1024));
        }
        let nothing = KernelMemory::parse(None, &MemInfo::default());
        assert_eq!((nothing.bytes(), nothing.by_layer()), (None, BTreeMap::new()), "not 0");
    }

    #[test]
    fn this_process_is_resident() {
        assert!(resident_bytes().unwrap() > 100_000);
    }
}
