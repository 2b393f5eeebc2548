//! A limit as it was found: a number, none, or not to be read.

/// What limits something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<T> {
    /// Nothing does.
    None,
    /// This much is left.
    Left(T),
    /// It could not be read.
    Unknown,
}

impl<T: Ord> Limit<T> {
    /// The tighter of two. Beside an unknown one nothing is known.
    #[must_use]
    pub fn min(self, other: Limit<T>) -> Limit<T> {
        match (self, other) {
            (Limit::Unknown, _) | (_, Limit::Unknown) => Limit::Unknown,
            (Limit::None, limit) | (limit, Limit::None) => limit,
            (Limit::Left(a), Limit::Left(b)) => Limit::Left(a.min(b)),
        }
    }
}

/// What could not be read is unknown.
impl<T> From<Option<T>> for Limit<T> {
    fn from(left: Option<T>) -> Limit<T> {
        left.map_or(Limit::Unknown, Limit::Left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_an_unknown_limit_nothing_is_known() {
        let (none, unknown) = (Limit::<u64>::None, Limit::Unknown);
        assert_eq!(Limit::Left(3).min(Limit::Left(2)), Limit::Left(2));
        assert_eq!((none.min(none), none.min(Limit::Left(2))), (none, Limit::Left(2)));
        assert_eq!((unknown.min(Limit::Left(2)), none.min(unknown)), (unknown, unknown));
        assert_eq!(Limit::from(None::<u64>), unknown);
    }
}
