//! One record at a time, sealed and opened in place, in the buffer of the connection.
//!
//! Nothing is taken from the heap. A cipher is made from its secret for each record, or [`Kept`] by a connection
//! that is busy.

use std::ops::Range;

use ring::aead::{Aad, Nonce};
use rustls::AlertDescription;

use crate::base::constants::{BUFFER_BYTES, TLS_BUFFER_BYTES};
use crate::engine::protocol::tls::cipher::{Cipher, Kept, NONCE_BYTES};
use crate::engine::protocol::tls::content::{Bad, Kind, Opened, Record};
use crate::engine::protocol::tls::key_update::WornOut;
use crate::engine::protocol::tls::secrets::Session;
use crate::engine::protocol::tls::suite::{HEADER_BYTES, ROOM_BEFORE, ROOM_BEHIND, TAG_BYTES};

/// Bytes of plaintext in a record, at most.
pub const PLAIN_BYTES_MAX: usize = 1 << 14;

/// Bytes of a record with all its header, nonce, padding and tag, at most: TLS 1.2 allows most.
pub const RECORD_BYTES_MAX: usize = HEADER_BYTES + PLAIN_BYTES_MAX + 2_048;

const _: () = assert!(
    RECORD_BYTES_MAX + BUFFER_BYTES as usize <= TLS_BUFFER_BYTES as usize,
    "a record fits behind a message that is not whole"
);

/// Room for an alert or a KeyUpdate that we seal, from the beginning of a buffer on.
pub const OWN_BYTES_MAX: usize = ROOM_BEFORE + KEY_UPDATE_BYTES + ROOM_BEHIND;

const KEY_UPDATE_BYTES: usize = 5;

/// Bytes behind a header that TLS 1.3 allows.
const SEALED_BYTES_MAX_TLS13: usize = PLAIN_BYTES_MAX + 256;

impl Session {
    /// Seals `plain` of a buffer, which has [`ROOM_BEFORE`] bytes before it and [`ROOM_BEHIND`] behind it. Says which
    /// bytes are the record.
    ///
    /// # Errors
    /// Data is not sealed with a key that is worn out, see [`Session::wear`].
    ///
    /// # Panics
    /// Where there is no such room, or more than [`PLAIN_BYTES_MAX`] to seal.
    pub fn seal(
        &mut self,
        kind: Kind,
        buffer: &mut [u8],
        plain: Range<usize>,
    ) -> Result<Range<usize>, WornOut> {
        let cipher = Cipher::new(self.suite, &self.send.secret);
        self.seal_by(&cipher, kind, buffer, plain)
    }

    /// The same with ciphers that are kept.
    ///
    /// # Errors
    /// As [`Session::seal`].
    pub fn seal_kept(
        &mut self,
        kept: &mut Kept,
        kind: Kind,
        buffer: &mut [u8],
        plain: Range<usize>,
    ) -> Result<Range<usize>, WornOut> {
        let cipher = Kept::of(&mut kept.seal, self.suite, &self.send.secret);
        self.seal_by(cipher, kind, buffer, plain)
    }

    /// Seals an alert into the beginning of a buffer of [`OWN_BYTES_MAX`], and says which bytes are the record. All
    /// alerts but `CloseNotify` and `NoRenegotiation` are fatal.
    pub fn seal_alert(&mut self, alert: AlertDescription, buffer: &mut [u8]) -> Range<usize> {
        let is_warning =
            matches!(alert, AlertDescription::CloseNotify | AlertDescription::NoRenegotiation);
        self.seal_own(Kind::Alert, &[if is_warning { 1 } else { 2 }, alert.into()], buffer)
    }

    /// Seals a KeyUpdate into the beginning of a buffer of [`OWN_BYTES_MAX`], and says which bytes are the record:
    /// what is sealed afterwards has a new key. With `asks` the peer is to change its own key too. One answers all
    /// that the peer has sent until then and that said `must_answer`.
    ///
    /// # Panics
    /// In TLS 1.2, which has none.
    pub fn seal_key_update(&mut self, asks: bool, buffer: &mut [u8]) -> Range<usize> {
        let message: [u8; KEY_UPDATE_BYTES] = [24, 0, 0, 1, u8::from(asks)];
        let record = self.seal_own(Kind::Handshake, &message, buffer);
        self.send.update(self.suite);
        record
    }

    fn seal_own(&mut self, kind: Kind, plain: &[u8], buffer: &mut [u8]) -> Range<usize> {
        let range = ROOM_BEFORE..ROOM_BEFORE + plain.len();
        buffer[range.clone()].copy_from_slice(plain);
        self.seal(kind, buffer, range).expect("what is not data may wear a key further")
    }

