//! What goes wrong in a simulated world: things that fail, and rules that the world breaks.

/// How many of 1,000 operations fail, by kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Accepts that fail although a connection waits.
    pub accept: u32,
    /// Connects that fail at once, with nothing in the slot.
    pub connect_at_once: u32,
    /// Connects that fail later.
    pub connect: u32,
    /// Connects that fail later because their port is taken.
    pub connect_taken: u32,
    /// Segments that cannot be opened.
    pub open_segment: u32,
    /// Receives and sends that answer `EAGAIN` although they could move bytes.
    pub would_block: u32,
    /// Questions for what a peer has not acknowledged that the kernel cannot answer.
    pub unacked: u32,
    /// Lives of a slot after which one of its completions comes again.
    pub stale: u32,
    /// Closes that take up to twelve seconds.
    pub slow_close: u32,
    /// Answering peers that err, once.
    pub echo: u32,
}

/// A rule that the world breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A received byte is not the one that was sent.
    DamagedByte,
    /// A completion is delivered twice while its life of the slot goes on.
    RepeatedCompletion,
    /// A completion is never delivered.
    LostCompletion,
    /// A completion comes under the next generation of its slot.
    WrongGeneration,
}
