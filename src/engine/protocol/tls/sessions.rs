//! The TLS state of the connections of a core: handshakes under way and sessions, each by a number that its slot
//! has. A session stays where it was put, and so does what was made of it: no table is ever moved, and none is in a
//! core file. A handshake under way is on the heap, for most of it is rustls's.

use crate::engine::protocol::tls::cipher::Kept;
use crate::engine::protocol::tls::handshake::Handshake;
use crate::engine::protocol::tls::seal::Open;
use crate::engine::protocol::tls::secrets::Session;
use crate::sys::undumped::Undumped;

/// Sessions in one piece of memory: whole pages, about 1 MB, of which only what was used is resident.
const CHUNK: usize = 8_192;

/// Connections whose ciphers a core keeps, about 3 MB of them. Those of two numbers with the same rest share a
/// place: the one that was busy last has it.
pub const KEPT_MAX: usize = 2_048;

/// What a core knows of one connection.
#[derive(Default)]
pub(super) enum Entry {
    /// The number is free.
    #[default]
    Free,
    /// Its handshake has not begun: the first record has not come whole.
    Awaiting(Box<Handshake>),
    /// Its handshake goes on.
    Shaking(Box<Handshake>),
    /// Its handshake is done.
    Open(Session),
}

const _: () = assert!(size_of::<Entry>() == size_of::<Session>(), "an entry is its session");
const _: () = assert!((CHUNK * size_of::<Entry>()).is_multiple_of(4096), "a chunk is whole pages");

/// All of a core.
#[derive(Default)]
pub(super) struct Sessions {
    chunks: Vec<Undumped<Entry>>,
    free: Vec<u32>,
    kept: Option<Undumped<Kept>>,
}

impl Sessions {
    /// Takes an entry in; its number, which is not 0.
    pub(super) fn add(&mut self, entry: Entry) -> u32 {
        if let Some(number) = self.free.pop() {
            *self.get(number) = entry;
            return number;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Undumped::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("there is one with room");
        chunk.push(entry);
        u32::try_from(before + chunk.len()).expect("slots are numbered in 32 bits")
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
        let kept = self.kept.get_or_insert_with(|| Undumped::with_capacity(KEPT_MAX));
        while kept.len() <= place {
            kept.push(Kept::new());
        }
        Some(Open { session, kept: &mut kept[place] })
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use rustls::{CipherSuite, Side};

    use super::*;
    use crate::engine::protocol::tls::cipher::expand;
    use crate::engine::protocol::tls::suite::Suite;
    use crate::engine::protocol::tls::traffic::{SECRET_BYTES, Secret};

    /// The bytes of a place in our own memory, as the kernel reads them: those between and behind fields as well.
    fn bytes_at<T>(place: &T) -> Vec<u8> {
        let address = std::ptr::from_ref(place) as u64;
        let mut bytes = vec![0; size_of::<T>()];
        File::open("/proc/self/mem").unwrap().read_exact_at(&mut bytes, address).unwrap();
        bytes
    }

    fn has(bytes: &[u8], what: &[u8]) -> bool {
        bytes.windows(what.len()).any(|window| window == what)
    }

    fn secret(of: u8) -> Secret {
        Secret(std::array::from_fn(|at| of ^ u8::try_from(at).unwrap().wrapping_mul(37)))
    }

    /// The key that a secret is used with.
    fn key_of(suite: &Suite, secret: &Secret) -> Vec<u8> {
        let mut key = vec![0; suite.aead.key_len()];
        match suite.hkdf() {
            Some(hkdf) => expand(&secret.of(hkdf), b"key", &mut key),
            None => key.copy_from_slice(&secret.0[..suite.aead.key_len()]),
        }
        key
    }

    #[test]
    fn nothing_of_a_connection_that_has_ended_is_left_in_the_tables() {
        for name in [
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            CipherSuite::TLS13_AES_256_GCM_SHA384,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ] {
            let mut sessions = Sessions::default();
            let numbers: [u32; 3] = [3, 4, 5].map(|of| {
                let mut session = Session::blank(name, Side::Server);
                (session.send.secret, session.receive.secret) = (secret(of), secret(of ^ 0xff));
                sessions.add(Entry::Open(session))
            });
            for number in numbers {
                let mut open = sessions.open(number).unwrap();
                // One is sealed, and one that does not open has the other cipher made.
                assert!(open.seal(b"data", &mut Vec::new()));
                open.open(&mut [&[23, 3, 3, 0, 40][..], &[7; 40]].concat());
            }
            let suite = Suite::of(name).unwrap();
            let kept_at = |sessions: &Sessions, number: u32| {
                bytes_at(&sessions.kept.as_ref().unwrap()[number as usize - 1])
            };
            let all_of = |sessions: &mut Sessions, number: u32| {
                let kept = kept_at(sessions, number);
                let entry = bytes_at(sessions.get(number));
                [entry, kept]
            };
            let [first, ended, last] = numbers;
            let secrets = [secret(4), secret(4 ^ 0xff)];
            let [entry, kept_before] = all_of(&mut sessions, ended);
            for secret in &secrets {
                assert!(has(&entry, &secret.0[..16]), "{name:?}: it was not there");
                assert!(has(&kept_before, &key_of(suite, secret)), "{name:?}: no cipher was kept");
            }
            sessions.remove(ended);
            let [entry, kept] = all_of(&mut sessions, ended);
            for secret in &secrets {
                for bytes in [&entry, &kept] {
                    let key = key_of(suite, secret);
                    let parts = secret.0.chunks(8).chain(key.chunks(8)).filter(|p| p.len() == 8);
                    for part in parts {
                        assert!(!has(bytes, part), "{name:?}: a part of a key is left");
                    }
                }
            }
            // Nor is anything that was made of them, round keys for example. What looks like a pointer or a number
            // may stand there: a place that is empty is whatever its bytes are.
            let is_key = |part: &[u8]| part.iter().filter(|byte| **byte != 0).count() > 6;
            let mut made = kept_before.chunks(8).filter(|part| is_key(part));
            assert!(made.all(|part| !has(&kept, part)), "{name:?}: a part of a cipher is left");
            // The others have theirs.
            for (number, of) in [(first, 3), (last, 5)] {
                let [entry, kept] = all_of(&mut sessions, number);
                assert!(has(&entry, &secret(of).0[..16]), "{name:?}");
                assert!(has(&kept, &key_of(suite, &secret(of))), "{name:?}");
            }
            assert_eq!(SECRET_BYTES % 8, 0, "all of a secret is looked for");
        }
    }

    #[test]
    fn numbers_are_taken_again_and_no_entry_moves() {
        let mut sessions = Sessions::default();
        let count = u32::try_from(CHUNK).unwrap() + 2;
        let numbers: Vec<_> = (0..count).map(|_| sessions.add(Entry::Free)).collect();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>());
        let places = |sessions: &mut Sessions| {
            [1, count].map(|number| std::ptr::from_ref(sessions.get(number)) as usize)
        };
        let before = places(&mut sessions);
        sessions.remove(7);
        sessions.remove(count - 1);
        assert_eq!([0; 3].map(|_| sessions.add(Entry::Free)), [count - 1, 7, count + 1]);
        assert_eq!(places(&mut sessions), before);
    }
}
