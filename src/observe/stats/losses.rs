//! Every held connection of a core that did not come to be or was lost: how it ended, when, how old it
//! was, and how long no byte had come. What they have in common is found by a reader.
//!
//! A core writes, under a lock that nothing else wants while it does; readers look when the run, or a
//! part of it, is over. Memory is taken when something is lost, 32 bytes for each, up to a bound.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::constants::{FIRST_BYTES_MAX, LOSSES_MAX};
use crate::base::errno::Errno;
use crate::observe::stats::lost::LostCause;

/// How a held connection ended that was to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Its connect failed.
    Failed(Errno),
    /// It was established, and lost.
    Lost(LostCause),
}

/// One connection that was lost or did not come to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Its number in its core's part of the plan, which gives its source and its target.
    pub number: u32,
    /// How it ended.
    pub ending: Ending,
    /// When, in milliseconds of the core's clock.
    pub at_ms: u32,
    /// Since its connect began; `None` when that is not known any more.
    pub age_ms: Option<u32>,
    /// Since a message was last sent on it or a text came, or since it was established; `None` when it is
    /// so old that its slot cannot tell.
    pub idle_ms: Option<u32>,
}

/// All that is known of the losses of one core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// In the order in which they were lost.
    pub kept: Vec<Loss>,
    /// Those beyond the bound, of which no more is known than that they were.
    pub beyond: u64,
    /// The numbers whose tuple something else had: they were passed over, and others took their place.
    pub skipped: Vec<u32>,
    /// The beginning of the first bytes that were not what was expected.
    pub first_bytes: Option<Box<[u8]>>,
    /// Why the first opening failed that this end gave up, in words.
    pub opening_failure: Option<Box<str>>,
}

/// The losses of one core, as it writes them and others read them.
#[derive(Debug, Default)]
pub struct LossLog(Mutex<Losses>);

impl LossLog {
    /// All until now.
    #[must_use]
    pub fn read(&self) -> Losses {
        self.lock().clone()
    }

    /// One more.
    pub fn add(&self, loss: Loss) {
        let mut losses = self.lock();
        if losses.kept.len() < LOSSES_MAX {
            losses.kept.push(loss);
        } else {
            losses.beyond += 1;
        }
    }

    /// The tuple of connection `number` was something else's.
    pub fn skip(&self, number: u32) {
        let mut losses = self.lock();
        if losses.skipped.len() < LOSSES_MAX {
            losses.skipped.push(number);
        }
    }

    /// Bytes that were not what was expected; only the first are kept.
    pub fn unexpected(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let beginning = &bytes[..bytes.len().min(FIRST_BYTES_MAX)];
        self.lock().first_bytes.get_or_insert_with(|| beginning.into());
    }

    /// This end gave an opening up; only the first reason is kept.
    pub fn opening_failed(&self, why: &str) {
        self.lock().opening_failure.get_or_insert_with(|| why.into());
    }

    fn lock(&self) -> MutexGuard<'_, Losses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const _: () = assert!(size_of::<Loss>() <= 32, "a million losses are 32 MB");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_bound_is_counted() {
        let log = LossLog::default();
        let loss = Loss {
            number: 7,
            ending: Ending::Lost(LostCause::Fin),
            at_ms: 1,
            age_ms: None,
            idle_ms: None,
        };
        (0..LOSSES_MAX + 3).for_each(|_| log.add(loss));
        let losses = log.read();
        assert_eq!((losses.kept.len(), losses.beyond), (LOSSES_MAX, 3));
        assert_eq!(losses.kept[9], loss);
    }

    #[test]
    fn the_first_unexpected_bytes_are_kept_and_cut() {
        let log = LossLog::default();
        log.unexpected(&[b'x'; 500]);
        log.unexpected(b"later");
        assert_eq!(log.read().first_bytes.as_deref(), Some(&[b'x'; FIRST_BYTES_MAX][..]));
    }
}