    fn seal_by(
        &mut self,
        cipher: &Cipher,
        kind: Kind,
        buffer: &mut [u8],
        plain: Range<usize>,
    ) -> Result<Range<usize>, WornOut> {
        assert!(plain.len() <= PLAIN_BYTES_MAX, "{} bytes are too many for a record", plain.len());
        if kind == Kind::Data && self.is_worn_out() {
            return Err(WornOut);
        }
        let (suite, sequence) = (self.suite, self.send.sequence);
        assert!(sequence < suite.records_max(), "a key seals more records than it may");
        let record = plain.start - suite.before()..plain.end + suite.behind();
        let nonce = nonce(&cipher.iv, sequence);
        let record_bytes = &mut buffer[record.clone()];
        let (header, rest) = record_bytes.split_at_mut(HEADER_BYTES);
        let outer = if suite.is_tls13() { Kind::Data } else { kind };
        header.copy_from_slice(&head(outer.number(), rest.len()));
        let (explicit, rest) = rest.split_at_mut(suite.before() - HEADER_BYTES);
        explicit.copy_from_slice(&nonce[NONCE_BYTES - explicit.len()..]);
        let (text, tag) = rest.split_at_mut(rest.len() - TAG_BYTES);
        let sealed = if suite.is_tls13() {
            text[plain.len()] = kind.number();
            let aad = Aad::from(&*header);
            cipher.aead.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, text)
        } else {
            let aad = Aad::from(aad_of_tls12(sequence, header, text.len()));
            cipher.aead.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, text)
        };
        tag.copy_from_slice(sealed.expect("a record is shorter than any cipher's limit").as_ref());
        self.send.sequence += 1;
        Ok(record)
    }

    /// Opens the record with which the buffer begins, in place.
    pub fn open(&mut self, buffer: &mut [u8]) -> Record {
        match self.whole(buffer) {
            Ok(bytes) => {
                let cipher = Cipher::new(self.suite, &self.receive.secret);
                self.open_by(&cipher, &mut buffer[..bytes])
            }
            Err(opened) => Record { bytes: 0, opened },
        }
    }

    /// The same with ciphers that are kept.
    pub fn open_kept(&mut self, kept: &mut Kept, buffer: &mut [u8]) -> Record {
        match self.whole(buffer) {
            Ok(bytes) => {
                let cipher = Kept::of(&mut kept.open, self.suite, &self.receive.secret);
                self.open_by(cipher, &mut buffer[..bytes])
            }
            Err(opened) => Record { bytes: 0, opened },
        }
    }

    /// The bytes of the record with which the buffer begins, if they are all there and may be a record.
    fn whole(&self, buffer: &[u8]) -> Result<usize, Opened> {
        let has = |at: usize, is_good: fn(u8) -> bool| buffer.get(at).is_none_or(|b| is_good(*b));
        if !has(0, |kind| (20..=23).contains(&kind)) || !has(1, |version| version == 3) {
            return Err(Opened::Bad(Bad::NoRecord));
        }
        if self.suite.is_tls13() && !has(0, |kind| kind == 23) {
            return Err(Opened::Bad(Bad::Unexpected));
        }
        let Some((header, rest)) = buffer.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Opened::NeedMore(HEADER_BYTES));
        };
        let sealed = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let most = if self.suite.is_tls13() {
            SEALED_BYTES_MAX_TLS13
        } else {
            RECORD_BYTES_MAX - HEADER_BYTES
        };
        match sealed {
            _ if sealed > most => Err(Opened::Bad(Bad::TooLong)),
            _ if rest.len() < sealed => Err(Opened::NeedMore(HEADER_BYTES + sealed)),
            _ => Ok(HEADER_BYTES + sealed),
        }
    }

    fn open_by(&mut self, cipher: &Cipher, record: &mut [u8]) -> Record {
        let bytes = record.len();
        let opened = match self.decrypt(cipher, record) {
            Ok((kind, plain)) => {
                self.receive.sequence += 1;
                self.content(kind, record, plain)
            }
            Err(bad) => Opened::Bad(bad),
        };
        Record { bytes, opened }
    }

    /// What a whole record is, and which of its bytes are plaintext.
    fn decrypt(&self, cipher: &Cipher, record: &mut [u8]) -> Result<(u8, Range<usize>), Bad> {
        let (suite, sequence) = (self.suite, self.receive.sequence);
        let start = suite.before();
        let Some(length) = record.len().checked_sub(start + TAG_BYTES) else {
            return Err(Bad::NotAuthentic);
        };
        if sequence == u64::MAX {
            return Err(Bad::TooMany);
        }
        let (head, sealed) = record.split_at_mut(start);
        let mut nonce = nonce(&cipher.iv, sequence);
        let explicit = &head[HEADER_BYTES..];
        nonce[NONCE_BYTES - explicit.len()..].copy_from_slice(explicit);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = if suite.is_tls13() {
            cipher.aead.open_in_place(nonce, Aad::from(&*head), sealed)
        } else {
            let aad = aad_of_tls12(sequence, head, length);
            cipher.aead.open_in_place(nonce, Aad::from(aad), sealed)
        };
        let plain = opened.map_err(|_| Bad::NotAuthentic)?;
        if plain.len() > PLAIN_BYTES_MAX + usize::from(suite.is_tls13()) {
            return Err(Bad::TooLong);
        }
        Ok(if suite.is_tls13() {
            // Zeros behind the byte that says what it is are padding.
            let at = plain.iter().rposition(|byte| *byte != 0).ok_or(Bad::Unexpected)?;
            (plain[at], start..start + at)
        } else {
            (head[0], start..start + length)
        })
    }
}

