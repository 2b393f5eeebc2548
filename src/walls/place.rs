//! Where a wall stands: at an end of a connection, or between the ends.

/// An end of a connection, or what lies between them: the places at which a wall can be met. A
/// program is at one end, and so has a [`Side`](crate::base::side::Side) in place of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// `megaconn-client`, and its host.
    Client,
    /// The server, and its host.
    Server,
    /// Neither.
    Between,
}

impl Place {
    /// `"client"`, `"server"` or `"between"`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Place::Client => "client",
            Place::Server => "server",
            Place::Between => "between",
        }
    }
}

/// Where a wall stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// At one place only.
    One(Place),
    /// At the client or the server, wherever its sign is.
    Either,
}

impl At {
    /// The places at which its signs are looked for.
    #[must_use]
    pub fn sides(self) -> &'static [Place] {
        match self {
            At::One(Place::Client) => &[Place::Client],
            At::One(Place::Server) => &[Place::Server],
            At::One(Place::Between) => &[Place::Between],
            At::Either => &[Place::Client, Place::Server],
        }
    }
}
