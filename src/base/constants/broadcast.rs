//! Bounds of texts that go to all connections of a server.

/// Bytes of the head of such a text: magic, eight numbers, a line feed.
pub const BROADCAST_HEAD_BYTES: u16 = 93;

/// The longest text: a buffer holds it with its head and its frame.
pub const BROADCAST_TEXT_MAX: u16 = 3_747;

/// Sends of a text that one turn of a core begins: half of a batch, so that what arrives has its half.
pub const BROADCASTS_PER_TURN: u32 = 256;

/// Slots that one turn looks at for it: some microseconds.
pub const BROADCAST_LOOKS_PER_TURN: u32 = 4_096;

/// Buffers that one turn wants back for it when none is left.
pub const BROADCAST_BUFFERS_WANTED: u32 = 64;

/// Time that a connection on which something is under way has, once all others were served; then it counts as one
/// that reads slowly.
pub const BROADCAST_PATIENCE_MS: u64 = 500;

/// Orders that wait or are under way at once: each is a text of up to 4 KiB and its heads.
pub const BROADCASTS_WAITING_MAX: usize = 16;

/// Orders of which it is told what became of them: the last ones.
pub const BROADCASTS_TOLD: usize = 100;

/// The most topics: an order to all has a head for each.
pub const BROADCAST_TOPICS_MAX: u16 = 256;

/// Texts of which a core of a client keeps when they came: a histogram of 7 KiB each.
pub const BROADCASTS_KEPT: usize = 1_000;
