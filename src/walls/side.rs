//! Where a wall stands: at an end of a connection, or between the ends.

/// An end of a connection, or what lies between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// `megaconn-client`, and its host.
    Client,
    /// The server, and its host.
    Server,
    /// Neither.
    Between,
}

impl Side {
    /// `"client"`, `"server"` or `"between"`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
            Side::Between => "between",
        }
    }
}

/// Where a wall stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// At one side only.
    One(Side),
    /// At the client or the server, wherever its sign is.
    Either,
}

impl At {
    /// The sides at which its signs are looked for.
    #[must_use]
    pub fn sides(self) -> &'static [Side] {
        match self {
            At::One(Side::Client) => &[Side::Client],
            At::One(Side::Server) => &[Side::Server],
            At::One(Side::Between) => &[Side::Between],
            At::Either => &[Side::Client, Side::Server],
        }
    }
}
