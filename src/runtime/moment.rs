//! The moment that it is, by the clocks that other processes of this host, or of others, have too.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::engine::protocol::broadcast::Moment;
use crate::host::procfs::ProcFs;

/// Where the kernel says which boot it is.
const BOOT_ID: &str = "proc/sys/kernel/random/boot_id";

/// Now.
#[must_use]
pub fn now() -> Moment {
    Moment {
        monotonic_ns: nanoseconds(clock_gettime(ClockId::Monotonic)),
        unix_ns: nanoseconds(clock_gettime(ClockId::Realtime)),
        boot: boot(),
    }
}

/// What it was so long ago.
#[must_use]
pub fn before(passed: Duration) -> Moment {
    let passed_ns = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
    let Moment { monotonic_ns, unix_ns, boot } = now();
    Moment {
        monotonic_ns: monotonic_ns.saturating_sub(passed_ns),
        unix_ns: unix_ns.saturating_sub(passed_ns),
        boot,
    }
}

fn nanoseconds(time: Timespec) -> u64 {
    let [seconds, part] = [time.tv_sec, time.tv_nsec].map(|n| u64::try_from(n).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(part)
}

/// Tells this boot of this kernel from others; one that cannot be read is like no other.
fn boot() -> u32 {
    static BOOT: OnceLock<u32> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let id = ProcFs::host().read(BOOT_ID);
        id.map_or_else(|| fastrand::u32(..), |id| crc32fast::hash(id.trim().as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_follow_each_other_in_one_boot() {
        let [before, after] = [(); 2].map(|()| now());
        assert!(before.monotonic_ns <= after.monotonic_ns && before.unix_ns > 1 << 60);
        assert_eq!(before.boot, after.boot);
    }
}
