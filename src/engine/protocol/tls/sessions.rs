//! The TLS state of the connections of a core: handshakes under way and sessions, each by a number that its slot
//! has. A session stays where it was put.

use crate::engine::protocol::tls::cipher::Kept;
use crate::engine::protocol::tls::handshake::Handshake;
use crate::engine::protocol::tls::seal::Open;
use crate::engine::protocol::tls::secrets::Session;

/// Sessions in one piece of memory, which is never moved.
const CHUNK: usize = 256;

/// Connections whose ciphers a core keeps, about 3 MB of them. Those of two numbers with the same rest share a
/// place: the one that was busy last has it.
pub const KEPT_MAX: usize = 2_048;

/// What a core knows of one connection.
#[derive(Default)]
pub(super) enum Entry {
    /// The number is free.
    #[default]
    Free,
    /// Its handshake goes on.
    Shaking(Box<Handshake>),
    /// Its handshake is done.
    Open(Session),
}

const _: () = assert!(size_of::<Entry>() <= size_of::<Session>() + 8, "an entry is its session");

/// All of a core.
#[derive(Default)]
pub(super) struct Sessions {
    chunks: Vec<Box<[Entry]>>,
    free: Vec<u32>,
    kept: Vec<Kept>,
}

impl Sessions {
    /// Takes an entry in; its number, which is not 0.
    pub(super) fn add(&mut self, entry: Entry) -> u32 {
        if self.free.is_empty() {
            let first = self.chunks.len() * CHUNK;
            self.chunks.push((0..CHUNK).map(|_| Entry::Free).collect());
            let number = |n: usize| u32::try_from(n + 1).expect("slots are numbered in 32 bits");
            self.free.extend((first..first + CHUNK).rev().map(number));
        }
        let number = self.free.pop().expect("a chunk was added");
        *self.get(number) = entry;
        number
    }

    /// The entry of this number.
    pub(super) fn get(&mut self, number: u32) -> &mut Entry {
        let index = number as usize - 1;
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }

    /// The connection of this number, where its handshake is done; 0 is none.
    pub(super) fn open(&mut self, number: u32) -> Option<Open<'_>> {
        let index = (number as usize).checked_sub(1)?;
        let Entry::Open(session) = &mut self.chunks[index / CHUNK][index % CHUNK] else {
            return None;
        };
        let place = index % KEPT_MAX;
        if self.kept.len() <= place {
            self.kept.resize_with(place + 1, Kept::new);
        }
        Some(Open { session, kept: &mut self.kept[place] })
    }

    /// Frees a number. A session is overwritten with zeros, and so is what was made of it.
    pub(super) fn remove(&mut self, number: u32) {
        if let Some(Open { kept, .. }) = self.open(number) {
            kept.forget();
        }
        *self.get(number) = Entry::Free;
        self.free.push(number);
    }
}
