//! One text to all: what an order says, what goes out for it, and how it is read.
//!
//! ```text
//! MCB1 number(16) sequence(8) monotonic(16) unix(16) boot(8) topic(4) bytes(4) crc(8)\n  text
//! ```
//! All numbers are hexadecimal, of so many digits. The sequence counts the orders that concern a connection of that topic, from 1 on,
//! so that each one finds what it has twice, not at all, or out of order. The moment of the order is in nanoseconds, by
//! CLOCK_MONOTONIC, which both ends of one boot of one kernel share, and by CLOCK_REALTIME. The checksum is the CRC-32 of
//! all other bytes.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::base::constants::{BROADCAST_HEAD_BYTES, BROADCAST_TEXT_MAX, BUFFER_BYTES};
use crate::engine::protocol::places::short;

const MAGIC: &[u8] = b"MCB1 ";

/// Digits of each number before the checksum, in order, each with a byte behind it.
const DIGITS: [usize; 7] = [16, 8, 16, 16, 8, 4, 4];

/// Bytes of the head, its line feed among them.
const HEAD: usize = BROADCAST_HEAD_BYTES as usize;

/// Where the checksum begins.
const CHECKSUM: usize = HEAD - 9;

const _: () = {
    let (mut sum, mut at) = (MAGIC.len(), 0);
    while at < DIGITS.len() {
        sum += DIGITS[at] + 1;
        at += 1;
    }
    assert!(sum == CHECKSUM, "the head is as long as its numbers");
    assert!(BROADCAST_HEAD_BYTES + BROADCAST_TEXT_MAX <= BUFFER_BYTES);
};

/// What the topic of an order to all is on the wire.
const ALL: u16 = u16::MAX;

/// A moment, by the clocks that other processes have too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub monotonic_ns: u64,
    /// Nanoseconds of CLOCK_REALTIME.
    pub unix_ns: u64,
    /// Tells one boot of one kernel from others.
    pub boot: u32,
}

/// One order, as all cores of a server have it: its text stands once.
#[derive(Debug)]
pub struct Order {
    /// The first is 1.
    pub number: u64,
    /// The topic whose members it is for; `None` is all.
    pub topic: Option<u16>,
    /// One head for each topic, or one alone; none of an order that is sent as it is.
    heads: Box<[[u8; HEAD]]>,
    text: Box<[u8]>,
    is_text: bool,
    /// What the cores have done of it.
    pub tally: Tally,
}

/// What becomes of an order, over all cores: each member is counted once.
#[derive(Debug, Default)]
pub struct Tally {
    /// It went out.
    pub sent: AtomicU64,
    /// The peer had not taken what was sent before.
    pub skipped: AtomicU64,
    /// The same, and its connection was closed.
    pub closed: AtomicU64,
    /// The connection ended before.
    pub gone: AtomicU64,
    /// The longest time of a core, from when it was told to when it was done.
    pub took_us: AtomicU64,
    /// Cores that are done.
    pub cores_done: AtomicU32,
}

impl Tally {
    /// Every member that was counted so far.
    #[must_use]
    pub fn members(&self) -> u64 {
        let counts = [&self.sent, &self.skipped, &self.closed, &self.gone];
        counts.iter().map(|count| count.load(Ordering::Acquire)).sum()
    }
}

/// What an order says on a connection.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    head: &'a [u8],
    text: &'a [u8],
    /// Whether all of it is UTF-8.
    pub is_text: bool,
}

impl Said<'_> {
    /// Writes it; how many bytes that are, 0 where there is no room.
    pub fn write(&self, out: &mut [u8]) -> u16 {
        let size = self.head.len() + self.text.len();
        if size > out.len() {
            return 0;
        }
        out[..self.head.len()].copy_from_slice(self.head);
        out[self.head.len()..size].copy_from_slice(self.text);
        short(size)
    }
}

/// Numbers orders, and counts those of each topic.
#[derive(Debug)]
pub struct Numbers {
    number: u64,
    sequences: Vec<u32>,
    is_raw: bool,
}

impl Numbers {
    /// Of a server with so many topics, 1 at least; a raw text has no head.
    #[must_use]
    pub fn new(topics: u16, is_raw: bool) -> Numbers {
        Numbers { number: 0, sequences: vec![0; topics.max(1).into()], is_raw }
    }

    /// The number of the last order, of whichever server.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.number
    }

    /// Those up to this one were given by another server.
    pub fn pass(&mut self, number: u64) {
        self.number = self.number.max(number);
    }

    /// The next order.
    ///
    /// # Panics
    /// When there is no such topic, or the text is longer than [`BROADCAST_TEXT_MAX`].
    pub fn order(&mut self, topic: Option<u16>, text: &[u8], moment: Moment) -> Order {
        assert!(text.len() <= usize::from(BROADCAST_TEXT_MAX), "a text that no buffer holds");
        self.number += 1;
        let concerned = match topic {
            Some(topic) => &mut self.sequences[usize::from(topic)..=usize::from(topic)],
            None => &mut self.sequences[..],
        };
        concerned.iter_mut().for_each(|sequence| *sequence = sequence.wrapping_add(1).max(1));
        let head = |sequence: &u32| head(self.number, *sequence, topic, text, moment);
        let heads = if self.is_raw { Box::default() } else { concerned.iter().map(head).collect() };
        Order {
            number: self.number,
            topic,
            heads,
            text: text.into(),
            is_text: str::from_utf8(text).is_ok(),
            tally: Tally::default(),
        }
    }
}

