//! Which end of a connection something belongs to.

/// An end of a connection: the program there, and its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// `megaconn serve`.
    Server,
    /// `megaconn-client run`.
    Client,
}

impl Side {
    /// Both ends.
    pub const BOTH: [Side; 2] = [Side::Server, Side::Client];

    /// `"server"` or `"client"`: the name in dumps, metrics and results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Side::Server => "server",
            Side::Client => "client",
        }
    }

    /// The side of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Side> {
        Side::BOTH.into_iter().find(|side| side.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_found_by_its_name() {
        for side in Side::BOTH {
            assert_eq!(Side::by_name(side.name()), Some(side));
        }
        assert_eq!(Side::by_name("between"), None);
    }
}
