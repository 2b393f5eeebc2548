//! Names that travel through the kernel: which slot, which life of it, which operation.
//!
//! A token is the 64-bit `user_data` of an operation. It never holds a pointer: a completion that
//! comes back late or twice finds another generation in the slot and is dropped.

use crate::base::constants::{SEGMENT_SLOTS_MAX, SEGMENTS_MAX};

/// Where a connection lives: segment number and slot in it. The slot number is also the index in
/// the segment's registered-file table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(u32);

impl SlotId {
    /// No slot: the end of a queue.
    pub const NONE: SlotId = SlotId(u32::MAX);

    /// The slot `index` of `segment`.
    #[must_use]
    pub const fn new(segment: u16, index: u16) -> SlotId {
        SlotId((segment as u32) << 16 | index as u32)
    }

    /// Number of the segment in its core.
    #[must_use]
    pub const fn segment(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Index in the segment's table.
    #[must_use]
    pub const fn index(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// Both parts in one word, as a token and a queue link hold them.
    #[must_use]
    pub const fn packed(self) -> u32 {
        self.0
    }
}

impl std::fmt::Debug for SlotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            SlotId::NONE => f.write_str("none"),
            slot => write!(f, "{}:{}", slot.segment(), slot.index()),
        }
    }
}

/// How often a slot was freed, modulo 2^24. A token of a slot's earlier life is stale.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Generation(u32);

impl Generation {
    const MASK: u32 = 0x00ff_ffff;

    /// Generation `n` modulo 2^24.
    #[must_use]
    pub const fn new(n: u32) -> Generation {
        Generation(n & Self::MASK)
    }

    /// The life after this one.
    #[must_use]
    pub const fn next(self) -> Generation {
        Generation::new(self.0.wrapping_add(1))
    }

    /// As a number below 2^24.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// What was asked of the driver. Every operation completes exactly once.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        pub enum Operation { $($(#[$doc])* $name = $number,)* }

        impl Operation {
            /// All operations, for tests and tables.
            pub const ALL: &[Operation] = &[$(Operation::$name,)*];

            const fn from_number(number: u8) -> Option<Operation> {
                match number { $($number => Some(Operation::$name),)* _ => None }
            }
        }
    };
}

operations! {
    /// A connection arrives in the slot.
    Accept = 1,
    /// A connection is opened from the slot.
    Connect = 2,
    /// The slot has bytes, or its peer has gone.
    PollReadable = 3,
    /// The slot can take bytes again.
    PollWritable = 4,
    /// Bytes move from the slot into a buffer.
    Recv = 5,
    /// Bytes move from a buffer into the slot.
    Send = 6,
    /// Both directions, or the sending one, are ended.
    Shutdown = 7,
    /// Another operation of the slot is cancelled.
    Cancel = 8,
    /// The slot's descriptor is closed.
    Close = 9,
    /// A connection waits at a listener that has no accept; the slot index is the listener's.
    PollListener = 10,
    /// How many bytes the slot's peer has not acknowledged.
    Unacked = 11,
}

/// The `user_data` of one operation: operation (8 bits), generation (24), segment (16), slot (16).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Token(u64);

impl Token {
    /// The token of `operation` on this life of `slot`.
    #[must_use]
    pub const fn new(operation: Operation, generation: Generation, slot: SlotId) -> Token {
        Token((operation as u64) << 56 | (generation.0 as u64) << 32 | slot.0 as u64)
    }

    /// Rebuilds a token that was packed by [`Token::packed`]; `None` when no operation has that
    /// number.
    #[must_use]
    pub const fn unpack(user_data: u64) -> Option<Token> {
        match Operation::from_number((user_data >> 56) as u8) {
            Some(_) => Some(Token(user_data)),
            None => None,
        }
    }

    /// As the kernel carries it.
    #[must_use]
    pub const fn packed(self) -> u64 {
        self.0
    }

    /// What was asked.
    #[must_use]
    pub fn operation(self) -> Operation {
        Operation::from_number((self.0 >> 56) as u8)
            .expect("a token is made from an operation, and packing keeps it")
    }

    /// The life of the slot in which it was asked.
    #[must_use]
    pub const fn generation(self) -> Generation {
        Generation::new((self.0 >> 32) as u32)
    }

    /// Where it was asked.
    #[must_use]
    pub const fn slot(self) -> SlotId {
        SlotId((self.0 & 0xffff_ffff) as u32)
    }

    /// The same slot and life, another operation.
    #[must_use]
    pub const fn with(self, operation: Operation) -> Token {
        Token::new(operation, self.generation(), self.slot())
    }
}

const _: () = assert!(SEGMENT_SLOTS_MAX - 1 <= u16::MAX as u32);
const _: () = assert!(SEGMENTS_MAX - 1 < u16::MAX as usize, "SlotId::NONE must name no slot");
