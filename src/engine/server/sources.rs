//! `--max-connections-per-source`: how many connections each source address has, all cores together, and whether
//! one more is let in.
//!
//! Only a server that was told of a limit keeps this: it takes a look at the address, an entry in a map of the core,
//! and one in a map that all cores share, behind a lock that is held for one look. The shared map is in parts, by
//! address, so that cores seldom meet.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Parts of the shared map.
const PARTS: usize = 64;

/// Connections of each source address, in all cores that have a clone of it.
#[derive(Clone, Debug, Default)]
pub struct Sources(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    most: u64,
    by: RandomState,
    parts: [Mutex<HashMap<IpAddr, u64>>; PARTS],
}

impl Sources {
    /// With at most so many of one address.
    #[must_use]
    pub fn of(most: u64) -> Sources {
        let parts = std::array::from_fn(|_| Mutex::default());
        Sources(Some(Arc::new(Shared { most, by: RandomState::new(), parts })))
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.0.is_some()
    }

    /// One more of `source`; whether it may be.
    pub(super) fn take(&self, source: IpAddr) -> bool {
        let Some(shared) = &self.0 else { return true };
        shared.with(source, |counts| {
            let count = counts.entry(source).or_insert(0);
            let is_room = *count < shared.most;
            *count += u64::from(is_room);
            is_room
        })
    }

    /// One less of `source`.
    pub(super) fn give_back(&self, source: IpAddr) {
        let Some(shared) = &self.0 else { return };
        shared.with(source, |counts| {
            let count = counts.get_mut(&source).expect("one of it was taken");
            *count -= 1;
            if *count == 0 {
                counts.remove(&source);
            }
        });
    }
}

impl Shared {
    fn with<T>(&self, source: IpAddr, act: impl FnOnce(&mut HashMap<IpAddr, u64>) -> T) -> T {
        let part = usize::try_from(self.by.hash_one(source) % PARTS as u64).expect("it is below");
        act(&mut self.parts[part].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_as_many_as_there_may_be_of_one() {
        let sources = Sources::of(3);
        let [a, b] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let take = |source| (0..9).filter(|_| sources.clone().take(source)).count();
        assert_eq!((take(a), take(b), take(a)), (3, 3, 0));
        sources.give_back(a);
        assert_eq!((take(a), take(b)), (1, 0));
        (0..3).for_each(|_| sources.give_back(b));
        let shared = sources.0.as_ref().expect("it has a limit");
        let known: usize = shared.parts.iter().map(|part| part.lock().unwrap().len()).sum();
        assert_eq!(known, 1, "an address without connections is forgotten");
        let without = Sources::default();
        assert!((0..9).all(|_| without.take(a)) && !without.is_limited());
    }
}