impl Order {
    /// What is said on a connection of `topic`.
    #[must_use]
    pub fn said(&self, topic: u16) -> Said<'_> {
        let own = self.heads.get(if self.topic.is_none() { usize::from(topic) } else { 0 });
        let head = own.map_or(&[][..], |head| &head[..]);
        Said { head, text: &self.text, is_text: self.is_text }
    }

    /// Bytes of the text.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len()
    }
}

fn head(number: u64, sequence: u32, topic: Option<u16>, text: &[u8], moment: Moment) -> [u8; HEAD] {
    let Moment { monotonic_ns, unix_ns, boot } = moment;
    let topic = topic.unwrap_or(ALL);
    let line = format!(
        "MCB1 {number:016x} {sequence:08x} {monotonic_ns:016x} {unix_ns:016x} {boot:08x} {topic:04x} \
         {:04x} {:08x}\n",
        text.len(),
        0
    );
    let mut head: [u8; HEAD] = line.as_bytes().try_into().expect("its size was looked at");
    let checksum = checksum(&head, text);
    head[CHECKSUM..HEAD - 1].copy_from_slice(&digits(checksum));
    head
}

fn digits(checksum: u32) -> [u8; 8] {
    std::array::from_fn(|n| b"0123456789abcdef"[(checksum >> (28 - 4 * n) & 15) as usize])
}

fn checksum(head: &[u8], text: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[..CHECKSUM]);
    hasher.update(text);
    hasher.finalize()
}

/// A text that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The number of the order.
    pub number: u64,
    /// When it was given.
    pub moment: Moment,
    /// Texts between this one and the one before it on the connection, which have not come.
    pub missed: u16,
}

/// Numbers of orders as a connection keeps them: 0 is none.
const ROUND: u32 = 1 << 15;

impl Receipt {
    /// The text with which `bytes` begin, and its size; `None` while it is not whole. `place` is one more than the low
    /// bits of the sequence of the last text on the connection, or 0 before the first.
    ///
    /// # Errors
    /// When the bytes are none, or one that was there before.
    pub fn read(place: &mut u16, bytes: &[u8]) -> Result<Option<(Receipt, usize)>, Wrong> {
        let known = MAGIC.len().min(bytes.len());
        if bytes[..known] != MAGIC[..known] {
            return Err(Wrong);
        }
        if bytes.len() < HEAD {
            return Ok(None);
        }
        let (mut numbers, mut at) = ([0_u64; DIGITS.len()], MAGIC.len());
        for (number, digits) in numbers.iter_mut().zip(DIGITS) {
            let text = str::from_utf8(&bytes[at..at + digits]).map_err(|_| Wrong)?;
            *number = u64::from_str_radix(text, 16).map_err(|_| Wrong)?;
            at += digits + 1;
        }
        let [number, sequence, monotonic_ns, unix_ns, boot, _, size] = numbers;
        let [sequence, boot, size] =
            [sequence, boot, size].map(|n| u32::try_from(n).expect("eight digits at most"));
        let end = HEAD + size as usize;
        if size > BROADCAST_TEXT_MAX.into() {
            return Err(Wrong);
        }
        let Some(text) = bytes.get(HEAD..end) else { return Ok(None) };
        let said = &bytes[CHECKSUM..HEAD];
        if said[..8] != digits(checksum(bytes, text)) || said[8] != b'\n' {
            return Err(Wrong);
        }
        // Half of a round ahead is new, and what is behind was there before.
        let now = sequence % ROUND;
        let ahead = match *place {
            0 => 1,
            before => (now + ROUND - u32::from(before - 1)) % ROUND,
        };
        if ahead == 0 || ahead > ROUND / 2 {
            return Err(Wrong);
        }
        *place = short(now as usize + 1);
        let moment = Moment { monotonic_ns, unix_ns, boot };
        Ok(Some((Receipt { number, moment, missed: short(ahead as usize - 1) }, end)))
    }
}

/// It is none, or one that may not come now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong;

/// What a client's core knows of moments: those of its own clock, which began at `epoch`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// When the core's clock began.
    pub epoch: Moment,
}

impl Clock {
    /// The nanoseconds from `moment` to `now` of the core's clock, and whether both are by one clock: otherwise
    /// they are by the clocks of two hosts, and may be less than none.
    #[must_use]
    pub fn since(&self, moment: &Moment, now: Duration) -> (i64, bool) {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let between = |epoch: u64, then: u64| {
            let passed = i128::from(epoch) + i128::from(now) - i128::from(then);
            i64::try_from(passed).unwrap_or(i64::MAX)
        };
        let is_same = moment.boot == self.epoch.boot;
        let passed = if is_same {
            between(self.epoch.monotonic_ns, moment.monotonic_ns)
        } else {
            between(self.epoch.unix_ns, moment.unix_ns)
        };
        (passed, is_same)
    }
}
