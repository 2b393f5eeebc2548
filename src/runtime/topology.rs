//! Which CPUs the cores run on.

/// `--cores`: all CPUs that this process may run on, or a list like `0,2-5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreList {
    /// Every allowed CPU.
    All,
    /// These CPUs, in this order.
    These(Vec<u16>),
}

/// A core list that cannot be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CoreError {
    /// The CPU is not there, or the affinity mask leaves it out.
    #[error(
        "--cores: CPU {cpu} does not exist or is not in this process's affinity mask \
         (allowed: {allowed}); fix: --cores {allowed}, or taskset -c {cpu}"
    )]
    NotAllowed {
        /// The CPU asked for.
        cpu: u16,
        /// The ones there are.
        allowed: String,
    },
    /// The affinity mask cannot be read, or is empty.
    #[error("--cores: the CPUs of this process are unknown; fix: allow sched_getaffinity")]
    Unknown,
    /// The CPU stands twice in the list.
    #[error("--cores: CPU {0} is named twice; fix: name each CPU once")]
    Twice(u16),
}

impl std::str::FromStr for CoreList {
    type Err = String;

    fn from_str(text: &str) -> Result<CoreList, String> {
        if text == "all" {
            return Ok(CoreList::All);
        }
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            match (low.parse::<u16>(), high.parse::<u16>()) {
                (Ok(low), Ok(high)) if low <= high => cpus.extend(low..=high),
                _ => {
                    return Err(format!(
                        "`{text}` is no core list; fix: write `all` or like `0,2-5`"
                    ));
                }
            }
        }
        Ok(CoreList::These(cpus))
    }
}

impl CoreList {
    /// The CPUs, checked against the process's affinity mask.
    ///
    /// # Errors
    /// The first CPU that is not allowed or is named twice.
    pub fn resolve(&self) -> Result<Vec<u16>, CoreError> {
        let ids = core_affinity::get_core_ids().unwrap_or_default();
        let allowed: Vec<u16> = ids.iter().filter_map(|core| u16::try_from(core.id).ok()).collect();
        self.resolve_among(&allowed)
    }

    fn resolve_among(&self, allowed: &[u16]) -> Result<Vec<u16>, CoreError> {
        if allowed.is_empty() {
            return Err(CoreError::Unknown);
        }
        let CoreList::These(cpus) = self else { return Ok(allowed.to_vec()) };
        for (index, &cpu) in cpus.iter().enumerate() {
            if !allowed.contains(&cpu) {
                let allowed = allowed.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
                return Err(CoreError::NotAllowed { cpu, allowed });
            }
            if cpus[..index].contains(&cpu) {
                return Err(CoreError::Twice(cpu));
            }
        }
        Ok(cpus.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_parsed_in_order() {
        assert_eq!("3,0-1".parse(), Ok(CoreList::These(vec![3, 0, 1])));
        assert_eq!("all".parse(), Ok(CoreList::All));
        for bad in ["", "a", "2-1", "0,,1", "-1", "70000", "0-"] {
            assert!(bad.parse::<CoreList>().is_err(), "{bad:?} was taken for a core list");
        }
    }

    #[test]
    fn cpus_outside_the_mask_and_doubles_are_refused() {
        let cores = |list: &[u16]| CoreList::These(list.to_vec()).resolve_among(&[0, 1]);
        assert_eq!(cores(&[1, 0]), Ok(vec![1, 0]));
        assert_eq!(cores(&[2]), Err(CoreError::NotAllowed { cpu: 2, allowed: "0,1".into() }));
        assert_eq!(cores(&[1, 1]), Err(CoreError::Twice(1)));
    }
}