/// The nonce of a record: its number over the end of what was agreed on (RFC 8446, 5.3; RFC 7905, 2).
fn nonce(iv: &[u8; NONCE_BYTES], sequence: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = *iv;
    let number = sequence.to_be_bytes();
    nonce.iter_mut().rev().zip(number.iter().rev()).for_each(|(byte, number)| *byte ^= number);
    nonce
}

/// A header. TLS 1.3 calls itself 1.2 here.
fn head(kind: u8, sealed: usize) -> [u8; HEADER_BYTES] {
    let [high, low] = length(sealed);
    [kind, 3, 3, high, low]
}

/// What TLS 1.2 authenticates beside the text: number, kind, version, length of the text (RFC 5246, 6.2.3.3).
fn aad_of_tls12(sequence: u64, header: &[u8], plain: usize) -> [u8; 13] {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&sequence.to_be_bytes());
    aad[8..11].copy_from_slice(&header[..3]);
    aad[11..].copy_from_slice(&length(plain));
    aad
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("a record is shorter than 64 KiB").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use rustls::{CipherSuite, Side};

    use super::*;
    use crate::engine::protocol::tls::suite::Suite;
    use crate::engine::protocol::tls::traffic::Secret;

    /// A record as another implementation may seal it, and what a session with the same key makes of it.
    fn opened(name: CipherSuite, outer: u8, inner: &[u8]) -> (Opened, Vec<u8>) {
        let suite = Suite::of(name).unwrap();
        let cipher = Cipher::new(suite, &Secret::default());
        let mut sealed = inner.to_vec();
        let explicit = &[0; 8][..suite.before() - HEADER_BYTES];
        let header = head(outer, explicit.len() + inner.len() + TAG_BYTES);
        let nonce = Nonce::assume_unique_for_key(nonce(&cipher.iv, 0));
        if suite.is_tls13() {
            cipher.aead.seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed).unwrap();
        } else {
            let aad = Aad::from(aad_of_tls12(0, &header, inner.len()));
            cipher.aead.seal_in_place_append_tag(nonce, aad, &mut sealed).unwrap();
        }
        let mut record = [&header[..], explicit, &sealed].concat();
        let mut session = Session::blank(name, Side::Client);
        let Record { bytes, opened } = session.open(&mut record);
        assert!(bytes == record.len() || bytes == 0);
        let data = match &opened {
            Opened::Data(range) => record[range.clone()].to_vec(),
            _ => Vec::new(),
        };
        (opened, data)
    }

    #[test]
    fn padding_is_no_data() {
        let name = CipherSuite::TLS13_AES_128_GCM_SHA256;
        for padding in [0, 1, 255, PLAIN_BYTES_MAX - 5] {
            let inner = [&b"data\0"[..], &[23], &vec![0; padding]].concat();
            assert_eq!(opened(name, 23, &inner).1, b"data\0", "{padding} of padding");
        }
        // Padding alone, and nothing at all.
        for inner in [&[0; 9][..], &[]] {
            assert_eq!(opened(name, 23, inner).0, Opened::Bad(Bad::Unexpected));
        }
        // A kind that there is not, and one that must not be sealed.
        for kind in [20, 24, 99] {
            assert_eq!(opened(name, 23, &[1, kind]).0, Opened::Bad(Bad::Unexpected));
        }
    }

    #[test]
    fn a_plaintext_that_is_too_long_is_refused() {
        for (name, longest) in [
            // With the byte that says what it is.
            (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, PLAIN_BYTES_MAX + 1),
            (CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, PLAIN_BYTES_MAX),
            (CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, PLAIN_BYTES_MAX),
        ] {
            let (_, data) = opened(name, 23, &vec![23; longest]);
            assert_eq!(data.len(), PLAIN_BYTES_MAX, "{name:?}");
            let (refused, _) = opened(name, 23, &vec![23; longest + 1]);
            assert_eq!(refused, Opened::Bad(Bad::TooLong), "{name:?}");
        }
    }
}
