//! Any bytes as a file of dumps: merging it never panics, and what comes out adds up.

#![no_main]

use libfuzzer_sys::fuzz_target;
use megaconn::observe::dump::merge::Merge;

fuzz_target!(|bytes: &[u8]| {
    // Once as one file, and once cut into two, as of two processes.
    let cut = bytes.len() / 2;
    for files in [&[bytes][..], &[&bytes[..cut], &bytes[cut..]]] {
        let mut merge = Merge::default();
        if files.iter().any(|file| merge.add("file", *file).is_err()) {
            continue;
        }
        let Ok(merged) = merge.finish() else { continue };
        for side in merged.sides.values() {
            for (name, counter) in &side.counters {
                let each = side.cores.iter().map(|core| core.counters[name].total);
                assert_eq!(each.sum::<u64>(), counter.total, "{name} is no sum");
                assert!(counter.per_s.is_none_or(|rate| rate.is_finite() && rate >= 0.0));
            }
            for p in side.latencies.values() {
                let ladder = [p.p50, p.p90, p.p99, p.p999, p.max];
                assert!(p.count > 0 && ladder.is_sorted(), "{p:?}");
            }
        }
    }
});
