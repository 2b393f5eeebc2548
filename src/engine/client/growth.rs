//! Whether the connections of a core grow as fast as it connects.

use crate::base::constants::GROWTH_WINDOW;

/// What the last connects have come to.
#[derive(Debug, Default)]
pub(super) struct Growth {
    answered: u64,
    held: u64,
}

impl Growth {
    /// From now on, when so many connects have been answered and so many connections are held.
    pub(super) fn since(answered: u64, held: u64) -> Growth {
        Growth { answered, held }
    }

    /// Whether fewer than half of a whole window of connects have come to stay.
    pub(super) fn has_ended(&mut self, answered: u64, held: u64) -> bool {
        let tried = answered - self.answered;
        if tried < GROWTH_WINDOW {
            return false;
        }
        let grown = held.saturating_sub(self.held);
        *self = Growth::since(answered, held);
        grown < tried / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_ends_when_most_of_a_window_came_to_nothing() {
        let mut growth = Growth::since(1_000, 1_000);
        assert!(!growth.has_ended(1_255, 1_000), "the window is not whole");
        assert!(!growth.has_ended(1_256, 1_128), "a half is enough");
        assert!(!growth.has_ended(1_511, 1_128), "a window begins anew");
        assert!(growth.has_ended(1_512, 1_255));
        // Others may have been lost meanwhile.
        assert!(growth.has_ended(1_768, 900));
    }
}
