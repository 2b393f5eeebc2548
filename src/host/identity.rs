//! Which host this is, and which of its network namespaces.

use crate::host::procfs::ProcFs;

/// Where the kernel says which boot it is.
const BOOT_ID: &str = "proc/sys/kernel/random/boot_id";

/// The name of this host, or of its container.
#[must_use]
pub fn name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Some(name).filter(|name| !name.is_empty())
}

/// What tells this network namespace from all others: the boot of the kernel, and the number of the namespace in it.
#[must_use]
pub fn namespace() -> Option<String> {
    let boot = ProcFs::host().read(BOOT_ID)?;
    let namespace = ProcFs::host().link("proc/self/ns/net")?;
    Some(format!("{} {}", boot.trim(), namespace))
}
