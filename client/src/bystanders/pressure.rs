//! For how much of a time any task of the host waited for a CPU, a disk or memory, as the kernel has it
//! in `/proc/pressure`; where that is not there, nothing is said.

use std::collections::BTreeMap;

use megaconn::host::procfs::ProcFs;

const RESOURCES: [&str; 3] = ["cpu", "io", "memory"];

/// Microseconds since the start of the host in which any task waited, by resource.
pub(crate) struct Pressure([Option<u64>; 3]);

impl Pressure {
    pub(crate) fn read() -> Pressure {
        let procfs = ProcFs::host();
        Pressure(
            RESOURCES
                .map(|resource| some_total_us(&procfs.read(&format!("proc/pressure/{resource}"))?)),
        )
    }

    /// In per cent of the time of `us` that has passed since `before`.
    pub(crate) fn since(&self, before: &Pressure, us: u64) -> BTreeMap<&'static str, f64> {
        let each = RESOURCES.into_iter().zip(self.0.iter().zip(&before.0));
        each.filter_map(|(resource, (now, before))| {
            let waited_us = now.as_ref()?.saturating_sub(*before.as_ref()?);
            Some((resource, 100.0 * waited_us as f64 / us.max(1) as f64))
        })
        .collect()
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=12345`.
fn some_total_us(text: &str) -> Option<u64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ').find_map(|word| word.strip_prefix("total="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_of_a_time_in_which_a_task_waited() {
        let text = "some avg10=1.00 avg60=0.00 avg300=0.00 total=1500\nfull avg10=0.00 total=7\n";
        assert_eq!(some_total_us(text), Some(1500));
        assert_eq!(some_total_us("full avg10=0.00 total=7"), None);
        let (before, now) =
            (Pressure([Some(100), None, Some(5)]), Pressure([Some(350), Some(1), None]));
        assert_eq!(now.since(&before, 1_000), [("cpu", 25.0)].into());
    }
}
